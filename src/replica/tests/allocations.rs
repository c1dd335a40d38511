//! What the rules allocate for each write of a leader that is its span's only holder, counted: they run on the shard's
//! thread, between two writes.
#![allow(clippy::expect_used, reason = "a test may be blunt")]

use std::time::Duration;

use allocation_counter::measure;
use bytes::Bytes;
use tidelog_format::entry::{EntryKind, Row};
use tidelog_format::frame::{Closed, FrameBuilder, Stamp};
use tidelog_replica::follower::{self, Follower, Recovered, View};
use tidelog_replica::frame::Frame;
use tidelog_replica::leader::{self, Leader, Limits};
use tidelog_replica::message::From;
use tidelog_replica::span::{Place, Process, Replica, Span, SpanState};

const ME: Replica = Replica { node: 1, store: [1; 16] };
const FEW: usize = 100;
const MANY: usize = 600;

/// The frame in its list, the request's list of frames, and a list of effects of each of the steps.
const PER_WRITE: f64 = 12.0;

fn span() -> Span {
    let leader = Process { node: 1, incarnation: 3 };
    let base = Place { lsn: 10, chain: 77 };
    Span { shard: 1, epoch: 5, base, replicas: vec![ME], quorum: 1, leader, state: SpanState::Open }
}

/// Frames are made ahead: what making them allocates is not the rules'.
fn made(writes: usize) -> Vec<Closed> {
    let (mut at, mut bytes) = (span().base, vec![0; 4096]);
    let row = Row { partition: 1, base_offset: 0, length: 0, count: 0, kind: EntryKind::Trim as u8 };
    (1..=writes)
        .map(|block| {
            let mut builder = FrameBuilder::default();
            builder.push(&mut bytes, row, &[]);
            let stamp = Stamp {
                salt: [9; 16],
                lsn: at.lsn,
                committed_lsn: 0,
                chain: at.chain,
                append_time: 0,
                epoch: 5,
                block_index: u32::try_from(block).expect("few"),
            };
            let closed = builder.close(&mut bytes, &stamp);
            at = Place { lsn: at.lsn + 1, chain: closed.next_chain };
            closed
        })
        .collect()
}

/// As the executor does it: a frame is made, the own store is told to write it, the write returns, it is committed.
fn lead(writes: usize) -> u64 {
    let frames = made(writes);
    let mut leader = Leader::new(span(), Limits::default(), Duration::ZERO);
    let mut own = Follower::new(ME, Recovered { promised: 5, ..Recovered::default() });
    let view = View { version: 4, current: true, first: 0, spans: [(5, span())].into() };
    own.step(follower::Event::Viewed(view));
    let counted = measure(|| {
        for closed in &frames {
            let frame = Frame::made(closed.header, closed.next_chain, Bytes::new());
            for effect in leader.step(Duration::ZERO, leader::Event::Framed(vec![frame])) {
                let leader::Effect::Send { request, .. } = effect else {
                    continue;
                };
                own.step(follower::Event::Asked(leader.envelope(4), request));
            }
            for effect in own.step(follower::Event::Written { epoch: 5 }) {
                let follower::Effect::Answer { epoch, answer, .. } = effect else {
                    continue;
                };
                let from = From { shard: 1, epoch, replica: ME, answer };
                leader.step(Duration::ZERO, leader::Event::Answered(from));
            }
        }
    });
    assert_eq!(leader.committed(), 10 + writes as u64, "all of it is committed");
    counted.count_total
}

#[test]
fn a_write_costs_a_leader_alone_a_handful_of_short_lists() {
    let more = lead(MANY).saturating_sub(lead(FEW)) as f64;
    let each = more / (MANY - FEW) as f64;
    println!("{each:.2} allocations a write");
    assert!(each <= PER_WRITE, "{each:.2} a write");
}
