//! How an explanation looks: a map, or annotated hexadecimal digits, or JSON.

use serde::Serialize;
use tidelog_format::record_format::escaped;

use super::field::{Field, Structure};
use super::{Region, is_json};
use crate::args::ExplainArgs;
use crate::error::InspectError;
use crate::finding::Status;
use crate::output::{Screen, dash};

/// Bytes on a line.
const LINE: usize = 16;
/// Lines of a field.
const MAX_LINES: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Map,
    At(u64),
    Fields,
}

/// The page that is being written.
pub(crate) struct Page<'a, 's> {
    screen: &'a mut Screen<'s>,
    mode: Mode,
    json: bool,
    file: String,
    regions: Vec<Region>,
    structures: Vec<Structure>,
}

/// The answer to `--at`, in JSON.
#[derive(Debug, Serialize)]
struct AtByte<'a> {
    file: &'a str,
    at: u64,
    region: Option<&'a Region>,
    /// From the outermost to the innermost.
    structures: &'a [Structure],
    /// The name of the field that holds the byte.
    field: Option<&'static str>,
}

impl<'a, 's> Page<'a, 's> {
    pub(crate) fn new(screen: &'a mut Screen<'s>, args: &ExplainArgs, file: String) -> Page<'a, 's> {
        let mode = match (args.at, args.fields) {
            (Some(at), _) => Mode::At(at),
            (None, true) => Mode::Fields,
            (None, false) => Mode::Map,
        };
        Page { screen, mode, json: is_json(args), file, regions: Vec::new(), structures: Vec::new() }
    }

    /// Whether fields are shown at all.
    pub(crate) fn wants_fields(&self) -> bool {
        self.mode != Mode::Map
    }

    /// Notes who owns a range.
    pub(crate) fn region(&mut self, region: Region) -> Result<(), InspectError> {
        let keep = match self.mode {
            Mode::Map => true,
            Mode::At(at) => (region.from..region.to).contains(&at),
            Mode::Fields => false,
        };
        if keep {
            self.regions.push(region);
        }
        Ok(())
    }

    /// Shows a structure, or keeps it until the page is whole.
    pub(crate) fn structure(&mut self, structure: Structure) -> Result<(), InspectError> {
        match self.mode {
            Mode::Map => {}
            Mode::At(_) => self.structures.push(structure),
            Mode::Fields if self.json => self.screen.json(&structure)?,
            Mode::Fields => self.print(&structure, None)?,
        }
        Ok(())
    }

    /// Writes what is left to be written.
    pub(crate) fn finish(mut self, status: Status) -> Result<Status, InspectError> {
        match self.mode {
            Mode::Fields => {}
            Mode::Map => self.map()?,
            Mode::At(at) => self.at(at)?,
        }
        Ok(status)
    }

    fn map(&mut self) -> Result<(), InspectError> {
        self.regions.sort_by_key(|region| (region.from, region.to));
        if self.json {
            for region in &self.regions {
                self.screen.json(region)?;
            }
            return Ok(());
        }
        writeln!(self.screen.out, "{}", self.file)?;
        let row = |region: &Region| {
            vec![
                format!("{}..{}", region.from, region.to),
                region.owner.to_owned(),
                dash(region.lsn),
                region.verdict.to_owned(),
                escaped(region.says.as_bytes()),
            ]
        };
        let rows: Vec<_> = self.regions.iter().map(row).collect();
        Ok(self.screen.table(&["bytes", "owner", "LSN", "verdict", "what"], &[0, 2], &rows)?)
    }

    fn at(&mut self, at: u64) -> Result<(), InspectError> {
        let structures = std::mem::take(&mut self.structures);
        let fields = structures.iter().flat_map(|structure| &structure.fields);
        let holds = |field: &&Field| (field.from..field.to).contains(&at);
        let field = fields.rev().find(holds).map(|field| field.field);
        if self.json {
            let region = self.regions.first();
            let page = AtByte { file: &self.file, at, region, structures: &structures, field };
            return Ok(self.screen.json(&page)?);
        }
        writeln!(self.screen.out, "{} byte {at} ({at:#x})", self.file)?;
        for region in &self.regions {
            let says = escaped(region.says.as_bytes());
            let Region { from, to, owner, verdict, .. } = region;
            writeln!(self.screen.out, "in {owner} {from}..{to} [{verdict}]: {says}")?;
        }
        let innermost = structures.iter().rfind(|structure| structure.holds(at));
        if let (Some(inner), Some(field)) = (innermost, field) {
            writeln!(self.screen.out, "field {field} of {}", inner.structure)?;
        }
        for structure in &structures {
            writeln!(self.screen.out)?;
            self.print(structure, Some(at))?;
        }
        Ok(())
    }

    fn print(&mut self, structure: &Structure, mark: Option<u64>) -> Result<(), InspectError> {
        let Structure { structure: name, from, to, says, verdict, .. } = structure;
        let says = escaped(says.as_bytes());
        writeln!(self.screen.out, "{name} {from}..{to} [{}]: {says}", verdict.text())?;
        for field in &structure.fields {
            self.field(field, mark)?;
        }
        Ok(())
    }

    fn field(&mut self, field: &Field, mark: Option<u64>) -> Result<(), InspectError> {
        let len = field.to - field.from;
        let mut lines = field.bytes.chunks(LINE);
        let words = format!(
            "{:<20} {}  {} [{}]",
            field.field,
            cut(&field.value.text()),
            escaped(field.meaning.as_bytes()),
            field.verdict.text()
        );
        let arrow = if mark.is_some_and(|at| (field.from..field.to).contains(&at)) { '>' } else { ' ' };
        let first = digits(lines.next().unwrap_or_default());
        writeln!(self.screen.out, "{arrow} {:08x}  {first:<47}  {words}", field.from)?;
        if field.bytes.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let mut shown = field.bytes.len().min(LINE);
        for line in lines.take(MAX_LINES - 1) {
            writeln!(self.screen.out, "  {:08x}  {}", field.from + shown as u64, digits(line))?;
            shown += line.len();
        }
        if (shown as u64) < len && shown > 0 {
            writeln!(self.screen.out, "            ... {} bytes", len)?;
        }
        Ok(())
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// A value short enough for a line.
fn cut(text: &str) -> String {
    const MOST: usize = 64;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain("...".chars()).collect()
}
