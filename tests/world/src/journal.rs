//! The promise journal of a store: real frames of `format`, one promise a write.

use std::collections::BTreeMap;
use std::rc::Rc;

use tidelog_format::block::{BLOCK, Salt};
use tidelog_format::end_block::EndBlock;
use tidelog_format::entry::{EntryKind, Row};
use tidelog_format::frame::{FrameBuilder, Stamp};
use tidelog_format::opening::{MIN_SEGMENT, Opening};
use tidelog_format::promise::{JOURNAL, Promise};
use tidelog_format::scan::Expect;
use tidelog_format::verdict::{Grade, Verdict};
use tidelog_format::walk::{Step as Walked, Walk};

use crate::disk::{Disk, Name, Step};
use crate::files::SEGMENT;

/// A journal that is open for writing.
#[derive(Debug)]
pub struct Journal {
    promises: BTreeMap<u64, u32>,
    salt: Salt,
    lsn: u64,
    chain: u64,
    block: usize,
}

/// What a restart found.
pub struct Read {
    /// The highest promise of each shard.
    pub promises: BTreeMap<u64, u32>,
    /// Whether the last write is surely there.
    pub proved: bool,
}

/// Reads the journal. `None`: it is damaged where it was durable, or not there.
pub fn read(disk: &Disk) -> Option<Read> {
    let file = disk.read(Name::Promises)?;
    let mut promises = BTreeMap::new();
    let mut walk = Walk::new(Expect { lsn: Some(1), chain: Some(0), epoch: Some(0), ..Expect::default() });
    loop {
        let position = walk.position() as usize;
        match walk.step(file.get(position..).unwrap_or(&[]), true) {
            Walked::Frame(frame) => {
                for promise in frame.entries().filter_map(|entry| Promise::of_row(&entry.row)) {
                    let known = promises.entry(promise.shard).or_insert(promise.epoch);
                    *known = promise.epoch.max(*known);
                }
            }
            Walked::Need(_) => unreachable!("the bytes reach the file's end"),
            Walked::Stopped => break,
        }
    }
    let behind = walk.position() as usize;
    walk.look_behind(file.get(behind..).unwrap_or(&[]), (behind / BLOCK) as u32);
    // A file that is put in place whole has its opening frame, or it is damaged.
    walk.opening()?;
    match walk.finish(None).verdict {
        Verdict::End(Grade::Proved) => Some(Read { promises, proved: true }),
        Verdict::End(_) | Verdict::Torn => Some(Read { promises, proved: false }),
        Verdict::Corrupt | Verdict::Unsupported => None,
    }
}

impl Journal {
    /// A new journal with these promises, and the step that puts it in place.
    pub fn begin(promises: BTreeMap<u64, u32>, salt: Salt) -> (Journal, Step) {
        let mut journal = Journal { promises, salt, lsn: 1, chain: 0, block: 0 };
        let step = journal.rewrite(salt);
        (journal, step)
    }

    fn rewrite(&mut self, salt: Salt) -> Step {
        (self.salt, self.lsn, self.chain, self.block) = (salt, 1, 0, 0);
        let opening = Opening::new([1; 16], JOURNAL, 1, MIN_SEGMENT).encode();
        let row = Row {
            partition: 0,
            base_offset: 0,
            length: opening.len() as u32,
            count: 0,
            kind: EntryKind::Opening as u8,
        };
        let mut bytes = self.frame(&[(row, &opening)]);
        let rows: Vec<(Row, &[u8])> = self
            .promises
            .iter()
            .map(|(shard, epoch)| (Promise { shard: *shard, epoch: *epoch }.row(), &[][..]))
            .collect();
        if !rows.is_empty() {
            bytes.extend(self.frame(&rows));
        }
        bytes.extend(self.end_block(1));
        bytes.resize(SEGMENT, 0);
        Step::Put { name: Name::Promises, bytes: Rc::new(bytes) }
    }

    /// The step that makes a promise durable.
    pub fn keep(&mut self, shard: u64, epoch: u32, salt: Salt) -> Step {
        let known = self.promises.entry(shard).or_insert(epoch);
        *known = epoch.max(*known);
        if (self.block + 3) * BLOCK > SEGMENT {
            return self.rewrite(salt);
        }
        let (at, first) = (self.block * BLOCK, self.lsn);
        let mut bytes = self.frame(&[(Promise { shard, epoch }.row(), &[])]);
        bytes.extend(self.end_block(first));
        Step::Write { name: Name::Promises, at, bytes, planned: SEGMENT }
    }

    fn frame(&mut self, rows: &[(Row, &[u8])]) -> Vec<u8> {
        let mut buffer = vec![0; BLOCK];
        let mut builder = FrameBuilder::default();
        for (row, body) in rows {
            builder.push(&mut buffer, *row, body);
        }
        let stamp = Stamp {
            salt: self.salt,
            lsn: self.lsn,
            committed_lsn: self.lsn,
            chain: self.chain,
            append_time: 0,
            epoch: 0,
            block_index: self.block as u32,
        };
        let closed = builder.close(&mut buffer, &stamp);
        (self.lsn, self.chain) = (self.lsn + 1, closed.next_chain);
        self.block += closed.len / BLOCK;
        buffer
    }

    fn end_block(&self, first_lsn: u64) -> Vec<u8> {
        let mut block = [0; BLOCK];
        EndBlock {
            salt: self.salt,
            next_lsn: self.lsn,
            first_lsn,
            chain: self.chain,
            epoch: 0,
            block_index: self.block as u32,
            synced: false,
            clean: false,
        }
        .encode(&mut block);
        block.to_vec()
    }
}
