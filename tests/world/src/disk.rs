//! A simulated disk: files as bytes, operations that take time, and what a power cut leaves of those in flight.
//!
//! All operations are synchronous ones: once finished they are durable. A crash decides for each sector of an operation
//! in flight whether it is there, is not, or is torn in the middle.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::chance::Chance;

/// Bytes of a sector.
pub const SECTOR: usize = 4096;

/// A file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Identity.
    Superblock,
    /// The promise journal.
    Promises,
    /// A segment of a span.
    Segment {
        /// Its shard.
        shard: u64,
        /// Its span.
        epoch: u32,
        /// Its number.
        number: u64,
    },
    /// A segment that is being copied, under the name that it was listed with.
    Aside {
        /// Its shard.
        shard: u64,
        /// Its span.
        epoch: u32,
        /// Its number.
        number: u64,
        /// Its length, when all of it is there.
        len: u64,
        /// Its digest.
        digest: [u8; 16],
    },
}

impl Name {
    /// Whether it is a segment of this span.
    pub fn is_of(&self, of: u64, span: u32) -> bool {
        matches!(self, Name::Segment { shard, epoch, .. } if (*shard, *epoch) == (of, span))
    }

    /// Whether it is a copy of a segment of this span that is not whole yet.
    pub fn is_aside_of(&self, of: u64, span: u32) -> bool {
        matches!(self, Name::Aside { shard, epoch, .. } if (*shard, *epoch) == (of, span))
    }
}

/// One change.
#[derive(Clone, Debug)]
pub enum Step {
    /// Bytes at a place. The file is made, with these many zero bytes, where there is none.
    Write {
        /// The file.
        name: Name,
        /// Position.
        at: usize,
        /// What.
        bytes: Vec<u8>,
        /// Length of a new file.
        planned: usize,
    },
    /// The file is cut, or made longer with zeroes.
    SetLen {
        /// The file.
        name: Name,
        /// Its new length.
        len: usize,
    },
    /// The file is put in place whole: written under another name, synced, renamed.
    Put {
        /// The file.
        name: Name,
        /// Its content.
        bytes: Rc<Vec<u8>>,
    },
    /// The file is gone.
    Remove {
        /// The file.
        name: Name,
    },
}

/// A disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<Name, Rc<Vec<u8>>>,
    flying: BTreeMap<u64, Vec<Step>>,
    next: u64,
}

impl Disk {
    /// A file's bytes.
    pub fn read(&self, name: Name) -> Option<&Rc<Vec<u8>>> {
        self.files.get(&name)
    }

    /// The files, by name.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = Name> {
        self.files.keys().copied()
    }

    /// Starts an operation; its steps are carried out in order.
    pub fn begin(&mut self, steps: Vec<Step>) -> u64 {
        self.next += 1;
        self.flying.insert(self.next, steps);
        self.next
    }

    /// The operation is done and durable. False when it is not in flight: a crash came first.
    pub fn finish(&mut self, operation: u64) -> bool {
        let Some(steps) = self.flying.remove(&operation) else { return false };
        for step in steps {
            self.apply(step);
        }
        true
    }

    /// The operation fails: some of it may be on the disk.
    pub fn fail(&mut self, operation: u64, chance: &mut Chance) -> bool {
        let Some(steps) = self.flying.remove(&operation) else { return false };
        self.tear(steps, chance);
        true
    }

    /// The power goes, or the process: of what is in flight anything may be on the disk.
    pub fn crash(&mut self, chance: &mut Chance) {
        for steps in std::mem::take(&mut self.flying).into_values() {
            self.tear(steps, chance);
        }
    }

    /// Everything is gone.
    pub fn lose(&mut self) {
        self.files.clear();
        self.flying.clear();
    }

    /// As it is now, without what is in flight.
    pub fn image(&self) -> Disk {
        Disk { files: self.files.clone(), flying: BTreeMap::new(), next: self.next }
    }

    /// Flips a bit of a byte.
    pub fn rot(&mut self, name: Name, at: usize, bit: u8) {
        if let Some(file) = self.files.get_mut(&name)
            && let Some(byte) = Rc::make_mut(file).get_mut(at)
        {
            *byte ^= 1 << (bit % 8);
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Write { name, at, bytes, planned } => {
                let file = self.files.entry(name).or_insert_with(|| Rc::new(vec![0; planned]));
                let file = Rc::make_mut(file);
                if file.len() < at + bytes.len() {
                    file.resize(at + bytes.len(), 0);
                }
                file[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            Step::SetLen { name, len } => {
                if let Some(file) = self.files.get_mut(&name) {
                    Rc::make_mut(file).resize(len, 0);
                }
            }
            Step::Put { name, bytes } => {
                self.files.insert(name, bytes);
            }
            Step::Remove { name } => {
                self.files.remove(&name);
            }
        }
    }

    /// Steps are synced one after the other: those before some point are whole, the one at that point is torn.
    fn tear(&mut self, steps: Vec<Step>, chance: &mut Chance) {
        let whole = chance.index(steps.len() + 1).min(chance.index(steps.len() + 1));
        for (index, step) in steps.into_iter().enumerate() {
            match step {
                step if index < whole => self.apply(step),
                Step::Write { name, at, bytes, planned } if index == whole => {
                    self.tear_write(name, at, &bytes, planned, chance);
                }
                _ => return,
            }
        }
    }

    fn tear_write(&mut self, name: Name, at: usize, bytes: &[u8], planned: usize, chance: &mut Chance) {
        if !self.files.contains_key(&name) && chance.percent(30) {
            return;
        }
        let file = self.files.entry(name).or_insert_with(|| Rc::new(vec![0; planned]));
        let file = Rc::make_mut(file);
        let style = chance.below(4);
        for (index, sector) in bytes.chunks(SECTOR).enumerate() {
            let at = at + index * SECTOR;
            let kept = match (style, chance.below(8)) {
                (0, _) => 0,
                (1, _) | (_, 0..=3) => sector.len(),
                (_, 4) => 512 * chance.index(8),
                _ => 0,
            };
            let kept = kept.min(sector.len());
            if kept == 0 {
                continue;
            }
            if file.len() < at + kept {
                file.resize(at + SECTOR, 0);
            }
            file[at..at + kept].copy_from_slice(&sector[..kept]);
        }
    }
}
