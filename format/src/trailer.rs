//! The trailer: the last block of a sealed segment; the file's length points at it.
//!
//! # Format (fields after the prelude; the rest of the block is zero)
//! | at | field |
//! |---|---|
//! | 32 | base_lsn u64 · 40 next_lsn u64 · 48 chain u64 (after the last frame) |
//! | 56 | footer_len u64: bytes of the footer before it, whole blocks |
//! | 64 | epoch u32 · 68 block_index u32 |
//! | 72 | digest, 16 bytes: XXH3-128 (canonical, big-endian) of all frames, first byte to footer |

use crate::block::{self, BLOCK, BLOCK_U64, Damage, FirstLook, Kind, Salt};
use crate::le;

/// The end of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Salt of the segment.
    pub salt: Salt,
    /// LSN of the opening frame.
    pub base_lsn: u64,
    /// LSN behind the last frame.
    pub next_lsn: u64,
    /// Chain value after the last frame.
    pub chain: u64,
    /// Bytes of the footer, a multiple of the block.
    pub footer_len: u64,
    /// Epoch of the span.
    pub epoch: u32,
    /// Place in the file, in blocks.
    pub block_index: u32,
    /// Digest of all frames.
    pub digest: [u8; 16],
}

impl Trailer {
    /// Position of the footer's first byte, which is also the length of all frames.
    pub fn footer_position(&self) -> u64 {
        (u64::from(self.block_index) * BLOCK_U64).saturating_sub(self.footer_len)
    }

    /// Writes the block into `out`.
    pub fn encode(&self, out: &mut [u8; BLOCK]) {
        out.fill(0);
        le::put(out, 32, &self.base_lsn.to_le_bytes());
        le::put(out, 40, &self.next_lsn.to_le_bytes());
        le::put(out, 48, &self.chain.to_le_bytes());
        le::put(out, 56, &self.footer_len.to_le_bytes());
        le::put(out, 64, &self.epoch.to_le_bytes());
        le::put(out, 68, &self.block_index.to_le_bytes());
        le::put(out, 72, &self.digest);
        block::close_header(out, Kind::Trailer, &self.salt);
    }

    /// Reads the last block of a file: `Some` when it is an intact trailer of that place.
    pub fn of_last_block(bytes: &[u8; BLOCK], block_index: u32) -> Option<Trailer> {
        match block::first_look(bytes) {
            FirstLook::Header(prelude) if prelude.kind == Kind::Trailer => {
                Trailer::decode(bytes, prelude.salt).ok().filter(|trailer| trailer.block_index == block_index)
            }
            _ => None,
        }
    }

    pub(crate) fn decode(block: &[u8], salt: Salt) -> Result<Trailer, Damage> {
        let trailer = Trailer::of_header(block, salt);
        if !le::is_zero(&block[88..BLOCK]) {
            return Err(Damage::Range { field: "trailer padding" });
        }
        let room = u64::from(trailer.block_index) * BLOCK_U64;
        if !trailer.footer_len.is_multiple_of(BLOCK_U64) || trailer.footer_len > room {
            return Err(Damage::Range { field: "footer_len" });
        }
        Ok(trailer)
    }

    /// What the header says, whatever stands behind it: a block that is damaged there seals nothing, and shows all the same
    /// that the frames before it were durable.
    pub(crate) fn of_header(block: &[u8], salt: Salt) -> Trailer {
        Trailer {
            salt,
            base_lsn: le::u64_at(block, 32),
            next_lsn: le::u64_at(block, 40),
            chain: le::u64_at(block, 48),
            footer_len: le::u64_at(block, 56),
            epoch: le::u32_at(block, 64),
            block_index: le::u32_at(block, 68),
            digest: le::array_at(block, 72),
        }
    }
}

/// Streams a segment's frames into the trailer's digest.
#[derive(Clone)]
pub struct Digest(xxhash_rust::xxh3::Xxh3);

impl Default for Digest {
    fn default() -> Digest {
        Digest(xxhash_rust::xxh3::Xxh3::new())
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest")
    }
}

impl Digest {
    /// Adds the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes so far.
    pub fn value(&self) -> [u8; 16] {
        self.0.digest128().to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailer() -> Trailer {
        Trailer {
            salt: [5; 16],
            base_lsn: 1,
            next_lsn: 90,
            chain: 7,
            footer_len: 2 * BLOCK_U64,
            epoch: 3,
            block_index: 40,
            digest: [8; 16],
        }
    }

    fn block(trailer: &Trailer) -> [u8; BLOCK] {
        let mut out = [0xFF; BLOCK];
        trailer.encode(&mut out);
        out
    }

    #[test]
    fn a_trailer_is_read_only_in_its_own_place() {
        let trailer = trailer();
        assert_eq!(Trailer::of_last_block(&block(&trailer), 40), Some(trailer));
        assert_eq!(Trailer::of_last_block(&block(&trailer), 41), None);
        assert_eq!(trailer.footer_position(), 38 * BLOCK_U64);
    }

    #[test]
    fn a_footer_that_can_not_stand_before_the_trailer_is_damage() {
        for footer_len in [1, BLOCK_U64 + 1, 41 * BLOCK_U64, u64::MAX - 4095] {
            let trailer = Trailer { footer_len, ..trailer() };
            assert_eq!(Trailer::of_last_block(&block(&trailer), 40), None, "{footer_len}");
        }
    }

    #[test]
    fn the_digest_of_pieces_is_that_of_the_whole() {
        let (mut whole, mut pieces) = (Digest::default(), Digest::default());
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        whole.update(&bytes);
        bytes.chunks(77).for_each(|piece| pieces.update(piece));
        assert_eq!(whole.value(), pieces.value());
        assert_eq!(whole.value(), xxhash_rust::xxh3::xxh3_128(&bytes).to_be_bytes());
    }
}
