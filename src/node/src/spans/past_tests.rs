//! Starts of directories with a past: damaged ones, ones of before there were spans, ones that were put back.

use std::path::{Path, PathBuf};

use tidelog_format::batch::BatchView;
use tidelog_format::promise;
use tidelog_format::superblock::{SUPERBLOCK_LEN, Superblock};
use tidelog_io::block_on_posix;
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_meta::{Command, Retention, SpanState, State};
use tidelog_replica::message::Grade;
use tidelog_wal::{Control, FIRST_LSN, Options, Status, open_shard};

use crate::node::Node;
use crate::open::{StartError, spec};
use crate::spans::enrol::Unfit;
use crate::spans::generation;
use crate::spans::seal::Point;
use crate::spans::start_tests::{append, crashed, epochs, run, start, start_with};

/// Values of all records of the first partition.
async fn values(node: &Node) -> Vec<String> {
    let topic = node.topic_to_write("t").await.unwrap();
    let live = &topic.partitions[0];
    let mut found: Vec<String> = Vec::new();
    loop {
        let fetched = live.led().unwrap().read(live.id, found.len() as u64, 1 << 20).await.unwrap();
        if fetched.batches.is_empty() {
            return found;
        }
        for bytes in fetched.batches {
            let (view, mut scratch) = (BatchView::parse(&bytes).unwrap(), Vec::new());
            for record in view.records(&mut scratch).unwrap() {
                found.push(String::from_utf8(record.unwrap().1.value.unwrap().to_vec()).unwrap());
            }
        }
    }
}

/// The oldest segment of the first shard.
fn first_segment(data: &Path) -> PathBuf {
    let files = std::fs::read_dir(data.join("shards/1")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).min().unwrap()
}

/// A node with five records, a frame each, that was killed.
async fn five() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), None).await.unwrap();
    for n in 0..5 {
        append(&node, &n.to_string()).await;
    }
    crashed(dir.path())
}

fn spoil(file: &Path, block: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[block * 4096..(block + 1) * 4096].fill(0x55);
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_span_with_damage_before_its_end_is_sealed_where_that_begins_and_only_when_people_accept_it() {
    run(async {
        let mut data = five().await;
        // Opening frame, the partition's beginning, first record, second record: a block each.
        spoil(&first_segment(data.path()), 3);
        for _ in 0..2 {
            let node = start(data.path(), None).await.unwrap();
            let status = node.wal(1).unwrap().status();
            assert!(matches!(status, Status::ReadOnly(_)), "{status:?}");
            let last = node.metadata.read(|state| state.last_span(1).cloned().unwrap());
            assert!(matches!(last.state, SpanState::Sealing { .. }), "no end was decided: {last:?}");
            data = crashed(data.path());
        }
        let node = start_with(data.path(), None, "accept_loss = true").await.unwrap();
        assert_eq!(epochs(&node).len(), 2);
        let sealed = node.metadata.read(|state| state.chains[&1].spans[0].sealed().unwrap().0);
        assert_eq!(sealed, FIRST_LSN + 3, "behind the frames before the damage");
        append(&node, "after").await;
        assert_eq!(values(&node).await, ["0", "after"]);
        let data = crashed(data.path());
        let node = start(data.path(), None).await.unwrap();
        assert_eq!(epochs(&node).len(), 3);
        assert_eq!(values(&node).await, ["0", "after"], "nobody need accept it again");
    });
}

#[test]
fn a_sound_directory_loses_nothing_where_people_would_accept_it() {
    run(async {
        let data = five().await;
        let node = start_with(data.path(), None, "accept_loss = true").await.unwrap();
        assert_eq!(values(&node).await, ["0", "1", "2", "3", "4"]);
        append(&node, "5").await;
        assert_eq!(epochs(&node).len(), 2);
    });
}

/// A directory with a shard of before there were spans: frames that the metadata has no span for.
fn with_old_shard() -> (tempfile::TempDir, u64, u64) {
    let dir = tempfile::tempdir().unwrap();
    let (spec, shard) = run(async {
        let node = start(dir.path(), None).await.unwrap();
        append(&node, "new").await;
        let shard = node.metadata.read(|state| state.next_shard);
        node.metadata.propose(Command::OpenShard { shard, class: Retention::default() }).await.unwrap();
        (spec(&node.store, shard, 1), shard)
    });
    let data = crashed(dir.path());
    let spec = tidelog_wal::ShardSpec {
        dir: data.path().join("shards").join(shard.to_string()),
        lost_and_found: data.path().join("lost+found"),
        ..spec
    };
    let end = block_on_posix(async |disk| {
        let options = Options { segment_bytes: 65536, spares: 0, ..Options::default() };
        let (wal, engine, _) =
            open_shard(disk, spec, options, Clock::system(), Entropy::seeded(1)).await.unwrap();
        let running = tokio::task::spawn_local(engine.run());
        let name = "old/0".to_owned();
        wal.control(Control::CreatePartition { partition: 900, name }).await.unwrap();
        let end = tidelog_wal::Stats::get(&wal.stats().next_lsn);
        wal.close().await.unwrap();
        running.await.unwrap();
        end
    });
    (data, shard, end.unwrap())
}

#[test]
fn a_start_that_is_stopped_behind_the_first_spans_of_old_shards_is_begun_again() {
    let (mut data, shard, end) = with_old_shard();
    assert!(end > FIRST_LSN);
    run(async {
        for _ in 0..2 {
            let stopped = start(data.path(), Some(Point::Adopted)).await;
            match stopped {
                Err(StartError::Stopped(Point::Adopted)) => data = crashed(data.path()),
                // Once the shard has its span there is nothing to be adopted.
                other => assert!(other.is_ok(), "{other:?}"),
            }
        }
        let data = crashed(data.path());
        let node = start(data.path(), None).await.unwrap();
        let state = node.metadata.read(State::clone);
        state.verify().unwrap();
        let spans = &state.chains[&shard].spans;
        assert_eq!(spans[0].base, FIRST_LSN);
        assert_eq!(spans[0].sealed().unwrap().0, end, "what the shard held is its first span");
        assert!(spans[1..].iter().all(|span| span.base == end), "{spans:?}");
        assert_eq!(spans.last().unwrap().leader.incarnation, node.store.incarnation());
        assert_eq!(node.wal(shard).unwrap().epoch(), spans.last().unwrap().epoch);
        assert_eq!(values(&node).await, ["new"]);
    });
}

#[test]
fn a_superblock_of_an_earlier_moment_of_the_same_life_is_refused_however_often_and_the_right_one_goes_on() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let node = start(dir.path(), None).await.unwrap();
        append(&node, "x").await;
        let file = |data: &Path| data.join("superblock");
        let old = std::fs::read(file(dir.path())).unwrap();
        generation::raise(&node).await.unwrap();
        generation::raise(&node).await.unwrap();
        let right = std::fs::read(file(dir.path())).unwrap();
        let mut data = crashed(dir.path());
        std::fs::write(file(data.path()), &old).unwrap();
        for _ in 0..5 {
            let refused = start(data.path(), None).await;
            assert!(matches!(refused, Err(StartError::Unfit(Unfit::RolledBack { .. }))), "{refused:?}");
            data = crashed(data.path());
        }
        std::fs::write(file(data.path()), &right).unwrap();
        let node = start(data.path(), None).await.unwrap();
        assert_eq!(values(&node).await, ["x"]);
        append(&node, "y").await;
        let data = crashed(data.path());
        let node = start(data.path(), None).await.unwrap();
        assert_eq!(values(&node).await, ["x", "y"]);
    });
}

/// The last block of a file that holds anything.
fn last_block(file: &Path) -> usize {
    let bytes = std::fs::read(file).unwrap();
    bytes.chunks(4096).rposition(|block| block.iter().any(|byte| *byte != 0)).unwrap()
}

#[test]
fn a_last_write_that_is_damaged_is_cut_and_the_seal_says_that_its_end_is_unproved() {
    run(async {
        for (torn, grade) in [(false, Grade::Proved), (true, Grade::Unproved)] {
            let data = five().await;
            let file = first_segment(data.path());
            let end = last_block(&file);
            if torn {
                spoil(&file, end);
                spoil(&file, end - 1);
            }
            let node = start(data.path(), None).await.unwrap();
            let shards = node.shards();
            let (_, shard) = shards.iter().find(|(id, _)| *id == 1).unwrap();
            let sealed = shard.span.as_ref().unwrap().sealed.unwrap();
            assert_eq!((sealed.grade, sealed.end), (grade, FIRST_LSN + if torn { 6 } else { 7 }));
            assert_eq!(values(&node).await.len(), if torn { 4 } else { 5 });
        }
    });
}

#[test]
fn a_journal_that_lost_its_last_write_is_completed_from_the_metadata_before_anything_else() {
    run(async {
        let mut data = five().await;
        for _ in 0..2 {
            append(&start(data.path(), None).await.unwrap(), "x").await;
            data = crashed(data.path());
        }
        let journal = data.path().join("promises");
        let whole = promise::read(&std::fs::read(&journal).unwrap()).promises[&1];
        let end = last_block(&journal);
        spoil(&journal, end);
        spoil(&journal, end - 1);
        let torn = promise::read(&std::fs::read(&journal).unwrap()).promises;
        assert!(torn.get(&1).is_none_or(|epoch| *epoch < whole), "{torn:?}");
        let stopped = start(data.path(), Some(Point::Begun)).await;
        assert!(matches!(stopped, Err(StartError::Stopped(Point::Begun))), "{stopped:?}");
        let now = promise::read(&std::fs::read(&journal).unwrap()).promises[&1];
        assert_eq!(now, whole, "the newest promise that the metadata knows");
    });
}

#[test]
fn the_superblock_of_another_directory_of_the_cluster_is_refused() {
    run(async {
        let data = five().await;
        let file = data.path().join("superblock");
        let mut superblock = Superblock::decode(&std::fs::read(&file).unwrap()).unwrap();
        (superblock.store, superblock.incarnation) = ([9; 16], 40);
        let mut bytes = vec![0; SUPERBLOCK_LEN];
        for _ in 0..2 {
            superblock.generation += 1;
            let at = superblock.copy() as usize * 4096;
            superblock.encode(bytes[at..at + 4096].first_chunk_mut().unwrap());
        }
        std::fs::write(&file, &bytes).unwrap();
        let refused = start(data.path(), None).await;
        assert!(matches!(refused, Err(StartError::Unfit(Unfit::OtherStore { node: 1, .. }))), "{refused:?}");
    });
}
