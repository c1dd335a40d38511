//! Spans of a shard on simulated disks: their leader's frames, their followers, their files.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_io::sim::{Sim, block_on_sim};
use tidelog_wal::{
    Commits, Ended, FrameWriter, Made, OpenError, OpenSpan, OwnDisk, ReadyFrame, SpanBase, SpanEnd, Wal,
    end_shard, find_shard, follow_shard,
};

use super::{batch, create, options, spec};

/// The leader's writes, as its followers get them.
#[derive(Debug, Clone, Default)]
pub struct Sent(Arc<Mutex<Vec<Vec<ReadyFrame>>>>);

impl Sent {
    pub fn all(&self) -> Vec<Vec<ReadyFrame>> {
        self.0.lock().unwrap().clone()
    }

    /// Behind the last frame.
    pub fn end(&self) -> SpanEnd {
        let sent = self.0.lock().unwrap();
        let last = sent.last().unwrap().last().unwrap();
        SpanEnd { lsn: last.header.lsn + 1, chain: last.next_chain }
    }
}

/// Commits what is on its own disk, and keeps what it has framed.
#[derive(Debug)]
struct Leader {
    own: OwnDisk,
    sent: Sent,
}

impl Commits for Leader {
    fn may_frame(&mut self, _: usize) -> bool {
        true
    }

    fn framed(&mut self, opening: Option<Made<'_>>, frame: Made<'_>) -> bool {
        let ready = |made: &Made<'_>| ReadyFrame {
            header: *made.header,
            next_chain: made.next_chain,
            bytes: Bytes::copy_from_slice(made.bytes),
        };
        self.sent.0.lock().unwrap().push(opening.iter().chain([&frame]).map(ready).collect());
        self.own.framed(None, frame)
    }

    fn written(&mut self) {
        self.own.written();
    }

    fn failed(&mut self) {}

    fn committed(&mut self) -> u64 {
        self.own.committed()
    }

    fn ends_here(&self) -> bool {
        false
    }
}

pub fn base_of(epoch: u32, at: SpanEnd) -> SpanBase {
    SpanBase { epoch, lsn: at.lsn, chain: at.chain, salt: [epoch as u8; 16] }
}

pub const FIRST: SpanEnd = SpanEnd { lsn: 1, chain: 0 };

/// Leads a span on `sim` and gives what was sent.
pub fn lead(sim: &Sim, epoch: u32, base: SpanEnd, state: bool, body: impl AsyncFnOnce(Wal)) -> Sent {
    let sent = Sent::default();
    block_on_sim(sim, async |disk| {
        let found = find_shard(disk, spec(epoch), Some(base_of(epoch, base)), options()).await.unwrap();
        assert_eq!(found.ended().lsn, base.lsn);
        let commits = Box::new(Leader { own: OwnDisk::from(base.lsn), sent: sent.clone() });
        let span = OpenSpan { salt: Some([epoch as u8; 16]), start: None, state, writable: None, commits };
        let clock = Clock::manual(1_700_000_000_000);
        let (wal, engine, _) = found.open(span, clock, Entropy::seeded(5)).await.unwrap();
        let running = tokio::task::spawn_local(engine.run());
        body(wal.clone()).await;
        wal.close().await.unwrap();
        running.await.unwrap();
    })
    .unwrap();
    sent
}

/// Some segments of records, large and small, in two partitions, one of which is trimmed and one deleted.
pub async fn records(wal: Wal) {
    create(&wal, 1).await;
    create(&wal, 2).await;
    create(&wal, 3).await;
    for n in 0..60 {
        let pad = "-".repeat(n * 397 % 20_000);
        wal.append(1 + n as u64 % 2, batch(&[format!("{n} {pad}"), n.to_string()])).await.unwrap();
    }
    wal.control(tidelog_wal::Control::Trim { partition: 1, offset: 7 }).await.unwrap();
    wal.control(tidelog_wal::Control::DeletePartition { partition: 3 }).await.unwrap();
}

/// Follows a span on `sim`.
pub fn follow<T>(
    sim: &Sim,
    epoch: u32,
    base: SpanEnd,
    body: impl AsyncFnOnce(Wal, FrameWriter, Ended) -> T,
) -> T {
    block_on_sim(sim, async |disk| {
        let clock = Clock::manual(1_700_000_000_000);
        let base = base_of(epoch, base);
        let followed = follow_shard(disk, spec(epoch), base, options(), clock).await.unwrap();
        let running = tokio::task::spawn_local(followed.engine.run());
        let out = body(followed.wal, followed.writer, followed.ended).await;
        running.abort();
        out
    })
    .unwrap()
}

pub fn end(sim: &Sim, epoch: u32, base: SpanEnd, end: SpanEnd) -> Result<(), OpenError> {
    block_on_sim(sim, async |disk| {
        end_shard(disk, spec(epoch), base_of(epoch, base), end, options()).await.map(|_| ())
    })
    .unwrap()
}

/// The segment files of an epoch with their bytes.
pub fn segments(sim: &Sim, epoch: u32) -> Vec<(PathBuf, Vec<u8>)> {
    let prefix = format!("{epoch:010}-");
    let of_epoch = |file: &PathBuf| {
        file.parent() == Some(&*spec(epoch).dir)
            && file.file_name().unwrap().to_str().unwrap().starts_with(&prefix)
    };
    let files = sim.files().into_iter().filter(of_epoch);
    let mut files: Vec<_> = files.map(|file| (file.clone(), sim.read_file(file).unwrap())).collect();
    files.sort();
    files
}

pub async fn turns() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}
