//! # Purpose
//! The thread that reads and writes files of spans beside their writers: frames for holders that lag, copies, ends of spans
//! that nobody writes any more. Its reads and writes are few and large, so it uses plain system calls.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use tidelog_io::block_on_posix;
use tidelog_io::posix::Posix;
use tidelog_wal::SpanFiles;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::ring::RingError;

type Job = Box<dyn FnOnce(Posix) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The span files that are being read, each by one reader at a time.
type Spans = BTreeMap<(u64, u32), Arc<Mutex<SpanFiles<Posix>>>>;

/// Spans whose readers' places are remembered.
const REMEMBERED: usize = 64;

/// Hands work to the thread.
#[derive(Clone)]
pub(crate) struct Files {
    jobs: mpsc::UnboundedSender<Job>,
    spans: Arc<std::sync::Mutex<Spans>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Files")
    }
}

impl Files {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Files, RingError> {
        let (jobs, mut ends) = mpsc::unbounded_channel::<Job>();
        let body = move || {
            let done = block_on_posix(async |disk| {
                while let Some(job) = ends.recv().await {
                    tokio::task::spawn_local(job(disk.clone()));
                }
            });
            if let Err(error) = done {
                tracing::error!(%error, "the thread of the shards' files could not run");
            }
        };
        // Nobody joins it: it ends with those who hand work to it.
        std::thread::Builder::new().name("ring-files".to_owned()).spawn(body).map_err(RingError::Thread)?;
        Ok(Files { jobs, spans: Arc::default() })
    }

    /// Runs `work` on the thread. How much is under way at once is its callers' to bound.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, RingError>
    where
        T: Send + 'static,
        F: AsyncFnOnce(Posix) -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |disk| {
            Box::pin(async move {
                // Whoever asked may have given up.
                let _ = reply.send(work(disk).await);
            })
        });
        self.jobs.send(job).map_err(|_| RingError::Gone)?;
        answer.await.map_err(|_| RingError::Gone)
    }

    /// Reads files of a span; whoever reads on finds his place again.
    pub(crate) async fn of_span<T, F>(
        &self,
        (shard, epoch): (u64, u32),
        dir: std::path::PathBuf,
        work: F,
    ) -> Result<T, RingError>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut SpanFiles<Posix>) -> T + Send + 'static,
    {
        let spans = Arc::clone(&self.spans);
        self.run(async move |disk| {
            let files = {
                let mut spans = spans.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if spans.len() >= REMEMBERED {
                    spans.clear();
                }
                let new = || Arc::new(Mutex::new(SpanFiles::new(disk, dir, epoch)));
                Arc::clone(spans.entry((shard, epoch)).or_insert_with(new))
            };
            let mut files = files.lock().await;
            work(&mut files).await
        })
        .await
    }

    /// Files of a span were replaced or removed: what is remembered of them is not right any more.
    pub(crate) fn forget(&self, shard: u64, epoch: u32) {
        self.spans.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&(shard, epoch));
    }
}
