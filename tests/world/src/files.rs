//! The files of one span on one disk: real frames and end blocks, walked by the real parser after a crash.

use std::rc::Rc;

use bytes::Bytes;
use tidelog_format::block::BLOCK;
use tidelog_format::end_block::EndBlock;
use tidelog_format::footer::Footer;
use tidelog_format::index::{SealedAs, SegmentIndex};
use tidelog_format::opening::MIN_SEGMENT;
use tidelog_format::scan::Expect;
use tidelog_format::trailer::{Digest, Trailer};
use tidelog_format::verdict::{Grade as Sure, Verdict};
use tidelog_format::walk::{Step as Walked, Walk};
use tidelog_replica::follower::Found;
use tidelog_replica::frame::Frame;
use tidelog_replica::grade::grade;
use tidelog_replica::message::Grade;
use tidelog_replica::span::{Place, Span};

use crate::disk::{Disk, Name, Step};
use crate::record::{self, Content};

/// Bytes of a segment.
pub const SEGMENT: usize = MIN_SEGMENT as usize;

/// Where a frame is, and what is in it.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The place that it fills.
    pub at: Place,
    /// The place behind it.
    pub next: Place,
    number: u64,
    position: usize,
    len: usize,
    /// Its batches and so on.
    pub content: Rc<Content>,
}

/// What is known of the files of a span.
#[derive(Clone, Debug)]
pub struct SpanFiles {
    shard: u64,
    epoch: u32,
    /// Frames that are durable, in order.
    slots: Vec<Slot>,
    /// Intact frames behind damage, in order.
    beyond: Vec<Slot>,
    salt: [u8; 16],
}

/// What a restart finds of a span.
pub struct Judged {
    /// The files.
    pub files: SpanFiles,
    /// As the rules want it.
    pub found: Found,
    /// Whether all segments have their footers; then nothing of it is open.
    pub sealed: Option<Place>,
}

impl SpanFiles {
    /// Of a span of which nothing is here.
    pub fn new(shard: u64, epoch: u32) -> SpanFiles {
        SpanFiles { shard, epoch, slots: Vec::new(), beyond: Vec::new(), salt: [0; 16] }
    }

    fn name(&self, number: u64) -> Name {
        Name::Segment { shard: self.shard, epoch: self.epoch, number }
    }

    /// Behind the last durable frame.
    pub fn end(&self) -> Option<Place> {
        self.slots.last().map(|slot| slot.next)
    }

    /// The frames that are here.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Number of the last segment.
    pub fn last_segment(&self) -> Option<u64> {
        self.slots.last().map(|slot| slot.number)
    }

    /// The operation that writes these frames behind the end: one write, its end block behind it. While the end is
    /// doubted there are zeroes in its place: they prove nothing.
    pub fn write(&self, frames: &[Frame], doubted: bool) -> Vec<Step> {
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return Vec::new() };
        let opens = first.opens_segment();
        let number = if opens { self.opened_number(first) } else { self.last_segment().unwrap_or(0) };
        let position = first.header().block_index as usize * BLOCK;
        let mut bytes: Vec<u8> = Vec::with_capacity(2 * BLOCK + first.len());
        for frame in frames {
            bytes.extend_from_slice(frame.bytes());
        }
        let mut block = [0; BLOCK];
        EndBlock {
            salt: first.header().salt,
            next_lsn: last.next().lsn,
            first_lsn: first.lsn(),
            chain: last.next().chain,
            epoch: self.epoch,
            block_index: ((position + bytes.len()) / BLOCK) as u32,
            synced: false,
            clean: false,
        }
        .encode(&mut block);
        if doubted {
            block.fill(0);
        }
        bytes.extend_from_slice(&block);
        vec![Step::Write { name: self.name(number), at: position, bytes, planned: SEGMENT }]
    }

    fn opened_number(&self, opening: &Frame) -> u64 {
        let place = Expect { block_index: 0, ..Expect::default() };
        let found = tidelog_format::scan::scan(opening.bytes(), &place);
        let tidelog_format::scan::Found::Frame(frame) = found else { return 0 };
        let body = frame.entries().next().map(|entry| entry.body);
        body.and_then(|body| tidelog_format::opening::Opening::decode(body).ok())
            .map_or(0, |opening| opening.number)
    }

    /// The write of these frames has returned.
    pub fn wrote(&mut self, frames: &[Frame]) {
        let mut number = self.last_segment().unwrap_or(0);
        for frame in frames {
            if frame.opens_segment() {
                number = self.opened_number(frame);
            }
            self.salt = frame.header().salt;
            self.slots.push(Slot {
                at: frame.at(),
                next: frame.next(),
                number,
                position: frame.header().block_index as usize * BLOCK,
                len: frame.len(),
                content: Rc::new(record::content(frame)),
            });
        }
    }

    /// The intact frames from `from` to below `to` as the disk gives them.
    pub fn frames(&self, disk: &Disk, from: u64, to: u64) -> Vec<Frame> {
        let start = self.slots.partition_point(|slot| slot.at.lsn < from);
        let slots = self.slots[start..].iter().take_while(|slot| slot.at.lsn < to);
        let beyond = self.beyond.iter().filter(|slot| (from..to).contains(&slot.at.lsn));
        slots.chain(beyond).filter_map(|slot| self.frame(disk, slot)).collect()
    }

    fn frame(&self, disk: &Disk, slot: &Slot) -> Option<Frame> {
        let file = disk.read(self.name(slot.number))?;
        let bytes = file.get(slot.position..slot.position + slot.len)?;
        let frame = Frame::verify(Bytes::copy_from_slice(bytes)).ok()?;
        (frame.at() == slot.at && frame.next() == slot.next).then_some(frame)
    }

    /// Where the first frame from `from` on stands that the disk does not give any more.
    pub fn first_damaged(&self, disk: &Disk, from: u64, to: u64) -> Option<Place> {
        let start = self.slots.partition_point(|slot| slot.at.lsn < from);
        let mut slots = self.slots[start..].iter().take_while(|slot| slot.at.lsn < to);
        slots.find(|slot| self.frame(disk, slot).is_none()).map(|slot| slot.at)
    }

    /// Where a frame's bytes begin, for those who want to hurt it.
    pub fn position(&self, slot: &Slot) -> (Name, usize) {
        (self.name(slot.number), slot.position)
    }

    /// The steps that bring the span to its end: later segments removed, the last one cut, footers written. `None` when
    /// the frames here do not lead to that end.
    pub fn seal(&self, disk: &Disk, base: Place, end: Place) -> Option<Vec<Step>> {
        let kept: Vec<Slot> = self.slots.iter().take_while(|slot| slot.at.lsn < end.lsn).cloned().collect();
        if kept.last().map_or(base, |slot| slot.next) != end {
            return None;
        }
        let mut steps = Vec::new();
        let last = kept.last().map(|slot| slot.number);
        for name in disk.names() {
            if let Name::Segment { shard, epoch, number } = name
                && (shard, epoch) == (self.shard, self.epoch)
                && last.is_none_or(|last| number > last)
            {
                steps.push(Step::Remove { name });
            }
        }
        let mut index = SegmentIndex::default();
        for of_segment in kept.chunk_by(|a, b| a.number == b.number) {
            self.seal_segment(disk, of_segment, &mut index, &mut steps)?;
        }
        Some(steps)
    }

    fn seal_segment(
        &self,
        disk: &Disk,
        slots: &[Slot],
        index: &mut SegmentIndex,
        steps: &mut Vec<Step>,
    ) -> Option<()> {
        let (first, last) = (slots.first()?, slots.last()?);
        let name = self.name(first.number);
        let file = disk.read(name)?;
        let len = last.position + last.len;
        let mut digest = Digest::default();
        let mut salt = [0; 16];
        for slot in slots {
            let bytes = file.get(slot.position..slot.position + slot.len)?;
            let place = Expect { block_index: (slot.position / BLOCK) as u32, ..Expect::default() };
            let tidelog_format::scan::Found::Frame(frame) = tidelog_format::scan::scan(bytes, &place) else {
                return None;
            };
            if frame.header.lsn != slot.at.lsn || frame.next_chain() != slot.next.chain {
                return None;
            }
            record::note(index, &frame);
            digest.update(bytes);
            salt = frame.header.salt;
        }
        let id = SealedAs {
            salt,
            base_lsn: first.at.lsn,
            next_lsn: last.next.lsn,
            chain: last.next.chain,
            epoch: self.epoch,
            block_index: (len / BLOCK) as u32,
        };
        let footer = index.seal(&id);
        let mut bytes = footer.encode();
        let mut block = [0; BLOCK];
        Trailer {
            salt,
            base_lsn: id.base_lsn,
            next_lsn: id.next_lsn,
            chain: id.chain,
            footer_len: bytes.len() as u64,
            epoch: self.epoch,
            block_index: id.block_index + (bytes.len() / BLOCK) as u32,
            digest: digest.value(),
        }
        .encode(&mut block);
        bytes.extend_from_slice(&block);
        steps.push(Step::SetLen { name, len });
        steps.push(Step::Write { name, at: len, bytes, planned: len });
        Some(())
    }

    /// What the footer of the last sealed segment says of partitions and producers.
    pub fn last_footer(&self, disk: &Disk) -> Option<Footer> {
        let file = disk.read(self.name(self.last_segment()?))?;
        footer_of(file).map(|(footer, _)| footer)
    }

    /// The span is sealed: frames from `end` on are gone.
    pub fn sealed_at(&mut self, end: Place) {
        self.slots.retain(|slot| slot.at.lsn < end.lsn);
    }

    /// Reads what a disk holds of a span, as recovery does: frame by frame, judged by the verdict table.
    pub fn judge(disk: &Disk, shard: u64, epoch: u32, span: Option<&Span>, salt: Option<[u8; 16]>) -> Judged {
        let mut files = SpanFiles::new(shard, epoch);
        let mut judging = Judging {
            expect: Expect {
                epoch: Some(epoch),
                salt,
                lsn: span.map(|span| span.base.lsn),
                chain: span.map(|span| span.base.chain),
                ..Expect::default()
            },
            committed: 0,
            base: None,
            verdict: None,
            all_sealed: true,
        };
        let numbers: Vec<u64> = segments_of(disk, shard, epoch).collect();
        for (at, number) in numbers.iter().enumerate() {
            let follows = at == 0 || numbers[at - 1] + 1 == *number;
            if !follows {
                judging.verdict = Some(Verdict::Corrupt);
            }
            if !follows || !judging.segment(disk, &mut files, *number, numbers.get(at + 1).copied()) {
                judging.look_beyond(disk, &mut files, &numbers[at..]);
                break;
            }
        }
        judging.give(files, epoch)
    }
}

/// Numbers of the segments of a span on a disk.
pub fn segments_of(disk: &Disk, shard: u64, epoch: u32) -> impl Iterator<Item = u64> {
    disk.names().filter_map(move |name| match name {
        Name::Segment { shard: s, epoch: e, number } if (s, e) == (shard, epoch) => Some(number),
        _ => None,
    })
}

struct Judging {
    expect: Expect,
    committed: u64,
    base: Option<Place>,
    verdict: Option<Verdict>,
    /// Every segment has its footer and trailer, and nothing but zeroes where nothing counts.
    all_sealed: bool,
}

impl Judging {
    /// Walks one segment. False when the span goes no further.
    fn segment(&mut self, disk: &Disk, files: &mut SpanFiles, number: u64, successor: Option<u64>) -> bool {
        let name = files.name(number);
        let Some(file) = disk.read(name).map(Rc::clone) else { return false };
        let mut walk = Walk::new(self.expect);
        loop {
            let position = walk.position() as usize;
            let expect = *walk.expect();
            match walk.step(file.get(position..).unwrap_or(&[]), true) {
                Walked::Frame(frame) => {
                    let at = Place { lsn: frame.header.lsn, chain: frame.header.chain };
                    debug_assert!(expect.lsn.is_none_or(|lsn| lsn == at.lsn));
                    self.all_sealed &= frame.padding_is_zero();
                    self.base.get_or_insert(at);
                    self.committed = self.committed.max(frame.header.committed_lsn);
                    let next = Place { lsn: at.lsn + 1, chain: frame.next_chain() };
                    let len = frame.bytes().len();
                    let content = Rc::new(record::content_of(&frame));
                    files.slots.push(Slot { at, next, number, position, len, content });
                }
                Walked::Need(_) => unreachable!("the bytes reach the file's end"),
                Walked::Stopped => break,
            }
        }
        let behind = walk.position() as usize;
        walk.look_behind(file.get(behind..).unwrap_or(&[]), (behind / BLOCK) as u32);
        let next_salt = walk.opening().map(|opening| opening.next_salt);
        let said = successor.and_then(|next| opened_at(disk, files.name(next)));
        let trailer = sealed_by(&file);
        let outcome = walk.finish(said);
        self.all_sealed &= trailer.is_some_and(|next| Some(next) == outcome.expect.lsn);
        // The next segment is begun only when all before it is durable.
        let torn = !matches!(outcome.verdict, Verdict::End(Sure::Proved) | Verdict::Unsupported);
        let verdict = if torn && successor.is_some() { Verdict::Corrupt } else { outcome.verdict };
        self.verdict = Some(verdict);
        self.expect = Expect {
            block_index: 0,
            salt: next_salt,
            lsn: outcome.expect.lsn,
            chain: outcome.expect.chain,
            ..self.expect
        };
        !matches!(verdict, Verdict::Corrupt | Verdict::Unsupported)
    }

    /// Finds what is intact behind damage: each block may begin a frame. Equal epoch and LSN are equal frames.
    fn look_beyond(&self, disk: &Disk, files: &mut SpanFiles, numbers: &[u64]) {
        if self.verdict != Some(Verdict::Corrupt) {
            return;
        }
        let mut behind = self.expect.lsn.unwrap_or(0);
        for number in numbers {
            let Some(file) = disk.read(files.name(*number)) else { continue };
            let mut position = 0;
            while position < file.len() {
                let block_index = (position / BLOCK) as u32;
                let expect = Expect { epoch: self.expect.epoch, block_index, ..Expect::default() };
                let found = tidelog_format::scan::scan(&file[position..], &expect);
                let tidelog_format::scan::Found::Frame(frame) = found else {
                    position += BLOCK;
                    continue;
                };
                let at = Place { lsn: frame.header.lsn, chain: frame.header.chain };
                let (next, len) = (Place { lsn: at.lsn + 1, chain: frame.next_chain() }, frame.bytes().len());
                if at.lsn >= behind {
                    behind = next.lsn;
                    let content = Rc::new(record::content_of(&frame));
                    files.beyond.push(Slot { at, next, number: *number, position, len, content });
                }
                position += len;
            }
        }
    }

    fn give(self, files: SpanFiles, epoch: u32) -> Judged {
        let verdict = self.verdict.unwrap_or(Verdict::Corrupt);
        let held = self.base.and_then(|base| files.end().map(|end| (base, end)));
        let sealed = held.map(|(_, end)| end).filter(|_| self.all_sealed && verdict != Verdict::Corrupt);
        let grade = grade(verdict).unwrap_or(Grade::Suspect);
        let last = files.beyond.last().or(files.slots.last());
        let reach = last.map_or(0, |slot| slot.next.lsn);
        let found = Found { epoch, held, grade, reach, committed: self.committed };
        Judged { files, found, sealed }
    }
}

/// The LSN at which the segment before this one ends, by this one's intact opening frame.
fn opened_at(disk: &Disk, name: Name) -> Option<u64> {
    let file = disk.read(name)?;
    let place = Expect { block_index: 0, ..Expect::default() };
    match tidelog_format::scan::scan(file, &place) {
        tidelog_format::scan::Found::Frame(frame) => Some(frame.header.lsn),
        _ => None,
    }
}

/// The LSN at which a sealed segment ends, by its trailer, if its footer is intact too.
fn sealed_by(file: &[u8]) -> Option<u64> {
    footer_of(file).map(|(_, trailer)| trailer.next_lsn)
}

fn footer_of(file: &[u8]) -> Option<(Footer, Trailer)> {
    let last = file.len().checked_sub(BLOCK)?;
    let block = file.get(last..)?.first_chunk::<BLOCK>()?;
    let trailer = Trailer::of_last_block(block, (last / BLOCK) as u32)?;
    let bytes = file.get(trailer.footer_position() as usize..last)?;
    let footer = Footer::decode(bytes).ok()?;
    (footer.next_lsn == trailer.next_lsn && footer.encode() == bytes).then_some((footer, trailer))
}
