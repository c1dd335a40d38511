//! Frames for tests: real ones, made by `format`.

use bytes::Bytes;
use tidelog_format::entry::{EntryKind, Row};
use tidelog_format::frame::{FrameBuilder, Stamp};

use crate::frame::Frame;
use crate::message::{Answer, From};
use crate::span::{Place, Process, Replica, Span, SpanState};

pub(crate) fn replica(node: u64) -> Replica {
    Replica { node, store: [node as u8; 16] }
}

pub(crate) fn process(node: u64) -> Process {
    Process { node, incarnation: 1 }
}

pub(crate) fn span(replicas: u64, quorum: usize) -> Span {
    Span {
        shard: 1,
        epoch: 5,
        base: Place { lsn: 10, chain: 77 },
        replicas: (1..=replicas).map(replica).collect(),
        quorum,
        leader: process(1),
        state: SpanState::Open,
    }
}

pub(crate) fn from(node: u64, answer: Answer) -> From {
    From { shard: 1, epoch: 5, replica: replica(node), answer }
}

/// `count` frames of epoch 5 from `at` on; `salt` makes them different from others at the same place.
pub(crate) fn frames(at: Place, count: usize, salt: u8) -> Vec<Frame> {
    let mut at = at;
    let mut out = Vec::new();
    for index in 0..count {
        let mut buffer = vec![0; 4096];
        let row = Row { partition: 1, base_offset: 0, length: 1, count: 0, kind: EntryKind::Trim as u8 };
        let mut builder = FrameBuilder::default();
        builder.push(&mut buffer, row, &[salt]);
        let stamp = Stamp {
            salt: [9; 16],
            lsn: at.lsn,
            committed_lsn: 0,
            chain: at.chain,
            append_time: 0,
            epoch: 5,
            block_index: 1 + u32::try_from(index).unwrap(),
        };
        builder.close(&mut buffer, &stamp);
        let frame = Frame::verify(Bytes::from(buffer)).unwrap();
        at = frame.next();
        out.push(frame);
    }
    out
}
