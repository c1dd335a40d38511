//! `verify`: every byte that counts is checked, and everything wrong is named.

use serde::Serialize;
use tidelog_format::index::{SealedAs, SegmentIndex};

use crate::chain::Chain;
use crate::checker::{Checker, Offsets};
use crate::error::InspectError;
use crate::finding::{Finding, Severity, Status, Subject};
use crate::identity::{self, Identity};
use crate::read::{ReadSegment, read_segment, seal_of, unreadable};
use crate::seal::index_by;
use crate::sealed::check_seal;
use crate::tail;
use crate::tree::{SegmentFile, ShardFolder, Tree};

/// How often a segment that changes while it is read is read again.
const MAX_ATTEMPTS: u32 = 3;

/// The result, as printed in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) path: String,
    pub(crate) status: Status,
    pub(crate) superblock: Option<Identity>,
    pub(crate) segments: Vec<SegmentReport>,
    pub(crate) findings: Vec<Finding>,
}

/// A line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SegmentReport {
    pub(crate) shard: Option<u64>,
    pub(crate) file: String,
    pub(crate) state: &'static str,
    pub(crate) end: &'static str,
    pub(crate) base_lsn: Option<u64>,
    pub(crate) next_lsn: Option<u64>,
    pub(crate) frames: u64,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// Verifies everything in the tree.
pub(crate) fn verify(path: String, tree: &Tree) -> Result<Report, InspectError> {
    let (superblock, mut findings) =
        tree.superblock.as_ref().map_or((None, Vec::new()), |path| identity::read(path));
    let mut segments = Vec::new();
    if let Some(finding) = missing_metadata(&path, tree) {
        findings.push(finding);
    }
    for folder in &tree.shards {
        let mut shard = Shard::new(folder, superblock.as_ref(), tree.lone);
        shard.run()?;
        segments.append(&mut shard.segments);
        findings.append(&mut shard.findings);
    }
    if !tree.cut_off.is_empty() {
        let text = format!("{} files of bytes that recovery cut off lie in lost+found", tree.cut_off.len());
        findings.push(Finding::new(Severity::Note, Subject::File, &path, text));
    }
    Ok(Report { path, status: Status::of(&findings), superblock, segments, findings })
}

/// The metadata shard exists before any other.
fn missing_metadata(path: &str, tree: &Tree) -> Option<Finding> {
    let others = tree.shards.iter().any(|folder| !folder.segments.is_empty());
    let has = tree
        .shards
        .iter()
        .any(|folder| folder.shard == Some(tidelog_format::name::META_SHARD) && !folder.segments.is_empty());
    let text = "shard 0, which holds the metadata, is missing";
    (tree.superblock.is_some() && others && !has)
        .then(|| Finding::new(Severity::Corrupt, Subject::MissingFile, path, text))
}

/// The verification of one shard.
struct Shard<'a> {
    folder: &'a ShardFolder,
    superblock: Option<&'a Identity>,
    lone: bool,
    chain: Chain,
    /// Index of the empty segment that comes next, when all before it is known.
    before: Option<SegmentIndex>,
    offsets: Offsets,
    segments: Vec<SegmentReport>,
    findings: Vec<Finding>,
}

impl<'a> Shard<'a> {
    fn new(folder: &'a ShardFolder, superblock: Option<&'a Identity>, lone: bool) -> Shard<'a> {
        Shard {
            folder,
            superblock,
            lone,
            chain: Chain::default(),
            before: None,
            offsets: Offsets::new(),
            segments: Vec::new(),
            findings: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(), InspectError> {
        let mut files = self.folder.segments.clone();
        if has_gap(&files) && !self.lone {
            // A directory that changes is not listed at one instant.
            files = self.folder.relist()?;
        }
        if files.first().and_then(|file| file.id).is_some_and(|(_, number)| number == 1) {
            self.before = Some(SegmentIndex::default());
        }
        for name in &self.folder.strangers {
            let folder = crate::tree::shown(&self.folder.path);
            let text = format!("{name} is not Tidelog's and was left alone");
            self.findings.push(Finding::new(Severity::Note, Subject::File, &folder, text));
        }
        let mut at = 0;
        let mut followed = self.lone;
        while let Some(file) = files.get(at).cloned() {
            let saved = (self.chain, self.before.clone(), self.offsets.clone());
            let (found, report) = self.segment(&file, files.get(at + 1));
            if at + 1 == files.len() && !followed {
                followed = true;
                let newer = self.folder.relist()?.into_iter().filter(|newer| newer.id > file.id);
                files.extend(newer);
                if at + 1 < files.len() {
                    // It was the last one, and the node has gone on to another: read it again as it is now.
                    (self.chain, self.before, self.offsets) = saved;
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
        let saved = (self.chain, self.before.clone(), self.offsets.clone());
        let mut attempt = 1;
        loop {
            match self.attempt(file, next) {
                Ok((read, findings, report)) => {
                    let unstable =
                        read.passed.moved || findings.iter().any(|found| found.severity == Severity::Corrupt);
                    if !unstable || attempt >= MAX_ATTEMPTS.min(2 + u32::from(read.passed.moved)) {
                        return (findings, Some(report));
                    }
                }
                Err(error) => {
                    if attempt >= 2 || !error.is_not_found() {
                        self.chain.forget();
                        self.before = None;
                        self.offsets.clear();
                        return (vec![unreadable(file, &error)], None);
                    }
                }
            }
            (self.chain, self.before, self.offsets) = saved.clone();
            attempt += 1;
        }
    }

    fn attempt(
        &mut self,
        file: &SegmentFile,
        next: Option<&SegmentFile>,
    ) -> Result<(ReadSegment, Vec<Finding>, SegmentReport), InspectError> {
        let name = crate::tree::shown(&file.path);
        let is_first = file.id.is_some_and(|(_, number)| number == 1);
        if !is_first && !self.chain.leads_to(file) {
            self.before = None;
            self.offsets.clear();
        }
        let index = match self.before.take() {
            Some(index) => Some(index),
            None => seal_of(file)?.and_then(|seal| seal.footer.ok()).map(|footer| index_by(&footer)),
        };
        let mut checker = Checker::new(name, index, std::mem::take(&mut self.offsets));
        let mut read = read_segment(&mut self.chain, file, next, &mut checker)?;
        let mut findings = std::mem::take(&mut read.findings);
        findings.append(&mut checker.findings);
        findings.extend(self.identity(file, &read));
        findings.extend(check_seal(&mut read, &checker, next.is_some())?);
        self.before = behind(&read, checker.index.take());
        self.offsets = std::mem::take(&mut checker.offsets);
        let report = SegmentReport {
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
        };
        Ok((read, findings, report))
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
        Some(finding.bytes(0, tidelog_format::block::BLOCK_U64).lsn(lsn))
    }
}

/// The index of the empty segment behind `read`, when it is known beyond doubt.
fn behind(read: &ReadSegment, index: Option<SegmentIndex>) -> Option<SegmentIndex> {
    let passed = &read.passed;
    let mut index = index.filter(|_| passed.holes.is_empty() && !passed.grew && !passed.moved)?;
    let salt = passed.end.salt?;
    index.seal(&SealedAs { salt, base_lsn: 0, next_lsn: 0, chain: 0, epoch: 0, block_index: 0 });
    Some(index)
}

fn has_gap(files: &[SegmentFile]) -> bool {
    files.windows(2).any(|pair| match (pair[0].id, pair[1].id) {
        (Some((_, one)), Some((_, two))) => one.checked_add(1) != Some(two),
        _ => false,
    })
}
