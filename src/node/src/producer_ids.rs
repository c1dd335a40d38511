//! # Purpose
//! Gives out ids for idempotent producers, from blocks that the metadata reserves.
//!
//! # Durability
//! A block is durable before the first id of it is given out, so no id is ever given twice. What is left of a block at
//! the end of the process is never used.

use tokio::sync::Mutex;

use tidelog_meta::{Command, Illegal};

use crate::metadata::{ChangeError, Metadata};

/// Ids of a block.
const BLOCK: u64 = 1000;

/// The block in use.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds(Mutex<std::ops::Range<u64>>);

impl ProducerIds {
    /// Whether somebody has this id, or had it before a restart; none that is still to be given out.
    pub(crate) async fn was_given(&self, id: i64, metadata: &Metadata) -> bool {
        let block = self.0.lock().await;
        let reserved = metadata.read(|state| state.next_producer);
        u64::try_from(id).is_ok_and(|id| id < reserved && !block.contains(&id))
    }

    /// An id that nobody has.
    pub(crate) async fn next(&self, metadata: &Metadata) -> Result<i64, ChangeError> {
        let mut block = self.0.lock().await;
        while block.is_empty() {
            let first = metadata.read(|state| state.next_producer);
            match metadata.propose(Command::AllocProducerIds { first, count: BLOCK }).await {
                Ok(_) => *block = first..first + BLOCK,
                // Another node was faster, or an earlier try of this one counted: the next block is as good.
                Err(ChangeError::Illegal(Illegal::ProducerIds { next, .. })) if next > first => {
                    metadata.reach_newer(|state| state.next_producer > first).await;
                }
                Err(error) => return Err(error),
            }
        }
        let id = block.start;
        block.start += 1;
        // The state refuses blocks beyond what a signed number holds.
        Ok(i64::try_from(id).unwrap_or(i64::MAX))
    }
}
