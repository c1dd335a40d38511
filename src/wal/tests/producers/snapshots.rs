//! Footers against the frames from the beginning.

use super::*;
use tidelog_format::BLOCK;
use tidelog_format::footer::Footer;
use tidelog_format::index::{SealedAs, SegmentIndex};
use tidelog_format::scan::{Expect, Found, scan};

const NOBODY: SealedAs =
    SealedAs { salt: [0; 16], base_lsn: 0, next_lsn: 0, chain: 0, epoch: 0, block_index: 0 };

/// Walks all segments from the first one on and compares each footer's producers with what the frames give; says how
/// many rows there were in footers.
fn compare(sim: &Sim) -> usize {
    let files = sim.files();
    let mut segments: Vec<_> =
        files.iter().filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    segments.retain(|path| path.parent().is_some_and(|dir| dir.ends_with("1")));
    segments.sort_by_key(|path| {
        path.file_name().unwrap().to_string_lossy().rsplit('-').next().unwrap().to_owned()
    });
    let (mut index, mut rows) = (SegmentIndex::default(), 0);
    for path in segments {
        let bytes = sim.read_file(path).unwrap();
        let mut expect = Expect::default();
        loop {
            let at = usize::try_from(expect.block_index).unwrap() * BLOCK;
            match scan(&bytes[at.min(bytes.len())..], &expect) {
                Found::Frame(frame) => {
                    index.note_frame(&frame);
                    expect = Expect::after(&frame);
                }
                Found::Footer(_) => {
                    let footer = Footer::decode(&bytes[at..]).unwrap();
                    assert_eq!(index.producers().snapshot(), footer.producers, "{}", path.display());
                    rows += footer.producers.len();
                    index.seal(&NOBODY);
                    break;
                }
                Found::Virgin if at == 0 => break,
                other => panic!("{}: {other:?} at {at}", path.display()),
            }
        }
    }
    rows
}

#[test]
fn the_snapshot_in_every_footer_is_what_a_replay_from_the_beginning_gives() {
    let mut sim = Sim::new(5);
    let pad = "p".repeat(3_000);
    let mut sequences = [0i32; 9];
    for epoch in 1..=4u32 {
        let sequences = &mut sequences;
        with_shard(&sim, epoch, options(), async |wal, _| {
            for partition in 1..=4 {
                if wal.partition(partition).is_none() {
                    create(&wal, partition).await;
                }
            }
            for n in 0..200usize {
                let producer = (n * 7 + epoch as usize) % 9;
                let sequence = &mut sequences[producer];
                let values = vec![format!("{n} {pad}"); 1 + n % 3];
                let partition = 1 + producer as u64 % 4;
                let id = i64::try_from(producer).unwrap();
                wal.append(partition, by((id, 0, *sequence), &values)).await.unwrap();
                *sequence += i32::try_from(values.len()).unwrap();
                if n % 13 == 0 {
                    wal.append(partition, batch(&["of nobody".to_owned()])).await.unwrap();
                }
            }
            if epoch == 2 {
                wal.control(Control::DeletePartition { partition: 4 }).await.unwrap();
                create(&wal, 5).await;
            }
            // By a clean stop, and by a kill that the next start seals.
            if epoch % 2 == 0 {
                wal.close().await.unwrap();
            }
        })
        .unwrap();
        sim = sim.crash(u64::from(epoch));
        if epoch == 2 {
            // Partition 4 is created anew, and its producers begin with it.
            sequences.iter_mut().skip(3).step_by(4).for_each(|sequence| *sequence = 0);
        }
    }
    with_shard(&sim, 5, options(), async |wal, _| {
        assert!(Stats::get(&wal.stats().producers) >= 7);
        wal.close().await.unwrap();
    })
    .unwrap();
    assert!(compare(&sim) > 50);
}
