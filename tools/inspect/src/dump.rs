//! `dump`: frames, batches and records in the order of the file.

use std::ops::Range;

use tidelog_format::entry::Entry;

use crate::args::{DumpArgs, Output};
use crate::chain::Chain;
use crate::dump_records::RecordDump;
use crate::dump_rows::RowDump;
use crate::error::InspectError;
use crate::finding::{Finding, Severity, Status, Subject};
use crate::output::{Screen, tell};
use crate::pass::Visitor;
use crate::read::{read_segment, unreadable};
use crate::tree::{Tree, shown};

/// What is to be shown.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    partition: Option<u64>,
    offsets: Option<Range<u64>>,
}

impl Filter {
    fn new(args: &DumpArgs) -> Filter {
        Filter { partition: args.partition, offsets: args.offset.clone() }
    }

    /// Whether everything is shown.
    pub(crate) fn is_open(&self) -> bool {
        self.partition.is_none() && self.offsets.is_none()
    }

    /// Whether a batch holds something to be shown.
    pub(crate) fn takes_batch(&self, entry: &Entry<'_>) -> bool {
        let row = &entry.row;
        let behind = row.base_offset.saturating_add(u64::from(row.count));
        self.takes_partition(row.partition)
            && self.offsets.as_ref().is_none_or(|range| row.base_offset < range.end && range.start < behind)
    }

    /// Whether a control entry is shown.
    pub(crate) fn takes_control(&self, entry: &Entry<'_>) -> bool {
        self.is_open() || (self.offsets.is_none() && self.partition == Some(entry.row.partition))
    }

    /// Whether a record of a batch that is taken is shown.
    pub(crate) fn takes_offset(&self, offset: u64) -> bool {
        self.offsets.as_ref().is_none_or(|range| range.contains(&offset))
    }

    fn takes_partition(&self, partition: u64) -> bool {
        self.partition.is_none_or(|wanted| wanted == partition)
    }
}

/// A dump in progress.
pub(crate) trait Dump: Visitor {
    /// A new file begins; the name is escaped.
    fn file(&mut self, name: &str) -> Result<(), InspectError>;

    /// What could not be shown, since the last call.
    fn take_findings(&mut self) -> Vec<Finding>;
}

/// Prints everything in the tree. Findings go to standard error.
pub(crate) fn dump(screen: &mut Screen<'_>, args: &DumpArgs, tree: &Tree) -> Result<Status, InspectError> {
    let filter = Filter::new(args);
    let json = args.common.output == Output::Json;
    if args.records || args.format.is_some() {
        let mut records = RecordDump::new(screen, filter, args.format.clone(), json);
        run(&mut records, tree)
    } else {
        let mut rows = RowDump::new(screen, filter, json)?;
        run(&mut rows, tree)
    }
}

fn run(dump: &mut dyn Dump, tree: &Tree) -> Result<Status, InspectError> {
    let mut all = Vec::new();
    for folder in &tree.shards {
        let mut chain = Chain::default();
        for (at, file) in folder.segments.iter().enumerate() {
            dump.file(&shown(&file.path))?;
            let next = folder.segments.get(at + 1);
            let mut found = match read_segment(&mut chain, file, next, &mut Through(dump)) {
                Ok(read) => read.findings,
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
    }
    Ok(Status::of(&all))
}

/// A dump as the visitor that it is.
struct Through<'a>(&'a mut dyn Dump);

impl Visitor for Through<'_> {
    fn frame(&mut self, frame: &tidelog_format::frame::Frame<'_>) -> Result<(), InspectError> {
        self.0.frame(frame)
    }

    fn hole(&mut self, hole: &crate::pass::Hole) -> Result<(), InspectError> {
        self.0.hole(hole)
    }
}
