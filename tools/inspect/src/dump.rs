//! `dump` and `grep`: frames, batches and records in the order of the file.

use std::path::Path;

use tidelog_format::promise::JOURNAL;

use crate::args::{DumpArgs, GrepArgs, Output, Part};
use crate::chain::Chain;
use crate::dump_records::{RecordDump, Style};
use crate::dump_rows::RowDump;
use crate::error::InspectError;
use crate::filter::{Filter, Pattern};
use crate::finding::{Finding, Severity, Status, Subject};
use crate::follow::{Cursor, follow};
use crate::output::{Screen, tell};
use crate::pass::Visitor;
use crate::read::{read_segment, unreadable};
use crate::tree::{Tree, shown};

/// A dump in progress.
pub(crate) trait Dump: Visitor {
    /// A new file begins; the name is escaped.
    fn file(&mut self, name: &str) -> Result<(), InspectError>;

    /// What could not be shown, since the last call.
    fn take_findings(&mut self) -> Vec<Finding>;

    /// How many frames or records were shown.
    fn shown(&self) -> u64;

    /// Whether as many were shown as were asked for.
    fn is_done(&self) -> bool;

    /// Lets everybody see what was shown.
    fn flush(&mut self) -> Result<(), InspectError>;
}

/// Prints everything in the tree. Findings go to standard error.
pub(crate) fn dump(screen: &mut Screen<'_>, args: &DumpArgs) -> Result<Status, InspectError> {
    let mut filter = Filter::new(&args.filter);
    if let Some(regex) = &args.pattern {
        filter = filter.with(Pattern { regex: regex.clone(), parts: Part::ALL.to_vec() });
    }
    let json = args.common.output == Output::Json;
    let most = args.max.unwrap_or(u64::MAX);
    let path = &args.common.path;
    if args.records || args.format.is_some() || filter.looks_inside() {
        let mut records = RecordDump::new(screen, filter, Style::of(args.format.clone(), json), most);
        run(&mut records, path, args.follow)
    } else {
        let mut rows = RowDump::new(screen, filter, json, most);
        run(&mut rows, path, args.follow)
    }
}

/// Prints the records in which a pattern is found.
pub(crate) fn grep(screen: &mut Screen<'_>, args: &GrepArgs) -> Result<Status, InspectError> {
    let regex = args.regex()?;
    let parts = if args.within.is_empty() { Part::ALL.to_vec() } else { args.within.clone() };
    let filter = Filter::new(&args.filter).with(Pattern { regex, parts });
    let json = args.common.output == Output::Json;
    let style = if args.count { Style::Nothing } else { Style::of(args.format.clone(), json) };
    let mut records = RecordDump::new(screen, filter, style, args.max.unwrap_or(u64::MAX));
    let status = run(&mut records, &args.common.path, false)?;
    let found = records.shown();
    if args.count {
        writeln!(screen.out, "{found}")?;
    }
    Ok(if found == 0 { status.max(Status::NotFound) } else { status })
}

/// Shows everything under a path, and with `on` what comes, too.
pub(crate) fn run(dump: &mut dyn Dump, path: &Path, on: bool) -> Result<Status, InspectError> {
    let tree = Tree::find(path)?;
    let mut all = Vec::new();
    let mut cursors = Vec::new();
    for folder in tree.shards.iter().chain(&tree.journal) {
        let mut chain = Chain::default();
        let mut cursor = Cursor { shard: folder.shard, at: None };
        for (at, file) in folder.segments.iter().enumerate() {
            if dump.is_done() {
                return Ok(Status::of(&all));
            }
            dump.file(&shown(&file.path))?;
            let next = folder.segments.get(at + 1);
            let mut found = match read_segment(&mut chain, file, next, &mut Through(dump)) {
                Ok(read) => {
                    if !read.is_earlier_life && !read.passed.is_unbegun() {
                        cursor.at = Some((file.clone(), read.passed.end));
                    }
                    read.findings
                }
                Err(InspectError::Enough) => return Ok(Status::of(&all)),
                Err(error @ InspectError::Output(_)) => return Err(error),
                Err(error) => {
                    chain.forget();
                    vec![unreadable(file, &error)]
                }
            };
            found.extend(dump.take_findings());
            // An end in good order and a file that waits for its first write are no news here.
            found.retain(|finding| finding.severity != Severity::Note || finding.verdict != "ok");
            // Whether a missing segment is a loss is for verify to say.
            found.retain(|finding| finding.subject != Subject::MissingSegment);
            tell(&found);
            all.extend(found);
        }
        if folder.shard != Some(JOURNAL) {
            cursors.push(cursor);
        }
    }
    if on {
        follow(dump, path, &mut cursors)?;
    }
    Ok(Status::of(&all))
}

/// A dump as the visitor that it is.
struct Through<'a>(&'a mut dyn Dump);

impl Visitor for Through<'_> {
    fn frame(&mut self, frame: &tidelog_format::frame::Frame<'_>) -> Result<(), InspectError> {
        // Reading on for nobody would only take time.
        if self.0.is_done() { Err(InspectError::Enough) } else { self.0.frame(frame) }
    }

    fn hole(&mut self, hole: &crate::pass::Hole) -> Result<(), InspectError> {
        self.0.hole(hole)
    }
}
