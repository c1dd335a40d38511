//! A start that is stopped between any two of its durable writes, and the one after it.

use std::cell::Cell;
use std::path::Path;

use tidelog_format::batch::{BatchBuilder, Codec, Record};
use tidelog_format::promise;
use tidelog_meta::{SpanState, State};

use crate::config::{Config, ServeArgs};
use crate::node::Node;
use crate::open::{StartError, open};
use crate::spans::seal::Point;

thread_local! {
    static STOP: Cell<Option<Point>> = const { Cell::new(None) };
}

/// Stops the start that runs on this thread there, if a test wants that.
pub(super) fn reached(point: Point) -> Result<(), StartError> {
    match STOP.get() {
        Some(stop) if stop == point => Err(StartError::Stopped(point)),
        _ => Ok(()),
    }
}

/// What a crash leaves of a directory: another one, in which whoever still runs on the old one changes nothing.
pub(super) fn crashed(data: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
            let target = to.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => copy(&entry.path(), &target),
                false => drop(std::fs::copy(entry.path(), target).unwrap()),
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    copy(data, dir.path());
    dir
}

pub(super) async fn start(data: &Path, stop: Option<Point>) -> Result<Node, StartError> {
    start_with(data, stop, "").await
}

/// The same with some more lines of configuration.
pub(super) async fn start_with(data: &Path, stop: Option<Point>, more: &str) -> Result<Node, StartError> {
    let file = data.with_extension("toml");
    let text = format!("io = \"posix\"\n{more}\n[storage]\nsegment_bytes = 65536\nspares = 0\n");
    std::fs::write(&file, text).unwrap();
    let args = ServeArgs { data: Some(data.to_owned()), config: Some(file.clone()), ..ServeArgs::default() };
    let config = Config::load(&args).unwrap();
    std::fs::remove_file(file).unwrap();
    STOP.set(stop);
    let opened = open(config).await;
    STOP.set(None);
    opened
}

pub(super) async fn append(node: &Node, value: &str) -> u64 {
    let topic = node.topic_to_write("t").await.unwrap();
    let live = &topic.partitions[0];
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(&Record { timestamp: 1, value: Some(value.as_bytes()), ..Record::default() }).unwrap();
    live.led().unwrap().append(live.id, builder.finish().unwrap()).await.unwrap().base_offset()
}

/// Epochs of the shard's spans; only the last one is open, and it is led by this process.
pub(super) fn epochs(node: &Node) -> Vec<u32> {
    let state = node.metadata.read(State::clone);
    state.verify().unwrap();
    let chain = &state.chains[&1];
    let last = chain.last().unwrap();
    assert_eq!((last.state, last.leader.incarnation), (SpanState::Open, node.store.incarnation()));
    assert_eq!(node.wal(1).unwrap().epoch(), last.epoch);
    chain.spans.iter().map(|span| span.epoch).collect()
}

fn promised(data: &Path) -> u32 {
    promise::read(&std::fs::read(data.join("promises")).unwrap()).promises[&1]
}

pub(super) fn run<T>(body: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body)
}

#[test]
fn a_start_that_is_stopped_anywhere_is_begun_again_with_a_higher_attempt() {
    run(async {
        let first = tempfile::tempdir().unwrap();
        let node = start(first.path(), None).await.unwrap();
        for n in 0..3 {
            assert_eq!(append(&node, "x").await, n);
        }
        let before = epochs(&node);
        assert_eq!(before.len(), 1);
        assert_eq!(promised(first.path()), before[0]);
        let mut data = crashed(first.path());
        let mut highest = before[0];
        for point in [Point::Begun, Point::Promised, Point::Committed, Point::Begun, Point::Committed] {
            let stopped = start(data.path(), Some(point)).await;
            assert!(matches!(stopped, Err(StartError::Stopped(at)) if at == point), "{stopped:?}");
            data = crashed(data.path());
            let kept = promised(data.path());
            match point {
                Point::Begun => assert_eq!(kept, highest, "nothing was promised yet"),
                _ => assert!(kept > highest, "{point:?}: what is decided on was promised before"),
            }
            highest = kept;
        }
        let node = start(data.path(), None).await.unwrap();
        let after = epochs(&node);
        // Two stops fell behind the decision, so two spans hold nothing; the last one is this process's.
        assert_eq!(after.len(), 4, "{after:?}");
        assert_eq!(after[0], before[0]);
        let state = node.metadata.read(State::clone);
        let ends: Vec<_> = state.chains[&1].spans.iter().filter_map(|span| span.sealed()).collect();
        assert!(ends.windows(2).all(|two| two[0] == two[1]), "one end, decided once: {ends:?}");
        assert_eq!(append(&node, "y").await, 3, "all that was acknowledged is there");
        assert_eq!(promised(data.path()), after[3]);
    });
}

#[test]
fn an_end_that_was_decided_is_held_against_the_disk() {
    run(async {
        let first = tempfile::tempdir().unwrap();
        let node = start(first.path(), None).await.unwrap();
        for _ in 0..5 {
            append(&node, "x").await;
        }
        let data = crashed(first.path());
        assert!(start(data.path(), Some(Point::Committed)).await.is_err());
        let data = crashed(data.path());
        // The last frame rots before the start that was decided on is made again: without the metadata it would be cut.
        let shard = data.path().join("shards/1");
        let file = std::fs::read_dir(&shard).unwrap().map(|entry| entry.unwrap().path());
        let file = file.filter(|path| path.is_file()).min().unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        let end = (1..bytes.len() / 4096).find(|block| bytes[block * 4096 + 14] == 2).unwrap();
        for byte in &mut bytes[(end - 1) * 4096..(end + 1) * 4096] {
            *byte = 0x55;
        }
        std::fs::write(&file, bytes).unwrap();
        let node = start(data.path(), None).await.unwrap();
        let status = node.wal(1).unwrap().status();
        assert!(matches!(status, tidelog_wal::Status::ReadOnly(_)), "{status:?}");
    });
}

#[test]
fn a_new_shard_and_an_old_one_without_spans_both_get_their_first() {
    run(async {
        let first = tempfile::tempdir().unwrap();
        assert!(matches!(start(first.path(), Some(Point::Begun)).await, Err(StartError::Stopped(_))));
        let data = crashed(first.path());
        let node = start(data.path(), None).await.unwrap();
        assert_eq!(append(&node, "x").await, 0);
        let base = node.metadata.read(|state| state.chains[&1].spans[0].base);
        assert_eq!(base, tidelog_wal::FIRST_LSN);
    });
}
