//! Every way of damaging a directory, counted: each group is a number of cases, and a case is found by its number.

use std::sync::Arc;

use tidelog_io::random::Entropy;

use crate::build::Built;
use crate::directory::{Directory, segment, segment_path};

/// What a disk writes as a unit, bytes.
pub(crate) const SECTOR: usize = 512;

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One bit is the other way round.
    Bit,
    /// The file ends earlier.
    Cut,
    /// A sector is all zeroes.
    Zero,
    /// A sector holds what it held before.
    Stale,
    /// Two sectors have changed places, also between files.
    Swap,
    /// Two files have changed places.
    Exchange,
    /// A file is gone.
    Missing,
    /// A file stands in another's place, or under a further name too.
    Double,
    /// Several of these at random.
    Random,
}

/// Cases of one kind on one directory.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) kind: Kind,
    pub(crate) count: u64,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    File(String),
    /// A sector of a file and an earlier content of it.
    Earlier(Vec<(String, usize, Arc<Vec<u8>>)>),
    /// All sectors: file and number.
    Sectors(Vec<(String, usize)>),
    Files(Vec<(String, String)>),
    Anywhere(Vec<Group>),
}

/// All groups of a directory: `random` combinations, and each single damage.
pub(crate) fn groups(built: &Built, random: u64) -> Vec<Group> {
    let files = &built.directory.files;
    let mut groups = Vec::new();
    for (name, bytes) in files {
        let len = bytes.len() as u64;
        let group = |kind, count| Group { kind, count, place: Place::File(name.clone()) };
        groups.push(group(Kind::Bit, len * 8));
        groups.push(group(Kind::Cut, len));
        groups.push(group(Kind::Zero, len.div_ceil(SECTOR as u64)));
        groups.push(group(Kind::Missing, 1));
    }
    let earlier = earlier(built);
    groups.push(Group { kind: Kind::Stale, count: earlier.len() as u64, place: Place::Earlier(earlier) });
    let sectors = sectors(&built.directory);
    let n = sectors.len() as u64;
    groups.push(Group {
        kind: Kind::Swap,
        count: n * n.saturating_sub(1) / 2,
        place: Place::Sectors(sectors),
    });
    let (exchanged, doubled) = (exchanges(&built.directory), doubles(built));
    groups.push(Group {
        kind: Kind::Exchange,
        count: exchanged.len() as u64,
        place: Place::Files(exchanged),
    });
    groups.push(Group { kind: Kind::Double, count: doubled.len() as u64, place: Place::Files(doubled) });
    let place = Place::Anywhere(groups.clone());
    groups.push(Group { kind: Kind::Random, count: random, place });
    groups
}

/// Each sector with each different content that it ever had.
fn earlier(built: &Built) -> Vec<(String, usize, Arc<Vec<u8>>)> {
    let mut found: Vec<(String, usize, Arc<Vec<u8>>)> = Vec::new();
    for (name, now) in &built.directory.files {
        let contents = built.earlier.get(name).map(Vec::as_slice).unwrap_or_default();
        for sector in 0..now.len().div_ceil(SECTOR) {
            let current = part(now, sector);
            let mut known: Vec<&[u8]> = vec![current];
            for content in contents {
                let old = part(content, sector);
                if old.len() == current.len() && !known.contains(&old) {
                    known.push(old);
                    found.push((name.clone(), sector, Arc::clone(content)));
                }
            }
        }
    }
    found
}

fn sectors(directory: &Directory) -> Vec<(String, usize)> {
    let of = |(name, bytes): (&String, &Arc<Vec<u8>>)| {
        let whole = bytes.len() / SECTOR;
        (0..whole).map(|sector| (name.clone(), sector)).collect::<Vec<_>>()
    };
    directory.files.iter().flat_map(of).collect()
}

fn exchanges(directory: &Directory) -> Vec<(String, String)> {
    let names: Vec<&String> = directory.files.keys().collect();
    let pairs = |(at, one): (usize, &&String)| {
        names[at + 1..].iter().map(|other| ((*one).clone(), (*other).clone())).collect::<Vec<_>>()
    };
    names.iter().enumerate().flat_map(pairs).collect()
}

/// Each file over each other one, and each segment under names that are free.
fn doubles(built: &Built) -> Vec<(String, String)> {
    let names: Vec<&String> = built.directory.files.keys().collect();
    let mut pairs = Vec::new();
    for from in &names {
        for onto in names.iter().filter(|onto| onto != &from) {
            pairs.push(((*from).clone(), (*onto).clone()));
        }
        let Some((shard, epoch, number)) = segment(from) else { continue };
        let mut free = vec![
            segment_path(shard, epoch, number + 1),
            segment_path(shard, epoch + 1, number),
            segment_path(shard, epoch + 1, number + 1),
            segment_path(shard, epoch, number + 7),
            segment_path(shard, epoch, number.saturating_sub(1)),
        ];
        for other in built.directory.shards().into_iter().filter(|other| *other != shard) {
            free.extend([segment_path(other, epoch, number), segment_path(other, epoch + 1, number + 1)]);
        }
        for onto in free {
            if !built.directory.files.contains_key(&onto) {
                pairs.push(((*from).clone(), onto));
            }
        }
    }
    pairs
}

fn part(bytes: &[u8], sector: usize) -> &[u8] {
    let from = (sector * SECTOR).min(bytes.len());
    &bytes[from..(from + SECTOR).min(bytes.len())]
}

impl Group {
    /// The directory with the case of this number, and what the case is; `None` where it changes nothing.
    pub(crate) fn apply(&self, directory: &Directory, number: u64) -> Option<(Directory, String)> {
        let mut damaged = directory.clone();
        let what = self.damage(&mut damaged, number)?;
        (damaged != *directory).then_some((damaged, what))
    }

    fn damage(&self, damaged: &mut Directory, number: u64) -> Option<String> {
        let index = usize::try_from(number).ok()?;
        match &self.place {
            Place::File(name) => in_file(self.kind, damaged, name, index),
            Place::Earlier(all) => {
                let (name, sector, content) = all.get(index)?;
                let old = part(content, *sector).to_vec();
                change(damaged, name, |bytes| {
                    let at = sector * SECTOR;
                    if let Some(here) = bytes.get_mut(at..at + old.len()) {
                        here.copy_from_slice(&old);
                    }
                })?;
                Some(format!("{name}: sector {sector} as it was before"))
            }
            Place::Sectors(all) => {
                let (one, other) = pair(number);
                let ((a, m), (b, n)) = (all.get(one)?, all.get(other)?);
                let (first, second) = (sector_of(damaged, a, *m)?, sector_of(damaged, b, *n)?);
                if first == second {
                    return None;
                }
                put_sector(damaged, a, *m, &second)?;
                put_sector(damaged, b, *n, &first)?;
                Some(format!("{a} sector {m} and {b} sector {n} exchanged"))
            }
            Place::Files(pairs) => {
                let (from, to) = pairs.get(index)?;
                let moved = damaged.files.get(from)?.clone();
                let before = damaged.files.insert(to.clone(), moved);
                if self.kind == Kind::Exchange {
                    damaged.files.insert(from.clone(), before?);
                    return Some(format!("{from} and {to} exchanged"));
                }
                Some(format!("{from} also as {to}"))
            }
            Place::Anywhere(groups) => Some(several(groups, damaged, number)),
        }
    }
}

/// One damage to one file.
fn in_file(kind: Kind, damaged: &mut Directory, name: &str, index: usize) -> Option<String> {
    match kind {
        Kind::Bit => {
            change(damaged, name, |bytes| {
                if let Some(byte) = bytes.get_mut(index / 8) {
                    *byte ^= 1 << (index % 8);
                }
            })?;
            Some(format!("{name}: byte {} bit {}", index / 8, index % 8))
        }
        Kind::Cut => {
            change(damaged, name, |bytes| bytes.truncate(index))?;
            Some(format!("{name}: cut at {index}"))
        }
        Kind::Zero => {
            change(damaged, name, |bytes| {
                let end = bytes.len().min((index + 1) * SECTOR);
                if let Some(here) = bytes.get_mut(index * SECTOR..end) {
                    here.fill(0);
                }
            })?;
            Some(format!("{name}: sector {index} zeroed"))
        }
        _ => {
            damaged.files.remove(name)?;
            Some(format!("{name}: missing"))
        }
    }
}

/// Two to six damages, one after the other; most of them near each other's files as rot is.
fn several(groups: &[Group], damaged: &mut Directory, number: u64) -> String {
    let chance = Entropy::seeded(number);
    let mut what = Vec::new();
    let weights =
        [Kind::Bit, Kind::Bit, Kind::Zero, Kind::Stale, Kind::Swap, Kind::Cut, Kind::Bit, Kind::Zero];
    for _ in 0..2 + chance.below(5) {
        let file = chance.one_in(24);
        let kind = weights[chance.below(weights.len() as u64) as usize];
        let whole = [Kind::Exchange, Kind::Missing, Kind::Double][chance.below(3) as usize];
        let kind = if file { whole } else { kind };
        let fitting: Vec<&Group> =
            groups.iter().filter(|group| group.kind == kind && group.count > 0).collect();
        if fitting.is_empty() {
            continue;
        }
        let group = fitting[chance.below(fitting.len() as u64) as usize];
        what.extend(group.damage(damaged, chance.below(group.count)));
    }
    what.join(", ")
}

fn change(damaged: &mut Directory, name: &str, how: impl FnOnce(&mut Vec<u8>)) -> Option<()> {
    let mut bytes = damaged.files.get(name)?.to_vec();
    how(&mut bytes);
    damaged.put(name, bytes);
    Some(())
}

fn sector_of(directory: &Directory, name: &str, sector: usize) -> Option<Vec<u8>> {
    let bytes = directory.files.get(name)?;
    Some(bytes.get(sector * SECTOR..(sector + 1) * SECTOR)?.to_vec())
}

fn put_sector(directory: &mut Directory, name: &str, sector: usize, with: &[u8]) -> Option<()> {
    change(directory, name, |bytes| {
        if let Some(here) = bytes.get_mut(sector * SECTOR..(sector + 1) * SECTOR) {
            here.copy_from_slice(with);
        }
    })
}

/// The pair (smaller, larger) of this number among all pairs.
fn pair(number: u64) -> (usize, usize) {
    let mut larger = ((((8 * number + 1) as f64).sqrt() - 1.0) / 2.0) as u64 + 1;
    while larger * (larger - 1) / 2 > number {
        larger -= 1;
    }
    while larger * (larger + 1) / 2 <= number {
        larger += 1;
    }
    ((number - larger * (larger - 1) / 2) as usize, larger as usize)
}
