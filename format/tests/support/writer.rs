//! Writes a segment as a store does: one write at a time, each with its end block.

use std::ops::Range;

use tidelog_format::BLOCK;
use tidelog_format::block::Salt;
use tidelog_format::end_block::EndBlock;
use tidelog_format::entry::{EntryKind, Row};
use tidelog_format::frame::{Frame, FrameBuilder, Stamp};
use tidelog_format::index::{SealedAs, SegmentIndex};
use tidelog_format::opening::Opening;
use tidelog_format::scan::{Expect, Found, scan};
use tidelog_format::trailer::{Digest, Trailer};

use super::batches::Laid;
use super::walking::Seen;

/// Bytes that one operation puts on the disk at one place.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) at: usize,
    pub(crate) bytes: Vec<u8>,
}

/// A write that has returned.
#[derive(Clone, Debug)]
pub(crate) struct Returned {
    pub(crate) first_lsn: u64,
    pub(crate) frames: Vec<Seen>,
}

/// The writer of one segment.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) file: Vec<u8>,
    pub(crate) opening: Opening,
    pub(crate) salt: Salt,
    pub(crate) epoch: u32,
    pub(crate) base_lsn: u64,
    pub(crate) base_chain: u64,
    pub(crate) returned: Vec<Returned>,
    /// Whether the end block in the file says that the last write is durable.
    pub(crate) marked: bool,
    pub(crate) block: usize,
    pub(crate) lsn: u64,
    pub(crate) chain: u64,
    pub(crate) time: i64,
    pub(crate) end_first_lsn: u64,
}

impl Writer {
    /// A writer on a file with this content; nothing is written yet.
    pub(crate) fn new(file: Vec<u8>, opening: Opening, salt: Salt, epoch: u32, base_lsn: u64) -> Writer {
        let base_chain = opening.predecessor.map_or(0, |before| before.chain);
        Writer {
            file,
            opening,
            salt,
            epoch,
            base_lsn,
            base_chain,
            returned: Vec::new(),
            marked: false,
            block: 0,
            lsn: base_lsn,
            chain: base_chain,
            time: 1_700_000_000_000,
            end_first_lsn: base_lsn,
        }
    }

    /// All that can be known of the segment before it is read.
    pub(crate) fn expect(&self) -> Expect {
        Expect {
            block_index: 0,
            salt: Some(self.salt),
            epoch: Some(self.epoch),
            lsn: Some(self.base_lsn),
            chain: Some(self.base_chain),
        }
    }

    /// All frames of returned writes.
    pub(crate) fn frames(&self) -> Vec<Seen> {
        self.returned.iter().flat_map(|write| write.frames.clone()).collect()
    }

    fn frame(&self, entries: &[Laid], lsn: u64, chain: u64, block: usize) -> (Vec<u8>, u64) {
        let room = entries.iter().map(|entry| entry.body.len() + 32).sum::<usize>() + 128 + BLOCK;
        let mut buffer = vec![0xEE; room.next_multiple_of(BLOCK)];
        let mut builder = FrameBuilder::default();
        for entry in entries {
            builder.push(&mut buffer, entry.row, &entry.body);
        }
        let closed = builder.close(
            &mut buffer,
            &Stamp {
                salt: self.salt,
                lsn,
                committed_lsn: self.lsn,
                chain,
                append_time: self.time,
                epoch: self.epoch,
                block_index: u32::try_from(block).unwrap(),
            },
        );
        buffer.truncate(closed.len);
        (buffer, closed.next_chain)
    }

    fn end_block(&self, lsn: u64, first_lsn: u64, chain: u64, block: usize, flags: (bool, bool)) -> Vec<u8> {
        let mut out = [0; BLOCK];
        let end = EndBlock {
            salt: self.salt,
            next_lsn: lsn,
            first_lsn,
            chain,
            epoch: self.epoch,
            block_index: u32::try_from(block).unwrap(),
            synced: flags.0,
            clean: flags.1,
        };
        end.encode(&mut out);
        out.to_vec()
    }

    /// The bytes of the next write: the frame (and the opening frame, if it is the first) and its end block.
    pub(crate) fn prepare(&self, entries: &[Laid]) -> Pending {
        let mut bytes = Vec::new();
        let (mut lsn, mut chain) = (self.lsn, self.chain);
        if self.block == 0 {
            let body = self.opening.encode().to_vec();
            let row = Row {
                partition: 0,
                base_offset: 0,
                length: u32::try_from(body.len()).unwrap(),
                count: 0,
                kind: EntryKind::Opening as u8,
            };
            let (frame, next) = self.frame(&[Laid { row, body }], lsn, chain, 0);
            bytes.extend(frame);
            (lsn, chain) = (lsn + 1, next);
        }
        let (frame, chain) = self.frame(entries, lsn, chain, self.block + bytes.len() / BLOCK);
        bytes.extend(frame);
        let block = self.block + bytes.len() / BLOCK;
        bytes.extend(self.end_block(lsn + 1, self.lsn, chain, block, (false, false)));
        Pending { at: self.block * BLOCK, bytes }
    }

    /// Puts all of it into the file: the write has returned.
    pub(crate) fn write(&mut self, entries: &[Laid]) -> &mut Writer {
        let pending = self.prepare(entries);
        self.apply(&pending);
        self.took(&pending);
        self
    }

    /// Writes the bytes; the file grows when it must.
    pub(crate) fn apply(&mut self, pending: &Pending) {
        let end = pending.at + pending.bytes.len();
        if self.file.len() < end {
            self.file.resize(end, 0);
        }
        self.file[pending.at..end].copy_from_slice(&pending.bytes);
    }

    /// Notes that a prepared write has returned.
    pub(crate) fn took(&mut self, pending: &Pending) {
        let mut write = Returned { first_lsn: self.lsn, frames: Vec::new() };
        let mut at = 0;
        while at + BLOCK < pending.bytes.len() {
            let place = Expect {
                block_index: u32::try_from((pending.at + at) / BLOCK).unwrap(),
                ..Expect::default()
            };
            let Found::Frame(frame) = scan(&pending.bytes[at..], &place) else {
                unreachable!("just written")
            };
            write.frames.push(seen(&frame, pending.at + at));
            self.chain = frame.next_chain();
            self.lsn += 1;
            at += frame.bytes().len();
        }
        self.end_first_lsn = write.first_lsn;
        self.block = (pending.at + at) / BLOCK;
        self.marked = false;
        self.returned.push(write);
        self.time += 1;
    }

    /// The rewrite of the end block as a sync mark, or as the mark of a clean stop.
    pub(crate) fn prepare_mark(&self, clean: bool) -> Pending {
        let bytes = self.end_block(self.lsn, self.end_first_lsn, self.chain, self.block, (true, clean));
        Pending { at: self.block * BLOCK, bytes }
    }

    pub(crate) fn mark(&mut self, clean: bool) -> &mut Writer {
        let pending = self.prepare_mark(clean);
        self.apply(&pending);
        self.marked = true;
        self
    }

    /// The index of what was written.
    pub(crate) fn index(&self) -> SegmentIndex {
        let mut index = SegmentIndex::default();
        for frame in self.frames() {
            let place = Expect { block_index: u32::try_from(frame.at / BLOCK).unwrap(), ..Expect::default() };
            let Found::Frame(frame) = scan(&self.file[frame.at..], &place) else {
                unreachable!("written before")
            };
            index.note_frame(&frame);
        }
        index
    }

    /// The two writes of a seal, in their order: all but the footer's first block, then that block. After
    /// both the file is cut behind the first.
    pub(crate) fn prepare_seal(&self) -> [Pending; 2] {
        let footer = self.index().seal(&SealedAs {
            salt: self.salt,
            base_lsn: self.base_lsn,
            next_lsn: self.lsn,
            chain: self.chain,
            epoch: self.epoch,
            block_index: u32::try_from(self.block).unwrap(),
        });
        let mut bytes = footer.encode();
        let mut digest = Digest::default();
        digest.update(&self.file[..self.block * BLOCK]);
        let trailer = Trailer {
            salt: self.salt,
            base_lsn: self.base_lsn,
            next_lsn: self.lsn,
            chain: self.chain,
            footer_len: u64::try_from(bytes.len()).unwrap(),
            epoch: self.epoch,
            block_index: u32::try_from(self.block + bytes.len() / BLOCK).unwrap(),
            digest: digest.value(),
        };
        let mut block = [0; BLOCK];
        trailer.encode(&mut block);
        bytes.extend(block);
        let tail = bytes.split_off(BLOCK);
        let at = self.block * BLOCK;
        [Pending { at: at + BLOCK, bytes: tail }, Pending { at, bytes }]
    }

    pub(crate) fn seal(&mut self) -> &mut Writer {
        let [tail, first] = self.prepare_seal();
        self.apply(&tail);
        self.apply(&first);
        self.file.truncate(tail.at + tail.bytes.len());
        self
    }
}

fn seen(frame: &Frame<'_>, at: usize) -> Seen {
    let content: Range<usize> = 0..128 + usize::try_from(frame.header.body_len).unwrap();
    Seen { lsn: frame.header.lsn, at, content: frame.bytes()[content].to_vec() }
}
