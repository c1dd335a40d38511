//! # Purpose
//! The leader of a span and its own store's part in it, as the shard's appender meets them. Every frame goes the way that
//! it goes on any number of nodes: the leader sends it to all holders, this store's follower takes it like any other, and
//! a quorum of answers makes it committed. Where this node is the only holder all of that happens within the appender's
//! own calls.
//!
//! # Durability
//! Nothing is committed but by `tidelog_replica::quorum`.

use std::time::Instant;

use bytes::Bytes;
use tidelog_replica::follower::{self, Follower, Recovered, View};
use tidelog_replica::frame::Frame;
use tidelog_replica::leader::{self, Leader, Limits};
use tidelog_replica::message::{Answer, From};
use tidelog_replica::quorum::Committed;
use tidelog_replica::span::{Replica, Span};
use tidelog_wal::{Commits, Made};

/// A span that this process leads, on the thread of its shard.
#[derive(Debug)]
pub(crate) struct Lead {
    me: Replica,
    epoch: u32,
    shard: u64,
    /// Of the metadata that both sides act on.
    version: u64,
    leader: Leader,
    follower: Follower,
    committed: Option<Committed>,
    base: u64,
    /// The frames that this store's follower lets be written now; the appender writes them.
    writing: usize,
    /// Somebody else than this store gets the frames, so their bytes are copied.
    shared: bool,
    since: Instant,
}

impl Lead {
    /// Leads a span that the metadata, at `version`, has opened for this process. Its epoch is promised durably.
    pub(crate) fn new(me: Replica, span: Span, version: u64) -> Lead {
        let (epoch, shard, base) = (span.epoch, span.shard, span.base.lsn);
        let promised = Recovered { promised: epoch, ..Recovered::default() };
        let mut follower = Follower::new(me, promised);
        let spans = [(epoch, span.clone())].into();
        let effects =
            follower.step(follower::Event::Viewed(View { version, current: true, first: 0, spans }));
        debug_assert!(effects.is_empty(), "nothing is to be done in an empty span: {effects:?}");
        let since = Instant::now();
        Lead {
            me,
            epoch,
            shard,
            version,
            shared: span.replicas.iter().any(|replica| *replica != me),
            leader: Leader::new(span, Limits::default(), since.elapsed()),
            follower,
            committed: None,
            base,
            writing: 0,
            since,
        }
    }

    fn lead(&mut self, event: leader::Event) {
        for effect in self.leader.step(self.since.elapsed(), event) {
            match effect {
                leader::Effect::Send { to, request } if to == self.me => {
                    let envelope = self.leader.envelope(self.version);
                    self.follow(follower::Event::Asked(envelope, request));
                }
                leader::Effect::Committed(committed) => self.committed = Some(committed),
                leader::Effect::Close { .. } | leader::Effect::Over { .. } => {
                    tracing::error!(
                        shard = self.shard,
                        epoch = self.epoch,
                        ?effect,
                        "the span is led no more"
                    );
                }
                // Holders on other nodes, and reading back for those that lag, come with the connections between nodes.
                leader::Effect::Send { .. } | leader::Effect::ReadBack { .. } => {}
            }
        }
    }

    fn follow(&mut self, event: follower::Event) {
        for effect in self.follower.step(event) {
            match effect {
                follower::Effect::Write { frames, .. } => self.writing += frames.len(),
                follower::Effect::Answer { epoch, answer, .. } => self.answered(epoch, answer),
                other => {
                    tracing::error!(
                        shard = self.shard,
                        epoch = self.epoch,
                        ?other,
                        "not done by a leader's own store"
                    );
                }
            }
        }
    }

    fn answered(&mut self, epoch: u32, answer: Answer) {
        let from = From { shard: self.shard, epoch, replica: self.me, answer };
        self.lead(leader::Event::Answered(from));
    }
}

/// The frames that an appender hands over, as the rules have them. Their bytes are copied only for others: where they are
/// not `shared` nobody else gets them.
pub(crate) fn frames(opening: Option<&Made<'_>>, frame: &Made<'_>, shared: bool) -> Vec<Frame> {
    let bytes = |made: &Made<'_>| if shared { Bytes::copy_from_slice(made.bytes) } else { Bytes::new() };
    let made = |made: &Made<'_>| Frame::made(*made.header, made.next_chain, bytes(made));
    opening.into_iter().chain([frame]).map(made).collect()
}

impl Commits for Lead {
    fn may_frame(&mut self, bytes: usize) -> bool {
        self.leader.may_frame(bytes)
    }

    fn framed(&mut self, opening: Option<Made<'_>>, frame: Made<'_>) -> bool {
        let frames = frames(opening.as_ref(), &frame, self.shared);
        let count = frames.len();
        self.writing = 0;
        self.lead(leader::Event::Framed(frames));
        // One write is in flight, so what this store takes of a new frame it takes whole or not at all.
        self.writing == count
    }

    fn written(&mut self) {
        self.follow(follower::Event::Written { epoch: self.epoch });
    }

    fn failed(&mut self) {
        self.follow(follower::Event::Failed);
    }

    fn committed(&mut self) -> u64 {
        self.committed.map_or(self.base, |committed| committed.end())
    }

    fn ends_here(&self) -> bool {
        !self.shared
    }
}

/// Leads nothing: the span before could not be sealed, and the shard can only be read.
#[derive(Debug)]
pub(crate) struct Unled(pub(crate) u64);

impl Commits for Unled {
    fn may_frame(&mut self, _: usize) -> bool {
        false
    }

    fn framed(&mut self, _: Option<Made<'_>>, _: Made<'_>) -> bool {
        false
    }

    fn written(&mut self) {}

    fn failed(&mut self) {}

    fn committed(&mut self) -> u64 {
        self.0
    }

    fn ends_here(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_format::entry::{EntryKind, Row};
    use tidelog_format::frame::{Closed, FrameBuilder, Stamp};
    use tidelog_replica::message::{Envelope, Request};
    use tidelog_replica::span::{Place, Process, SpanState};

    const ME: Replica = Replica { node: 1, store: [1; 16] };

    fn span(replicas: Vec<Replica>, quorum: usize) -> Span {
        let base = Place { lsn: 10, chain: 77 };
        let leader = Process { node: 1, incarnation: 3 };
        Span { shard: 1, epoch: 5, base, replicas, quorum, leader, state: SpanState::Open }
    }

    fn made(at: Place, block_index: u32) -> (Vec<u8>, Closed) {
        let mut bytes = vec![0; 4096];
        let row = Row { partition: 1, base_offset: 0, length: 0, count: 0, kind: EntryKind::Trim as u8 };
        let mut builder = FrameBuilder::default();
        builder.push(&mut bytes, row, &[]);
        let stamp = Stamp {
            salt: [9; 16],
            lsn: at.lsn,
            committed_lsn: 0,
            chain: at.chain,
            append_time: 0,
            epoch: 5,
            block_index,
        };
        let closed = builder.close(&mut bytes, &stamp);
        (bytes, closed)
    }

    fn frame(lead: &mut Lead, block_index: u32) -> bool {
        let (bytes, closed) = made(lead.leader.next(), block_index);
        let made = Made { header: &closed.header, next_chain: closed.next_chain, bytes: &bytes };
        lead.framed(None, made)
    }

    #[test]
    fn alone_a_frame_is_committed_when_its_write_has_returned_and_not_before() {
        let mut lead = Lead::new(ME, span(vec![ME], 1), 4);
        assert_eq!(lead.committed(), 10);
        let (opening, closed) = made(lead.leader.next(), 0);
        let (bytes, behind) = made(Place { lsn: 11, chain: closed.next_chain }, 1);
        let opening = Made { header: &closed.header, next_chain: closed.next_chain, bytes: &opening };
        let frame = Made { header: &behind.header, next_chain: behind.next_chain, bytes: &bytes };
        assert!(lead.framed(Some(opening), frame));
        assert_eq!(lead.committed(), 10, "framed is not written");
        lead.written();
        assert_eq!(lead.committed(), 12);
        for lsn in 12..1000 {
            assert!(lead.may_frame(1) && self::frame(&mut lead, lsn as u32));
            lead.written();
            assert_eq!(lead.committed(), lsn + 1);
        }
    }

    #[test]
    fn with_others_its_own_disk_is_one_of_the_quorum() {
        let other = |node| Replica { node, store: [node as u8; 16] };
        let mut lead = Lead::new(ME, span(vec![ME, other(2), other(3)], 2), 4);
        assert!(frame(&mut lead, 1));
        lead.written();
        assert_eq!(lead.committed(), 10, "one disk is no quorum");
        let answer = Answer::Appended { durable: 11 };
        lead.lead(leader::Event::Answered(From { shard: 1, epoch: 5, replica: other(3), answer }));
        assert_eq!(lead.committed(), 11);
    }

    #[test]
    fn a_fence_on_its_own_store_stops_the_leader() {
        let mut lead = Lead::new(ME, span(vec![ME], 1), 4);
        assert!(frame(&mut lead, 1));
        lead.written();
        let envelope = Envelope { shard: 1, epoch: 5, from: Process { node: 2, incarnation: 1 }, version: 5 };
        let base = Place { lsn: 10, chain: 77 };
        lead.follow(follower::Event::Asked(envelope, Request::Fence { attempt: 6, base }));
        assert!(!frame(&mut lead, 2), "it must not be written");
        assert!(!lead.may_frame(1));
        assert_eq!(lead.committed(), 11);
    }

    #[test]
    fn after_a_failed_write_nothing_is_committed() {
        let mut lead = Lead::new(ME, span(vec![ME], 1), 4);
        assert!(frame(&mut lead, 1));
        lead.failed();
        lead.written();
        assert_eq!(lead.committed(), 10);
        assert!(!lead.may_frame(1));
    }
}
