//! A file that stands in another's place is refused; one that waits for its turn is not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may be blunt, its helpers too")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use support::*;
use tidelog_format::block::BLOCK;
use tidelog_format::verdict::Verdict;
use tidelog_io::clock::Clock;
use tidelog_io::random::Entropy;
use tidelog_io::sim::{Sim, block_on_sim};
use tidelog_wal::{
    Ended, OpenError, OpenSpan, Options, OwnDisk, ShardSpec, SpanBase, Status, Wal, find_shard, open_shard,
};

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What lies in a folder, spares apart.
fn files(sim: &Sim) -> Files {
    let spare = |path: &Path| path.components().any(|part| part.as_os_str() == "spare");
    let all = sim.files().into_iter().filter(|path| !spare(path));
    all.map(|path| (path.clone(), sim.read_file(&path).unwrap())).collect()
}

fn disk(files: &Files) -> Sim {
    let sim = Sim::new(3);
    for (path, bytes) in files {
        sim.write_file(path, bytes);
    }
    sim
}

fn path(epoch: u32, number: u64) -> PathBuf {
    PathBuf::from(format!("/data/shards/1/{epoch:010}-{number:020}.seg"))
}

/// One life of a shard: some records, nothing stopped.
async fn life(wal: Wal, ledger: &mut Ledger, records: usize) {
    if wal.partition(1).is_none() {
        create(&wal, 1).await;
    }
    for n in 0..records {
        let value = [format!("{n} {}", "-".repeat(20_000))];
        let durable = wal.append(1, batch(&value)).await.unwrap();
        ledger.note(1, durable.base_offset(), &value);
    }
}

/// Three lives; each has more than a segment, and the newest segment is open.
fn lives(shard: u64) -> (Files, Ledger) {
    lives_by(shard, shard)
}

/// The same with other salts for another seed.
fn lives_by(shard: u64, seed: u64) -> (Files, Ledger) {
    lives_of(shard, seed, RECORDS)
}

/// Records of a life: more than a segment.
const RECORDS: usize = 14;

/// The same with so many records in the last life.
fn lives_of(shard: u64, seed: u64, last: usize) -> (Files, Ledger) {
    let (sim, mut ledger) = (Sim::new(seed), Ledger::default());
    for epoch in 1..=3 {
        block_on_sim(&sim, async |disk| {
            let spec = ShardSpec { shard, ..spec(epoch) };
            let options = Options { spares: 0, ..options() };
            let entropy = Entropy::seeded(u64::from(epoch) * 31 + seed);
            let clock = Clock::manual(1_700_000_000_000);
            let (wal, engine, _) = open_shard(disk, spec, options, clock, entropy).await.unwrap();
            let running = tokio::task::spawn_local(engine.run());
            life(wal, &mut ledger, if epoch == 3 { last } else { RECORDS }).await;
            running.abort();
        })
        .unwrap();
    }
    (files(&sim), ledger)
}

/// Refused with a word about this file, and nothing is changed.
fn is_refused(damaged: &Files, file: &Path) {
    let sim = disk(damaged);
    let refused = with_shard(&sim, 4, options(), async |wal, _| wal.status());
    match &refused {
        Err(OpenError::Misplaced { file: named, .. } | OpenError::Foreign { file: named, .. }) => {
            assert!(named == file, "{refused:?}");
        }
        // Where the segment's salt is known from nowhere, frames of the same epoch may be its own behind a damaged one.
        Ok(Status::ReadOnly(hole)) if first_of_epoch(damaged, file) => assert!(hole.file == file, "{hole}"),
        _ => panic!("{refused:?}"),
    }
    assert!(files(&sim) == *damaged, "{refused:?}: a refused folder is as it was");
}

fn epoch(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap()[..10].to_owned()
}

fn first_of_epoch(files: &Files, file: &Path) -> bool {
    files.keys().find(|other| epoch(other) == epoch(file)).is_some_and(|first| first == file)
}

#[test]
fn two_files_that_were_exchanged_are_refused_and_nothing_is_changed() {
    let (intact, _) = lives(1);
    let names: Vec<&PathBuf> = intact.keys().collect();
    let (newest, others) = names.split_last().unwrap();
    assert!(others.len() > 3, "{names:?}");
    for other in others {
        let mut damaged = intact.clone();
        damaged.insert((*newest).clone(), intact[*other].clone());
        damaged.insert((*other).clone(), intact[*newest].clone());
        let sim = disk(&damaged);
        let refused = with_shard(&sim, 4, options(), async |wal, _| wal.status());
        assert!(matches!(refused, Err(OpenError::Misplaced { .. })), "{}: {refused:?}", other.display());
        assert!(files(&sim) == damaged);
    }
}

#[test]
fn an_older_segment_that_was_copied_over_the_newest_one_is_refused() {
    let (intact, _) = lives(1);
    let newest = intact.keys().next_back().unwrap();
    for other in intact.keys().filter(|other| *other != newest) {
        let mut damaged = intact.clone();
        damaged.insert(newest.clone(), intact[other].clone());
        is_refused(&damaged, newest);
    }
}

#[test]
fn a_segment_of_another_shard_or_cluster_in_the_newest_ones_place_is_refused() {
    let (intact, _) = lives(1);
    let (foreign, _) = lives(2);
    let newest = intact.keys().next_back().unwrap();
    for content in foreign.values() {
        let mut damaged = intact.clone();
        damaged.insert(newest.clone(), content.clone());
        is_refused(&damaged, newest);
        // Nor is it taken for a file that waits behind the newest one.
        damaged.insert(newest.clone(), intact[newest].clone());
        let next = path(3, number(newest) + 1);
        damaged.insert(next.clone(), content.clone());
        is_refused(&damaged, &next);
    }
}

#[test]
fn what_another_shards_segment_says_of_the_one_before_it_counts_for_nothing() {
    let (mut damaged, _) = lives(1);
    let newest = number(damaged.keys().next_back().unwrap());
    // There that segment is full, and the next one says so.
    let (foreign, _) = lives_of(2, 2, 2 * RECORDS);
    let next = path(3, newest + 1);
    damaged.insert(next.clone(), foreign[&next].clone());
    is_refused(&damaged, &next);
}

#[test]
fn the_newest_segment_of_another_history_of_the_shard_is_refused() {
    let ((intact, _), (other, _)) = (lives(1), lives_by(1, 77));
    let newest = intact.keys().next_back().unwrap();
    let mut damaged = intact.clone();
    damaged.insert(newest.clone(), other[newest].clone());
    is_refused(&damaged, newest);
}

#[test]
fn a_newer_segment_under_an_older_segments_name_is_refused_though_the_newest_is_there() {
    let (intact, _) = lives(1);
    let newest = intact.keys().next_back().unwrap();
    let mut damaged = intact.clone();
    // Of the newest one a copy stands where a file waits for its turn.
    damaged.insert(path(3, number(newest) + 1), intact[newest].clone());
    is_refused(&damaged, &path(3, number(newest) + 1));
}

/// Whether the shard opened, and reads only because of this file.
fn is_read_only_for(files: &Files, file: &Path) -> bool {
    let status = with_shard(&disk(files), 4, options(), async |wal, _| wal.status()).unwrap();
    matches!(&status, Status::ReadOnly(hole) if hole.file == file)
}

#[test]
fn an_older_segment_without_its_opening_frame_in_the_newest_ones_place_is_not_taken_for_the_newest() {
    let (intact, _) = lives(1);
    let newest = intact.keys().next_back().unwrap();
    let sealed = intact.keys().filter(|path| intact[*path].len() as u64 != SEGMENT);
    // One of the same life: of others the trailer's epoch tells.
    for other in sealed.filter(|path| epoch(path) == epoch(newest)) {
        let mut old = intact[other].clone();
        old[..512].fill(0);
        for next in [newest.clone(), path(3, number(newest) + 4)] {
            let mut damaged = intact.clone();
            damaged.insert(next.clone(), old.clone());
            assert!(is_read_only_for(&damaged, &next), "{} as {}", other.display(), next.display());
            let accepted = Options { accept_loss: true, ..options() };
            let status = with_shard(&disk(&damaged), 4, accepted, async |wal, _| wal.status());
            assert!(matches!(status, Ok(Status::Running)), "{status:?}");
        }
        // Exchanged: what the newest holds stands in a file that counts as sealed.
        let mut damaged = intact.clone();
        damaged.insert(newest.clone(), old);
        damaged.insert(other.clone(), intact[newest].clone());
        assert!(is_read_only_for(&damaged, newest), "{}", other.display());
    }
}

#[test]
fn a_sealed_segment_without_its_opening_frame_is_taken_where_it_follows_the_file_before() {
    let (mut intact, _) = lives(1);
    let newest = intact.keys().next_back().unwrap().clone();
    intact.remove(&newest);
    let sealed = intact.keys().next_back().unwrap().clone();
    intact.get_mut(&sealed).unwrap()[..512].fill(0);
    let mut given_back = intact.clone();
    let middle = intact.keys().rev().nth(1).unwrap();
    given_back.remove(middle);
    let mut alone = intact.clone();
    alone.retain(|path, _| *path == sealed);
    for files in [intact.clone(), given_back, alone] {
        let status = with_shard(&disk(&files), 4, options(), async |wal, _| wal.status());
        assert!(matches!(status, Ok(Status::Running)), "{status:?}");
    }
}

fn number(path: &Path) -> u64 {
    let name = path.file_stem().unwrap().to_str().unwrap();
    name.split_once('-').unwrap().1.parse().unwrap()
}

#[test]
fn a_recycled_file_that_waits_for_its_turn_is_put_away_and_nothing_is_lost() {
    let (mut intact, ledger) = lives(1);
    let newest = intact.keys().next_back().unwrap().clone();
    // The oldest segment was given back: its file waits under the next number.
    let oldest = intact.keys().next().unwrap().clone();
    let old = intact.remove(&oldest).unwrap();
    let next = path(3, number(&newest) + 1);
    for content in [old.as_slice(), &old[..8192], &[], &vec![0; SEGMENT as usize]] {
        let mut waiting = intact.clone();
        waiting.insert(next.clone(), content.to_vec());
        // A second one behind it: its number was given out as well.
        waiting.insert(path(3, number(&newest) + 2), vec![0; SEGMENT as usize]);
        let sim = disk(&waiting);
        with_shard(&sim, 4, options(), async |wal, recovered| {
            assert!(matches!(wal.status(), Status::Running), "{:?} {recovered:?}", wal.status());
            assert!(recovered.cut.iter().all(|cut| cut.from == cut.to), "{recovered:?}");
            let last = *ledger.acked[&1].keys().next_back().unwrap();
            assert_eq!(wal.partition(1).unwrap().next_offset, last + 1);
            wal.append(1, batch(&["next".to_owned()])).await.unwrap();
        })
        .unwrap();
        assert!(!files(&sim).contains_key(&next), "put away");
    }
}

#[test]
fn a_file_that_waits_in_the_place_of_a_spans_first_segment_does_not_hide_that_the_span_before_is_short() {
    let (mut intact, _) = lives(1);
    let judged = |files: &Files, epoch: u32, base: Option<SpanBase>| -> Ended {
        let find = async |disk| find_shard(disk, spec(epoch), base, options()).await.unwrap().ended();
        block_on_sim(&disk(files), find).unwrap()
    };
    let ended = judged(&intact, 4, None);
    let base = Some(SpanBase { epoch: 4, lsn: ended.lsn, chain: ended.chain, salt: [7; 16] });
    let newest = intact.keys().next_back().unwrap().clone();
    let mut waiting = intact.clone();
    waiting.insert(path(4, number(&newest) + 1), vec![0; SEGMENT as usize]);
    let whole = judged(&waiting, 5, base);
    assert_eq!((whole.lsn, whole.chain), (ended.lsn, ended.chain));
    assert_ne!(whole.verdict, Verdict::Corrupt);
    // The newest segment is gone, and the waiting file has its number.
    intact.remove(&newest);
    intact.insert(path(4, number(&newest)), vec![0; SEGMENT as usize]);
    let short = judged(&intact, 5, base);
    assert_eq!(short.verdict, Verdict::Corrupt, "{short:?}");
    assert!(short.lsn < ended.lsn, "{short:?}");
}

#[test]
fn where_a_file_waits_for_the_next_span_the_end_of_the_one_before_is_what_the_metadata_says() {
    let (mut damaged, _) = lives(1);
    let find = async |disk, epoch, base| find_shard(disk, spec(epoch), base, options()).await.unwrap();
    let ended = block_on_sim(&disk(&damaged), async |disk| find(disk, 4, None).await.ended()).unwrap();
    let base = Some(SpanBase { epoch: 4, lsn: ended.lsn, chain: ended.chain, salt: [7; 16] });
    let newest = damaged.keys().next_back().unwrap().clone();
    damaged.insert(path(4, number(&newest) + 1), vec![0; SEGMENT as usize]);
    // The last write rots, and nothing behind it tells that it was durable.
    let bytes = damaged.get_mut(&newest).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap() / BLOCK * BLOCK;
    bytes[last - BLOCK..last + BLOCK].fill(0);
    let sim = disk(&damaged);
    let status = block_on_sim(&sim, async |disk| {
        let found = find(disk, 5, base).await;
        let commits = Box::new(OwnDisk::from(ended.lsn));
        let span = OpenSpan { salt: None, start: None, state: false, writable: None, commits };
        let (wal, _engine, _) =
            found.open(span, Clock::manual(1_700_000_000_000), Entropy::seeded(1)).await.unwrap();
        wal.status()
    });
    let status = status.unwrap();
    assert!(matches!(&status, Status::ReadOnly(hole) if hole.file == newest && hole.from > 0), "{status:?}");
    assert!(files(&sim) == damaged, "what is damaged is not cut");
}
