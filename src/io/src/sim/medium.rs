//! Content of one simulated file: what is read now, and what a loss of power would leave.
//!
//! # Invariants
//! `pages` and `len` are what a read sees. `undo` holds, for each sector changed since it was last made durable,
//! what is on the platter; `lost` the same for sectors whose data the kernel threw away after a failed sync, so
//! that a later sync does not save them. Durable content is `pages` overlaid with both.

use crate::disk::BLOCK;
use crate::random::Entropy;
use std::collections::BTreeMap;

/// What the disk writes as a unit, in bytes.
pub(super) const SECTOR: usize = 512;

const SECTORS_PER_PAGE: u64 = (BLOCK / SECTOR) as u64;

type Sector = [u8; SECTOR];

#[derive(Debug, Clone)]
struct Old {
    bytes: Sector,
    /// Number of the step that first made the sector differ from the platter.
    since: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Medium {
    pages: BTreeMap<u64, Box<[u8; BLOCK]>>,
    len: u64,
    durable_len: u64,
    undo: BTreeMap<u64, Old>,
    lost: BTreeMap<u64, Sector>,
}

impl Medium {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of space taken; holes take none.
    pub(super) fn allocated(&self) -> u64 {
        (self.pages.len() * BLOCK) as u64
    }

    /// Bytes of space a write of `[pos, pos + len)` would newly take.
    pub(super) fn would_allocate(&self, pos: u64, len: usize) -> u64 {
        let (first, last) = (pos / BLOCK as u64, (pos + len as u64).div_ceil(BLOCK as u64));
        let present = self.pages.range(first..last).count() as u64;
        (last - first - present) * BLOCK as u64
    }

    /// Copies from `pos` until `out` is full or the file ends; returns the number of bytes.
    pub(super) fn read(&self, out: &mut [u8], pos: u64) -> usize {
        let there = usize::try_from(self.len.saturating_sub(pos)).unwrap_or(usize::MAX).min(out.len());
        let mut done = 0;
        while done < there {
            let at = pos + done as u64;
            let offset = (at % BLOCK as u64) as usize;
            let part = (BLOCK - offset).min(there - done);
            match self.pages.get(&(at / BLOCK as u64)) {
                Some(page) => out[done..done + part].copy_from_slice(&page[offset..offset + part]),
                None => out[done..done + part].fill(0),
            }
            done += part;
        }
        there
    }

    /// A write that is on the platter when this returns. `pos` and the length are whole sectors.
    pub(super) fn write_durable(&mut self, bytes: &[u8], pos: u64) {
        for (number, sector) in sectors(bytes, pos) {
            self.undo.remove(&number);
            self.lost.remove(&number);
            self.set_sector(number, sector);
        }
        let end = pos + bytes.len() as u64;
        self.len = self.len.max(end);
        self.durable_len = self.durable_len.max(end);
    }

    /// A write that is in the volatile cache when this returns, made in step `now`.
    pub(super) fn write_volatile(&mut self, bytes: &[u8], pos: u64, now: u64) {
        for (number, sector) in sectors(bytes, pos) {
            self.remember(number, now);
            self.set_sector(number, sector);
        }
        self.len = self.len.max(pos + bytes.len() as u64);
    }

    /// Grows with a hole or shrinks, in the volatile cache.
    pub(super) fn set_len(&mut self, len: u64, now: u64) {
        if len < self.len {
            self.cut(len, Some(now));
        }
        self.len = len;
    }

    /// Puts everything that was dirty at step `until` on the platter, with length `len` as it was then.
    pub(super) fn sync(&mut self, until: u64, len: u64) {
        self.undo.retain(|_, old| old.since > until);
        self.durable_len = len;
    }

    /// A sync failed: some of the dirty data will never reach the platter, though reads still show it.
    pub(super) fn fail_sync(&mut self, chance: &Entropy) {
        let unlucky: Vec<u64> = self.undo.keys().copied().filter(|_| chance.one_in(2)).collect();
        for number in unlucky {
            if let Some(old) = self.undo.remove(&number) {
                self.lost.insert(number, old.bytes);
            }
        }
    }

    /// Flips one bit in the cache and on the platter; false if the file is shorter.
    pub(super) fn flip(&mut self, byte: u64, bit: u8) -> bool {
        if byte >= self.len {
            return false;
        }
        let (number, offset, mask) =
            (byte / SECTOR as u64, (byte % SECTOR as u64) as usize, 1_u8 << (bit % 8));
        let mut sector = self.sector(number);
        sector[offset] ^= mask;
        self.set_sector(number, &sector);
        if let Some(old) = self.undo.get_mut(&number) {
            old.bytes[offset] ^= mask;
        }
        if let Some(old) = self.lost.get_mut(&number) {
            old[offset] ^= mask;
        }
        true
    }

    /// The power fails: every dirty sector survives, vanishes or tears, and the length is the old or the new one.
    pub(super) fn lose_power(&mut self, chance: &Entropy) {
        let len = if self.len != self.durable_len && chance.one_in(2) { self.durable_len } else { self.len };
        for (number, old) in std::mem::take(&mut self.lost) {
            self.set_sector(number, &old);
        }
        for (number, old) in std::mem::take(&mut self.undo) {
            let mut left = self.sector(number);
            match chance.below(4) {
                0 => left[..SECTOR / 2].copy_from_slice(&old.bytes[..SECTOR / 2]),
                1 => left[SECTOR / 2..].copy_from_slice(&old.bytes[SECTOR / 2..]),
                2 => left = old.bytes,
                _ => {}
            }
            self.set_sector(number, &left);
        }
        self.cut(len, None);
        self.len = len;
        self.durable_len = len;
    }

    /// Sectors that a loss of power could still change.
    pub(super) fn dirty_sectors(&self) -> usize {
        self.undo.len() + self.lost.len()
    }

    /// Removes content from `len` on; remembers it if a step is given.
    fn cut(&mut self, len: u64, now: Option<u64>) {
        let first_page = len / BLOCK as u64;
        let touched: Vec<u64> = self.pages.range(first_page..).map(|(page, _)| *page).collect();
        for page in touched {
            for number in page * SECTORS_PER_PAGE..(page + 1) * SECTORS_PER_PAGE {
                let keep = len.saturating_sub(number * SECTOR as u64).min(SECTOR as u64) as usize;
                let mut sector = self.sector(number);
                if keep == SECTOR || sector[keep..].iter().all(|byte| *byte == 0) {
                    continue;
                }
                if let Some(now) = now {
                    self.remember(number, now);
                }
                sector[keep..].fill(0);
                self.set_sector(number, &sector);
            }
        }
        self.pages.split_off(&len.div_ceil(BLOCK as u64));
    }

    fn remember(&mut self, number: u64, now: u64) {
        if self.undo.contains_key(&number) {
            return;
        }
        let bytes = self.lost.remove(&number).unwrap_or_else(|| self.sector(number));
        self.undo.insert(number, Old { bytes, since: now });
    }

    fn sector(&self, number: u64) -> Sector {
        let mut sector = [0; SECTOR];
        if let Some(page) = self.pages.get(&(number / SECTORS_PER_PAGE)) {
            let start = (number % SECTORS_PER_PAGE) as usize * SECTOR;
            sector.copy_from_slice(&page[start..start + SECTOR]);
        }
        sector
    }

    fn set_sector(&mut self, number: u64, bytes: &[u8]) {
        let page = self.pages.entry(number / SECTORS_PER_PAGE).or_insert_with(|| Box::new([0; BLOCK]));
        let start = (number % SECTORS_PER_PAGE) as usize * SECTOR;
        page[start..start + bytes.len()].copy_from_slice(bytes);
    }
}

fn sectors(bytes: &[u8], pos: u64) -> impl Iterator<Item = (u64, &[u8])> {
    (pos / SECTOR as u64..).zip(bytes.chunks(SECTOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(medium: &Medium) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(medium.len()).unwrap()];
        medium.read(&mut bytes, 0);
        bytes
    }

    #[test]
    fn durable_bytes_survive_every_seed_and_dirty_ones_survive_vanish_and_tear() {
        let (mut survived, mut vanished, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let mut medium = Medium::default();
            medium.write_durable(&[1; 1024], 0);
            medium.write_volatile(&[2; 512], 512, 1);
            medium.lose_power(&Entropy::seeded(seed));
            let left = content(&medium);
            assert_eq!(&left[..512], &[1; 512]);
            match left[512..].iter().filter(|byte| **byte == 2).count() {
                512 => survived += 1,
                0 => vanished += 1,
                256 => torn += 1,
                other => panic!("{other} bytes are new"),
            }
        }
        assert!(survived > 20 && vanished > 20 && torn > 50, "{survived} {vanished} {torn}");
    }

    #[test]
    fn a_durable_write_over_a_dirty_sector_is_safe() {
        for seed in 0..50 {
            let mut medium = Medium::default();
            medium.write_volatile(&[1; 512], 0, 1);
            medium.write_durable(&[2; 512], 0);
            medium.lose_power(&Entropy::seeded(seed));
            assert_eq!(content(&medium), [2; 512], "seed {seed}");
        }
    }

    #[test]
    fn a_sync_saves_what_was_written_before_it_started_and_only_that() {
        let mut lost = 0;
        for seed in 0..50 {
            let mut medium = Medium::default();
            medium.write_volatile(&[1; 512], 0, 1);
            let (until, len) = (1, medium.len());
            medium.write_volatile(&[2; 512], 512, 2);
            medium.sync(until, len);
            medium.lose_power(&Entropy::seeded(seed));
            assert_eq!(&content(&medium)[..512], &[1; 512], "seed {seed}");
            lost += usize::from(content(&medium)[512..] != [2; 512]);
        }
        assert!(lost > 10, "what came after the sync began is not safe, yet it was lost {lost} times only");
    }

    #[test]
    fn after_a_failed_sync_a_second_one_saves_only_a_part() {
        let mut missing = 0;
        for seed in 0..50 {
            let mut medium = Medium::default();
            medium.write_durable(&[1; 512], 0);
            medium.write_volatile(&[2; 512], 0, 1);
            medium.fail_sync(&Entropy::seeded(seed));
            medium.sync(2, medium.len());
            assert_eq!(content(&medium), [2; 512], "reads still show it");
            medium.lose_power(&Entropy::seeded(seed));
            missing += usize::from(content(&medium) == [1; 512]);
        }
        assert!(missing > 10 && missing < 40, "{missing}");
    }

    #[test]
    fn a_shrink_is_undone_or_done_and_growth_is_zeros() {
        let (mut short, mut long) = (0, 0);
        for seed in 0..50 {
            let mut medium = Medium::default();
            medium.write_durable(&[1; 8192], 0);
            medium.set_len(4096, 1);
            medium.lose_power(&Entropy::seeded(seed));
            match medium.len() {
                4096 => short += 1,
                8192 => long += 1,
                other => panic!("length {other}"),
            }
            assert_eq!(&content(&medium)[..4096], &[1; 4096]);
        }
        assert!(short > 10 && long > 10);
        let mut medium = Medium::default();
        medium.write_durable(&[1; 4096], 0);
        medium.set_len(100, 1);
        medium.set_len(8192, 2);
        assert_eq!(content(&medium)[100..], [0; 8092], "what was cut off does not come back");
        assert_eq!(medium.allocated(), 4096, "a hole takes no space");
    }
}
