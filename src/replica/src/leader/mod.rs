//! The leader of one span: sends its frames to every holder, its own disk included, and says what is committed.
//!
//! # Purpose
//! The executor frames (it knows batches and offsets), this decides who gets which frame when, and what is committed.
//! One node alone is the same: one holder, a quorum of one, reached over no network.
//!
//! # States
//! ```text
//!            close()                    Closed(true)          (drain: close() once all that was framed is committed)
//!  Leading ----------> Closing(end) ------------------> Over
//!   ^  |                ^  |  Closed(false): somebody had begun to seal
//!   |  | HandOver       |  |
//!   |  v                |  |
//!  HandingOver ---------+  |  everything framed is committed, and the successor has it
//!     |  first Fenced, or  |
//!     |  metadata: Sealing |
//!     +--------------------+--------------------------> Over
//! ```
//! While it is *HandingOver* it frames nothing, and commits what it has framed: so no producer is left without a clear
//! answer, and the successor has nothing to fetch. A successor that does not come so far in time is not waited for longer.
//! In *Closing* and *Over* nothing is committed any more, whatever arrives: `end` was told to the metadata, or a
//! coordinator is deciding it.
//!
//! # Invariants
//! - Committed is the Q-th largest durable end that holders of this span have told (I3); no metadata is asked (I12).
//! - A holder gets frames by one path at a time: from memory, or through [`Effect::ReadBack`] from the leader's own disk.
//! - To each holder at most 16 frames and 32 MiB are under way; a slow one gets no queue, it falls back to the disk.
//! - Time is for sending again, never for what is true (I11).

mod memory;
mod peer;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::follower::{WINDOW_BYTES, WINDOW_FRAMES};
use crate::frame::Frame;
use crate::message::{Answer, Envelope, From, Refusal, Request};
use crate::planted::{self, Bug};
use crate::quorum::{Committed, Quorum};
use crate::span::{Place, Replica, Span, SpanState};

use memory::Memory;
use peer::Peer;

/// Sizes and times.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most frames under way to one holder, and most that are framed and not committed.
    pub window_frames: usize,
    /// Most bytes of them.
    pub window_bytes: usize,
    /// While so many frames are framed and not committed, what waits gathers until it has [`Limits::gather_bytes`] or one of
    /// them is committed: each frame costs every holder a write and two messages, whatever is in it.
    pub gather_frames: usize,
    /// A frame of so many bytes does not wait for others.
    pub gather_bytes: usize,
    /// Bytes of frames kept in memory for holders that lag.
    pub memory_bytes: usize,
    /// What is committed is told to the holders after this time, if no frame told it.
    pub idle: Duration,
    /// What was not answered is sent again after this time.
    pub again: Duration,
    /// A leader that drains closes after this time at the latest.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            window_frames: WINDOW_FRAMES,
            window_bytes: WINDOW_BYTES,
            gather_frames: 2,
            gather_bytes: 64 * 1024,
            memory_bytes: 2 * WINDOW_BYTES,
            idle: Duration::from_millis(20),
            again: Duration::from_millis(250),
            drain: Duration::from_millis(200),
        }
    }
}

/// What happens to a leader.
#[derive(Clone, Debug)]
pub enum Event {
    /// The executor has made frames at [`Leader::next`]: one, or an opening frame and one more.
    Framed(Vec<Frame>),
    /// A holder has answered.
    Answered(From),
    /// Frames for a holder that lags, read from this node's own disk; none when they cannot be read.
    ReadBack {
        /// The holder.
        to: Replica,
        /// Consecutive frames.
        frames: Vec<Frame>,
    },
    /// End the span here, in good order: to hand it on from a disk that fails, to leave out a slow holder.
    Close,
    /// Make no more frames, and end the span where those that were made are committed, so that no producer is left
    /// without an answer: to roll it over.
    Drain,
    /// The same once a successor has all of it too, so that it need not fetch anything.
    HandOver {
        /// Who leads next; `None`: any other holder.
        to: Option<Replica>,
        /// If it has not come so far by then, this process goes on leading.
        until: Duration,
    },
    /// The metadata's answer to [`Effect::Close`]. An indeterminate one is no answer: send it again.
    Closed {
        /// Whether the span ends as asked; otherwise somebody else has begun to seal it.
        done: bool,
    },
    /// The metadata shows the span so.
    Viewed(SpanState),
    /// Time has passed.
    Tick,
}

/// What the executor is to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send this to a holder; to this node's own store without a network.
    Send {
        /// Whom.
        to: Replica,
        /// What.
        request: Request,
    },
    /// Everything below is committed: answer producers, wake readers.
    Committed(Committed),
    /// Read frames from this node's own disk, sealed files or active, then give [`Event::ReadBack`].
    ReadBack {
        /// For whom.
        to: Replica,
        /// First LSN.
        from: u64,
        /// Behind the last.
        below: u64,
    },
    /// Ask the metadata to end the span here. Ask again, the same, until the answer is certain.
    Close {
        /// The end: all below is committed.
        end: Place,
    },
    /// This process leads no more. The outcome of what is not committed is unknown; say so to producers. The span must
    /// be sealed by somebody.
    Over {
        /// Whether [`Event::Close`] ended it, with the next span already decided.
        closed: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Leading,
    HandingOver { to: Option<Replica>, until: Duration },
    Closing(Place),
    Over,
}

/// The leader of a span.
#[derive(Debug)]
pub struct Leader {
    span: Span,
    limits: Limits,
    state: State,
    /// While it drains: when it closes at the latest.
    drained_by: Option<Duration>,
    next: Place,
    quorum: Quorum,
    peers: Vec<Peer>,
    memory: Memory,
    out: Vec<Effect>,
}

impl Leader {
    /// Leads a span that the metadata has opened for this process. Once for each span and process: whoever has stopped
    /// leading a span knows no more what it had sent, and must keep this until it leads a later one.
    pub fn new(span: Span, limits: Limits, now: Duration) -> Leader {
        Leader {
            limits,
            state: State::Leading,
            drained_by: None,
            next: span.base,
            quorum: Quorum::of(&span),
            peers: span.replicas.iter().map(|replica| Peer::new(*replica, span.base.lsn, now)).collect(),
            memory: Memory::new(span.base),
            span,
            out: Vec::new(),
        }
    }

    /// Takes an event; says what is to be done.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        match event {
            Event::Framed(frames) => self.framed(now, frames),
            Event::Answered(from) => self.answered(now, &from),
            Event::ReadBack { to, frames } => self.read_back(now, &to, frames),
            Event::Close => self.close(),
            Event::Drain => self.drain(now),
            Event::HandOver { to, until } => self.hand_over(to, until),
            Event::Closed { done } => self.closed(done),
            Event::Viewed(state) => self.viewed(state),
            Event::Tick => self.tick(now),
        }
        if self.drained_by.is_some() && self.committed() == self.next.lsn {
            self.close();
        }
        std::mem::take(&mut self.out)
    }

    /// The span.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Where the next frame goes.
    pub fn next(&self) -> Place {
        self.next
    }

    /// LSNs below are committed.
    pub fn committed(&self) -> u64 {
        self.quorum.committed()
    }

    /// What is durable on the leader's own disk. Frames beyond it are in its memory only, and must stay there: a holder
    /// that lags could get them from nowhere else.
    fn own_durable(&self) -> u64 {
        let own = self.peers.iter().find(|peer| peer.replica.node == self.span.leader.node);
        own.map_or(self.next.lsn, |peer| peer.durable)
    }

    /// Whether a frame of so many bytes may be made now: the leader leads, and not too much is under way. Back-pressure begins
    /// here. So does gathering: a small frame waits for others while enough are under way.
    pub fn may_frame(&self, bytes: usize) -> bool {
        let frames = if bytes < self.limits.gather_bytes {
            self.limits.gather_frames
        } else {
            self.limits.window_frames
        };
        self.state == State::Leading
            && self.drained_by.is_none()
            && self.memory.bytes_from(self.own_durable()) < self.limits.memory_bytes
            && self.memory.frames_from(self.committed()) < frames.min(self.limits.window_frames)
            && self.memory.bytes_from(self.committed()) < self.limits.window_bytes
    }

    /// Whether this process leads the span still and may commit.
    pub fn leads(&self) -> bool {
        matches!(self.state, State::Leading | State::HandingOver { .. })
    }

    /// Whether it frames nothing more until a successor has everything.
    pub fn is_handing_over(&self) -> bool {
        matches!(self.state, State::HandingOver { .. })
    }

    /// Whether the end was asked for and is not decided.
    pub fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing(_))
    }

    /// Whether a holder has said for `long` that it cannot be written in this span, because its disk failed or what it
    /// holds is damaged. A new span has all its copies again: the leader should close this one.
    pub fn lacks_a_copy(&self, now: Duration, long: Duration) -> bool {
        self.peers.iter().any(|peer| peer.is_gone(now, long))
    }

    /// Holders that have said nothing for `long`, or refuse: a new span without them would be faster.
    pub fn laggards(&self, now: Duration, long: Duration) -> Vec<Replica> {
        self.peers.iter().filter(|peer| peer.lags(now, long)).map(|peer| peer.replica).collect()
    }

    /// How many committed frames a holder has not said to have; `None`: it is no holder.
    pub fn lacks(&self, replica: &Replica) -> Option<u64> {
        let peer = self.peers.iter().find(|peer| peer.replica == *replica)?;
        Some(self.committed().saturating_sub(peer.durable))
    }

    /// The request's envelope.
    pub fn envelope(&self, version: u64) -> Envelope {
        Envelope { shard: self.span.shard, epoch: self.span.epoch, from: self.span.leader, version }
    }

    fn framed(&mut self, now: Duration, frames: Vec<Frame>) {
        // One may have been begun just before the hand-over was.
        if !self.leads() {
            return;
        }
        for frame in frames {
            assert!(frame.at() == self.next, "a frame is made at the leader's end");
            assert!(frame.epoch() == self.span.epoch, "a frame is of the leader's span");
            self.next = frame.next();
            self.memory.push(frame);
        }
        self.send_all(now);
    }

    fn answered(&mut self, now: Duration, from: &From) {
        if (from.shard, from.epoch) != (self.span.shard, self.span.epoch) {
            return;
        }
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.replica == from.replica) else { return };
        match &from.answer {
            Answer::Appended { durable } => {
                peer.has(now, *durable);
                self.note(&from.replica, *durable);
            }
            Answer::Refused(Refusal::Fenced { promised }) if *promised > self.span.epoch => self.over(false),
            Answer::Refused(Refusal::Gap { end }) => {
                peer.ends_at(now, *end);
                self.note(&from.replica, (*end).min(peer_durable(&self.quorum, &from.replica)));
            }
            Answer::Refused(refusal) => {
                let gone = *refusal == Refusal::StoreGone;
                peer.refuses(now, gone);
                if gone && from.replica.node == self.span.leader.node {
                    // Its own disk has failed: others lead better.
                    self.close();
                }
            }
            _ => {}
        }
        self.send_all(now);
        self.close_if_handed_over();
    }

    /// Counts a holder's word. This is where a frame becomes committed, and only while the leader leads.
    fn note(&mut self, replica: &Replica, durable: u64) {
        let leads = match self.state {
            State::Leading | State::HandingOver { .. } => true,
            State::Closing(_) => planted::has(Bug::AckWhileClosing),
            State::Over => false,
        };
        // Nobody holds what was not framed; a word beyond it is from another life of the holder's disk.
        if !leads || durable > self.next.lsn {
            return;
        }
        if let Some(committed) = self.quorum.note(replica, durable) {
            assert!(committed.end() <= self.next.lsn, "committed is what was framed");
            self.out.push(Effect::Committed(committed));
            let wanted = self.peers.iter().map(|peer| peer.wants()).min().unwrap_or(0);
            let elsewhere = committed.end().min(self.own_durable());
            self.memory.trim(wanted.min(elsewhere), elsewhere, self.limits.memory_bytes);
        }
    }

    /// A frame that the executor was making already is taken, and waited for.
    fn drain(&mut self, now: Duration) {
        self.drained_by.get_or_insert(now + self.limits.drain);
    }

    /// The same.
    fn hand_over(&mut self, to: Option<Replica>, until: Duration) {
        if self.state == State::Leading {
            self.state = State::HandingOver { to, until };
            self.close_if_handed_over();
        }
    }

    fn close_if_handed_over(&mut self) {
        let State::HandingOver { to, .. } = self.state else { return };
        let leader = self.span.leader.node;
        let may_follow = |replica: &Replica| to.map_or(replica.node != leader, |to| *replica == to);
        let has_all = |peer: &Peer| may_follow(&peer.replica) && peer.durable == self.next.lsn;
        if self.committed() == self.next.lsn && self.peers.iter().any(has_all) {
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.leads() {
            return;
        }
        let committed = self.committed();
        let at = if planted::has(Bug::ClosesAtItsEnd) { self.next.lsn } else { committed };
        // The memory keeps everything from the committed end on, so the place is known.
        let Some(end) = self.memory.place(at) else { return };
        self.state = State::Closing(end);
        self.out.push(Effect::Close { end });
    }

    fn closed(&mut self, done: bool) {
        let State::Closing(_) = self.state else { return };
        if !done && planted::has(Bug::BelievesClose) {
            self.state = State::Leading;
            return;
        }
        self.over(done);
    }

    fn viewed(&mut self, state: SpanState) {
        if planted::has(Bug::BelievesClose) {
            return;
        }
        match (state, self.state) {
            (_, State::Over) | (SpanState::Open, _) => {}
            (SpanState::Sealed { end }, State::Closing(asked)) => self.over(end == asked),
            (SpanState::Sealing { .. } | SpanState::Sealed { .. }, _) => self.over(false),
        }
    }

    fn over(&mut self, closed: bool) {
        if self.state != State::Over {
            self.state = State::Over;
            self.out.push(Effect::Over { closed });
        }
    }

    fn read_back(&mut self, now: Duration, to: &Replica, frames: Vec<Frame>) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.replica == *to) else { return };
        peer.reading = false;
        let Some(first) = frames.first().filter(|first| first.lsn() == peer.next) else { return };
        let base = first.lsn();
        let run = (base..).zip(&frames).take_while(|(lsn, frame)| frame.lsn() == *lsn).count();
        let frames: Vec<Frame> = frames.into_iter().take(run).collect();
        peer.sent(now, frames.last().map_or(base, |last| last.next().lsn));
        let request = Request::Append { base, committed: self.quorum.committed(), frames };
        self.out.push(Effect::Send { to: *to, request });
        self.send_all(now);
    }

    fn tick(&mut self, now: Duration) {
        match self.state {
            State::Over => return,
            State::Closing(end) => self.out.push(Effect::Close { end }),
            State::Leading | State::HandingOver { .. } if self.drained_by.is_some_and(|by| now >= by) => {
                self.close();
            }
            State::HandingOver { until, .. } if now >= until => self.state = State::Leading,
            State::Leading | State::HandingOver { .. } => {}
        }
        for peer in &mut self.peers {
            peer.give_up_waiting(now, self.limits.again);
        }
        self.send_all(now);
        self.tell_committed(now);
    }

    fn send_all(&mut self, now: Duration) {
        if self.state == State::Over {
            return;
        }
        for peer in &mut self.peers {
            if peer.reading || peer.next >= self.next.lsn {
                continue;
            }
            let room = self.limits.window_frames.saturating_sub(peer.under_way());
            if room == 0 {
                continue;
            }
            if peer.next < self.memory.first() {
                // One path: nothing more from memory until what was read back is sent.
                peer.reading = true;
                let below = self.memory.first().min(peer.next + room as u64);
                self.out.push(Effect::ReadBack { to: peer.replica, from: peer.next, below });
                continue;
            }
            let bytes =
                self.limits.window_bytes.saturating_sub(self.memory.bytes_between(peer.durable, peer.next));
            let frames = self.memory.take(peer.next, room, bytes);
            let (Some(first), Some(last)) = (frames.first(), frames.last()) else { continue };
            let (base, behind) = (first.lsn(), last.next().lsn);
            peer.sent(now, behind);
            peer.told = self.quorum.committed();
            let request = Request::Append { base, committed: peer.told, frames };
            self.out.push(Effect::Send { to: peer.replica, request });
        }
    }

    /// An append without frames: what is committed, for holders that got no frame to tell them; also a question to
    /// those from whom nothing was heard.
    fn tell_committed(&mut self, now: Duration) {
        let committed = self.quorum.committed();
        for peer in &mut self.peers {
            let news = peer.told < committed && now >= peer.sent_at + self.limits.idle;
            let silent = now >= peer.sent_at + self.limits.again;
            if peer.reading || !(news || silent) {
                continue;
            }
            peer.told = committed;
            peer.sent_at = now;
            let request = Request::Append { base: peer.next, committed, frames: Vec::new() };
            self.out.push(Effect::Send { to: peer.replica, request });
        }
    }
}

fn peer_durable(quorum: &Quorum, replica: &Replica) -> u64 {
    quorum.durable(replica).unwrap_or(0)
}
