//! The end block: 4 KiB behind the last frame of every write, overwritten by the next one.
//!
//! It belongs to the store and not to the segment's content. A valid end block that names LSN s at the
//! place where frame s would stand proves that the segment ends there. It is the one block that is written
//! twice, and it holds nothing acknowledged.
//!
//! # Format (fields after the prelude; the rest of the block is zero)
//! | at | field |
//! |---|---|
//! | 32 | next_lsn u64: the LSN of the frame that will overwrite this block |
//! | 40 | first_lsn u64: of the write that this block ended |
//! | 48 | chain u64: what the next frame's header must carry |
//! | 64 | epoch u32 |
//! | 68 | block_index u32 |
//! | 72 | flags u32: bit 0 synced (rewritten after the write had returned), bit 1 clean stop |

use crate::block::{self, BLOCK, Damage, Kind, Salt};
use crate::le;

const SYNCED: u32 = 1;
const CLEAN: u32 = 2;

/// The end of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndBlock {
    /// Salt of the segment.
    pub salt: Salt,
    /// LSN of the frame to come.
    pub next_lsn: u64,
    /// First LSN of the write that this block ended.
    pub first_lsn: u64,
    /// Chain value that the frame to come carries.
    pub chain: u64,
    /// Epoch of the segment.
    pub epoch: u32,
    /// Place in the file, in blocks.
    pub block_index: u32,
    /// The write it ended is known to be durable.
    pub synced: bool,
    /// The writer stopped in good order here.
    pub clean: bool,
}

impl EndBlock {
    /// Writes the block into `out`.
    ///
    /// # Panics
    /// Never: `out` has the size of a block.
    pub fn encode(&self, out: &mut [u8; BLOCK]) {
        out.fill(0);
        le::put(out, 32, &self.next_lsn.to_le_bytes());
        le::put(out, 40, &self.first_lsn.to_le_bytes());
        le::put(out, 48, &self.chain.to_le_bytes());
        le::put(out, 64, &self.epoch.to_le_bytes());
        le::put(out, 68, &self.block_index.to_le_bytes());
        let flags = if self.synced { SYNCED } else { 0 } | if self.clean { CLEAN } else { 0 };
        le::put(out, 72, &flags.to_le_bytes());
        block::close_header(out, Kind::EndBlock, &self.salt);
    }

    /// Reads a block whose prelude is good and of this kind.
    pub(crate) fn decode(block: &[u8], salt: Salt) -> Result<EndBlock, Damage> {
        if !le::is_zero(&block[block::HEADER_LEN..BLOCK]) {
            return Err(Damage::Range { field: "end block padding" });
        }
        Ok(EndBlock::of_header(block, salt))
    }

    /// What the header says, whatever stands behind it: a torn end block is no end, and shows all the same that its
    /// write was begun.
    pub(crate) fn of_header(block: &[u8], salt: Salt) -> EndBlock {
        let flags = le::u32_at(block, 72);
        EndBlock {
            salt,
            next_lsn: le::u64_at(block, 32),
            first_lsn: le::u64_at(block, 40),
            chain: le::u64_at(block, 48),
            epoch: le::u32_at(block, 64),
            block_index: le::u32_at(block, 68),
            synced: flags & SYNCED != 0,
            clean: flags & CLEAN != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_block_reads_back_with_each_mark() {
        for (synced, clean) in [(false, false), (true, false), (true, true), (false, true)] {
            let end = EndBlock {
                salt: [5; 16],
                next_lsn: 10,
                first_lsn: 9,
                chain: u64::MAX,
                epoch: 3,
                block_index: 17,
                synced,
                clean,
            };
            let mut block = [0xFF; BLOCK];
            end.encode(&mut block);
            assert_eq!(EndBlock::decode(&block, end.salt), Ok(end));
            block[BLOCK - 1] = 1;
            assert!(EndBlock::decode(&block, end.salt).is_err(), "half of it is another write's");
        }
    }
}
