//! Body of the fuzz target for recovery: a directory by an arbitrary plan, damaged in an arbitrary way.
//!
//! # Format
//! The input is read as numbers: steps of lives until a zero, then damages until it ends. What is too large is taken
//! modulo what fits, so that every input is a plan and a small change of it is a small change of the plan.

use tidelog_format::batch::Codec;

use crate::build::{Built, Step, build};
use crate::damage::SECTOR;
use crate::directory::Directory;
use crate::recovered::recover_twice;
use crate::sweep::{Judge, Outcome, Sweep};

const SHARD: u64 = 1;
/// More steps and damages than this only take longer.
const STEPS: usize = 28;
const DAMAGES: usize = 6;

struct Plan<'a>(&'a [u8]);

impl Plan<'_> {
    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: usize) -> usize {
        let wide = usize::from(self.byte()) << 8 | usize::from(self.byte());
        wide % bound.max(1)
    }

    fn steps(&mut self) -> Vec<Step> {
        let mut steps = vec![Step::Create(1)];
        while steps.len() < STEPS {
            let (what, partition) = (self.byte(), u64::from(self.byte() % 3) + 1);
            steps.push(match what % 12 {
                0 => break,
                1 => Step::Create(partition),
                2 => Step::Delete(partition),
                3 | 4 => {
                    Step::Append { partition, records: 1, bytes: self.below(12_000), codec: Codec::None }
                }
                5 => {
                    let codec = Codec::ALL[usize::from(self.byte()) % Codec::ALL.len()];
                    Step::Append { partition, records: 1 + u32::from(self.byte() % 20), bytes: 100, codec }
                }
                6 => Step::Produce { partition, producer: 7 },
                7 => Step::Resend { partition, producer: 7 },
                8 => Step::Trim { partition, offset: u64::from(self.byte()) },
                9 => Step::Retain,
                10 => Step::Crash,
                _ => Step::Stop,
            });
        }
        steps
    }

    fn damage(&mut self, built: &Built, directory: &mut Directory) {
        let names: Vec<String> = directory.files.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let (what, name) = (self.byte(), &names[usize::from(self.byte()) % names.len()]);
        let mut bytes = directory.files[name].to_vec();
        let sectors = (bytes.len() / SECTOR).max(1);
        match what % 8 {
            0 | 1 => {
                let (sector, at) = (self.below(sectors), self.below(SECTOR * 8));
                if let Some(byte) = bytes.get_mut(sector * SECTOR + at / 8) {
                    *byte ^= 1 << (at % 8);
                }
            }
            2 => put(&mut bytes, self.below(sectors), &[0; SECTOR]),
            3 => {
                let (from, to) = (self.below(sectors), self.below(sectors));
                let moved =
                    bytes.get(from * SECTOR..(from + 1) * SECTOR).map(<[u8]>::to_vec).unwrap_or_default();
                put(&mut bytes, to, &moved);
            }
            4 => {
                let earlier = built.earlier.get(name).map(Vec::as_slice).unwrap_or_default();
                let (content, sector) = (self.below(earlier.len()), self.below(sectors));
                let old =
                    earlier.get(content).and_then(|old| old.get(sector * SECTOR..(sector + 1) * SECTOR));
                put(&mut bytes, sector, old.unwrap_or_default());
            }
            5 => bytes.truncate(self.below(sectors) * SECTOR + self.below(SECTOR)),
            6 => {
                let other = &names[usize::from(self.byte()) % names.len()];
                let here = directory.files[name].clone();
                if let Some(there) = directory.files.insert(other.clone(), here) {
                    bytes = there.to_vec();
                }
            }
            _ => {
                directory.files.remove(name);
                return;
            }
        }
        directory.put(name, bytes);
    }
}

fn put(bytes: &mut [u8], sector: usize, with: &[u8]) {
    if let Some(here) = bytes.get_mut(sector * SECTOR..sector * SECTOR + with.len()) {
        here.copy_from_slice(with);
    }
}

/// Builds, damages, and judges through both readers; then recovers once more and compares. Panics only when a promise is
/// broken.
#[expect(clippy::panic, reason = "a fuzzer learns by it that a promise is broken")]
pub fn fuzz_recovery(data: &[u8]) {
    let mut plan = Plan(data);
    let steps = plan.steps();
    let built = match build(Built::default(), SHARD, 7, &steps) {
        Ok(built) => built,
        Err(error) => panic!("{steps:?}: what the shard wrote it does not open: {error}"),
    };
    let mut damaged = built.directory.clone();
    for _ in 0..DAMAGES {
        if plan.is_over() {
            break;
        }
        plan.damage(&built, &mut damaged);
    }
    let sweep = Sweep::new(built);
    let Ok(mut judge) = Judge::new(&sweep) else { return };
    // An error is of the place where the inspector looks and says nothing about the code.
    if let Ok(Outcome::Wrong(why)) = judge.judge(&damaged) {
        panic!("{steps:?}: {why}");
    }
    if let Err(why) = recover_twice(&damaged.disk(), SHARD, sweep.epoch()) {
        panic!("{steps:?}: {why}");
    }
}
