//! What is counted of the shards that this node holds together with others.

use std::sync::atomic::AtomicI64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of all shards; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct ShardsMetrics {
    pub(super) led: Gauge<i64, AtomicI64>,
    pub(super) seals_begun: Counter,
    pub(super) seals_done: Counter,
    pub(super) closes: Counter,
    pub(super) moves: Counter,
    pub(super) moves_failed: Counter,
    pub(super) moves_closed_ms: Counter,
    pub(super) arrived: Counter,
    pub(super) hand_overs: Counter,
    pub(super) copies: Gauge<i64, AtomicI64>,
    pub(super) copied: Counter,
    pub(super) copied_bytes: Counter,
    pub(super) copies_held_up: Counter,
    pub(super) frames_read: Counter,
    pub(super) reads_dropped: Counter,
    pub(super) damaged: Counter,
    pub(super) scrubbed_bytes: Counter,
    pub(super) refused: Counter,
    pub(super) full: Counter,
    pub(super) failed: Counter,
}

impl ShardsMetrics {
    /// A partition has left, and was closed for so long.
    pub(super) fn moved(&self, closed_ms: u64) {
        self.moves.inc();
        self.moves_closed_ms.inc_by(closed_ms);
    }

    /// Shows all of them.
    pub(crate) fn register(self, registry: &mut Registry) {
        registry.register("shards_led", "Spans that this node leads", self.led);
        let help = "Attempts to find out where a span ends, begun by this node";
        registry.register("shards_seals_begun", help, self.seals_begun);
        registry.register("shards_seals_done", "Spans whose end this node has had decided", self.seals_done);
        registry.register("shards_closes", "Spans that this node led and asked to end", self.closes);
        let help = "Partitions that left a shard led here for another one";
        registry.register("shards_partitions_left", help, self.moves);
        let help = "Partitions that were to leave a shard led here and could not";
        registry.register("shards_partitions_stayed", help, self.moves_failed);
        let help = "Milliseconds for which partitions that left took no records here";
        registry.register("shards_partitions_closed_ms", help, self.moves_closed_ms);
        let help = "Partitions that came to a shard led here from another one";
        registry.register("shards_partitions_arrived", help, self.arrived);
        let help = "Times that this node began to hand a shard over to another leader";
        registry.register("shards_hand_overs", help, self.hand_overs);
        registry.register("shards_copies", "Copies of sealed spans that are being made here", self.copies);
        registry.register("shards_copied", "Sealed spans that were copied to this node", self.copied);
        registry.register(
            "shards_copied_bytes",
            "Bytes of sealed files that came from others",
            self.copied_bytes,
        );
        let help = "Milliseconds that copies waited because of storage.copy_bytes_per_second";
        registry.register("shards_copies_held_up_ms", help, self.copies_held_up);
        let help = "Frames read from this node's files for holders that lag and for coordinators";
        registry.register("shards_frames_read", help, self.frames_read);
        let help = "Questions for frames that were not taken because too many were being read";
        registry.register("shards_reads_dropped", help, self.reads_dropped);
        let help = "Reads that found a frame damaged that had been durable here";
        registry.register("shards_damaged", help, self.damaged);
        let help = "Bytes of stored frames read again, to find damage";
        registry.register("shards_scrubbed_bytes", help, self.scrubbed_bytes);
        registry.register(
            "shards_frames_refused",
            "Messages refused because a frame in them was damaged",
            self.refused,
        );
        registry.register("shards_full", "Times that a follower's disk was found full", self.full);
        registry.register("shards_failed", "Failures that ended this node's part in a shard", self.failed);
    }
}
