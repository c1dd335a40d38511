//! `repair`: a copy with everything that is intact, and a list of what is not.
//!
//! # Purpose
//! Shards without damage are copied byte for byte. In a damaged shard the segments before the damage are copied, and
//! from there on every intact entry is laid into new frames that follow each other: batches keep every byte, offsets
//! and leader epochs included; LSNs, chain and salts are new. Where offsets are gone, an entry says which
//! ([`crate::lost`]).
//!
//! # Invariants
//! - The source is only read. The target must not exist, and nothing is written outside of it.
//! - What is missing is named: bytes and LSNs of each hole, partitions and offsets.
//! - A dry run does all of it but the writing.

mod copy;
mod rewrite;
mod salvage;

use serde::Serialize;

use crate::args::{Output, RepairArgs};
use crate::error::InspectError;
use crate::finding::{Finding, Severity, Status};
use crate::output::{Screen, dash, tell};
use crate::shard::Shard;
use crate::target::{Folder, Target, refuse_unsafe};
use crate::tree::{ShardFolder, Tree, shown};
use crate::verify::{all_cores, verify};

/// The result, as printed in JSON.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RepairReport {
    source: String,
    target: String,
    dry_run: bool,
    /// Segments that were copied as they are, and those that were written anew.
    copied: u64,
    rewritten: u64,
    frames: u64,
    batches: u64,
    records: u64,
    bytes: u64,
    /// Bytes that should be frames and are not.
    holes: Vec<MissingFrames>,
    /// Offsets that were acknowledged once and are in no intact frame.
    lost: Vec<MissingOffsets>,
    notes: Vec<String>,
    /// How the copy verifies.
    verified: Option<Status>,
}

/// A hole in the source.
#[derive(Debug, Serialize)]
struct MissingFrames {
    shard: Option<u64>,
    file: String,
    from: u64,
    to: u64,
    first_lsn: Option<u64>,
    last_lsn: Option<u64>,
    reason: String,
    /// Entries of damaged frames in it that were intact themselves and are in the copy.
    salvaged: u64,
}

/// Offsets of a partition that are gone.
#[derive(Debug, Clone, Serialize)]
struct MissingOffsets {
    shard: u64,
    partition: u64,
    name: String,
    from: u64,
    to: u64,
}

/// Copies what is intact.
pub(crate) fn repair(screen: &mut Screen<'_>, args: &RepairArgs) -> Result<Status, InspectError> {
    let tree = Tree::find(&args.source)?;
    refuse_unsafe(&args.source, &args.target)?;
    let mut report = RepairReport {
        source: shown(&args.source),
        target: shown(&args.target),
        dry_run: args.dry_run,
        ..RepairReport::default()
    };
    let target = Target::new(&args.target, args.dry_run)?;
    let whole = tree.superblock.is_some();
    let identity = tree.superblock.as_deref().and_then(|path| crate::identity::read(path).0);
    let cluster = identity.map(|identity| identity.cluster_id);
    if let Some(superblock) = &tree.superblock {
        copy::superblock(superblock, &target, &mut report)?;
        copy::promises(superblock, &target, &mut report)?;
    }
    for folder in &tree.shards {
        let place = match folder.shard.filter(|_| whole) {
            Some(shard) => target.folder(&["shards", &shard.to_string()])?,
            None => target.folder(&[])?,
        };
        shard(folder, tree.lone, cluster, &place, &mut report)?;
    }
    target.finish()?;
    if !args.dry_run {
        let copy = verify(shown(&args.target), &Tree::find(&args.target)?, all_cores())?;
        report.verified = Some(copy.status);
        let loud = |finding: &&Finding| finding.severity != Severity::Note;
        tell(&copy.findings.iter().filter(loud).cloned().collect::<Vec<_>>());
    }
    print(screen, args.output, &report)?;
    Ok(if report.holes.is_empty() && report.lost.is_empty() { Status::Ok } else { Status::Corrupt })
}

/// One shard: as it is when nothing is damaged, else salvaged from the first damaged segment on.
fn shard(
    folder: &ShardFolder,
    lone: bool,
    cluster: Option<[u8; 16]>,
    place: &Folder,
    report: &mut RepairReport,
) -> Result<(), InspectError> {
    let mut verified = Shard::new(folder, None, lone);
    verified.run()?;
    let damaged =
        |finding: &&Finding| finding.severity == Severity::Corrupt || finding.severity == Severity::Error;
    let files: Vec<String> = folder.segments.iter().map(|file| shown(&file.path)).collect();
    let of = |finding: &Finding| files.iter().position(|file| *file == finding.file).unwrap_or(0);
    let first = verified.findings.iter().filter(damaged).map(of).min();
    let unsupported = verified.findings.iter().find(|finding| finding.severity == Severity::Unsupported);
    if let Some(newer) = unsupported {
        let why = format!("{}; a program that does not know the format must not rewrite it", newer.text);
        return Err(InspectError::Unsafe { path: folder.path.clone(), why });
    }
    let Some(first) = first else {
        for file in &folder.segments {
            copy::segment(file, place, report)?;
        }
        return Ok(());
    };
    salvage::salvage(folder, first, cluster, place, report)
}

fn print(screen: &mut Screen<'_>, output: Output, report: &RepairReport) -> Result<(), InspectError> {
    if output == Output::Json {
        return Ok(screen.json(report)?);
    }
    for note in &report.notes {
        writeln!(screen.out, "{note}")?;
    }
    let holes: Vec<_> = report.holes.iter().map(hole_row).collect();
    if !holes.is_empty() {
        let head = ["shard", "segment", "bytes", "LSNs", "salvaged", "what is wrong there"];
        screen.table(&head, &[0, 4], &holes)?;
        writeln!(screen.out)?;
    }
    let lost: Vec<_> = report.lost.iter().map(lost_row).collect();
    if !lost.is_empty() {
        let head = ["shard", "partition", "name", "records lost", "offsets"];
        screen.table(&head, &[0, 1, 3], &lost)?;
        writeln!(screen.out)?;
    }
    let verb = if report.dry_run { "would be" } else { "were" };
    let RepairReport { copied, rewritten, frames, batches, records, bytes, .. } = report;
    writeln!(
        screen.out,
        "{}: {copied} segments {verb} copied, {rewritten} written anew: {frames} frames, {batches} batches, \
         {records} records, {bytes} bytes",
        report.target
    )?;
    if report.holes.is_empty() && report.lost.is_empty() {
        writeln!(screen.out, "nothing is missing")?;
    } else {
        let count: u64 = report.lost.iter().map(|lost| lost.to - lost.from).sum();
        writeln!(screen.out, "{} holes, {count} records known to be missing", report.holes.len())?;
    }
    if let Some(status) = report.verified {
        let word = if status == Status::Ok { "ok" } else { "NOT ok, see above" };
        writeln!(screen.out, "the copy verifies: {word}")?;
    }
    Ok(())
}

fn hole_row(hole: &MissingFrames) -> Vec<String> {
    let lsns = match (hole.first_lsn, hole.last_lsn) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        (first, _) => format!("{} on", dash(first)),
    };
    vec![
        dash(hole.shard),
        hole.file.rsplit('/').next().unwrap_or_default().to_owned(),
        format!("{}..{}", hole.from, hole.to),
        lsns,
        hole.salvaged.to_string(),
        hole.reason.clone(),
    ]
}

fn lost_row(lost: &MissingOffsets) -> Vec<String> {
    vec![
        lost.shard.to_string(),
        lost.partition.to_string(),
        tidelog_format::record_format::escaped(lost.name.as_bytes()),
        (lost.to - lost.from).to_string(),
        format!("{}..{}", lost.from, lost.to),
    ]
}
