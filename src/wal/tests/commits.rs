//! What somebody else has to commit, and what the metadata says about the span.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may be blunt, its helpers too")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use support::*;
use tidelog_format::entry::EntryKind;
use tidelog_format::scan::{Expect, Found, scan};
use tidelog_format::span_start::{Holder, SpanStart};
use tidelog_format::verdict::{Grade, Verdict};
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_io::sim::{Sim, block_on_sim};
use tidelog_wal::{
    AppendError, Commits, Ended, Made, OpenSpan, Options, OwnDisk, ShardSpec, SpanBase, Stats, Status, Wal,
    find_shard,
};

/// A quorum that somebody else has.
#[derive(Debug, Clone, Default)]
struct Held {
    committed: Arc<AtomicU64>,
    framed: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    fenced: Arc<AtomicBool>,
    full: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Held {
    fn commit(&self, wal: &Wal, lsn: u64) {
        self.committed.store(lsn, Ordering::SeqCst);
        wal.wake();
    }
}

impl Commits for Held {
    fn may_frame(&mut self, _: usize) -> bool {
        !self.full.load(Ordering::SeqCst)
    }

    fn is_over(&mut self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn framed(&mut self, opening: Option<Made<'_>>, frame: Made<'_>) -> bool {
        for made in opening.iter().chain([&frame]) {
            let place = Expect { block_index: made.header.block_index, ..Expect::default() };
            let Found::Frame(found) = scan(made.bytes, &place) else { panic!("not a frame") };
            assert_eq!((&found.header, found.next_chain()), (made.header, made.next_chain));
            assert!(found.header.committed_lsn <= self.committed.load(Ordering::SeqCst));
        }
        self.framed.store(frame.header.lsn + 1, Ordering::SeqCst);
        !self.fenced.load(Ordering::SeqCst)
    }

    fn written(&mut self) {
        self.written.store(self.framed.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    fn failed(&mut self) {}

    fn committed(&mut self) -> u64 {
        self.committed.load(Ordering::SeqCst)
    }

    fn ends_here(&self) -> bool {
        true
    }
}

fn base(epoch: u32, ended: Ended) -> SpanBase {
    SpanBase { epoch, lsn: ended.lsn, chain: ended.chain, salt: [epoch as u8; 16] }
}

/// Opens the shard's span `epoch` and runs `body` beside its engine.
fn with_span<T>(
    sim: &Sim,
    base: Option<SpanBase>,
    spec: ShardSpec,
    options: Options,
    commits: impl FnOnce(Ended) -> Box<dyn Commits + Send>,
    body: impl AsyncFnOnce(Wal, Ended) -> T,
) -> T {
    block_on_sim(sim, async |disk| {
        let found = find_shard(disk, spec.clone(), base, options).await.unwrap();
        let ended = found.ended();
        let start = SpanStart {
            base_lsn: ended.lsn,
            base_chain: ended.chain,
            leader: 1,
            incarnation: 2,
            previous: spec.epoch.checked_sub(1).filter(|epoch| *epoch > 0),
            quorum: 1,
            holders: vec![Holder { node: 1, store: [7; 16] }],
        };
        let salt = Some([spec.epoch as u8; 16]);
        let span =
            OpenSpan { salt, start: Some(start), state: false, writable: None, commits: commits(ended) };
        let clock = Clock::manual(1_700_000_000_000);
        let (wal, engine, _) = found.open(span, clock, Entropy::seeded(3)).await.unwrap();
        let running = tokio::task::spawn_local(engine.run());
        let out = body(wal, ended).await;
        running.abort();
        out
    })
    .unwrap()
}

fn own(ended: Ended) -> Box<dyn Commits + Send> {
    Box::new(OwnDisk::from(ended.lsn))
}

/// Opens the first span of a shard, of which only that is committed which `held` says.
fn with_held(sim: &Sim, held: &Held, body: impl AsyncFnOnce(Wal)) {
    let rule = held.clone();
    with_span(sim, None, spec(1), options(), |_| Box::new(rule), async |wal, _| body(wal).await);
}

async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn what_is_durable_and_not_committed_is_neither_answered_nor_shown() {
    let (sim, held) = (Sim::new(1), Held::default());
    with_held(&sim, &held, async |wal| {
        let created = tokio::task::spawn_local({
            let wal = wal.clone();
            async move { create(&wal, 1).await }
        });
        until(|| held.written.load(Ordering::SeqCst) == 3).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(!created.is_finished() && wal.partition(1).is_none());
        assert_eq!(Stats::get(&wal.stats().next_lsn), 3, "the opening frame and one more are on the disk");
        assert_eq!(Stats::get(&wal.stats().committed_lsn), 1);
        held.commit(&wal, 2);
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(!created.is_finished(), "only the opening frame is committed");
        held.commit(&wal, 3);
        created.await.unwrap();
        assert!(wal.partition(1).is_some());

        // A second batch goes to the disk behind one that is not committed yet, and both are answered in order.
        let first = wal.begin_append(1, batch(&["one".to_owned()])).await.unwrap();
        until(|| held.written.load(Ordering::SeqCst) == 4).await;
        let second = wal.begin_append(1, batch(&["two".to_owned()])).await.unwrap();
        until(|| held.written.load(Ordering::SeqCst) == 5).await;
        assert_eq!(read_all(&wal, 1, 0).await, []);
        held.commit(&wal, 5);
        assert_eq!(second.await.unwrap().base_offset(), 1);
        assert_eq!(first.await.unwrap().lsn(), 3);
        assert_eq!(read_all(&wal, 1, 0).await.len(), 2);
    });
}

#[test]
fn when_the_span_is_led_elsewhere_what_waits_is_refused_and_what_was_written_has_no_clear_outcome() {
    let (sim, held) = (Sim::new(8), Held::default());
    with_held(&sim, &held, async |wal| {
        held.committed.store(3, Ordering::SeqCst);
        create(&wal, 1).await;
        let written = wal.begin_append(1, batch(&["written".to_owned()])).await.unwrap();
        until(|| held.written.load(Ordering::SeqCst) == 4).await;
        held.full.store(true, Ordering::SeqCst);
        let waiting = wal.begin_append(1, batch(&["waiting".to_owned()])).await.unwrap();
        held.over.store(true, Ordering::SeqCst);
        wal.wake();
        assert!(matches!(waiting.await, Err(AppendError::Following)));
        assert!(matches!(written.await, Err(AppendError::OutcomeUnknown { .. })));
        assert!(matches!(wal.append(1, batch(&["late".to_owned()])).await, Err(AppendError::Following)));
        wal.close().await.unwrap();
    });
}

#[test]
fn a_frame_that_must_not_be_written_is_not_and_nothing_comes_after_it() {
    let (sim, held) = (Sim::new(8), Held::default());
    held.committed.store(u64::MAX, Ordering::SeqCst);
    with_held(&sim, &held, async |wal| {
        create(&wal, 1).await;
        held.fenced.store(true, Ordering::SeqCst);
        let refused = wal.append(1, batch(&["late".to_owned()])).await;
        assert!(matches!(refused, Err(AppendError::OutcomeUnknown { .. })), "{refused:?}");
        held.fenced.store(false, Ordering::SeqCst);
        assert!(wal.append(1, batch(&["later".to_owned()])).await.is_err());
        assert_eq!(read_all(&wal, 1, 0).await, []);
    });
    with_span(&sim, None, spec(2), options(), own, async |wal, ended| {
        assert_eq!(ended.lsn, 3, "nothing of it is on the disk");
        assert_eq!(read_all(&wal, 1, 0).await, []);
    });
}

#[test]
fn a_segment_ends_when_all_of_it_is_committed() {
    let (sim, held) = (Sim::new(2), Held::default());
    held.committed.store(u64::MAX, Ordering::SeqCst);
    with_held(&sim, &held, async |wal| {
        create(&wal, 1).await;
        held.commit(&wal, 3);
        let large = "x".repeat(60_000);
        let mut appending = Vec::new();
        for _ in 0..8 {
            appending.push(wal.begin_append(1, batch(std::slice::from_ref(&large))).await.unwrap());
        }
        until(|| held.written.load(Ordering::SeqCst) >= 6).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(Stats::get(&wal.stats().rolls), 1, "it waits with the next segment");
        while let Some(next) = appending.first_mut() {
            held.commit(&wal, held.written.load(Ordering::SeqCst));
            tokio::select! {
                done = next => { done.unwrap(); appending.remove(0); }
                () = tokio::task::yield_now() => {}
            }
        }
        assert!(Stats::get(&wal.stats().rolls) >= 2);
        assert_eq!(read_all(&wal, 1, 0).await.len(), 8);
    });
}

#[test]
fn a_span_tells_its_story_in_its_first_frame_with_the_salt_it_was_given() {
    let sim = Sim::new(3);
    with_span(&sim, None, spec(4), options(), own, async |wal, _| {
        assert_eq!(wal.epoch(), 4);
        create(&wal, 1).await;
        // Larger than what a frame gathers: it takes another buffer, and the story with it.
        wal.append(1, batch(&["y".repeat(100_000)])).await.unwrap();
    });
    let file = sim.read_file("/data/shards/1/0000000004-00000000000000000001.seg").unwrap();
    let place = Expect { block_index: 1, salt: Some([4; 16]), ..Expect::default() };
    let Found::Frame(frame) = scan(&file[4096..], &place) else { panic!("the second frame") };
    let entry = frame.entries().next().unwrap();
    assert_eq!(entry.kind(), Some(EntryKind::SpanStart));
    let start = SpanStart::decode(&entry.row, entry.body).unwrap();
    assert_eq!((start.base_lsn, start.previous, start.incarnation), (1, Some(3), 2));
}

#[test]
fn a_first_batch_that_is_larger_than_a_frame_gathers_keeps_the_story_before_it() {
    let sim = Sim::new(3);
    let large = "y".repeat(100_000);
    with_span(&sim, None, spec(1), options(), own, async |wal, _| {
        create(&wal, 1).await;
        wal.close().await.unwrap();
    });
    with_span(&sim, None, spec(2), options(), own, async |wal, _| {
        wal.append(1, batch(std::slice::from_ref(&large))).await.unwrap();
    });
    with_span(&sim.crash(1), None, spec(3), options(), own, async |wal, ended| {
        assert_eq!((ended.verdict, ended.lsn), (Verdict::End(Grade::Proved), 5));
        assert_eq!(read_all(&wal, 1, 0).await, [(0, large)]);
    });
}

#[test]
fn looking_at_a_shard_writes_nothing() {
    let sim = Sim::new(4);
    with_span(&sim, None, spec(1), options(), own, async |wal, _| {
        create(&wal, 1).await;
        wal.append(1, batch(&["kept".to_owned()])).await.unwrap();
    });
    let sim = sim.crash(9);
    let files = |sim: &Sim| {
        sim.files().into_iter().map(|file| (sim.read_file(&file).unwrap(), file)).collect::<Vec<_>>()
    };
    let before = files(&sim);
    let ended =
        block_on_sim(&sim, async |disk| find_shard(disk, spec(2), None, options()).await.unwrap().ended());
    assert_eq!(
        ended.unwrap(),
        block_on_sim(&sim, async |disk| find_shard(disk, spec(3), None, options()).await.unwrap().ended())
            .unwrap()
    );
    assert!(files(&sim) == before);
}

/// A shard whose first span ended; where.
fn sealed_once(sim: &Sim) -> Ended {
    with_span(sim, None, spec(1), options(), own, async |wal, _| {
        create(&wal, 1).await;
        for n in 0..5 {
            wal.append(1, batch(&[format!("record {n}")])).await.unwrap();
        }
    });
    block_on_sim(sim, async |disk| find_shard(disk, spec(2), None, options()).await.unwrap().ended()).unwrap()
}

#[test]
fn files_that_end_where_the_metadata_says_are_gone_on_with() {
    let sim = Sim::new(5);
    let ended = sealed_once(&sim);
    // The process ended between the decision and the footer.
    with_span(&sim, Some(base(2, ended)), spec(3), options(), own, async |wal, again| {
        assert_eq!(
            (again.lsn, again.chain, again.verdict),
            (ended.lsn, ended.chain, Verdict::End(Grade::Proved))
        );
        assert!(matches!(wal.status(), Status::Running));
        assert_eq!(wal.append(1, batch(&["next".to_owned()])).await.unwrap().base_offset(), 5);
    });
}

#[test]
fn committed_frames_that_are_gone_are_a_hole_and_loss_is_accepted_only_when_told() {
    for longer in [false, true] {
        let sim = Sim::new(6);
        let ended = sealed_once(&sim);
        let lsn = if longer { ended.lsn - 1 } else { ended.lsn + 3 };
        let base = SpanBase { lsn, chain: 77, ..base(2, ended) };
        with_span(&sim, Some(base), spec(3), options(), own, async |wal, found| {
            assert_eq!(found.verdict, Verdict::Corrupt);
            let Status::ReadOnly(hole) = wal.status() else { panic!("{:?}", wal.status()) };
            assert!(hole.from > 0, "{hole}");
        });
        let accept = || Options { accept_loss: true, ..options() };
        with_span(&sim, Some(base), spec(4), accept(), own, async |wal, found| {
            assert!(matches!(wal.status(), Status::Running));
            assert_eq!((found.lsn, found.chain), (lsn, 77), "it goes on where its span begins");
            wal.append(1, batch(&["after".to_owned()])).await.unwrap();
        });
        let next = SpanBase { epoch: 4, salt: [4; 16], ..base };
        with_span(&sim.crash(2), Some(next), spec(5), options(), own, async |wal, found| {
            assert_eq!(found.verdict, Verdict::End(Grade::Proved));
            let all = read_all(&wal, 1, 0).await;
            assert_eq!(all.last().unwrap().1, "after");
        });
    }
}

#[test]
fn a_folder_that_is_empty_though_its_frames_are_committed_is_a_hole() {
    let sim = Sim::new(7);
    let base = SpanBase { epoch: 5, lsn: 100, chain: 9, salt: [1; 16] };
    with_span(&sim, Some(base), spec(6), options(), own, async |wal, _| {
        assert!(matches!(wal.status(), Status::ReadOnly(_)));
    });
    // The first span of all begins at the beginning, and what older files hold belongs to it.
    let first = SpanBase { lsn: 1, chain: 0, ..base };
    with_span(&sim, Some(first), spec(6), options(), own, async |wal, _| {
        assert!(matches!(wal.status(), Status::Running));
    });
}
