//! What a leader makes: frames, in segments, from what it knows of its shard's partitions and producers.

use bytes::Bytes;
use tidelog_format::block::BLOCK;
use tidelog_format::entry::{EntryKind, Row};
use tidelog_format::frame::{FrameBuilder, Stamp};
use tidelog_format::index::SegmentIndex;
use tidelog_format::opening::{MIN_SEGMENT, Opening, Predecessor};
use tidelog_meta::Span as MetaSpan;
use tidelog_replica::frame::Frame;
use tidelog_replica::planted::{self, Bug};
use tidelog_replica::span::{Place, Span};
use tidelog_replica::succession;

use crate::disk::Disk;
use crate::fabric::Fabric;
use crate::files::SEGMENT;
use crate::machine::Running;
use crate::truth;

/// Knows offsets, producers, and where the next frame goes.
pub(super) struct Framer {
    pub(super) index: SegmentIndex,
    pub(super) salt: [u8; 16],
    next_salt: [u8; 16],
    pub(super) number: u64,
    /// Place of the next frame in the segment; none is open yet.
    pub(super) block: Option<usize>,
    predecessor: Option<Predecessor>,
    pub(super) started: bool,
}

impl Framer {
    /// Closes a frame at the leader's end; begins a segment where the one at hand is full.
    pub(super) fn close(
        &mut self,
        entries: &[(Row, Vec<u8>)],
        mut at: Place,
        epoch: u32,
        committed: u64,
        fabric: &mut Fabric,
    ) -> Vec<Frame> {
        let body: usize = entries.iter().map(|(_, body)| body.len() + 32).sum();
        let len = tidelog_format::block::round_up(128 + body);
        let full = self.block.is_none_or(|block| block * BLOCK + len + BLOCK > SEGMENT);
        let mut frames = Vec::new();
        if full {
            let opening = self.open(at, epoch, fabric);
            let entry = (opening_row(), opening);
            let frame = self.make(std::slice::from_ref(&entry), at, epoch, committed);
            at = frame.next();
            frames.push(frame);
        }
        frames.push(self.make(entries, at, epoch, committed));
        frames
    }

    fn open(&mut self, at: Place, epoch: u32, fabric: &mut Fabric) -> Vec<u8> {
        if self.block.is_some() {
            self.salt = self.next_salt;
            let (number, last_lsn) = (self.number, at.lsn - 1);
            self.predecessor = Some(Predecessor { epoch, number, last_lsn, chain: at.chain });
        }
        self.next_salt = fabric.chance.salt();
        self.number += 1;
        self.block = Some(0);
        Opening {
            predecessor: self.predecessor,
            next_salt: self.next_salt,
            ..Opening::new([1; 16], 1, self.number, MIN_SEGMENT)
        }
        .encode()
        .to_vec()
    }

    fn make(&mut self, entries: &[(Row, Vec<u8>)], at: Place, epoch: u32, committed: u64) -> Frame {
        let body: usize = entries.iter().map(|(_, body)| body.len() + 32).sum();
        let mut buffer = vec![0; tidelog_format::block::round_up(128 + body)];
        let mut builder = FrameBuilder::default();
        for (row, body) in entries {
            builder.push(&mut buffer, *row, body);
        }
        let block = self.block.unwrap_or(0);
        let stamp = Stamp {
            salt: self.salt,
            lsn: at.lsn,
            committed_lsn: committed,
            chain: at.chain,
            append_time: 0,
            epoch,
            block_index: block as u32,
        };
        let closed = builder.close(&mut buffer, &stamp);
        self.block = Some(block + closed.len / BLOCK);
        match Frame::verify(Bytes::from(buffer)) {
            Ok(frame) => frame,
            Err(error) => unreachable!("just made: {error}"),
        }
    }
}

fn opening_row() -> Row {
    Row { partition: 0, base_offset: 0, length: 120, count: 0, kind: EntryKind::Opening as u8 }
}

impl Running {
    /// What a new leader must know; `None` when it does not hold what came before.
    pub(super) fn framer(&self, disk: &Disk, shard: u64, span: &Span, salt: [u8; 16]) -> Option<Framer> {
        let view = truth::view(&self.state, shard, false);
        let needed = succession::needed(&view.spans, span.epoch);
        let mut framer = Framer {
            index: SegmentIndex::default(),
            salt,
            next_salt: [0; 16],
            number: 0,
            block: None,
            predecessor: None,
            started: false,
        };
        let Some(newest) = needed.first() else { return (span.base.lsn == 0).then_some(framer) };
        let follower = self.followers.get(&shard)?;
        if !needed.iter().all(|before| follower.is_whole(before.epoch)) {
            return None;
        }
        framer.number = self.files.get(&(shard, newest.epoch))?.last_segment()?;
        framer.predecessor = Some(Predecessor {
            epoch: newest.epoch,
            number: framer.number,
            last_lsn: span.base.lsn.saturating_sub(1),
            chain: span.base.chain,
        });
        // The last footer that knows the table; behind it are opening frames at most.
        let tells =
            needed.last().filter(|span| self.state.span(shard, span.epoch).is_some_and(MetaSpan::tells));
        if let Some(tells) = tells {
            let footer = self.files.get(&(shard, tells.epoch))?.last_footer(disk)?;
            framer.index = SegmentIndex::behind(&footer);
        }
        if planted::has(Bug::ForgottenProducers) {
            framer.index.lose_producers();
        }
        Some(framer)
    }
}
