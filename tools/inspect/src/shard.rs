//! Verification of one shard: its segments in order, each by what the ones before leave behind.

use std::ops::Range;

use tidelog_format::block::BLOCK_U64;
use tidelog_format::index::{SealedAs, SegmentIndex};

use crate::ahead::{Ahead, Basis, Plan};
use crate::chain::{Chain, Link};
use crate::checker::Checker;
use crate::coverage::Coverage;
use crate::error::InspectError;
use crate::finding::{Finding, Severity, Subject};
use crate::identity::Identity;
use crate::misplaced;
use crate::promises::Span;
use crate::read::{ReadSegment, judge, known_of, read_segment, seal_of, unreadable};
use crate::remembered::Remembered;
use crate::seal::index_by;
use crate::sealed::check_seal;
use crate::tail;
use crate::tree::{SegmentFile, ShardFolder, shown};
use crate::verify::SegmentReport;

/// How often a segment that changes while it is read is read again.
const MAX_ATTEMPTS: u32 = 3;
/// Most ranges of missing offsets that are named.
const MAX_NAMED: usize = 8;

/// What the segments before leave behind.
#[derive(Debug, Clone, Default)]
struct Past {
    chain: Chain,
    /// Index of the empty segment that comes next, when all before it is known.
    index: Option<SegmentIndex>,
    /// From what that index comes.
    basis: Basis,
    coverage: Coverage,
    /// Index behind the newest segment of which one is known.
    newest: Option<SegmentIndex>,
    commands: bool,
    snapshot: bool,
    span: Option<u32>,
    remembered: Remembered,
}

/// The verification of one shard.
pub(crate) struct Shard<'a> {
    folder: &'a ShardFolder,
    superblock: Option<&'a Identity>,
    lone: bool,
    with_index: bool,
    plan: Option<&'a Plan>,
    past: Past,
    pub(crate) segments: Vec<SegmentReport>,
    pub(crate) findings: Vec<Finding>,
}

impl<'a> Shard<'a> {
    pub(crate) fn new(folder: &'a ShardFolder, superblock: Option<&'a Identity>, lone: bool) -> Shard<'a> {
        let (past, segments, findings) = (Past::default(), Vec::new(), Vec::new());
        Shard { folder, superblock, lone, with_index: false, plan: None, past, segments, findings }
    }

    /// With segments that are read ahead of their turn.
    pub(crate) fn with_plan(self, plan: &'a Plan) -> Shard<'a> {
        Shard { plan: Some(plan), ..self }
    }

    /// Reports the indexes, too.
    pub(crate) fn with_index(self) -> Shard<'a> {
        Shard { with_index: true, ..self }
    }

    /// What its commands remember, if it is the metadata's.
    pub(crate) fn remembered(&mut self) -> Remembered {
        std::mem::take(&mut self.past.remembered)
    }

    /// The newest span whose start was read.
    pub(crate) fn span(&self) -> Option<Span> {
        let is_open = self.segments.last().is_some_and(|segment| segment.state == "open");
        Some(Span { shard: self.folder.shard?, epoch: self.past.span?, is_open })
    }

    /// Verifies all segments, then the shard as a whole.
    pub(crate) fn run(&mut self) -> Result<(), InspectError> {
        let mut files = self.folder.segments.clone();
        if has_gap(&files) && !self.lone {
            // A directory that changes is not listed at one instant.
            files = self.folder.relist()?;
        }
        match files.first().and_then(|file| file.id) {
            Some((_, 1)) => {
                self.past.index = Some(SegmentIndex::default());
                self.past.basis = Basis::Nothing;
            }
            _ if self.lone => self.past.coverage.lose(),
            _ => {}
        }
        self.strangers();
        self.each(files.clone())?;
        if !self.lone {
            self.judge_missing(&files);
        }
        Ok(())
    }

    fn strangers(&mut self) {
        let folder = shown(&self.folder.path);
        for name in &self.folder.strangers {
            let text = format!("{name} is not Tidelog's and was left alone");
            self.findings.push(Finding::new(Severity::Note, Subject::File, &folder, text));
        }
    }

    fn each(&mut self, mut files: Vec<SegmentFile>) -> Result<(), InspectError> {
        let mut at = 0;
        let mut followed = self.lone;
        while let Some(file) = files.get(at).cloned() {
            let is_last = at + 1 == files.len();
            let past = (is_last && !followed).then(|| self.past.clone());
            let (found, report) = self.segment(&file, files.get(at + 1));
            if let Some(past) = past {
                followed = true;
                files.extend(self.folder.relist()?.into_iter().filter(|newer| newer.id > file.id));
                if at + 1 < files.len() {
                    // It was the last one, and the node has gone on to another: read it again as it is now.
                    self.past = past;
                    continue;
                }
            }
            self.findings.extend(found);
            self.segments.extend(report);
            at += 1;
        }
        Ok(())
    }

    /// Verifies one file; again when it changes under the reader.
    fn segment(
        &mut self,
        file: &SegmentFile,
        next: Option<&SegmentFile>,
    ) -> (Vec<Finding>, Option<SegmentReport>) {
        let past = self.past.clone();
        let mut attempt = 1;
        loop {
            match self.attempt(file, next) {
                Ok((read, findings, report)) => {
                    let moved = read.passed.moved;
                    let unstable = moved || findings.iter().any(|found| found.severity == Severity::Corrupt);
                    if !unstable || attempt >= MAX_ATTEMPTS.min(2 + u32::from(moved)) {
                        return (findings, Some(report));
                    }
                }
                Err(error) if error.is_not_found() => {
                    if attempt >= 2 {
                        // As if it had never been listed.
                        self.past = past;
                        return (vec![unreadable(file, &error)], None);
                    }
                }
                Err(error) => {
                    self.past.chain.forget();
                    self.past.index = None;
                    self.past.coverage.lose();
                    return (vec![unreadable(file, &error)], None);
                }
            }
            self.past = past.clone();
            attempt += 1;
        }
    }

    fn attempt(
        &mut self,
        file: &SegmentFile,
        next: Option<&SegmentFile>,
    ) -> Result<(ReadSegment, Vec<Finding>, SegmentReport), InspectError> {
        match self.past.chain.link(file) {
            Link::First | Link::Follows => {}
            Link::Gap => {
                self.past.index = None;
                self.past.coverage.gap();
            }
            Link::Unknown => {
                self.past.index = None;
                self.past.coverage.lose();
            }
        }
        let before = self.past.index.clone();
        let (mut read, mut checker) = self.read(file, next)?;
        let mut findings = std::mem::take(&mut read.findings);
        let mut report = self.report(&read, &checker);
        if let Some(misplaced) = misplaced::judge(file, self.folder, self.superblock, &read) {
            // It does not wait for its turn.
            findings.retain(|found| found.subject != Subject::Tail || found.is_loud());
            findings.push(misplaced);
        }
        if read.is_earlier_life {
            // What is in it is of no segment that counts.
            self.past.index = before;
            return Ok((read, findings, report));
        }
        checker.settle(&mut self.past.coverage);
        findings.append(&mut checker.findings);
        findings.extend(self.identity(file, &read));
        let of_seal = check_seal(&mut read, &checker, next.is_some())?;
        let vouched = of_seal.is_empty() && read.seal.as_ref().is_some_and(|seal| seal.footer.is_ok());
        findings.extend(of_seal);
        report.index = self.with_index.then(|| crate::index::compare(&read, checker.index.as_ref()));
        self.past.commands |= checker.commands;
        self.past.snapshot |= checker.snapshot;
        self.past.span = self.past.span.max(checker.span);
        self.past.remembered.add(std::mem::take(&mut checker.remembered));
        if let Some(index) = checker.index.take() {
            self.past.newest = Some(index.clone());
            self.past.index = behind(&read, index);
        }
        self.past.basis = if vouched { Basis::Footer } else { Basis::Own };
        Ok((read, findings, report))
    }

    /// Reads a segment, or takes what was read of it before its turn by the same knowledge.
    fn read(
        &mut self,
        file: &SegmentFile,
        next: Option<&SegmentFile>,
    ) -> Result<(ReadSegment, Checker), InspectError> {
        let index = self.past.index.take();
        let basis = if index.is_some() { self.past.basis } else { Basis::Own };
        if let Some(ahead) = self.plan.and_then(|plan| plan.take(&file.path)) {
            let Ahead { raw, checker, basis: by } = *ahead;
            let known = known_of(&self.past.chain, file, next, raw.seal.as_ref());
            if by == basis && raw.known == known && !raw.passed.moved && !raw.passed.grew {
                return Ok((judge(&mut self.past.chain, file, next, raw), checker));
            }
        }
        let index = match index {
            Some(index) => Some(index),
            None => seal_of(file)?.and_then(|seal| seal.footer.ok()).map(|footer| index_by(&footer)),
        };
        let mut checker = Checker::new(shown(&file.path), index);
        let read = read_segment(&mut self.past.chain, file, next, &mut checker)?;
        Ok((read, checker))
    }

    fn report(&self, read: &ReadSegment, checker: &Checker) -> SegmentReport {
        SegmentReport {
            shard: self.folder.shard.or(read.passed.opening.map(|opening| opening.shard)),
            file: read.name.clone(),
            state: read.state(),
            end: tail::word(&read.passed),
            base_lsn: read.passed.base.map(|(lsn, _)| lsn),
            next_lsn: read.passed.end.lsn,
            frames: checker.frames,
            batches: checker.batches,
            records: checker.records,
            bytes: read.len,
            index: None,
        }
    }

    /// Whether the segment belongs to this directory and folder.
    fn identity(&self, file: &SegmentFile, read: &ReadSegment) -> Option<Finding> {
        let opening = read.passed.opening?;
        let (lsn, _) = read.passed.base?;
        let text = if self.folder.shard.is_some_and(|shard| shard != opening.shard) {
            format!("it is a segment of shard {}", opening.shard)
        } else if self.superblock.is_some_and(|superblock| superblock.cluster_id != opening.cluster) {
            "it belongs to another cluster than the superblock".to_owned()
        } else if file.id.is_none() {
            let text = format!("segment {} of shard {}, by another name", opening.number, opening.shard);
            return Some(Finding::new(Severity::Note, Subject::Identity, &read.name, text));
        } else {
            return None;
        };
        let finding = Finding::new(Severity::Corrupt, Subject::Identity, &read.name, text);
        Some(finding.bytes(0, BLOCK_U64).lsn(lsn))
    }

    /// Retention gives segments back from the front and from the middle. What is missing is a loss when a record
    /// in it is wanted, and when it can't be shown that none is.
    fn judge_missing(&mut self, files: &[SegmentFile]) {
        let end = self.past.newest.as_ref();
        let judged = end.map(|end| self.past.coverage.wanted(end));
        let batches = end.is_some_and(|end| !end.is_empty()) && !self.past.commands;
        let mut told = false;
        for finding in self.findings.iter_mut().filter(|finding| finding.subject == Subject::MissingSegment) {
            told = true;
            let (severity, text) = match &judged {
                Some(Some(wanted)) if wanted.is_empty() && batches => {
                    (Severity::Note, ": given back by retention, no record in it is wanted".to_owned())
                }
                Some(Some(wanted)) if !wanted.is_empty() => (Severity::Corrupt, named(wanted)),
                Some(None) if batches => {
                    (Severity::Warning, ": whether a wanted record is in it can't be told".to_owned())
                }
                _ => continue,
            };
            finding.severity = severity;
            finding.verdict = if severity == Severity::Corrupt { "corrupt" } else { "ok" };
            finding.text.push_str(&text);
        }
        let wanted = judged.flatten();
        let first = files.first().and_then(|file| file.id.zip(Some(file)));
        let Some(((_, number), first)) = first.filter(|((_, number), _)| *number > 1 && !told) else {
            return;
        };
        let lost = match wanted {
            Some(wanted) if !wanted.is_empty() => named(&wanted),
            _ if self.past.commands && !self.past.snapshot => {
                ": the metadata's commands in them are lost".to_owned()
            }
            _ if !self.past.commands && self.is_without_a_seal(first) => {
                ": the newest sealed one is never given back".to_owned()
            }
            _ => return,
        };
        let text = format!("segments before {number} are missing{lost}");
        let last = self.segments.first().and_then(|segment| segment.base_lsn?.checked_sub(1));
        // A node that has just joined a span holds files that are ready, and nothing before them.
        let is_begun = self.segments.iter().any(|segment| segment.state != "unused");
        let severity = if is_begun { Severity::Corrupt } else { Severity::Warning };
        let finding = Finding::new(severity, Subject::MissingSegment, &shown(&first.path), text);
        self.findings.push(finding.lsns(None, last));
    }
}

impl Shard<'_> {
    /// Whether none of the files is sealed, and `first` does not begin a span, which a node may hold without those before.
    fn is_without_a_seal(&self, first: &SegmentFile) -> bool {
        let begins = first.id.is_some_and(|(epoch, _)| self.past.span == Some(epoch));
        !begins && self.segments.iter().all(|segment| segment.state != "sealed")
    }
}

/// Missing offsets in words.
fn named(wanted: &[(u64, Range<u64>)]) -> String {
    let mut text = String::from(": wanted records are gone:");
    for (at, (partition, range)) in wanted.iter().take(MAX_NAMED).enumerate() {
        let comma = if at > 0 { "," } else { "" };
        text.push_str(&format!("{comma} partition {partition} offsets {}..{}", range.start, range.end));
    }
    if wanted.len() > MAX_NAMED {
        text.push_str(&format!(" and {} more", wanted.len() - MAX_NAMED));
    }
    text
}

/// The index of the empty segment behind `read`, when it is known beyond doubt.
fn behind(read: &ReadSegment, mut index: SegmentIndex) -> Option<SegmentIndex> {
    let passed = &read.passed;
    if !passed.holes.is_empty() || passed.grew || passed.moved {
        return None;
    }
    let salt = passed.end.salt.unwrap_or_default();
    index.seal(&SealedAs { salt, base_lsn: 0, next_lsn: 0, chain: 0, epoch: 0, block_index: 0 });
    if let Some(Ok(footer)) = read.seal.as_ref().map(|seal| &seal.footer)
        && !index.knows_producers()
    {
        index.learn_producers(footer);
    }
    Some(index)
}

fn has_gap(files: &[SegmentFile]) -> bool {
    files.windows(2).any(|pair| match (pair[0].id, pair[1].id) {
        (Some((_, one)), Some((_, two))) => one.checked_add(1) != Some(two),
        _ => false,
    })
}
