//! A shard for tests: a directory of its own, and its engine on a thread of its own.

use std::path::{Path, PathBuf};

use tidelog_io::block_on_posix;
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_wal::{Options, ShardSpec, Wal, open_shard};

use crate::METADATA_SHARD;

/// An open shard. Dropping it ends the engine without a word, as the end of a process does, once nothing is asked any
/// more.
pub(crate) struct TestWal {
    pub(crate) wal: Wal,
    engine: Option<std::thread::JoinHandle<()>>,
    dir: PathBuf,
}

impl TestWal {
    /// Opens the shard in a directory, in a new epoch each time.
    pub(crate) fn open(dir: &Path, epoch: u32, segment_bytes: u64) -> TestWal {
        let spec = ShardSpec {
            shard: METADATA_SHARD,
            dir: dir.join("0"),
            lost_and_found: dir.join("lost+found"),
            cluster: [7; 16],
            epoch,
        };
        let options = Options { segment_bytes, spares: 0, ..Options::default() };
        let (give, take) = std::sync::mpsc::channel();
        let engine = std::thread::spawn(move || {
            block_on_posix(async |disk| {
                let opened = open_shard(disk, spec, options, Clock::system(), Entropy::seeded(epoch.into()));
                let (wal, engine, _) = opened.await.unwrap();
                give.send(wal).unwrap();
                engine.run().await;
            })
            .unwrap();
        });
        TestWal { wal: take.recv().unwrap(), engine: Some(engine), dir: dir.to_owned() }
    }

    /// The same directory as a crash would leave it now that nothing more is asked of it.
    pub(crate) fn crashed_copy(&self) -> tempfile::TempDir {
        for _ in 0..1000 {
            let copy = tempfile::tempdir().unwrap();
            std::fs::create_dir(copy.path().join("0")).unwrap();
            let names = self.names();
            let mut copied = names
                .iter()
                .map(|name| std::fs::copy(self.dir.join("0").join(name), copy.path().join("0").join(name)));
            // Segments that are just being released change their names; the engine is done with that soon.
            if copied.all(|copied| copied.is_ok()) && self.names() == names {
                return copy;
            }
            std::thread::yield_now();
        }
        panic!("{} does not come to rest: {:?}", self.dir.display(), self.names());
    }

    /// Segment files in the directory.
    pub(crate) fn files(&self) -> usize {
        self.names().len()
    }

    fn names(&self) -> std::collections::BTreeSet<std::ffi::OsString> {
        let entries = std::fs::read_dir(self.dir.join("0")).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.file_type().is_ok_and(|found| found.is_file()));
        files.map(|entry| entry.file_name()).collect()
    }
}

impl Drop for TestWal {
    fn drop(&mut self) {
        let (wal, engine) = (self.wal.clone(), self.engine.take());
        let closing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(wal.close());
        });
        closing.join().unwrap();
        if let Some(engine) = engine {
            engine.join().unwrap();
        }
    }
}
