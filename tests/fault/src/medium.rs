//! Content of one file: what is read now, and what a loss of power would leave.
//!
//! # Invariants
//! `pages` and `len` are what a read sees. `undo` holds, for each page with sectors that were changed since the last
//! sync, what the platter has, and which sectors differ.

use std::collections::BTreeMap;

use crate::chance::Chance;

const PAGE: usize = 4096;
/// What a disk writes as a unit, bytes.
const SECTOR: usize = 512;

type Page = Box<[u8; PAGE]>;

#[derive(Debug)]
struct Old {
    bytes: Page,
    /// One bit for each sector that differs from the platter.
    dirty: u8,
}

/// What a loss of power does to a sector that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tearing {
    /// It survives or vanishes with its page: a disk with sectors of 4 KiB.
    Pages,
    /// It survives or vanishes: a disk that keeps its word about sectors.
    Whole,
    /// It may also be half old, half new.
    Halves,
}

#[derive(Debug, Default)]
pub(crate) struct Medium {
    pages: BTreeMap<u64, Page>,
    len: u64,
    durable_len: u64,
    undo: BTreeMap<u64, Old>,
}

/// The parts of `[pos, pos + len)` that lie in one page each: page, first byte in it, length.
fn parts(pos: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < len).then(|| {
            let at = pos + done as u64;
            let from = usize::try_from(at % PAGE as u64).unwrap_or(0);
            let part = (PAGE - from).min(len - done);
            done += part;
            (at / PAGE as u64, from, part)
        })
    })
}

fn sectors(from: usize, len: usize) -> impl Iterator<Item = usize> {
    from / SECTOR..(from + len).div_ceil(SECTOR)
}

impl Medium {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of space taken; holes take none.
    pub(crate) fn allocated(&self) -> u64 {
        (self.pages.len() * PAGE) as u64
    }

    /// Bytes of space that a write would newly take.
    pub(crate) fn would_allocate(&self, pos: u64, len: usize) -> u64 {
        let new = parts(pos, len).filter(|(page, ..)| !self.pages.contains_key(page)).count();
        (new * PAGE) as u64
    }

    pub(crate) fn read(&self, pos: u64, len: usize) -> Vec<u8> {
        let there = usize::try_from(self.len.saturating_sub(pos)).unwrap_or(len).min(len);
        let mut out = Vec::with_capacity(there);
        for (page, from, part) in parts(pos, there) {
            match self.pages.get(&page) {
                Some(bytes) => out.extend_from_slice(&bytes[from..from + part]),
                None => out.resize(out.len() + part, 0),
            }
        }
        out
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8], pos: u64) {
        for (page, from, part) in parts(pos, bytes.len()) {
            self.remember(page, sectors(from, part));
            let (now, later) = bytes.split_at(part);
            self.page(page)[from..from + part].copy_from_slice(now);
            bytes = later;
            self.len = self.len.max(page * PAGE as u64 + (from + part) as u64);
        }
    }

    /// Grows with a hole or shrinks.
    pub(crate) fn set_len(&mut self, len: u64) {
        let cut: Vec<u64> = self.pages.range(len / PAGE as u64..).map(|(page, _)| *page).collect();
        for page in cut {
            let keep = usize::try_from(len.saturating_sub(page * PAGE as u64)).unwrap_or(PAGE).min(PAGE);
            if keep < PAGE {
                self.remember(page, sectors(keep, PAGE - keep));
                self.page(page)[keep..].fill(0);
            }
            if keep == 0 {
                self.pages.remove(&page);
            }
        }
        self.len = len;
    }

    /// All that was written is on the platter now.
    pub(crate) fn sync(&mut self) {
        self.undo.clear();
        self.durable_len = self.len;
    }

    /// The power is lost: each sector that was not synced survives, vanishes or tears; the length is the old or the new.
    pub(crate) fn lose_power(&mut self, chance: &mut Chance, tearing: Tearing) {
        let len = if self.len != self.durable_len && chance.one_in(2) { self.durable_len } else { self.len };
        // Now and then everything goes, or stays: a cache that was never written out, or just was.
        let all = chance.below(8);
        for (page, old) in std::mem::take(&mut self.undo) {
            let together = lost(chance, all, Tearing::Whole);
            for sector in (0..PAGE / SECTOR).filter(|sector| old.dirty & (1 << sector) != 0) {
                let (first, end) = match tearing {
                    Tearing::Pages => together,
                    _ => lost(chance, all, tearing),
                };
                let range = sector * SECTOR + first..sector * SECTOR + end;
                self.page(page)[range.clone()].copy_from_slice(&old.bytes[range]);
            }
        }
        self.set_len(len);
        self.sync();
    }

    fn remember(&mut self, page: u64, sectors: impl Iterator<Item = usize>) {
        let now = &self.pages;
        let old = self.undo.entry(page).or_insert_with(|| {
            let bytes = now.get(&page).cloned().unwrap_or_else(|| Box::new([0; PAGE]));
            Old { bytes, dirty: 0 }
        });
        // The copy is right for every sector of the page: none was written since, and a sync forgets it as a whole.
        for sector in sectors {
            old.dirty |= 1 << sector;
        }
    }

    fn page(&mut self, page: u64) -> &mut Page {
        self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE]))
    }
}

/// Which bytes of a sector are lost.
fn lost(chance: &mut Chance, all: u64, tearing: Tearing) -> (usize, usize) {
    match (all, chance.below(4), tearing) {
        (0, ..) | (2.., 0, _) => (0, SECTOR),
        (2.., 1, Tearing::Halves) => (0, SECTOR / 2),
        (2.., 2, Tearing::Halves) => (SECTOR / 2, SECTOR),
        (2.., 1, Tearing::Whole) => (0, SECTOR),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(medium: &Medium) -> Vec<u8> {
        medium.read(0, usize::try_from(medium.len()).unwrap())
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_survives_vanishes_and_tears() {
        let (mut survived, mut vanished, mut torn) = (0, 0, 0);
        for seed in 0..400 {
            let mut medium = Medium::default();
            medium.write(&[1; 1024], 0);
            medium.sync();
            medium.write(&[2; 512], 512);
            medium.lose_power(&mut Chance::new(seed), Tearing::Halves);
            let left = content(&medium);
            assert_eq!(&left[..512], &[1; 512]);
            match left[512..].iter().filter(|byte| **byte == 2).count() {
                512 => survived += 1,
                0 => vanished += 1,
                256 => torn += 1,
                other => panic!("{other} bytes are new"),
            }
        }
        assert!(survived > 50 && vanished > 50 && torn > 50, "{survived} {vanished} {torn}");
    }

    #[test]
    fn a_whole_sector_never_tears() {
        for seed in 0..200 {
            let mut medium = Medium::default();
            medium.write(&[2; 4096], 0);
            medium.lose_power(&mut Chance::new(seed), Tearing::Whole);
            for sector in content(&medium).chunks(SECTOR) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_page_of_large_sectors_survives_or_vanishes_as_one() {
        let mut survived = 0;
        for seed in 0..200 {
            let mut medium = Medium::default();
            medium.write(&[1; 4096], 0);
            medium.sync();
            medium.write(&[2; 4096], 0);
            medium.lose_power(&mut Chance::new(seed), Tearing::Pages);
            let left = content(&medium);
            assert!(left.iter().all(|byte| *byte == left[0]), "seed {seed}");
            survived += u64::from(left[0] == 2);
        }
        assert!((50..150).contains(&survived), "{survived}");
    }

    #[test]
    fn a_shrink_is_undone_or_done_and_growth_is_zeros() {
        let (mut short, mut long) = (0, 0);
        for seed in 0..60 {
            let mut medium = Medium::default();
            medium.write(&[1; 8192], 0);
            medium.sync();
            medium.set_len(4096);
            medium.lose_power(&mut Chance::new(seed), Tearing::Halves);
            match medium.len() {
                4096 => short += 1,
                8192 => long += 1,
                other => panic!("length {other}"),
            }
            assert_eq!(&content(&medium)[..4096], &[1; 4096]);
        }
        assert!(short > 10 && long > 10);
        let mut medium = Medium::default();
        medium.write(&[1; 4096], 0);
        medium.set_len(100);
        medium.set_len(8192);
        assert_eq!(content(&medium)[100..], [0; 8092], "what was cut off does not come back");
        assert_eq!(medium.allocated(), 4096, "a hole takes no space");
    }

    #[test]
    fn writes_at_any_byte_are_read_back() {
        let mut medium = Medium::default();
        medium.write(b"abc", 4094);
        assert_eq!(medium.len(), 4097);
        assert_eq!(medium.read(4093, 10), b"\0abc");
        assert_eq!(medium.would_allocate(0, 3 * 4096), 4096);
    }
}
