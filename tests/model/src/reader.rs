//! What a replica serves.

use crate::bug::Bug;
use crate::config::Config;
use crate::frames::{Frames, Lsn};
use crate::message::{Message, Node, SpanNumber};
use crate::metadata::SpanState;
use crate::state::State;

impl State {
    /// What a reader may be given: in an open span below the known committed LSN, in a sealed one below its end, and
    /// never more than is on this disk, intact.
    pub fn readable(&self, config: &Config, node: Node, span: SpanNumber) -> Frames {
        let tail = self.follower(node).tail(span);
        let local = tail.frames.below(tail.end).intact();
        if config.has(Bug::ReadLocalEnd) {
            return local;
        }
        match self.metadata.span(span).state {
            SpanState::Sealed { frames, .. } => local.below(frames.end()),
            SpanState::Open | SpanState::Sealing(_) => local.below(self.heard_committed(span)),
        }
    }

    /// The highest committed LSN that a heartbeat may have brought.
    fn heard_committed(&self, span: SpanNumber) -> Lsn {
        let heard = self.network.iter().filter_map(|message| match message {
            Message::Committed { span: of, end } if of == span => Some(end),
            _ => None,
        });
        heard.max().unwrap_or(0)
    }

    /// A reader is given what is readable.
    pub fn read(&mut self, span: SpanNumber, frames: Frames) {
        self.told[usize::from(span)].read = frames;
    }
}
