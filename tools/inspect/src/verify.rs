//! `verify`: every byte that counts is checked, and everything wrong is named.

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tidelog_format::name::META_SHARD;

use crate::ahead::Plan;
use crate::error::InspectError;
use crate::finding::{Finding, Severity, Status, Subject};
use crate::identity::{self, Identity};
use crate::index::IndexReport;
use crate::progress::{Bar, Progress};
use crate::promises::{self, Journal, Span};
use crate::remembered::Remembered;
use crate::shard::Shard;
use crate::tree::{ShardFolder, Tree, shown};

/// The result, as printed in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) path: String,
    pub(crate) status: Status,
    pub(crate) superblock: Option<Identity>,
    pub(crate) segments: Vec<SegmentReport>,
    /// The promise journal; none outside of a data directory, and where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) promises: Option<Journal>,
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
    /// What the frames give as index, where that was asked for.
    #[serde(skip)]
    pub(crate) index: Option<IndexReport>,
}

/// As many threads as read ahead when nothing else is wanted.
pub(crate) fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Verifies everything in the tree, while so many threads read ahead; 0: the calling thread does it all.
pub(crate) fn verify(path: String, tree: &Tree, threads: usize) -> Result<Report, InspectError> {
    let (superblock, mut findings) =
        tree.superblock.as_ref().map_or((None, Vec::new()), |path| identity::read(path));
    let mut segments = Vec::new();
    if let Some(finding) = missing_metadata(&path, tree) {
        findings.push(finding);
    }
    let (mut spans, mut remembered) = (Vec::new(), Remembered::default());
    for (mut reports, mut found, span, told) in shards(tree, superblock.as_ref(), threads)? {
        segments.append(&mut reports);
        findings.append(&mut found);
        spans.extend(span);
        remembered.add(told);
    }
    // Read behind the frames: what a running node promises meanwhile is never missing.
    let dir = tree.superblock.as_deref().and_then(Path::parent);
    let journal = dir.map(|dir| promises::judge(dir, superblock.as_ref(), &spans)).transpose()?;
    let (promises, mut found) = journal.unwrap_or_default();
    findings.append(&mut found);
    metadata_epochs(tree).for_each(|epoch| remembered.note_file(epoch));
    findings.extend(rolled_back(tree, superblock.as_ref(), &remembered));
    if !tree.cut_off.is_empty() {
        let text = format!("{} files of bytes that recovery cut off lie in lost+found", tree.cut_off.len());
        findings.push(Finding::new(Severity::Note, Subject::File, &path, text));
    }
    Ok(Report { path, status: Status::of(&findings), superblock, segments, promises, findings })
}

/// A superblock that is older than the metadata. A running node raises the superblock first, so that one that is read
/// behind the metadata is never older.
fn rolled_back(tree: &Tree, superblock: Option<&Identity>, told: &Remembered) -> Option<Finding> {
    let path = tree.superblock.as_deref()?;
    told.judge(&shown(path), superblock?)?;
    told.judge(&shown(path), &identity::read(path).0?)
}

/// Epochs of the metadata's files, by their names.
fn metadata_epochs(tree: &Tree) -> impl Iterator<Item = u32> {
    let metadata = tree.shards.iter().filter(|folder| folder.shard == Some(META_SHARD));
    metadata.flat_map(|folder| &folder.segments).filter_map(|file| file.id).map(|(epoch, _)| epoch)
}

/// What a shard came to.
type Verified = (Vec<SegmentReport>, Vec<Finding>, Option<Span>, Remembered);

/// Verifies one shard.
fn shard(mut shard: Shard<'_>) -> Result<Verified, InspectError> {
    shard.run()?;
    let (span, told) = (shard.span(), shard.remembered());
    Ok((shard.segments, shard.findings, span, told))
}

/// Verifies the shards in their order, while other threads read ahead.
fn shards(tree: &Tree, superblock: Option<&Identity>, threads: usize) -> Result<Vec<Verified>, InspectError> {
    if threads == 0 {
        return tree.shards.iter().map(|folder| shard(Shard::new(folder, superblock, tree.lone))).collect();
    }
    let (plan, progress, over) = (Plan::new(tree, threads), Progress::default(), AtomicBool::new(false));
    let bar = Bar::new(total_bytes(tree), progress.clone());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| plan.work(&progress));
        }
        scope.spawn(|| bar.draw_until(|| over.load(Ordering::Relaxed)));
        let run = |folder: &ShardFolder| shard(Shard::new(folder, superblock, tree.lone).with_plan(&plan));
        let all = tree.shards.iter().map(run).collect();
        over.store(true, Ordering::Relaxed);
        plan.abandon();
        all
    })
}

/// Bytes of all segments' files, for the bar.
fn total_bytes(tree: &Tree) -> u64 {
    let files = tree.shards.iter().flat_map(|folder| &folder.segments);
    files.filter_map(|file| std::fs::metadata(&file.path).ok()).map(|found| found.len()).sum()
}

/// The metadata shard exists before any other.
fn missing_metadata(path: &str, tree: &Tree) -> Option<Finding> {
    let others = tree.shards.iter().any(|folder| !folder.segments.is_empty());
    let has =
        tree.shards.iter().any(|folder| folder.shard == Some(META_SHARD) && !folder.segments.is_empty());
    let text = "shard 0, which holds the metadata, is missing";
    (tree.superblock.is_some() && others && !has)
        .then(|| Finding::new(Severity::Corrupt, Subject::MissingFile, path, text))
}
