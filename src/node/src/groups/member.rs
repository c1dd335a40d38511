//! A member as the group keeps it.

use bytes::Bytes;
use tidelog_proto::consumer_protocol::{CONSUMER, decode_subscription};

use super::event::{Join, Protocol, Ticket};

/// One member of a group.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_ms: i64,
    pub(super) rebalance_ms: i64,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// Its join waits for the others.
    pub(super) joining: Option<Ticket>,
    /// Its sync waits for the leader.
    pub(super) syncing: Option<Ticket>,
    /// It asked for its assignment in this generation, or was not there to do so.
    pub(super) synced: bool,
    pub(super) skips_assignment: bool,
    /// When it is dead unless it is heard of before; does not count while it waits.
    pub(super) session_ends: i64,
}

impl Member {
    pub(super) fn new(join: Join, now_ms: i64) -> Member {
        let mut member = Member {
            instance_id: None,
            client_id: String::new(),
            client_host: String::new(),
            session_ms: 0,
            rebalance_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            synced: false,
            skips_assignment: false,
            session_ends: 0,
        };
        member.instance_id.clone_from(&join.instance_id);
        member.update(join, now_ms);
        member
    }

    /// Takes over what a join says.
    pub(super) fn update(&mut self, join: Join, now_ms: i64) {
        self.client_id = join.client_id;
        self.client_host = join.client_host;
        self.session_ms = i64::from(join.session_ms);
        self.rebalance_ms = i64::from(join.rebalance_ms.max(1));
        self.protocols = join.protocols;
        self.skips_assignment = join.skips_assignment;
        self.heard(now_ms);
    }

    /// It lives.
    pub(super) fn heard(&mut self, now_ms: i64) {
        self.session_ends = now_ms.saturating_add(self.session_ms);
    }

    /// When it dies of silence; not while it waits for others.
    pub(super) fn dies_at(&self) -> Option<i64> {
        (self.joining.is_none() && self.syncing.is_none()).then_some(self.session_ends)
    }

    /// What it says about itself in a protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|known| known.name == protocol);
        found.map_or_else(Bytes::new, |known| known.metadata.clone())
    }

    /// Bytes that it makes the group keep.
    pub(super) fn bytes(&self) -> usize {
        join_bytes(&self.protocols) + self.assignment.len()
    }
}

/// Bytes of what a member says about itself.
pub(super) fn join_bytes(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum()
}

/// Whether a member that came back wants what it wanted before. For consumers the topics decide: sticky assignors add
/// what the member owned, which is nothing after its restart.
pub(super) fn same_subscription(protocol_type: &str, before: &Bytes, now: &Bytes) -> bool {
    before == now
        || (protocol_type == CONSUMER
            && decode_subscription(before).is_ok_and(|before| decode_subscription(now) == Ok(before)))
}
