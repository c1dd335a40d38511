//! The span's record in the metadata, and the commands that change it. Each is applied whole or refused.

use crate::bug::Bug;
use crate::config::{Config, MOST_NODES, MOST_SPANS};
use crate::frames::Frames;
use crate::message::{Epoch, Node, Replica, SpanNumber, StoreId};

/// Where a span stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanState {
    /// Its leader writes.
    #[default]
    Open,
    /// The attempt with this epoch is the last that began.
    Sealing(Epoch),
    /// These frames are the span, for ever: they stand for end and chain value.
    Sealed {
        /// The content.
        frames: Frames,
        /// The attempt that sealed it; `None` is the leader's own close.
        attempt: Option<Epoch>,
    },
}

/// One stretch of the shard's chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// What its leader's appends carry.
    pub epoch: Epoch,
    /// The store with which each node holds it.
    pub replicas: [StoreId; MOST_NODES],
    /// Where it stands.
    pub state: SpanState,
    /// The content of the span before, as the chain value at the base says.
    pub base: Frames,
}

/// All spans, and the cluster's counter of epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// The highest epoch given out.
    pub epochs: Epoch,
    /// How many of `spans` are there.
    pub opened: u8,
    spans: [Span; MOST_SPANS],
}

impl Metadata {
    /// The first span, open with epoch 1.
    pub fn first(_: &Config) -> Self {
        let mut spans = [Span::default(); MOST_SPANS];
        spans[0].epoch = 1;
        Self { epochs: 1, opened: 1, spans }
    }

    /// A span's record.
    pub fn span(&self, span: SpanNumber) -> &Span {
        &self.spans[usize::from(span)]
    }

    fn span_mut(&mut self, span: SpanNumber) -> &mut Span {
        &mut self.spans[usize::from(span)]
    }

    /// `BeginSeal`: gives out an epoch for the attempt, which takes the place of any attempt before it.
    pub fn begin_seal(&mut self, span: SpanNumber) -> Option<Epoch> {
        if matches!(self.span(span).state, SpanState::Sealed { .. }) {
            return None;
        }
        self.epochs += 1;
        self.span_mut(span).state = SpanState::Sealing(self.epochs);
        Some(self.epochs)
    }

    /// `CommitSeal`: only while the span is being sealed by this very attempt.
    pub fn commit_seal(&mut self, config: &Config, span: SpanNumber, attempt: Epoch, frames: Frames) -> bool {
        let expected = self.span(span).state == SpanState::Sealing(attempt);
        if !expected && !config.has(Bug::UnconditionalSeal) {
            return false;
        }
        self.span_mut(span).state = SpanState::Sealed { frames, attempt: Some(attempt) };
        true
    }

    /// `LeaderClose`: only while nobody else seals.
    pub fn leader_close(&mut self, span: SpanNumber, frames: Frames) -> bool {
        let open = self.span(span).state == SpanState::Open;
        if open {
            self.span_mut(span).state = SpanState::Sealed { frames, attempt: None };
        }
        open
    }

    /// The next span, part of the command that seals the one before: the attempt's epoch, or a new one after a close.
    pub fn open_next(&mut self, span: SpanNumber, replicas: [StoreId; MOST_NODES]) -> bool {
        let SpanState::Sealed { frames, attempt } = self.span(span).state else { return false };
        if self.opened != span + 1 || usize::from(self.opened) == MOST_SPANS {
            return false;
        }
        let epoch = attempt.unwrap_or(self.epochs + 1);
        self.epochs = self.epochs.max(epoch);
        self.opened += 1;
        *self.span_mut(span + 1) = Span { epoch, replicas, state: SpanState::Open, base: frames };
        true
    }

    /// Part of `CommitSeal`: another store holds the span instead of one that is lost.
    pub fn substitute(&mut self, span: SpanNumber, by: Replica) {
        self.span_mut(span).replicas[usize::from(by.node)] = by.store;
    }

    /// The store with which a node holds a span.
    pub fn store_of(&self, span: SpanNumber, node: Node) -> StoreId {
        self.span(span).replicas[usize::from(node)]
    }
}
