//! Goes through all cases of a sample, judges and counts.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tidelog_format::name;
use tidelog_format::superblock::Superblock;

use crate::build::Built;
use crate::damage::{Group, Kind, SECTOR, groups};
use crate::directory::{Directory, segment};
use crate::inspected::{Inspection, Inspector};
use crate::opened::{Refusal, open};
use crate::recovered::{Recovery, recover};
use crate::region::{Region, Regions};

/// Most broken promises that are told of.
const MOST_TOLD: usize = 20;

/// A directory whose cases are to be judged.
pub struct Sweep {
    name: String,
    built: Built,
    regions: BTreeMap<String, Regions>,
}

/// Cases by what came of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kind: named, unproved end, seen by the metadata only, harmless, changes nothing.
    pub by_kind: BTreeMap<Kind, [u64; 5]>,
    /// Promises that were broken: how often, and the first ones in words.
    pub wrong: u64,
    /// The first ones in words.
    pub told: Vec<String>,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Named,
    Unproved,
    /// The newest segments are gone as a whole, or older files stand in their place, or nothing of the last write is
    /// left: the shard alone looks exactly as it did before.
    Unseen,
    Harmless,
    Wrong(String),
}

impl Sweep {
    pub(crate) fn new(name: &str, built: Built) -> Sweep {
        let of = |(path, bytes): (&String, &Arc<Vec<u8>>)| (path.clone(), Regions::of(path, bytes));
        let regions = built.directory.files.iter().map(of).collect();
        Sweep { name: name.to_owned(), built, regions }
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.built.epoch
    }

    /// Files and their bytes.
    pub fn files(&self) -> Vec<(String, usize)> {
        self.built.directory.files.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect()
    }

    /// Judges the cases whose number, counted over all of them, is `share.0` modulo `share.1`: at most so many of each
    /// group, spread evenly, and so many random combinations.
    ///
    /// # Errors
    /// When the place where the inspector looks can't be written.
    pub fn run(&self, at_most: u64, random: u64, share: (u64, u64)) -> io::Result<Counts> {
        let mut judge = Judge::new(self)?;
        let mut counts = Counts::default();
        let mut count = 0;
        for group in groups(&self.built, random) {
            let most = if group.kind == Kind::Random { random } else { at_most };
            let taken = group.count.min(most);
            for index in 0..taken {
                count += 1;
                let number = spread(index, taken, group.count);
                if count % share.1 == share.0 && !self.is_one_of_many(&group, number, taken) {
                    judge.case(&group, number, &mut counts);
                }
            }
        }
        Ok(counts)
    }

    /// Where nothing was ever written one bit of a byte, or one length of eight, stands for the others; of the open
    /// segment all are tried.
    fn is_one_of_many(&self, group: &Group, number: u64, taken: u64) -> bool {
        if taken < group.count || self.name == "open" {
            return false;
        }
        let Some(file) = group.file() else { return false };
        let free = |byte: u64| {
            let regions = self.regions.get(file);
            regions.is_some_and(|regions| regions.at(usize::try_from(byte).unwrap_or(usize::MAX)).is_free())
        };
        match group.kind {
            Kind::Bit => free(number / 8) && number % 8 != (number / 8) % 8,
            Kind::Cut => free(number) && !number.is_multiple_of(8),
            _ => false,
        }
    }
}

/// The `index`th of `taken` numbers below `count`, evenly spread and not on a grid.
fn spread(index: u64, taken: u64, count: u64) -> u64 {
    if taken == count {
        return index;
    }
    let from = u128::from(index) * u128::from(count) / u128::from(taken);
    let to = u128::from(index + 1) * u128::from(count) / u128::from(taken);
    let step = (to - from).max(1);
    u64::try_from(from + u128::from(index).wrapping_mul(7919) % step).unwrap_or(0)
}

/// Both readers, kept from case to case.
pub(crate) struct Judge<'a> {
    built: &'a Built,
    regions: &'a BTreeMap<String, Regions>,
    inspector: Inspector,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(sweep: &'a Sweep) -> io::Result<Judge<'a>> {
        let inspector = Inspector::new(&sweep.built.directory)?;
        Ok(Judge { built: &sweep.built, regions: &sweep.regions, inspector })
    }

    fn case(&mut self, group: &Group, number: u64, counts: &mut Counts) {
        let here = counts.by_kind.entry(group.kind).or_default();
        let Some((damaged, what)) = group.apply(&self.built.directory, number) else {
            here[4] += 1;
            return;
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| self.judge(&damaged)));
        let outcome = match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Wrong(format!("the test itself failed: {error}")),
            Err(_) => Outcome::Wrong("panic".to_owned()),
        };
        match outcome {
            Outcome::Named => here[0] += 1,
            Outcome::Unproved => here[1] += 1,
            Outcome::Unseen => here[2] += 1,
            Outcome::Harmless => here[3] += 1,
            Outcome::Wrong(why) => {
                counts.wrong += 1;
                if counts.told.len() < MOST_TOLD {
                    counts.told.push(format!("{:?} {number}: {what}: {why}", group.kind));
                }
            }
        }
    }

    /// Gives the damaged directory to both readers.
    pub(crate) fn judge(&mut self, damaged: &Directory) -> io::Result<Outcome> {
        let inspection = self.inspector.inspect(damaged)?;
        let recovery = self.recover(damaged)?;
        Ok(self.weigh(damaged, inspection, recovery))
    }

    /// What the worst of the shards came to.
    fn recover(&self, damaged: &Directory) -> io::Result<Recovery> {
        let intact = &self.built.directory;
        let mut epoch = self.built.epoch;
        let same_superblock = damaged.files.get(name::SUPERBLOCK) == intact.files.get(name::SUPERBLOCK);
        if !same_superblock {
            match open(damaged)? {
                Ok(opened) => epoch = opened,
                Err(Refusal::Named(why)) => return Ok(Recovery::Named(why)),
                Err(Refusal::Wrong(why)) => return Ok(Recovery::Wrong(why)),
            }
        }
        let sim = damaged.disk();
        let mut worst = Recovery::Sound;
        for (shard, truth) in &self.built.truth {
            if epoch != self.built.epoch || differs(intact, damaged, *shard) {
                let cut_short = is_cut_short(intact, damaged, *shard);
                worst = worst.max(recover(&sim, *shard, epoch, truth, cut_short));
            }
        }
        Ok(worst)
    }

    fn weigh(&self, damaged: &Directory, inspection: Inspection, recovery: Recovery) -> Outcome {
        match (recovery, inspection) {
            (Recovery::Lost(lsn, _), _)
                if self.is_whole_end(damaged, lsn) || self.is_unwritten(damaged, lsn) =>
            {
                Outcome::Unseen
            }
            (Recovery::Lost(lsn, what), _) => Outcome::Wrong(format!("LSN {lsn} is gone silently: {what}")),
            (Recovery::Wrong(why), _) | (_, Inspection::Wrong(why)) => Outcome::Wrong(why),
            // Epochs are the cluster's, so that only the node can tell that they are too new for its superblock.
            (Recovery::Named(why) | Recovery::Cut(why), Inspection::Silent)
                if !self.is_rolled_back(damaged) =>
            {
                Outcome::Wrong(format!("the inspector says nothing of it: {why}"))
            }
            (Recovery::Named(_), _) | (_, Inspection::Named(_)) => Outcome::Named,
            (Recovery::Cut(_), _) | (_, Inspection::Noted(_)) => Outcome::Unproved,
            (Recovery::Sound | Recovery::Told(_), Inspection::Silent) => match self.counts(damaged) {
                Some((file, region)) => Outcome::Wrong(format!("nobody notices it: {file}, {region:?}")),
                None => Outcome::Harmless,
            },
        }
    }

    /// A place that was damaged and where something stood that counts.
    fn counts(&self, damaged: &Directory) -> Option<(String, Region)> {
        let intact = &self.built.directory.files;
        for (name, before) in intact {
            let after = damaged.files.get(name).map(|bytes| bytes.as_slice()).unwrap_or_default();
            if after.is_empty() && self.is_unwanted(name) {
                continue;
            }
            let touched = self.regions.get(name).map(|regions| regions.touched(before, after));
            if let Some(region) = touched.into_iter().flatten().find(|region| !region.is_free()) {
                return Some((name.clone(), region));
            }
        }
        let further =
            damaged.files.keys().find(|name| segment(name).is_some() && !intact.contains_key(*name));
        further.map(|name| (name.clone(), Region::Nothing))
    }
}

impl Judge<'_> {
    /// Whether no record or command that is still wanted is in this segment.
    fn is_unwanted(&self, name: &str) -> bool {
        let Some((shard, ..)) = segment(name) else { return false };
        let (Some(truth), Some(regions)) = (self.built.truth.get(&shard), self.regions.get(name)) else {
            return false;
        };
        let lsns: Vec<u64> = regions.frames().collect();
        truth.commands.is_empty() && truth.wanted().all(|lsn| !lsns.contains(&lsn))
    }

    /// Whether the superblock is another one and both its copies are intact: it is as it was at an earlier time.
    fn is_rolled_back(&self, damaged: &Directory) -> bool {
        let (before, now) = (&self.built.directory.files, damaged.files.get(name::SUPERBLOCK));
        let whole = now.is_some_and(|bytes| Superblock::is_whole(bytes));
        whole && now != before.get(name::SUPERBLOCK)
    }

    /// Whether the place of the last frame is as it was before that was written, and its end block is gone too: the very
    /// bytes that stood there before its write.
    fn is_unwritten(&self, damaged: &Directory, lsn: u64) -> bool {
        self.built.directory.files.iter().any(|(name, intact)| {
            let Some((shard, ..)) = segment(name) else { return false };
            let last = self.built.truth.get(&shard).is_some_and(|truth| lsn >= truth.last_lsn);
            let place = self.regions.get(name).and_then(|regions| regions.write_of(lsn));
            let (Some((frame, end)), Some(now)) = (place.filter(|_| last), damaged.files.get(name)) else {
                return false;
            };
            let part = |bytes: &[u8]| bytes.get(frame.clone()).map(<[u8]>::to_vec);
            let earlier = self.built.earlier.get(name).map(Vec::as_slice).unwrap_or_default();
            let zeroes = part(now).is_some_and(|now| now.iter().all(|byte| *byte == 0));
            let gone = now.get(end..end + SECTOR) != intact.get(end..end + SECTOR);
            gone && (zeroes || earlier.iter().any(|earlier| part(earlier) == part(now)))
        })
    }

    /// Whether the shard's newest segments, in which this LSN and all behind it are, are gone or others as a whole.
    fn is_whole_end(&self, damaged: &Directory, lsn: u64) -> bool {
        let intact = &self.built.directory.files;
        let mut newest: Vec<_> = intact.keys().filter_map(|name| Some((segment(name)?, name))).collect();
        newest.sort_by_key(|((shard, epoch, number), _)| (*shard, *number, *epoch));
        let mut shard = None;
        let mut still = true;
        for ((of, ..), name) in newest.into_iter().rev() {
            still = (shard == Some(of) && still) || shard != Some(of);
            shard = Some(of);
            if self.regions.get(name).is_some_and(|regions| regions.frames().next().is_none()) {
                continue;
            }
            still = still && is_other(intact, damaged, name);
            let holds = self.regions.get(name).is_some_and(|regions| regions.frames().min() <= Some(lsn));
            if still && holds {
                return true;
            }
        }
        false
    }
}

/// Whether one of the shard's files is shorter than it was.
fn is_cut_short(intact: &Directory, damaged: &Directory, of: u64) -> bool {
    intact.files.iter().any(|(name, before)| {
        let now = damaged.files.get(name);
        segment(name).is_some_and(|(shard, ..)| shard == of)
            && now.is_some_and(|now| now.len() < before.len())
    })
}

/// Whether what stands under this name is nothing, or another file of the directory.
fn is_other(intact: &BTreeMap<String, Arc<Vec<u8>>>, damaged: &Directory, name: &str) -> bool {
    let Some(now) = damaged.files.get(name) else { return true };
    let (before, salt) = (&intact[name], |bytes: &[u8]| bytes.get(16..32).map(<[u8]>::to_vec));
    let other = |file: &Vec<u8>| salt(file) != salt(before) && salt(file) == salt(now);
    intact.values().any(|file| other(file))
}

fn differs(intact: &Directory, damaged: &Directory, shard: u64) -> bool {
    let of = |directory: &Directory| {
        let folder = crate::directory::folder(shard) + "/";
        let here = directory.files.iter().filter(|(name, _)| name.starts_with(&folder));
        here.map(|(name, bytes)| (name.clone(), Arc::clone(bytes))).collect::<Vec<_>>()
    };
    of(intact) != of(damaged)
}

impl Counts {
    /// Both together.
    pub fn add(&mut self, other: Counts) {
        for (kind, counts) in other.by_kind {
            let here = self.by_kind.entry(kind).or_default();
            here.iter_mut().zip(counts).for_each(|(here, more)| *here += more);
        }
        self.wrong += other.wrong;
        self.told.extend(other.told);
        self.told.truncate(MOST_TOLD);
    }
}
