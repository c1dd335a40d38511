//! A model of crashes: the last operation tears at 512-byte sectors, each of which survives or not. Whatever had
//! returned is found, and no crash is called corruption.

use tidelog_format::BLOCK;
use tidelog_format::opening::Opening;
use tidelog_format::scan::Expect;
use tidelog_format::verdict::Verdict;

use crate::samples::earlier_life;
use crate::support::batches::{Laid, batch, created};
use crate::support::random::{Random, seeds};
use crate::support::walking::{Seen, Walked, walk};
use crate::support::writer::{Pending, Writer};

const SECTOR: usize = 512;
const EPOCH: u32 = 9;

/// What stands in the file before its first write.
fn before(random: &mut Random, epoch: u32) -> Vec<u8> {
    let blocks = 8 + random.below(24);
    match random.below(4) {
        0 => vec![0; blocks * BLOCK],
        1 => random.bytes(blocks * BLOCK),
        2 => {
            // Half prepared.
            let mut file = earlier_life(blocks, epoch, random.next());
            file[blocks / 2 * BLOCK..].fill(0);
            file
        }
        _ => earlier_life(blocks, epoch, random.next()),
    }
}

/// What the reader knows of a segment beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// All, from the segment before.
    All,
    /// All but the salt: the first segment of a span.
    AllButSalt,
    /// The epoch in the file's name: a lone file in the inspector's hand.
    Epoch,
}

impl Known {
    pub(crate) fn any(random: &mut Random) -> Known {
        [Known::All, Known::AllButSalt, Known::Epoch][random.below(3)]
    }

    pub(crate) fn expect(self, writer: &Writer) -> Expect {
        let all = writer.expect();
        match self {
            Known::All => all,
            Known::AllButSalt => Expect { salt: None, ..all },
            Known::Epoch => Expect { epoch: all.epoch, ..Expect::default() },
        }
    }

    /// Epoch of the file's earlier life: where neither salt nor LSN are known, only it tells the lives apart.
    pub(crate) fn earlier_epoch(self, epoch: u32) -> u32 {
        if self == Known::Epoch { epoch - 1 } else { epoch }
    }
}

pub(crate) fn entries(random: &mut Random, offset: u64) -> Vec<Laid> {
    let mut out = vec![created(7, "metrics/0")];
    for index in 0..1 + random.below(3) {
        let len = random.below(7000);
        let value = random.bytes(len);
        out.push(batch(7, offset + u64::try_from(index).unwrap(), 1000, &[&value]));
    }
    out
}

/// A segment with up to eight returned writes, some with a sync mark behind them.
pub(crate) fn grown(random: &mut Random, file: Vec<u8>, epoch: u32, least: usize) -> Writer {
    let opening = Opening::new([1; 16], 4, 12, 1024 * 1024);
    let mut writer = Writer::new(file, opening, random.id(), epoch, 100 + random.below(900) as u64);
    for _ in 0..least + random.below(7) {
        let offset = writer.lsn * 4;
        writer.write(&entries(random, offset));
        if random.one_in(3) {
            writer.mark(random.one_in(2));
        }
    }
    writer
}

/// Puts a random choice of the sectors into the file.
fn tear(random: &mut Random, writer: &mut Writer, pending: &Pending) {
    let end = pending.at + pending.bytes.len();
    if writer.file.len() < end {
        // Blocks behind the file's end may be there or not.
        let grown = pending.at + random.below(pending.bytes.len() / BLOCK + 1) * BLOCK;
        writer.file.resize(writer.file.len().max(grown), 0);
    }
    let odds = 1 + random.below(4);
    for (index, sector) in pending.bytes.chunks(SECTOR).enumerate() {
        let at = pending.at + index * SECTOR;
        if random.one_in(odds)
            && let Some(place) = writer.file.get_mut(at..at + sector.len())
        {
            place.copy_from_slice(sector);
        }
    }
}

/// Starts an operation and crashes in the middle. Gives the frames that may appear besides the returned ones.
fn crash(random: &mut Random, writer: &mut Writer) -> Vec<Seen> {
    if writer.block == 0 || !random.one_in(3) {
        let pending = writer.prepare(&entries(random, writer.lsn * 4));
        let mut done = writer.clone();
        done.took(&pending);
        tear(random, writer, &pending);
        return done.returned.pop().unwrap().frames;
    }
    if random.one_in(2) {
        let clean = random.one_in(2);
        let mark = writer.prepare_mark(clean);
        tear(random, writer, &mark);
        return Vec::new();
    }
    let [tail, first] = writer.prepare_seal();
    if random.one_in(3) {
        tear(random, writer, &tail);
    } else {
        writer.apply(&tail);
        tear(random, writer, &first);
    }
    Vec::new()
}

fn assert_nothing_lost(writer: &Writer, torn: &[Seen], walked: &Walked, what: &str) {
    let returned = writer.frames();
    assert!(walked.frames.len() >= returned.len(), "{what}: a returned frame is gone: {:?}", walked.outcome);
    assert_eq!(walked.frames[..returned.len()], returned, "{what}");
    let more = &walked.frames[returned.len()..];
    assert_eq!(more, &torn[..more.len()], "{what}: a frame that was never written");
    let verdict = walked.outcome.verdict;
    assert!(matches!(verdict, Verdict::End(_) | Verdict::Torn), "{what}: {:?}", walked.outcome);
}

#[test]
fn no_crash_loses_a_returned_write_or_is_called_corrupt() {
    for seed in seeds(1500) {
        let mut random = Random::new(seed);
        let known = Known::any(&mut random);
        let file = before(&mut random, known.earlier_epoch(EPOCH));
        let mut writer = grown(&mut random, file, EPOCH, 0);
        let torn = crash(&mut random, &mut writer);
        let walked = walk(&writer.file, known.expect(&writer), None);
        assert_nothing_lost(&writer, &torn, &walked, &format!("seed {seed}, {known:?}"));
    }
}

#[test]
fn a_replica_that_cuts_and_goes_on_in_the_same_file_loses_nothing_in_later_crashes() {
    for seed in seeds(300) {
        let mut random = Random::new(seed);
        let file = before(&mut random, EPOCH);
        let mut writer = grown(&mut random, file, EPOCH, 1);
        for round in 0..4 {
            // Without a seal: an interrupted one is finished, not written over.
            let pending = writer.prepare(&entries(&mut random, writer.lsn * 4));
            let mut done = writer.clone();
            done.took(&pending);
            tear(&mut random, &mut writer, &pending);
            let torn = done.returned.pop().unwrap().frames;
            let walked = walk(&writer.file, writer.expect(), None);
            assert_nothing_lost(&writer, &torn, &walked, &format!("seed {seed} round {round}"));
            // It may keep the torn write when it is whole, or give it up: it was never acknowledged.
            if walked.frames.len() > writer.frames().len() {
                writer.took(&pending);
            }
            writer.mark(false);
            for _ in 0..random.below(3) {
                let offset = writer.lsn * 4;
                writer.write(&entries(&mut random, offset));
            }
            let walked = walk(&writer.file, writer.expect(), None);
            assert_nothing_lost(&writer, &[], &walked, &format!("seed {seed} behind round {round}"));
        }
    }
}
