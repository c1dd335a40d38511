//! The segment that is being written: where the next frame goes, and what stands around it.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidelog_format::Salt;
use tidelog_format::block::{BLOCK, BLOCK_U64, HEADER_LEN};
use tidelog_format::end_block::EndBlock;
use tidelog_format::entry::{EntryKind, ROW_LEN, Row};
use tidelog_format::frame::{Closed, FrameBuilder, FrameHeader, Stamp};
use tidelog_format::index::SealedAs;
use tidelog_format::opening::{Opening, Predecessor};
use tidelog_format::trailer::Digest;
use tidelog_format::walk::Walk;
use tidelog_io::{Buf, Disk};

use crate::gather::{Filling, Pending};
use crate::keeper::{Keeper, ToSeal};
use crate::segments::{Active, Segment, SegmentId};
use crate::shared::Shared;

/// What a frame, and a new segment, takes over from the one before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Continuation {
    pub(crate) next_lsn: u64,
    pub(crate) chain: u64,
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) last_append_time: i64,
}

/// An open segment.
pub(crate) struct Writing<F> {
    pub(crate) id: SegmentId,
    pub(crate) file: Rc<F>,
    pub(crate) salt: Salt,
    /// Salt of the next segment of this span.
    pub(crate) next_salt: Salt,
    base_lsn: u64,
    /// Where the next frame goes, bytes.
    pub(crate) position: u64,
    first_lsn_of_last_write: u64,
    /// The end block says that what it ends is durable.
    pub(crate) synced: bool,
    pub(crate) digest: Digest,
    /// The opening frame is still to be written.
    unopened: Option<Opening>,
}

/// A write for the disk: frames and their end block.
pub(crate) struct Write {
    pub(crate) buf: Buf,
    pub(crate) len: usize,
    pub(crate) position: u64,
}

/// A frame that was handed to the disk, and who waits for it.
pub(crate) struct Framed {
    pub(crate) pending: Vec<Pending>,
    /// The opening frame before it in the same write, if a segment begins.
    pub(crate) opened: Option<Closed>,
    pub(crate) closed: Closed,
    pub(crate) lsn: u64,
    /// The frame's place, and its length without an opening frame, in blocks.
    pub(crate) block: u32,
    pub(crate) blocks: u32,
    pub(crate) append_time: i64,
    /// The segment once it is durable.
    pub(crate) active: Active,
    pub(crate) padding: usize,
}

impl Framed {
    /// Bytes of the write that are frames.
    pub(crate) fn frames_len(&self) -> usize {
        self.opened.map_or(0, |opened| opened.len) + self.closed.len
    }

    /// The frames of the write whose bytes these are: an opening frame, if there is one, and the frame.
    pub(crate) fn made<'a>(&'a self, bytes: &'a [u8]) -> (Option<Made<'a>>, Made<'a>) {
        let (opening, rest) = bytes.split_at(self.opened.map_or(0, |opened| opened.len));
        let opening = self.opened.as_ref().map(|opened| Made::of(opened, opening));
        (opening, Made::of(&self.closed, &rest[..self.closed.len]))
    }
}

/// A frame that was just made.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// Its header.
    pub header: &'a FrameHeader,
    /// Chain value of the frame behind it.
    pub next_chain: u64,
    /// All its bytes, padding included.
    pub bytes: &'a [u8],
}

impl<'a> Made<'a> {
    fn of(closed: &'a Closed, bytes: &'a [u8]) -> Made<'a> {
        Made { header: &closed.header, next_chain: closed.next_chain, bytes }
    }
}

impl<F> Writing<F> {
    /// A segment whose opening frame goes out with its first frame.
    pub(crate) fn begin(
        id: SegmentId,
        file: Rc<F>,
        salt: Salt,
        opening: Opening,
        from: &Continuation,
    ) -> Writing<F> {
        Writing {
            id,
            file,
            salt,
            next_salt: opening.next_salt,
            base_lsn: from.next_lsn,
            position: 0,
            first_lsn_of_last_write: from.next_lsn,
            synced: true,
            digest: Digest::default(),
            unopened: Some(opening),
        }
    }

    /// A segment that another node's opening frame begins; the frame is the first that is written.
    pub(crate) fn begin_copy(
        id: SegmentId,
        file: Rc<F>,
        salt: Salt,
        opening: &Opening,
        from: &Continuation,
    ) -> Writing<F> {
        Writing { unopened: None, ..Writing::begin(id, file, salt, *opening, from) }
    }

    /// A segment that a restart goes on with behind its last frame.
    pub(crate) fn resumed(
        id: SegmentId,
        file: Rc<F>,
        walked: &Walk,
        next_salt: Salt,
        from: &Continuation,
    ) -> Writing<F> {
        Writing {
            id,
            file,
            salt: walked.expect().salt.unwrap_or_default(),
            next_salt,
            base_lsn: walked.base_lsn().unwrap_or(from.next_lsn),
            position: walked.position(),
            first_lsn_of_last_write: from.next_lsn.saturating_sub(1),
            synced: true,
            digest: walked.digested(),
            unopened: None,
        }
    }

    /// So many bytes of frames, from this LSN on, were handed to the disk.
    pub(crate) fn wrote(&mut self, first_lsn: u64, frames_len: u64) {
        self.position += frames_len;
        self.first_lsn_of_last_write = first_lsn;
        self.synced = false;
    }

    /// Whether anything was written to it.
    pub(crate) fn is_opened(&self) -> bool {
        self.unopened.is_none()
    }

    /// Whether a frame of `len` bytes and an end block fit into a segment of `segment_bytes`. An empty segment takes
    /// any frame: batches are bounded so that one fits.
    pub(crate) fn fits(&self, len: usize, segment_bytes: u64) -> bool {
        !self.is_opened() || self.position + len as u64 + BLOCK_U64 <= segment_bytes
    }

    /// Closes the frame behind the last one (behind the opening frame in a new segment) and puts an end block
    /// behind it. LSNs below `committed` are. `next` is what the next frame fills.
    pub(crate) fn close_frame(
        &mut self,
        filled: &mut Filling,
        next: (Buf, Vec<Pending>),
        from: &mut Continuation,
        append_time: i64,
        committed: u64,
    ) -> (Write, Framed) {
        let (first_lsn, position) = (from.next_lsn, self.position);
        let (mut at, mut opened) = (0, None);
        if let Some(opening) = self.unopened.take() {
            let laid = HEADER_LEN + filled.builder.body_len();
            filled.buf.copy_within(..laid, BLOCK);
            let stamp = self.stamp(from, committed, append_time, position);
            let closed = open_segment(&mut filled.buf[..BLOCK], &opening, &stamp);
            from.follow(&closed);
            (at, opened) = (BLOCK, Some(closed));
        }
        let payload = filled.builder.body_len() + filled.builder.entries() * ROW_LEN;
        let stamp = self.stamp(from, committed, append_time, position + at as u64);
        let closed = filled.builder.close(&mut filled.buf[at..], &stamp);
        from.follow(&closed);
        from.last_append_time = append_time;
        let frames_len = at + closed.len;
        self.wrote(first_lsn, frames_len as u64);
        self.put_end_block(&mut filled.buf[frames_len..], from, false, false);
        let (buf, pending) = filled.turn(next.0, next.1);
        let framed = Framed {
            pending,
            opened,
            closed,
            lsn: stamp.lsn,
            block: stamp.block_index,
            blocks: block_of(closed.len as u64),
            append_time,
            active: Active { id: self.id, salt: self.salt, end: self.position },
            padding: closed.len - payload,
        };
        (Write { buf, len: frames_len + BLOCK, position }, framed)
    }

    fn stamp(&self, from: &Continuation, committed_lsn: u64, append_time: i64, position: u64) -> Stamp {
        Stamp {
            salt: self.salt,
            lsn: from.next_lsn,
            committed_lsn,
            chain: from.chain,
            append_time,
            epoch: self.id.epoch,
            block_index: block_of(position),
        }
    }

    /// Writes the end block for the current end into the first block of `out`.
    pub(crate) fn put_end_block(&self, out: &mut [u8], from: &Continuation, synced: bool, clean: bool) {
        let end = EndBlock {
            salt: self.salt,
            next_lsn: from.next_lsn,
            first_lsn: self.first_lsn_of_last_write,
            chain: from.chain,
            epoch: self.id.epoch,
            block_index: block_of(self.position),
            synced,
            clean,
        };
        if let Some(block) = out.first_chunk_mut() {
            end.encode(block);
        }
    }

    /// Identity of the footer, if the segment ended now.
    pub(crate) fn sealed_as(&self, from: &Continuation) -> SealedAs {
        SealedAs {
            salt: self.salt,
            base_lsn: self.base_lsn,
            next_lsn: from.next_lsn,
            chain: from.chain,
            epoch: self.id.epoch,
            block_index: block_of(self.position),
        }
    }

    /// What the next segment says about this one, if it ended now.
    pub(crate) fn predecessor(&self, from: &Continuation) -> Predecessor {
        Predecessor {
            epoch: self.id.epoch,
            number: self.id.number,
            last_lsn: from.next_lsn.saturating_sub(1),
            chain: from.chain,
        }
    }
}

impl Continuation {
    fn follow(&mut self, closed: &Closed) {
        self.next_lsn += 1;
        self.chain = closed.next_chain;
    }
}

/// Takes a segment out of use: its index becomes the footer that the keeper writes.
pub(crate) fn end_segment<D: Disk>(
    shared: &Shared,
    keeper: &Keeper<D>,
    writing: Writing<D::File>,
    from: &mut Continuation,
) {
    from.predecessor = Some(writing.predecessor(from));
    let mut state = shared.state_mut();
    state.active = None;
    let footer = Arc::new(state.index.seal(&writing.sealed_as(from)));
    let segment =
        Segment { id: writing.id, len: writing.position, footer: Some(Arc::clone(&footer)), sealed: false };
    state.segments.insert(segment);
    shared.stats.segments.store(state.segments.len() as u64 + 1, Ordering::Relaxed);
    drop(state);
    let digest = writing.digest.value();
    keeper.seal_later(ToSeal { id: writing.id, file: writing.file, footer, digest });
}

fn block_of(position: u64) -> u32 {
    u32::try_from(position / BLOCK_U64).unwrap_or(u32::MAX)
}

fn open_segment(block: &mut [u8], opening: &Opening, stamp: &Stamp) -> Closed {
    let body = opening.encode();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let row = Row { partition: 0, base_offset: 0, length, count: 0, kind: EntryKind::Opening as u8 };
    let mut builder = FrameBuilder::default();
    builder.push(block, row, &body);
    builder.close(block, stamp)
}
