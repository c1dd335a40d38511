//! A follower has what its leader has, byte for byte, through crashes and to the end that the metadata decides.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may be blunt, its helpers too")]

mod support;

use support::spans::*;
use support::*;
use tidelog_format::entry::EntryKind;
use tidelog_format::scan::{Expect, Found, scan};
use tidelog_io::random::Entropy;
use tidelog_io::sim::{Kind, Sim, block_on_sim};
use tidelog_io::{Access, Disk, DiskFile, Fault};
use tidelog_wal::{AppendError, OpenError, ReadyFrame, SpanEnd, Stats, Status, Wal, find_shard};

#[test]
fn a_follower_seals_the_same_files_as_its_leader() {
    let (leader, follower) = (Sim::new(1), Sim::new(2));
    let sent = lead(&leader, 1, FIRST, false, records);
    follow(&follower, 1, FIRST, async |_, writer, ended| {
        assert_eq!(ended.lsn, 1);
        for frames in sent.all() {
            writer.write(frames, false).await.unwrap();
        }
    });
    for sim in [&leader, &follower] {
        end(sim, 1, FIRST, sent.end()).unwrap();
        end(sim, 1, FIRST, sent.end()).unwrap();
    }
    let (there, here) = (segments(&leader, 1), segments(&follower, 1));
    assert!(there.len() > 2, "{}", there.len());
    assert!(there == here);
}

#[test]
fn frames_that_are_not_known_to_be_committed_are_on_the_disk_and_not_shown() {
    let (leader, mut follower) = (Sim::new(1), Sim::new(2));
    let sent = lead(&leader, 1, FIRST, false, records).all();
    let shown = async |wal: &Wal| match wal.partition(1) {
        Some(_) => read_all(wal, 1, 0).await.len(),
        None => 0,
    };
    follow(&follower, 1, FIRST, async |wal, writer, _| {
        for frames in &sent[..5] {
            writer.write(frames.clone(), false).await.unwrap();
        }
        turns().await;
        let told = sent[4].last().unwrap().header.committed_lsn;
        assert_eq!(Stats::get(&wal.stats().next_lsn), sent[5][0].header.lsn);
        assert_eq!(Stats::get(&wal.stats().committed_lsn), 1, "nobody said anything yet: {told}");
        writer.commit(sent[3][0].header.lsn);
        turns().await;
        assert!(wal.partition(2).is_some() && wal.partition(3).is_some());
        assert_eq!(shown(&wal).await, 0);
        writer.commit(sent[3][0].header.lsn + 1);
        turns().await;
        assert_eq!(shown(&wal).await, 2, "the first batch");
        assert!(wal.append(1, batch(&["mine".to_owned()])).await.is_err(), "a follower takes no batches");
    });
    follower = follower.crash(7);
    follow(&follower, 1, FIRST, async |wal, writer, ended| {
        assert_eq!(ended.lsn, sent[5][0].header.lsn);
        assert_eq!(ended.committed, sent[4].last().unwrap().header.committed_lsn);
        turns().await;
        assert_eq!(Stats::get(&wal.stats().committed_lsn), ended.committed);
        writer.write(sent[5].clone(), false).await.unwrap();
        writer.commit(sent[5].last().unwrap().header.lsn + 1);
        turns().await;
        assert_eq!(shown(&wal).await, 4);
    });
}

#[test]
fn a_follower_goes_on_behind_a_power_cut_and_has_lost_nothing_that_it_said_was_there() {
    let leader = Sim::new(1);
    let sent = lead(&leader, 1, FIRST, false, records);
    end(&leader, 1, FIRST, sent.end()).unwrap();
    let writes = sent.all();
    let given = std::env::var("TIDELOG_SEEDS").ok().and_then(|text| text.parse::<u64>().ok());
    for seed in 0..given.unwrap_or(30) {
        let random = Entropy::seeded(seed);
        let mut sim = Sim::new(seed);
        let mut durable = 1;
        for life in 0.. {
            let (next, reached, done) = follow(&sim, 1, FIRST, async |wal, writer, ended| {
                assert!(ended.lsn >= durable, "seed {seed}, life {life}: {ended:?} after {durable}");
                assert!(matches!(wal.status(), Status::Following), "seed {seed}: {:?}", wal.status());
                let mut reached = ended.lsn;
                let first = writes.iter().position(|frames| frames.last().unwrap().header.lsn >= reached);
                let some = random.below(40) as usize;
                for frames in writes[first.unwrap_or(writes.len())..].iter().take(some) {
                    let missing = frames.iter().filter(|frame| frame.header.lsn >= reached).cloned();
                    writer.write(missing.collect(), random.one_in(4)).await.unwrap();
                    reached = frames.last().unwrap().header.lsn + 1;
                    writer.commit(frames[0].header.committed_lsn);
                }
                // One more is in flight when the power goes.
                let next = writes.iter().find(|frames| frames[0].header.lsn == reached);
                if let Some(frames) = next {
                    let (writer, frames) = (writer.clone(), frames.clone());
                    tokio::task::spawn_local(async move { writer.write(frames, false).await });
                    for _ in 0..random.below(8) {
                        tokio::task::yield_now().await;
                    }
                }
                // Sometimes it is the process alone that ends, and what it had written is there, synced or not.
                let next_life = if random.one_in(3) { sim.clone() } else { sim.crash(random.u64()) };
                (next_life, reached, next.is_none())
            });
            (sim, durable) = (next, reached);
            if done {
                break;
            }
        }
        end(&sim, 1, FIRST, sent.end()).unwrap();
        assert!(segments(&leader, 1) == segments(&sim, 1), "seed {seed}");
    }
}

#[test]
fn what_a_process_left_unsynced_is_synced_before_anything_is_said_to_follow_it() {
    let writes = lead(&Sim::new(1), 1, FIRST, false, records).all();
    let first = Sim::new(2);
    follow(&first, 1, FIRST, async |_, writer, _| {
        for frames in &writes[..4] {
            writer.write(frames.clone(), false).await.unwrap();
        }
    });
    let (path, bytes) = segments(&first, 1).remove(0);
    for seed in 0..20 {
        let sim = Sim::new(seed);
        block_on_sim(&sim, async |disk| {
            let dir = path.parent().unwrap();
            disk.create_dir_all(dir).await.unwrap();
            let file = disk.create(&path, Access::Bulk).await.unwrap();
            let mut buf = disk.buffer(bytes.len());
            buf[..bytes.len()].copy_from_slice(&bytes);
            file.write_at(buf, bytes.len(), 0).await.0.unwrap();
            disk.sync_dir(dir).await.unwrap();
        })
        .unwrap();
        follow(&sim, 1, FIRST, async |_, writer, ended| {
            assert_eq!(ended.lsn, writes[4][0].header.lsn);
            writer.write(writes[4].clone(), false).await.unwrap();
        });
        follow(&sim.crash(seed), 1, FIRST, async |_, _, ended| {
            assert_eq!(ended.lsn, writes[5][0].header.lsn, "seed {seed}");
        });
    }
}

/// How many writes go into the first file of a span.
fn first_of_a_file(writes: &[Vec<ReadyFrame>]) -> usize {
    let opens = |frames: &Vec<ReadyFrame>| frames[0].header.block_index == 0;
    1 + writes[1..].iter().position(opens).unwrap()
}

#[test]
fn a_file_behind_the_end_of_the_span_that_holds_another_ones_records_is_refused() {
    let (leader, sim) = (Sim::new(1), Sim::new(2));
    let writes = lead(&leader, 1, FIRST, false, records).all();
    let count = first_of_a_file(&writes);
    follow(&sim, 1, FIRST, async |_, writer, _| {
        for frames in &writes[..count] {
            writer.write(frames.clone(), false).await.unwrap();
        }
    });
    // The name is the second file's, the records are the last one's, which is not sealed.
    let there = segments(&leader, 1);
    let file = &there[1].0;
    let (last, content) = there.iter().rfind(|(_, bytes)| bytes.iter().any(|byte| *byte != 0)).unwrap();
    assert!(last > file && content.len() as u64 == SEGMENT, "{}", last.display());
    sim.write_file(file, content);
    let before = segments(&sim, 1);
    let last = writes[count - 1].last().unwrap();
    let refused = end(&sim, 1, FIRST, SpanEnd { lsn: last.header.lsn + 1, chain: last.next_chain });
    assert!(
        matches!(&refused, Err(OpenError::Misplaced { file: named, .. }) if named == file),
        "{refused:?}"
    );
    assert!(segments(&sim, 1) == before);
}

#[test]
fn what_stands_behind_the_end_of_the_span_is_dropped() {
    let writes = lead(&Sim::new(1), 1, FIRST, false, records).all();
    for count in [2, 5, 20, first_of_a_file(&writes), writes.len() - 1] {
        let (longer, exact) = (Sim::new(2), Sim::new(3));
        let last = writes[count - 1].last().unwrap();
        let at = SpanEnd { lsn: last.header.lsn + 1, chain: last.next_chain };
        for (sim, writes) in [(&longer, &writes[..]), (&exact, &writes[..count])] {
            follow(sim, 1, FIRST, async |_, writer, _| {
                for frames in writes.iter().take(count + 3) {
                    writer.write(frames.clone(), false).await.unwrap();
                }
            });
            end(sim, 1, FIRST, at).unwrap();
        }
        assert!(segments(&longer, 1) == segments(&exact, 1), "{count}");
        let ended = block_on_sim(&longer, async |disk| {
            find_shard(disk, spec(2), Some(base_of(2, at)), options()).await.unwrap().ended()
        });
        assert_eq!(ended.unwrap().lsn, at.lsn);
    }
}

#[test]
fn a_disk_that_is_short_of_the_end_or_holds_something_else_is_left_as_it_is() {
    let writes = lead(&Sim::new(1), 1, FIRST, false, records).all();
    let sim = Sim::new(2);
    follow(&sim, 1, FIRST, async |_, writer, _| {
        for frames in &writes[..4] {
            writer.write(frames.clone(), false).await.unwrap();
        }
    });
    let before = segments(&sim, 1);
    let short = SpanEnd { lsn: writes[6][0].header.lsn, chain: writes[6][0].header.chain };
    assert!(matches!(end(&sim, 1, FIRST, short), Err(OpenError::Elsewhere { .. })));
    let other = SpanEnd { lsn: writes[3][0].header.lsn, chain: 1 };
    assert!(matches!(end(&sim, 1, FIRST, other), Err(OpenError::Elsewhere { .. })));
    assert!(segments(&sim, 1) == before);
}

#[test]
fn frames_that_do_not_continue_the_end_are_not_written() {
    let writes = lead(&Sim::new(1), 1, FIRST, false, records).all();
    let sim = Sim::new(2);
    follow(&sim, 1, FIRST, async |wal, writer, _| {
        let refused = writer.write(writes[1].clone(), false).await;
        assert!(matches!(refused, Err(AppendError::Invalid(_))), "a span begins with its opening frame");
        writer.write(writes[0].clone(), false).await.unwrap();
        let written = sim.counters();
        let mut other_chain = writes[1].clone();
        other_chain[0].header.chain ^= 1;
        let mut other_bytes = writes[1].clone();
        other_bytes[0].bytes = writes[2][0].bytes.clone();
        for frames in [writes[0].clone(), writes[2].clone(), other_chain, other_bytes] {
            assert!(matches!(writer.write(frames, false).await, Err(AppendError::Invalid(_))));
        }
        assert_eq!(sim.counters(), written);
        assert!(matches!(wal.status(), Status::Following));
        writer.write(writes[1].clone(), false).await.unwrap();
    });
}

#[test]
fn after_a_failed_write_a_follower_writes_nothing_more() {
    let writes = lead(&Sim::new(1), 1, FIRST, false, records).all();
    let sim = Sim::new(2);
    follow(&sim, 1, FIRST, async |wal, writer, _| {
        writer.write(writes[0].clone(), false).await.unwrap();
        sim.fail_nth_of(Kind::Write, 1, Fault::Io);
        let failed = writer.write(writes[1].clone(), false).await;
        assert!(matches!(failed, Err(AppendError::OutcomeUnknown { .. })), "{failed:?}");
        assert!(matches!(wal.status(), Status::Poisoned(_)));
        assert!(matches!(writer.write(writes[1].clone(), false).await, Err(AppendError::Poisoned { .. })));
    });
}

#[test]
fn a_doubted_end_is_found_doubted_again() {
    let writes = lead(&Sim::new(1), 1, FIRST, false, records).all();
    for doubted in [false, true] {
        let sim = Sim::new(2);
        follow(&sim, 1, FIRST, async |_, writer, _| {
            for frames in &writes[..4] {
                writer.write(frames.clone(), doubted).await.unwrap();
            }
        });
        follow(&sim.crash(3), 1, FIRST, async |_, _, ended| {
            let proved = tidelog_format::verdict::Verdict::End(tidelog_format::verdict::Grade::Proved);
            assert_eq!(ended.verdict == proved, !doubted, "{:?}", ended.verdict);
            assert_eq!(ended.lsn, writes[4][0].header.lsn);
        });
    }
}

/// A first span that is over, on a disk; where it ended.
fn with_a_past(sim: &Sim) -> SpanEnd {
    let sent = lead(sim, 1, FIRST, false, records);
    end(sim, 1, FIRST, sent.end()).unwrap();
    sent.end()
}

async fn more(wal: Wal) {
    for n in 0..40 {
        let pad = "+".repeat(n * 211 % 9000);
        wal.append(1 + n as u64 % 2, batch(&[format!("second {n} {pad}")])).await.unwrap();
    }
}

#[test]
fn a_holder_of_a_later_span_alone_writes_the_same_files_and_can_lead_on() {
    let (leader, follower) = (Sim::new(1), Sim::new(2));
    let base = with_a_past(&leader);
    let sent = lead(&leader, 2, base, true, more);
    let entries = &sent.all()[0][1].bytes;
    let Found::Frame(frame) = scan(entries, &Expect { block_index: 1, ..Expect::default() }) else {
        panic!("the second frame")
    };
    assert!(frame.entries().any(|entry| entry.kind() == Some(EntryKind::ShardState)));
    follow(&follower, 2, base, async |wal, writer, ended| {
        assert_eq!(ended.lsn, base.lsn);
        for frames in sent.all() {
            writer.commit(frames[0].header.committed_lsn);
            writer.write(frames, false).await.unwrap();
        }
        writer.commit(sent.end().lsn);
        turns().await;
        let state = wal.partition(1).unwrap();
        assert_eq!((state.log_start, state.next_offset), (7, 80));
        assert_eq!(read_all(&wal, 1, 60).await.len(), 20);
    });
    for sim in [&leader, &follower] {
        end(sim, 2, base, sent.end()).unwrap();
    }
    assert!(segments(&leader, 2).len() > 1);
    assert!(segments(&leader, 2) == segments(&follower, 2));
    // The follower leads the third span, and the old leader follows.
    let third = lead(&follower, 3, sent.end(), true, async |wal| {
        assert_eq!(wal.append(2, batch(&["third".to_owned()])).await.unwrap().base_offset(), 80);
    });
    follow(&leader, 3, sent.end(), async |wal, writer, _| {
        for frames in third.all() {
            writer.write(frames, false).await.unwrap();
        }
        writer.commit(third.end().lsn);
        turns().await;
        assert_eq!(read_all(&wal, 2, 79).await.len(), 2);
    });
    for sim in [&leader, &follower] {
        end(sim, 3, sent.end(), third.end()).unwrap();
    }
    assert!(segments(&leader, 3) == segments(&follower, 3));
}

#[test]
fn a_leader_that_stops_in_good_order_leaves_the_end_open() {
    let sim = Sim::new(1);
    let writes = lead(&sim, 1, FIRST, false, records).all();
    // Another node knew less, and the metadata took that end.
    let last = writes[writes.len() - 2].last().unwrap();
    let at = SpanEnd { lsn: last.header.lsn + 1, chain: last.next_chain };
    end(&sim, 1, FIRST, at).unwrap();
}
