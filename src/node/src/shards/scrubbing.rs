//! Stored frames are read again, to find what the disk has spoiled while other holders still have it.
//!
//! A frame that was durable here and is damaged is told to the rules by the read itself: it puts the span aside and fetches it again.
//! Once a day all of a shard is read, slowly; at once when a
//! reader met damage.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Shards;
use super::held::Held;

/// All shards are read this often.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// Bytes a second, at most.
const RATE: u64 = 16 * 1024 * 1024;
/// Shards that wait to be read because a reader met damage; more are read with the next round.
pub(crate) const WAITING: usize = 64;

impl Shards {
    /// A reader met damage in a shard: all of it is read again, if it is not one of too many.
    pub(crate) fn look_for_damage(&self, shard: u64) {
        // One that waits already is enough, and whoever reads again tells again.
        let _ = self.around.spoiled.try_send(shard);
    }

    /// Reads until the node stops.
    pub(super) async fn scrub(self, mut spoiled: mpsc::Receiver<u64>) {
        loop {
            let wanted = tokio::select! {
                shard = spoiled.recv() => match shard {
                    Some(shard) => self.get(shard).into_iter().collect(),
                    None => return,
                },
                () = tokio::time::sleep(EVERY) => self.all(),
                () = self.around.stopped() => return,
            };
            for held in wanted {
                tokio::select! {
                    () = held.read_again() => {}
                    () = self.around.stopped() => return,
                }
            }
        }
    }
}

impl Held {
    /// Reads every frame of the sealed spans that this disk must have.
    pub(super) async fn read_again(self: &Arc<Held>) {
        let spans: Vec<(u32, u64, u64)> = {
            let rules = self.rules();
            // What is being written is not judged: a frame under way would look like a damaged one.
            let whole = rules.follower.whole().iter();
            let with_base = |(epoch, end): (&u32, &tidelog_replica::span::Place)| {
                Some((*epoch, rules.state.span(self.shard, *epoch)?.base, end.lsn))
            };
            whole.filter_map(with_base).collect()
        };
        for (epoch, base, end) in spans {
            let mut from = base;
            while from < end {
                let (frames, _) = self.frames(epoch, from, end).await;
                // Without a frame the rules know by now what became of it.
                let Some(last) = frames.last() else { break };
                from = last.lsn().saturating_add(1);
                let bytes: u64 = frames.iter().map(|frame| frame.bytes().len() as u64).sum();
                self.around.metrics.scrubbed_bytes.inc_by(bytes);
                tokio::time::sleep(Duration::from_micros(bytes.saturating_mul(1_000_000) / RATE)).await;
            }
        }
    }
}
