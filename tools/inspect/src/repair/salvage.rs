//! A damaged shard: from the first damaged segment on, every intact entry in new frames.

use std::collections::BTreeMap;

use tidelog_format::batch::BatchView;
use tidelog_format::block::BLOCK_U64;
use tidelog_format::entry::{Entry, EntryKind, Row};
use tidelog_format::frame::Frame;
use tidelog_format::index::SegmentIndex;
use tidelog_format::opening::Opening;
use tidelog_format::scan::{Expect, Found, scan_unverified};
use tidelog_format::{BLOCK, Salt};

use super::rewrite::{Laid, Past, Rewriter};
use super::{MissingFrames, MissingOffsets, RepairReport, copy};
use crate::chain::{Chain, first_frame};
use crate::error::InspectError;
use crate::lost;
use crate::names::Names;
use crate::pass::{Hole, Visitor};
use crate::read::{read_segment, seal_of};
use crate::target::Folder;
use crate::tree::{SegmentFile, ShardFolder, shown};
use crate::window::Window;

/// Salvages `folder`, whose segments before `first` are intact.
pub(super) fn salvage(
    folder: &ShardFolder,
    first: usize,
    cluster: Option<[u8; 16]>,
    place: &Folder,
    report: &mut RepairReport,
) -> Result<(), InspectError> {
    let (kept, mut past, mut chain) = prefix(folder, first)?;
    // Any opening of the shard tells what a damaged one told.
    let told = || folder.segments.iter().find_map(first_frame).map(|first| first.opening.cluster);
    past.cluster = cluster.or_else(told).unwrap_or(past.cluster);
    for file in folder.segments.iter().take(kept) {
        copy::segment(file, place, report)?;
    }
    let next = past.index.partitions().map(|row| (row.partition, row.next_offset)).collect();
    let mut salvage = Salvage {
        report,
        shard: folder.shard,
        rewriter: Rewriter::new(place, past),
        names: Names::default(),
        file: String::new(),
        source: None,
        salt: None,
        next,
        floor: BTreeMap::new(),
    };
    for (at, file) in folder.segments.iter().enumerate().skip(kept) {
        salvage.segment(&mut chain, file, folder.segments.get(at + 1))?;
    }
    Ok(())
}

/// How many segments go over as they are, and what they leave behind: they must be sealed with a good footer, so
/// that what lives at their end is known.
fn prefix(folder: &ShardFolder, first: usize) -> Result<(usize, Past, Chain), InspectError> {
    let mut chain = Chain::default();
    let mut best = (0, Past::default(), Chain::default());
    for (at, file) in folder.segments.iter().take(first).enumerate() {
        let read = read_segment(&mut chain, file, folder.segments.get(at + 1), &mut Nobody)?;
        let (Some(seal), Some(opening)) = (&read.seal, read.passed.opening) else { continue };
        let Ok(footer) = &seal.footer else { continue };
        let past = Past {
            before: Some((footer.epoch, opening.number)),
            next_lsn: footer.next_lsn,
            chain: footer.chain,
            next_salt: Some(opening.next_salt),
            index: SegmentIndex::behind(footer),
            cluster: opening.cluster,
        };
        best = (at + 1, past, chain);
    }
    Ok(best)
}

struct Nobody;

impl Visitor for Nobody {
    fn frame(&mut self, _: &Frame<'_>) -> Result<(), InspectError> {
        Ok(())
    }
}

struct Salvage<'a> {
    report: &'a mut RepairReport,
    shard: Option<u64>,
    rewriter: Rewriter<'a>,
    names: Names,
    /// The source, escaped, and open once more for what is in its holes.
    file: String,
    source: Option<Window>,
    salt: Option<Salt>,
    /// Offset with which each partition goes on in the copy.
    next: BTreeMap<u64, u64>,
    /// Offset below which nothing can be missing: it was given back before.
    floor: BTreeMap<u64, u64>,
}

impl Salvage<'_> {
    fn segment(
        &mut self,
        chain: &mut Chain,
        file: &SegmentFile,
        next: Option<&SegmentFile>,
    ) -> Result<(), InspectError> {
        self.file = shown(&file.path);
        self.source = Some(Window::open(&file.path)?);
        self.salt = None;
        if !self.rewriter.is_begun() && self.next.is_empty() {
            self.floors(file)?;
        }
        read_segment(chain, file, next, self)?;
        if let Some(bytes) = self.rewriter.seal()? {
            self.report.rewritten += 1;
            self.report.bytes += bytes;
        }
        Ok(())
    }

    /// What lived before the first segment is known from its own footer, if from nowhere else.
    fn floors(&mut self, file: &SegmentFile) -> Result<(), InspectError> {
        let footer = seal_of(file)?.and_then(|seal| seal.footer.ok());
        let rows = footer.iter().flat_map(|footer| &footer.partitions);
        self.floor.extend(rows.map(|row| (row.partition, row.first_offset)));
        Ok(())
    }

    /// Lays down what of a frame is intact.
    fn keep(&mut self, frame: &Frame<'_>, take: impl Fn(&Entry<'_>) -> bool) -> Result<u64, InspectError> {
        self.names.note_frame(frame);
        let mut laid = Vec::new();
        let mut opening = None;
        for entry in frame.entries().filter(take) {
            let partition = entry.row.partition;
            match entry.kind() {
                Some(EntryKind::Opening) => {
                    opening = Opening::decode(entry.body).ok();
                    continue;
                }
                Some(EntryKind::Batch) => {
                    self.batch(&entry, &mut laid);
                    continue;
                }
                Some(EntryKind::PartitionCreated) => drop(self.next.entry(partition).or_insert(0)),
                Some(EntryKind::PartitionTaken) => {
                    let at = entry.row.base_offset;
                    let next = self.next.entry(partition).or_insert(at);
                    *next = at.max(*next);
                }
                Some(EntryKind::PartitionDeleted) => drop(self.next.remove(&partition)),
                _ => {}
            }
            laid.push(Laid { row: entry.row, body: entry.body.to_vec() });
        }
        self.salt = Some(frame.header.salt);
        self.rewriter.note(frame.header.epoch, opening.as_ref(), self.shard);
        let kept = laid.len() as u64;
        if kept > 0 {
            self.report.frames += 1;
            self.rewriter.frames(laid, frame.header.append_time)?;
        }
        Ok(kept)
    }

    /// A batch, and before it what has to be said so that it follows.
    fn batch(&mut self, entry: &Entry<'_>, laid: &mut Vec<Laid>) {
        let Row { partition, base_offset, count, .. } = entry.row;
        let known = self.next.get(&partition).copied();
        let next = known.unwrap_or(0);
        if base_offset < next {
            let text = format!(
                "partition {partition}: the batch at offset {base_offset} stands behind {next}, left out"
            );
            self.report.notes.push(text);
            return;
        }
        if known.is_none() {
            // It was created in a segment that is not here; without this entry nobody would serve it.
            laid.push(Laid::control(EntryKind::PartitionCreated as u8, partition, 0, 0));
            self.report
                .notes
                .push(format!("partition {partition}: where it was created is gone, and so is its name"));
        }
        let expected = self.floor.get(&partition).map_or(next, |floor| next.max(*floor));
        if base_offset > expected {
            self.report.lost.push(MissingOffsets {
                shard: self.shard.unwrap_or_default(),
                partition,
                name: self.names.shown(partition),
                from: expected,
                to: base_offset,
            });
        }
        laid.extend(lost::rows(partition, next, base_offset).map(|row| Laid { row, body: Vec::new() }));
        laid.push(Laid { row: entry.row, body: entry.body.to_vec() });
        if next == 0 && base_offset > 0 {
            // Nothing before it is left: readers begin here.
            laid.push(Laid::control(EntryKind::Trim as u8, partition, base_offset, 0));
        }
        self.next.insert(partition, base_offset.saturating_add(u64::from(count)));
        self.report.batches += 1;
        self.report.records += u64::from(count);
    }

    /// Frames in a hole whose table is intact: their entries with a good checksum of their own are kept.
    fn within(&mut self, hole: &Hole) -> Result<u64, InspectError> {
        let Some(mut source) = self.source.take() else { return Ok(0) };
        let (mut at, mut kept, mut need) = (hole.from, 0, BLOCK);
        while at < hole.to {
            let block_index = u32::try_from(at / BLOCK_U64).unwrap_or(u32::MAX);
            let expect = Expect { block_index, salt: self.salt, ..Expect::default() };
            let view = source.view(at, need)?;
            match scan_unverified(view.bytes, &expect) {
                Found::Need(more) if !view.to_end && at + more as u64 <= hole.to => {
                    need = more;
                    continue;
                }
                Found::Frame(frame) => {
                    let follows = hole.first_lsn.is_none_or(|first| frame.header.lsn >= first)
                        && hole.last_lsn.is_none_or(|last| frame.header.lsn <= last);
                    let end = frame.header.end_position();
                    if follows && self.salt.is_some() {
                        kept += self.keep(&frame, is_sound)?;
                        at = end;
                        need = BLOCK;
                        continue;
                    }
                }
                _ => {}
            }
            at += BLOCK_U64;
            need = BLOCK;
        }
        self.source = Some(source);
        Ok(kept)
    }
}

/// Whether an entry of a frame with a good table is intact itself.
fn is_sound(entry: &Entry<'_>) -> bool {
    entry.kind() != Some(EntryKind::Batch)
        || BatchView::parse(entry.body).is_ok_and(|batch| {
            let header = batch.header();
            batch.bytes().len() == entry.body.len()
                && batch.verify_crc().is_ok()
                && (header.base_offset, header.count) == (entry.row.base_offset, entry.row.count)
        })
}

impl Visitor for Salvage<'_> {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), InspectError> {
        self.keep(frame, |_| true).map(|_| ())
    }

    fn hole(&mut self, hole: &Hole) -> Result<(), InspectError> {
        let salvaged = self.within(hole)?;
        let Hole { from, to, first_lsn, last_lsn, ref reason } = *hole;
        let (shard, file, reason) = (self.shard, self.file.clone(), reason.clone());
        self.report.holes.push(MissingFrames {
            shard,
            file,
            from,
            to,
            first_lsn,
            last_lsn,
            reason,
            salvaged,
        });
        Ok(())
    }
}
