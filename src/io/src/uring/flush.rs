//! Guard against submission starvation.
//!
//! tokio-uring hands its queue to the kernel when the runtime parks. A task that keeps yielding keeps the runtime
//! from parking, and with it every write that was queued. This guard wakes a little after a submission, and if an
//! operation from before its nap is still in flight, fills the queue with nops, which forces it out. An idle ring
//! never wakes it; a ring that is merely slow pays a few microseconds per operation over the nap.

use super::ring::{QUEUE, Ring};
use io_uring::{cqueue, opcode};
use std::rc::Rc;
use std::time::Duration;
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

const NAP: Duration = Duration::from_millis(1);

pub(super) async fn flush_starved(ring: Rc<Ring>) {
    // Operations below this have been forced out once.
    let mut forced = 0;
    loop {
        ring.submitted.notified().await;
        while ring.oldest_since(0).is_some() {
            let before = ring.sequence();
            tokio::time::sleep(NAP).await;
            if ring.oldest_since(forced).is_some_and(|sequence| sequence < before) {
                force();
                forced = before;
            }
        }
        ring.guarded.set(false);
    }
}

/// Queues one more nop than the queue has slots: the last finds it full, and everything before goes to the kernel.
fn force() {
    for _ in 0..=QUEUE {
        drop(UnsubmittedOneshot::new((), Ignore, opcode::Nop::new().build()).submit());
    }
}

/// Returns when the kernel has taken everything that was queued before: a nop behind it has completed.
pub(super) async fn pass_through() {
    UnsubmittedOneshot::new((), Ignore, opcode::Nop::new().build()).submit().await;
}

struct Ignore;

impl OneshotOutputTransform for Ignore {
    type Output = ();
    type StoredData = ();

    fn transform_oneshot_output(self, (): (), _completion: cqueue::Entry) {}
}
