//! What travels between nodes. The network is the set of all messages ever sent.

use crate::frames::{Frames, Incarnation, Lsn};

/// A node's number.
pub type Node = u8;
/// Which data directory of a node: 0 is the first, a lost disk is followed by the next.
pub type StoreId = u8;
/// Grows with each new span and each attempt to seal one, across the cluster.
pub type Epoch = u8;
/// Place of a span in its shard's chain.
pub type SpanNumber = u8;

/// Who holds a copy: a node with the store that it had then. The same node with another store holds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Replica {
    pub node: Node,
    pub store: StoreId,
}

/// What recovery could say about the end of a tail, and so about whether all that was ever acknowledged is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grade {
    /// Nothing that this store acknowledged is missing.
    #[default]
    Proved,
    /// The last write was damaged and cut: torn in a crash, and then never acknowledged, or rotten.
    Unproved,
    /// A frame that had been durable is damaged. Frames behind it may be good.
    Suspect,
}

/// A message. Only the fields that decide something are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "fields are called as in docs/replication.md")]
pub enum Message {
    /// The frame behind `prev`, which stands for the base LSN and the chain value.
    Append { span: SpanNumber, prev: Frames, frame: Incarnation },
    /// All below `end` is durable at `from`.
    Appended { span: SpanNumber, from: Replica, end: Lsn },
    /// The idle heartbeat: all below `end` is committed.
    Committed { span: SpanNumber, end: Lsn },
    /// No appends of lower epochs any more, and where is your end?
    Fence { span: SpanNumber, attempt: Epoch },
    /// `frames` stands for local end, chain, and what a later `FetchTail` would return.
    Fenced { attempt: Epoch, from: Replica, frames: Frames, grade: Grade, committed: Lsn },
    /// Make the span hold all of `frames`.
    RepairAppend { span: SpanNumber, attempt: Epoch, frames: Frames },
    /// All below `end` is durable at `from`, which keeps the promise.
    Repaired { attempt: Epoch, from: Replica, end: Lsn },
    /// A leader's own seal, on its way to the metadata.
    LeaderClose { span: SpanNumber, frames: Frames },
}

/// All messages ever sent, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Network(Vec<Message>);

impl Network {
    /// Sends: from now on the message may arrive at any time, any number of times, or never.
    ///
    /// An `Appended` with a higher end takes the place of a lower one: the leader only asks whether one is high enough.
    pub fn send(&mut self, message: Message) {
        if let Message::Appended { span, from, end } = message {
            let same = |sent: &Message| matches!(*sent, Message::Appended { span: s, from: m, .. } if (s, m) == (span, from));
            let lower = |sent: &Message| matches!(*sent, Message::Appended { end: e, .. } if e < end);
            if self.0.iter().any(|sent| same(sent) && !lower(sent)) {
                return;
            }
            self.0.retain(|sent| !same(sent));
        }
        if let Err(at) = self.0.binary_search(&message) {
            self.0.insert(at, message);
        }
    }

    /// Everything that can arrive.
    pub fn iter(&self) -> impl Iterator<Item = Message> {
        self.0.iter().copied()
    }
}
