//! The superblock: identity of a data directory. Two copies, written in turn, so that one always survives.
//!
//! # Format
//! A file of two blocks. Copy `generation % 2` holds that generation; the intact copy with the higher
//! generation counts. The prelude's salt is the store id.
//! | at | field |
//! |---|---|
//! | 32 | cluster id, 16 bytes |
//! | 48 | node u64 · 56 incarnation u64 · 64 generation u64 |
//! | 72 | copy u32 · 76 minor version u16 · 78 zero |
//! | 80 | feature words u64: incompatible, read-only compatible, compatible |
//! | 104 | created i64, ms since 1970 |

use crate::block::{self, BLOCK, Damage, FORMAT_MINOR, FirstLook, KNOWN_INCOMPATIBLE, Kind, Unsupported};
use crate::le;

/// Bytes of the file.
pub const SUPERBLOCK_LEN: usize = 2 * BLOCK;

/// Identity of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Random id of the cluster.
    pub cluster: [u8; 16],
    /// Random id of this directory.
    pub store: [u8; 16],
    /// Number of the node.
    pub node: u64,
    /// Counts process starts.
    pub incarnation: u64,
    /// Counts writes of the superblock.
    pub generation: u64,
    /// Milliseconds since 1970 at which the directory was made.
    pub created: i64,
}

/// Why no identity can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// Both copies are damaged or the file is cut.
    #[error("both copies are damaged: {first}; {second}")]
    Damaged {
        /// Of copy 0.
        first: Damage,
        /// Of copy 1.
        second: Damage,
    },
    /// Written by a newer version.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

impl Superblock {
    /// Which of the two copies holds this generation: 0 or 1.
    pub fn copy(&self) -> u32 {
        u32::from(self.generation % 2 == 1)
    }

    /// Writes the copy's block into `out`.
    pub fn encode(&self, out: &mut [u8; BLOCK]) {
        out.fill(0);
        le::put(out, 32, &self.cluster);
        le::put(out, 48, &self.node.to_le_bytes());
        le::put(out, 56, &self.incarnation.to_le_bytes());
        le::put(out, 64, &self.generation.to_le_bytes());
        le::put(out, 72, &self.copy().to_le_bytes());
        le::put(out, 76, &FORMAT_MINOR.to_le_bytes());
        le::put(out, 104, &self.created.to_le_bytes());
        block::close_header(out, Kind::Superblock, &self.store);
    }

    /// Reads the file's two copies and takes the newer intact one. Never writes.
    ///
    /// # Errors
    /// A newer version in either copy, or damage in both.
    pub fn decode(file: &[u8]) -> Result<Superblock, SuperblockError> {
        let copy = |index: usize| match file.get(index * BLOCK..(index + 1) * BLOCK) {
            Some(bytes) => Superblock::decode_copy(bytes, u32::from(index == 1)),
            None => Ok(Err(Damage::Truncated { needed: SUPERBLOCK_LEN as u64 })),
        };
        match (copy(0)?, copy(1)?) {
            (Ok(a), Ok(b)) => Ok(if a.generation > b.generation { a } else { b }),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
            (Err(first), Err(second)) => Err(SuperblockError::Damaged { first, second }),
        }
    }

    /// Whether both copies are intact. If not, the one that is lost may have been the newer one.
    pub fn is_whole(file: &[u8]) -> bool {
        let intact = |index: usize| {
            let bytes = file.get(index * BLOCK..(index + 1) * BLOCK);
            bytes.is_some_and(|bytes| {
                matches!(Superblock::decode_copy(bytes, u32::from(index == 1)), Ok(Ok(_)))
            })
        };
        intact(0) && intact(1)
    }

    fn decode_copy(bytes: &[u8], copy: u32) -> Result<Result<Superblock, Damage>, Unsupported> {
        let prelude = match block::first_look(bytes) {
            FirstLook::Header(prelude) if prelude.kind == Kind::Superblock => prelude,
            FirstLook::Header(prelude) => return Ok(Err(Damage::OutOfPlace { found: prelude.kind })),
            FirstLook::Virgin => return Ok(Err(Damage::Magic)),
            FirstLook::Damaged(damage) => return Ok(Err(damage)),
            FirstLook::Unsupported(_, newer) => return Err(newer),
        };
        match le::u64_at(bytes, 80) & !KNOWN_INCOMPATIBLE {
            0 => {}
            bits => return Err(Unsupported::Feature { bits }),
        }
        let says = le::u32_at(bytes, 72);
        if says != copy {
            return Ok(Err(Damage::Misplaced { says, at: copy }));
        }
        Ok(Ok(Superblock {
            cluster: le::array_at(bytes, 32),
            store: prelude.salt,
            node: le::u64_at(bytes, 48),
            incarnation: le::u64_at(bytes, 56),
            generation: le::u64_at(bytes, 64),
            created: le::i64_at(bytes, 104),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(generation: u64) -> Superblock {
        Superblock { cluster: [1; 16], store: [2; 16], node: 3, incarnation: 4, generation, created: 5 }
    }

    /// A file in which these generations were written, one after the other.
    fn file(generations: &[u64]) -> Vec<u8> {
        let mut file = vec![0; SUPERBLOCK_LEN];
        for generation in generations {
            let one = superblock(*generation);
            let at = le::index(one.copy()) * BLOCK;
            let mut block = [0; BLOCK];
            one.encode(&mut block);
            file[at..at + BLOCK].copy_from_slice(&block);
        }
        file
    }

    #[test]
    fn the_newer_intact_copy_counts() {
        assert_eq!(Superblock::decode(&file(&[1])), Ok(superblock(1)));
        assert_eq!(Superblock::decode(&file(&[1, 2])), Ok(superblock(2)));
        assert_eq!(Superblock::decode(&file(&[1, 2, 3])), Ok(superblock(3)));
    }

    #[test]
    fn a_write_torn_at_any_byte_leaves_the_older_copy_or_the_newer_one() {
        let (before, after) = (file(&[1, 2]), file(&[1, 2, 3]));
        for cut in 0..=BLOCK {
            let mut torn = before.clone();
            torn[BLOCK..BLOCK + cut].copy_from_slice(&after[BLOCK..BLOCK + cut]);
            let generation = Superblock::decode(&torn).unwrap().generation;
            assert!(matches!(generation, 2 | 3), "cut at {cut}: generation {generation}");
        }
    }

    #[test]
    fn every_flipped_bit_of_one_copy_leaves_the_other() {
        let mut file = file(&[6, 7]);
        for bit in 0..128 * 8 {
            for copy in [0, BLOCK] {
                file[copy + bit / 8] ^= 1 << (bit % 8);
                let left = if copy == 0 { 7 } else { 6 };
                assert_eq!(
                    Superblock::decode(&file),
                    Ok(superblock(left)),
                    "bit {bit} of the copy at {copy}"
                );
                file[copy + bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn a_copy_in_the_wrong_place_a_cut_file_and_zeroes_are_damage() {
        let mut swapped = file(&[6, 7]);
        swapped.rotate_left(BLOCK);
        assert!(matches!(Superblock::decode(&swapped), Err(SuperblockError::Damaged { .. })));
        for len in [0, 1, BLOCK - 1] {
            assert!(Superblock::decode(&file(&[6, 7])[..len]).is_err());
        }
        assert_eq!(Superblock::decode(&file(&[6, 7])[..BLOCK]), Ok(superblock(6)));
        assert!(Superblock::decode(&[0; SUPERBLOCK_LEN]).is_err());
    }
}
