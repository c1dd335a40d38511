//! Goes through all cases of a sample, judges and counts.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tidelog_format::name;

use crate::alike::{Alike, Met};
use crate::build::Built;
use crate::damage::{Group, Kind, groups};
use crate::directory::{Directory, segment};
use crate::excused::{Excuse, Shard, is_half_sealed, only_the_node_knows_the_epochs};
use crate::inspected::{Inspection, Inspector};
use crate::opened::{Refusal, open};
use crate::recovered::{Recovery, recover};
use crate::region::{Region, Regions};

/// Most broken promises that are told of.
const MOST_TOLD: usize = 20;

/// A directory whose cases are to be judged.
pub struct Sweep {
    built: Built,
    regions: BTreeMap<String, Regions>,
}

/// Cases by what came of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kind: named, unproved end, told by the metadata only, harmless, changes nothing.
    pub by_kind: BTreeMap<Kind, [u64; 5]>,
    /// Cases that were given to both readers; the others are alike.
    pub judged: u64,
    /// Promises that were broken: how often.
    pub wrong: u64,
    /// The first ones in words.
    pub told: Vec<String>,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Named,
    /// [`Excuse::Told`], or a word about an end that nothing proves, of which nothing was lost.
    Unproved,
    /// [`Excuse::Untold`]
    Untold,
    Harmless,
    Wrong(String),
}

impl Sweep {
    pub(crate) fn new(built: Built) -> Sweep {
        let of = |(path, bytes): (&String, &Arc<Vec<u8>>)| (path.clone(), Regions::of(path, bytes));
        let regions = built.directory.files.iter().map(of).collect();
        Sweep { built, regions }
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
                if count % share.1 == share.0 {
                    judge.case(&group, number, &mut counts);
                }
            }
        }
        Ok(counts)
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
    alike: Alike,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(sweep: &'a Sweep) -> io::Result<Judge<'a>> {
        let inspector = Inspector::new(&sweep.built.directory)?;
        let alike = Alike::new(&sweep.built.directory);
        Ok(Judge { built: &sweep.built, regions: &sweep.regions, inspector, alike })
    }

    fn case(&mut self, group: &Group, number: u64, counts: &mut Counts) {
        let here = counts.by_kind.entry(group.kind).or_default();
        let Some((damaged, what)) = group.apply(&self.built.directory, number) else {
            here[4] += 1;
            return;
        };
        let outcome = match self.alike.meet(&damaged) {
            // Whether nothing was there is asked of each place anew.
            Met::Known(Outcome::Harmless) => self.unnoticed(&damaged),
            Met::Known(outcome) => outcome,
            Met::ToJudge(key, before) => {
                counts.judged += 1;
                let outcome = self.judge_or_fail(&damaged);
                self.alike.note(key, &outcome);
                match before.filter(|before| *before != outcome) {
                    Some(before) => {
                        Outcome::Wrong(format!("{outcome:?}, and {before:?} where all reads alike"))
                    }
                    None => outcome,
                }
            }
        };
        match outcome {
            Outcome::Named => here[0] += 1,
            Outcome::Unproved => here[1] += 1,
            Outcome::Untold => here[2] += 1,
            Outcome::Harmless => here[3] += 1,
            Outcome::Wrong(why) => {
                counts.wrong += 1;
                if counts.told.len() < MOST_TOLD {
                    counts.told.push(format!("{:?} {number}: {what}: {why}", group.kind));
                }
            }
        }
    }

    fn judge_or_fail(&mut self, damaged: &Directory) -> Outcome {
        match catch_unwind(AssertUnwindSafe(|| self.judge(damaged))) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Wrong(format!("the test itself failed: {error}")),
            Err(_) => Outcome::Wrong("panic".to_owned()),
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
                worst = worst.max(self.excused(damaged, *shard, recover(&sim, *shard, epoch, truth)));
            }
        }
        Ok(worst)
    }

    fn excused(&self, damaged: &Directory, shard: u64, recovery: Recovery) -> Recovery {
        let Recovery::Lost { lsn, what, cut } = recovery else { return recovery };
        let what = format!("LSN {lsn}: {what} (cut: {cut:?})");
        match Shard::new(self.built, self.regions, damaged, shard).excuses(lsn, &cut) {
            Some(Excuse::Told) => Recovery::Cut(what),
            Some(Excuse::Untold) => Recovery::Untold(what),
            None => Recovery::Wrong(format!("gone silently from {what}")),
        }
    }

    fn weigh(&self, damaged: &Directory, inspection: Inspection, recovery: Recovery) -> Outcome {
        match (recovery, inspection) {
            (Recovery::Wrong(why), _) | (_, Inspection::Wrong(why)) => Outcome::Wrong(why),
            (Recovery::Named(why) | Recovery::Cut(why), Inspection::Silent)
                if !only_the_node_knows_the_epochs(&self.built.directory, damaged) =>
            {
                Outcome::Wrong(format!("the inspector says nothing of it: {why}"))
            }
            (Recovery::Named(_), _) | (_, Inspection::Named(_)) => Outcome::Named,
            (Recovery::Untold(_), _) => Outcome::Untold,
            (Recovery::Cut(_), _) | (_, Inspection::Noted(_)) => Outcome::Unproved,
            (Recovery::Sound | Recovery::Told(_), Inspection::Silent) => self.unnoticed(damaged),
            (Recovery::Lost { what, .. }, _) => Outcome::Wrong(what),
        }
    }

    /// What nobody says anything of is harmless where nothing was.
    fn unnoticed(&self, damaged: &Directory) -> Outcome {
        match self.counts(damaged) {
            Some((file, region)) => Outcome::Wrong(format!("nobody notices it: {file}, {region:?}")),
            None => Outcome::Harmless,
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
            let counts =
                |region: &Region| !(region.is_free() || region.is_of_seal() && is_half_sealed(damaged, name));
            if let Some(region) = touched.into_iter().flatten().find(counts) {
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
        let lsns: Vec<u64> = regions.frames().map(|(lsn, _)| lsn).collect();
        truth.commands.is_empty() && truth.wanted().all(|lsn| !lsns.contains(&lsn))
    }
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
        self.judged += other.judged;
        self.wrong += other.wrong;
        self.told.extend(other.told);
        self.told.truncate(MOST_TOLD);
    }
}
