//! The promise journal: this store takes nothing older than an epoch for a shard.
//!
//! # Format
//! The journal is the file `promises`, a segment of shard [`JOURNAL`] with epoch 0, number 1 and LSNs from 1, whose frames
//! behind the opening one hold entries of kind [`EntryKind::Promise`]: the row's partition is the shard, its base offset
//! the promised epoch; there is no body. The highest promise of a shard counts. When the file is full, it begins anew with
//! the highest promise of every shard in its first frame, under the name `promises.new`, which then takes the old one's
//! place.
//!
//! # Durability
//! A promise is answered after the write that holds it has returned. So a journal whose end is not proved may lack one
//! that was answered: the store then takes the promises of its shards from a linearizable read of the metadata, in which
//! every attempt that could have fenced it is counted, before it answers anybody.
//!
//! # Recovery
//! Judged as any segment: [`read`] walks it and gives the verdict of [`crate::verdict`].

use std::collections::BTreeMap;

use crate::block::{BLOCK, BLOCK_U64, Salt, round_up};
use crate::end_block::EndBlock;
use crate::entry::{EntryKind, ROW_LEN, Row};
use crate::frame::{FrameBuilder, Stamp};
use crate::opening::{MIN_SEGMENT, Opening};
use crate::scan::Expect;
use crate::walk::{Outcome, Step, Walk};

/// Shard number in the opening frame of a promise journal.
pub const JOURNAL: u64 = u64::MAX;
/// LSN of the opening frame.
const FIRST: u64 = 1;

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The shard.
    pub shard: u64,
    /// Lower epochs write nothing here any more.
    pub epoch: u32,
}

impl Promise {
    /// The entry's row. It has no body.
    pub fn row(&self) -> Row {
        Row {
            partition: self.shard,
            base_offset: u64::from(self.epoch),
            length: 0,
            count: 0,
            kind: EntryKind::Promise as u8,
        }
    }

    /// The promise in a row; `None` for other kinds and for an epoch that cannot be.
    pub fn of_row(row: &Row) -> Option<Promise> {
        let epoch = u32::try_from(row.base_offset).ok()?;
        (row.kind == EntryKind::Promise as u8).then_some(Promise { shard: row.partition, epoch })
    }
}

/// The highest promise of each shard.
pub type Promises = BTreeMap<u64, u32>;

/// What a journal's file says.
#[derive(Debug)]
pub struct Read {
    /// The promises in its intact frames.
    pub promises: Promises,
    /// Identity in its opening frame; `None` when that cannot be read.
    pub opening: Option<Opening>,
    /// How its frames end. Only behind a proved end nothing that was answered can be missing.
    pub outcome: Outcome,
    /// The journal, to be gone on with behind a proved end.
    pub journal: Journal,
}

/// Reads a journal's file. Never panics, never writes.
pub fn read(file: &[u8]) -> Read {
    let mut walk =
        Walk::new(Expect { lsn: Some(FIRST), chain: Some(0), epoch: Some(0), ..Expect::default() });
    let mut promises = Promises::new();
    while let Step::Frame(frame) = walk.step(file.get(index(walk.position())..).unwrap_or(&[]), true) {
        for promise in frame.entries().filter_map(|entry| Promise::of_row(&entry.row)) {
            raise(&mut promises, promise);
        }
    }
    let behind = walk.position();
    walk.look_behind(file.get(index(behind)..).unwrap_or(&[]), block_of(index(behind)));
    let opening = walk.opening().copied();
    let outcome = walk.finish(None);
    let expect = outcome.expect;
    let journal = Journal {
        salt: expect.salt.unwrap_or_default(),
        len: file.len(),
        lsn: expect.lsn.unwrap_or(FIRST),
        chain: expect.chain.unwrap_or_default(),
        position: index(behind),
    };
    Read { promises, opening, outcome, journal }
}

/// Notes a promise.
pub fn raise(promises: &mut Promises, promise: Promise) {
    let known = promises.entry(promise.shard).or_insert(promise.epoch);
    *known = promise.epoch.max(*known);
}

/// Bytes for the disk.
#[derive(Debug)]
pub struct Write {
    /// Where they go.
    pub position: u64,
    /// Whole blocks: a frame or two, and the end block.
    pub bytes: Vec<u8>,
}

/// A journal that is written: knows where its next frame goes.
#[derive(Clone, Debug)]
pub struct Journal {
    salt: Salt,
    /// Bytes of the file.
    len: usize,
    lsn: u64,
    chain: u64,
    position: usize,
}

impl Journal {
    /// A new journal that holds `promises`, and the content of its file.
    pub fn begin(cluster: [u8; 16], salt: Salt, promises: &Promises) -> (Journal, Vec<u8>) {
        // Room for the promises a few times over, so that it is seldom written anew.
        let all = round_up(BLOCK + promises.len() * ROW_LEN);
        let len = (4 * all).max(index(MIN_SEGMENT));
        let mut journal = Journal { salt, len, lsn: FIRST, chain: 0, position: 0 };
        let opening = Opening::new(cluster, JOURNAL, 1, len as u64).encode();
        let length = u32::try_from(opening.len()).unwrap_or(u32::MAX);
        let row = Row { partition: 0, base_offset: 0, length, count: 0, kind: EntryKind::Opening as u8 };
        let mut file = journal.frame(&[(row, &opening)]);
        let rows: Vec<(Row, &[u8])> = rows(promises);
        if !rows.is_empty() {
            file.extend(journal.frame(&rows));
        }
        file.extend(journal.end_block(FIRST));
        file.resize(len, 0);
        (journal, file)
    }

    /// The write that makes more promises durable; `None` when the file is full and has to begin anew.
    pub fn keep(&mut self, promises: &Promises) -> Option<Write> {
        let len = round_up(crate::block::HEADER_LEN + promises.len() * ROW_LEN);
        if promises.is_empty() || self.position + len + BLOCK > self.len {
            return None;
        }
        let (position, first) = (self.position as u64, self.lsn);
        let mut bytes = self.frame(&rows(promises));
        bytes.extend(self.end_block(first));
        Some(Write { position, bytes })
    }

    fn frame(&mut self, rows: &[(Row, &[u8])]) -> Vec<u8> {
        let body: usize = rows.iter().map(|(_, body)| body.len() + ROW_LEN).sum();
        let mut bytes = vec![0; round_up(crate::block::HEADER_LEN + body)];
        let mut builder = FrameBuilder::default();
        for (row, body) in rows {
            builder.push(&mut bytes, *row, body);
        }
        let stamp = Stamp {
            salt: self.salt,
            lsn: self.lsn,
            committed_lsn: self.lsn,
            chain: self.chain,
            append_time: 0,
            epoch: 0,
            block_index: block_of(self.position),
        };
        let closed = builder.close(&mut bytes, &stamp);
        (self.lsn, self.chain) = (self.lsn + 1, closed.next_chain);
        self.position += closed.len;
        bytes
    }

    fn end_block(&self, first_lsn: u64) -> [u8; BLOCK] {
        let end = EndBlock {
            salt: self.salt,
            next_lsn: self.lsn,
            first_lsn,
            chain: self.chain,
            epoch: 0,
            block_index: block_of(self.position),
            synced: false,
            clean: false,
        };
        let mut block = [0; BLOCK];
        end.encode(&mut block);
        block
    }
}

fn rows(promises: &Promises) -> Vec<(Row, &'static [u8])> {
    promises.iter().map(|(shard, epoch)| (Promise { shard: *shard, epoch: *epoch }.row(), &[][..])).collect()
}

fn index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

fn block_of(position: usize) -> u32 {
    u32::try_from(position as u64 / BLOCK_U64).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Grade, Verdict};

    const CLUSTER: [u8; 16] = [3; 16];

    fn promises(of: &[(u64, u32)]) -> Promises {
        of.iter().copied().collect()
    }

    fn put(file: &mut [u8], write: &Write) {
        let at = index(write.position);
        file[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
    }

    #[test]
    fn a_promise_reads_back_from_its_row_and_from_no_other() {
        let promise = Promise { shard: 7, epoch: u32::MAX };
        assert_eq!(Promise::of_row(&promise.row()), Some(promise));
        assert_eq!(Promise::of_row(&Row { kind: EntryKind::Trim as u8, ..promise.row() }), None);
        assert_eq!(Promise::of_row(&Row { base_offset: 1 << 32, ..promise.row() }), None);
    }

    #[test]
    fn what_is_kept_is_read_and_the_highest_counts_until_the_file_is_full() {
        for first in [promises(&[]), promises(&[(1, 5), (2, 9)])] {
            let (mut journal, mut file) = Journal::begin(CLUSTER, [8; 16], &first);
            let mut known = first;
            let mut n = 10;
            let promise = |n: u32| Promise { shard: u64::from(n % 3), epoch: 20 - n % 7 };
            while let Some(write) = journal.keep(&promises(&[(promise(n).shard, promise(n).epoch)])) {
                put(&mut file, &write);
                raise(&mut known, promise(n));
                n += 1;
                let read = read(&file);
                assert_eq!(read.promises, known);
                assert_eq!(read.outcome.verdict, Verdict::End(Grade::Proved));
                assert_eq!((read.journal.lsn, read.journal.position), (journal.lsn, journal.position));
                assert_eq!(
                    read.opening.map(|opening| (opening.cluster, opening.shard)),
                    Some((CLUSTER, JOURNAL))
                );
            }
            assert!(n > 20, "a file takes some promises before it is full");
        }
    }

    #[test]
    fn a_journal_of_many_shards_is_as_large_as_it_must_be() {
        let many: Promises = (0..10_000).map(|shard| (shard, 3)).collect();
        let (mut journal, mut file) = Journal::begin(CLUSTER, [8; 16], &many);
        assert_eq!(read(&file).promises, many);
        put(&mut file, &journal.keep(&many).unwrap());
        assert_eq!(read(&file).outcome.verdict, Verdict::End(Grade::Proved));
    }

    #[test]
    fn a_last_write_that_is_torn_anywhere_is_never_a_proved_end_without_its_promise() {
        let (mut journal, before) = Journal::begin(CLUSTER, [8; 16], &promises(&[(1, 5)]));
        let mut after = before.clone();
        let write = journal.keep(&promises(&[(1, 6)])).unwrap();
        put(&mut after, &write);
        for pieces in 0..1u32 << (write.bytes.len() / 1024) {
            // Any mix of old and new pieces.
            let mut torn = before.clone();
            for piece in 0..write.bytes.len() / 1024 {
                if pieces & (1 << piece) != 0 {
                    let at = index(write.position) + piece * 1024;
                    torn[at..at + 1024].copy_from_slice(&after[at..at + 1024]);
                }
            }
            let read = read(&torn);
            let whole = read.promises == promises(&[(1, 6)]);
            let proved = read.outcome.verdict == Verdict::End(Grade::Proved);
            assert!(!proved || whole || torn == before, "pieces {pieces:b}");
            assert_ne!(read.outcome.verdict, Verdict::Corrupt, "a torn last write is not rot");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_seen() {
        let (mut journal, mut file) = Journal::begin(CLUSTER, [8; 16], &promises(&[(1, 5)]));
        for epoch in 6..9 {
            let write = journal.keep(&promises(&[(1, epoch)])).unwrap();
            put(&mut file, &write);
        }
        let whole = read(&file).promises;
        for block in 0..5 {
            for bit in 0..128 * 8 {
                let at = block * BLOCK + bit / 8;
                file[at] ^= 1 << (bit % 8);
                let read = read(&file);
                let proved = read.outcome.verdict == Verdict::End(Grade::Proved);
                assert!(!proved || read.promises == whole, "block {block}, bit {bit}");
                file[at] ^= 1 << (bit % 8);
            }
        }
    }
}
