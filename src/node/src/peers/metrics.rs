//! What is counted of the connections between nodes.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tidelog_proto::peer::Kind;

/// A kind of message and its direction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabels {
    kind: &'static str,
    direction: &'static str,
}

/// Counters of all connections; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerMetrics {
    pub(super) connected: Gauge<i64, AtomicI64>,
    pub(super) dials: Counter,
    pub(super) refusals: Counter,
    pub(super) full: Counter,
    pub(super) answers_lost: Counter,
    pub(super) waiting: Gauge<i64, AtomicI64>,
    messages: Family<KindLabels, Counter>,
    bytes: Family<KindLabels, Counter>,
}

impl PeerMetrics {
    /// A message came.
    pub(super) fn came(&self, kind: Kind, len: usize) {
        self.count(kind, "in", len);
    }

    /// A message was handed in to be sent.
    pub(super) fn went(&self, kind: Kind, len: usize) {
        self.count(kind, "out", len);
    }

    fn count(&self, kind: Kind, direction: &'static str, len: usize) {
        let labels = KindLabels { kind: kind.name(), direction };
        self.messages.get_or_create(&labels).inc();
        self.bytes.get_or_create(&labels).inc_by(len as u64);
    }

    /// Shows all of them.
    pub(crate) fn register(self, registry: &mut Registry) {
        let PeerMetrics { connected, dials, refusals, full, answers_lost, waiting, messages, bytes } = self;
        registry.register("peer_connected", "Connections of this node to others that stand", connected);
        registry.register("peer_dials", "Tries to connect to another node", dials);
        registry.register("peer_refusals", "Connections between nodes refused by either side", refusals);
        let help = "Messages that were not taken because too many bytes wait for their node";
        registry.register("peer_full", help, full);
        registry.register("peer_answers_lost", "Answers that could not be sent", answers_lost);
        registry.register("peer_waiting_bytes", "Bytes that wait to be sent to other nodes", waiting);
        registry.register("peer_messages", "Messages between nodes", messages);
        registry.register("peer_bytes", "Bytes of messages between nodes", bytes);
    }
}
