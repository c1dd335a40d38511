//! A fresh shard on its ring thread, with work beside it.

use std::path::Path;
use std::sync::mpsc;

use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_io::{Disk, block_on_posix, block_on_uring};
use tidelog_wal::{Options, ShardSpec, Wal, open_shard};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::BenchError;
use crate::args::{Io, Placement};

/// How a shard is run.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Its settings.
    pub options: Options,
    /// Its disk backend.
    pub io: Io,
    /// Where `body` of [`with_shard`] runs.
    pub placement: Placement,
}

/// Opens a shard in the empty folder `dir`, runs `body` with it and closes it. `body` may use `spawn_local`.
///
/// # Errors
/// The shard's, the ring's, or those of `body`.
pub fn with_shard<T: Send>(
    dir: &Path,
    setting: &Setting,
    body: impl AsyncFnOnce(Wal) -> Result<T, BenchError> + Send,
) -> Result<T, BenchError> {
    match setting.placement {
        Placement::Ring => on_ring(dir, setting, body),
        Placement::Own => beside_ring(dir, setting, body),
    }
}

fn on_ring<T>(
    dir: &Path,
    setting: &Setting,
    body: impl AsyncFnOnce(Wal) -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    match setting.io {
        Io::Uring => block_on_uring(async |disk| on_disk(disk, dir, setting, body).await)?,
        Io::Posix => block_on_posix(async |disk| on_disk(disk, dir, setting, body).await)?,
    }
}

async fn on_disk<D: Disk, T>(
    disk: D,
    dir: &Path,
    setting: &Setting,
    body: impl AsyncFnOnce(Wal) -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    let spec = ShardSpec {
        shard: 1,
        dir: dir.to_owned(),
        lost_and_found: dir.join("lost+found"),
        cluster: [0xBE; 16],
        epoch: 1,
    };
    let (wal, mut engine, _) =
        open_shard(disk, spec, setting.options.clone(), Clock::system(), Entropy::system()).await?;
    if let Some(reads) = engine.take_reads() {
        // As in a server: old data is read on a thread of its own, which ends with the shard.
        std::thread::spawn(move || block_on_posix(async |disk| reads.serve(disk).await));
    }
    let running = tokio::task::spawn_local(engine.run());
    let result = body(wal.clone()).await;
    let closed = wal.close().await;
    running.await.map_err(|_| BenchError::RingGone)?;
    let result = result?;
    closed?;
    Ok(result)
}

/// The shard on a thread of its own, `body` on this one.
fn beside_ring<T: Send>(
    dir: &Path,
    setting: &Setting,
    body: impl AsyncFnOnce(Wal) -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(BenchError::file("starting a runtime for", dir))?;
    let (hand_over, handed) = mpsc::channel();
    let (finish, finished) = oneshot::channel::<()>();
    std::thread::scope(|scope| {
        let ring = scope.spawn(move || {
            on_ring(dir, setting, async move |wal| {
                hand_over.send(wal).map_err(|_| BenchError::RingGone)?;
                // Either way the other side is done.
                let _ = finished.await;
                Ok(())
            })
        });
        let result = match handed.recv() {
            Ok(wal) => LocalSet::new().block_on(&runtime, body(wal)),
            Err(mpsc::RecvError) => Err(BenchError::RingGone),
        };
        drop(finish);
        // The shard's own failure explains the other.
        ring.join().map_err(|_| BenchError::RingGone)??;
        result
    })
}
