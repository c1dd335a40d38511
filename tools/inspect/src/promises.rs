//! The promise journal: whether it is all there, and whether it knows of every span that is written to here.
//!
//! # Why a missing one is damage
//! A store promises before a span's first frame comes to it, so whoever finds a frame that starts a span knows that there was
//! a journal. Programs of before there were spans wrote neither.

use std::path::Path;

use serde::Serialize;
use tidelog_format::name;
use tidelog_format::promise::{Promises, read};

use crate::error::InspectError;
use crate::finding::{Finding, Severity, Subject};
use crate::identity::Identity;
use crate::shard::Shard;
use crate::tree::{ShardFolder, shown};
use crate::window::Window;

/// How often a journal that a running node puts in the place of another is looked for.
const MAX_ATTEMPTS: u32 = 3;
/// Most bytes of a journal, as the node has it: half a million shards.
const MOST: u64 = 64 * 1024 * 1024;

/// The journal, as printed in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Journal {
    file: String,
    pub(crate) end: &'static str,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// The highest promise of each shard, as far as the journal is intact.
    pub(crate) promises: Vec<Promised>,
}

/// A promise.
#[derive(Debug, Serialize)]
pub(crate) struct Promised {
    shard: u64,
    epoch: u32,
}

/// What a shard's frames say about promises.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) shard: u64,
    /// The newest epoch of which the start was read.
    pub(crate) epoch: u32,
    /// Frames are still written to it, by all that the files say.
    pub(crate) is_open: bool,
}

/// Judges the journal of the data directory `dir` by the spans that were read before it.
pub(crate) fn judge(
    dir: &Path,
    superblock: Option<&Identity>,
    spans: &[Span],
) -> Result<(Option<Journal>, Vec<Finding>), InspectError> {
    // A running node begins it anew by two names: for a moment neither may be seen.
    for _ in 0..MAX_ATTEMPTS {
        if let Some(folder) = ShardFolder::of_journal(dir) {
            match of_file(&folder, superblock, spans) {
                Err(error) if error.is_not_found() => {}
                judged => return judged.map(|(journal, found)| (Some(journal), found)),
            }
        }
    }
    let path = shown(&dir.join(name::PROMISES));
    let lost = Finding::new(
        Severity::Corrupt,
        Subject::MissingFile,
        &path,
        "the promise journal is missing, and there are spans that were promised in it",
    );
    Ok((None, if spans.is_empty() { Vec::new() } else { vec![lost] }))
}

fn of_file(
    folder: &ShardFolder,
    superblock: Option<&Identity>,
    spans: &[Span],
) -> Result<(Journal, Vec<Finding>), InspectError> {
    let mut shard = Shard::new(folder, superblock, true);
    shard.run()?;
    let path = folder.segments.first().map(|file| file.path.clone()).unwrap_or_default();
    let window = Window::open(&path)?;
    let bytes = window.piece(0, usize::try_from(window.len().min(MOST)).unwrap_or(usize::MAX))?;
    let (promises, file) = (read(&bytes).promises, shown(&path));
    let report = shard.segments.pop();
    let end = report.as_ref().map_or("unreadable", |report| report.end);
    let mut findings = std::mem::take(&mut shard.findings);
    findings.retain(|found| found.severity != Severity::Note);
    if findings.is_empty() {
        findings.extend(unproved(&file, end));
        findings.extend(behind(&file, &promises, spans));
    }
    let journal = Journal {
        file,
        end,
        frames: report.as_ref().map_or(0, |report| report.frames),
        bytes: window.len(),
        promises: promises.iter().map(|(shard, epoch)| Promised { shard: *shard, epoch: *epoch }).collect(),
    };
    Ok((journal, findings))
}

/// Behind an end that nothing proves a promise may be missing; a start completes it and writes the journal anew.
fn unproved(file: &str, end: &'static str) -> Option<Finding> {
    let text = "its end is not proved: the last promise may be gone, and a start completes the journal from the metadata";
    (end != "proved" && end != "growing")
        .then(|| Finding::new(Severity::Note, Subject::Promises, file, text).verdict(end))
}

/// Whoever takes a span's frames has promised its epoch before. A journal that says less is older than the frames.
fn behind(file: &str, promises: &Promises, spans: &[Span]) -> Vec<Finding> {
    let lower = |span: &&Span| promises.get(&span.shard).is_none_or(|epoch| *epoch < span.epoch);
    let of = |span: &Span| {
        let said = promises.get(&span.shard).map_or("nothing".to_owned(), |epoch| format!("epoch {epoch}"));
        let text = format!(
            "shard {} is written in epoch {}, and {said} is promised for it: the journal is older than the frames",
            span.shard, span.epoch
        );
        Finding::new(Severity::Warning, Subject::Promises, file, text).verdict("behind")
    };
    spans.iter().filter(|span| span.is_open).filter(lower).map(of).collect()
}

/// Whether a file of this name is a journal.
pub(crate) fn is_journal(name: &str) -> bool {
    name == name::PROMISES || name == name::NEW_PROMISES
}
