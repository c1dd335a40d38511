//! The opening entry: identity of a segment, in the first frame of its file.
//!
//! # Format (120 bytes)
//! | at | field |
//! |---|---|
//! | 0 | minor version u16, reserved 6 bytes |
//! | 8 | feature words u64: incompatible, read-only compatible, compatible |
//! | 32 | cluster id, 16 bytes |
//! | 48 | shard u64 |
//! | 56 | segment number u64: dense within the shard |
//! | 64 | segment size u64, bytes |
//! | 72 | predecessor: epoch u32, reserved u32, number u64 (all ones: none), last LSN u64, chain u64 |
//! | 104 | next salt, 16 bytes: of the next segment of the same span |
//!
//! Nothing here is particular to a store, so that all replicas' files are the same bytes.

use crate::block::{Damage, FORMAT_MINOR, KNOWN_INCOMPATIBLE, Salt, Unsupported};
use crate::le;

/// Bytes of the entry's body.
pub const OPENING_LEN: usize = 120;
/// Smallest segment size, bytes (for tests).
pub const MIN_SEGMENT: u64 = 64 * 1024;
/// Largest segment size, bytes.
pub const MAX_SEGMENT: u64 = 1024 * 1024 * 1024;
const NONE: u64 = u64::MAX;

/// The segment before this one in the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Epoch of its span.
    pub epoch: u32,
    /// Its segment number.
    pub number: u64,
    /// LSN of its last frame.
    pub last_lsn: u64,
    /// Chain value after its last frame; the opening frame's header carries the same.
    pub chain: u64,
}

/// Identity of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Minor version of the writer.
    pub minor: u16,
    /// Features a reader must understand.
    pub incompatible: u64,
    /// Features a writer must understand.
    pub readonly_compatible: u64,
    /// Features anyone may ignore.
    pub compatible: u64,
    /// The cluster's id.
    pub cluster: [u8; 16],
    /// The shard's id.
    pub shard: u64,
    /// Dense number of the segment within the shard, from 1.
    pub number: u64,
    /// Size for which the segment was planned, bytes.
    pub segment_bytes: u64,
    /// The segment before, if any.
    pub predecessor: Option<Predecessor>,
    /// Salt of the next segment of the same span.
    pub next_salt: Salt,
}

impl Opening {
    /// An opening with this version's numbers and no features.
    pub fn new(cluster: [u8; 16], shard: u64, number: u64, segment_bytes: u64) -> Opening {
        Opening {
            minor: FORMAT_MINOR,
            incompatible: 0,
            readonly_compatible: 0,
            compatible: 0,
            cluster,
            shard,
            number,
            segment_bytes,
            predecessor: None,
            next_salt: [0; 16],
        }
    }

    /// The entry's body.
    pub fn encode(&self) -> [u8; OPENING_LEN] {
        let mut out = [0; OPENING_LEN];
        le::put(&mut out, 0, &self.minor.to_le_bytes());
        le::put(&mut out, 8, &self.incompatible.to_le_bytes());
        le::put(&mut out, 16, &self.readonly_compatible.to_le_bytes());
        le::put(&mut out, 24, &self.compatible.to_le_bytes());
        le::put(&mut out, 32, &self.cluster);
        le::put(&mut out, 48, &self.shard.to_le_bytes());
        le::put(&mut out, 56, &self.number.to_le_bytes());
        le::put(&mut out, 64, &self.segment_bytes.to_le_bytes());
        let before =
            self.predecessor.unwrap_or(Predecessor { epoch: 0, number: NONE, last_lsn: 0, chain: 0 });
        le::put(&mut out, 72, &before.epoch.to_le_bytes());
        le::put(&mut out, 80, &before.number.to_le_bytes());
        le::put(&mut out, 88, &before.last_lsn.to_le_bytes());
        le::put(&mut out, 96, &before.chain.to_le_bytes());
        le::put(&mut out, 104, &self.next_salt);
        out
    }

    /// Reads a body whose checksum is good.
    ///
    /// # Errors
    /// A wrong length or a segment size outside its range.
    pub fn decode(body: &[u8]) -> Result<Opening, Damage> {
        if body.len() != OPENING_LEN {
            return Err(Damage::Range { field: "opening length" });
        }
        let number = le::u64_at(body, 80);
        let predecessor = (number != NONE).then(|| Predecessor {
            epoch: le::u32_at(body, 72),
            number,
            last_lsn: le::u64_at(body, 88),
            chain: le::u64_at(body, 96),
        });
        let opening = Opening {
            minor: le::u16_at(body, 0),
            incompatible: le::u64_at(body, 8),
            readonly_compatible: le::u64_at(body, 16),
            compatible: le::u64_at(body, 24),
            cluster: le::array_at(body, 32),
            shard: le::u64_at(body, 48),
            number: le::u64_at(body, 56),
            segment_bytes: le::u64_at(body, 64),
            predecessor,
            next_salt: le::array_at(body, 104),
        };
        if !(MIN_SEGMENT..=MAX_SEGMENT).contains(&opening.segment_bytes) {
            return Err(Damage::Range { field: "segment size" });
        }
        Ok(opening)
    }

    /// Whether this program may read the segment.
    ///
    /// # Errors
    /// The unknown incompatible features.
    pub fn check_features(&self) -> Result<(), Unsupported> {
        match self.incompatible & !KNOWN_INCOMPATIBLE {
            0 => Ok(()),
            bits => Err(Unsupported::Feature { bits }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening() -> Opening {
        let mut opening = Opening::new([1; 16], 2, 3, MIN_SEGMENT);
        opening.predecessor = Some(Predecessor { epoch: 4, number: 2, last_lsn: 99, chain: 0xABCD });
        opening.next_salt = [9; 16];
        opening.compatible = u64::MAX;
        opening
    }

    #[test]
    fn an_opening_reads_back_with_and_without_a_predecessor() {
        let with = opening();
        let without = Opening { predecessor: None, ..with };
        for opening in [with, without] {
            assert_eq!(Opening::decode(&opening.encode()), Ok(opening));
        }
    }

    #[test]
    fn a_wrong_length_or_segment_size_is_damage() {
        let bytes = opening().encode();
        assert!(Opening::decode(&bytes[..OPENING_LEN - 1]).is_err());
        assert!(Opening::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        for segment_bytes in [0, MIN_SEGMENT - 1, MAX_SEGMENT + 1, u64::MAX] {
            let bytes = Opening { segment_bytes, ..opening() }.encode();
            assert_eq!(Opening::decode(&bytes), Err(Damage::Range { field: "segment size" }));
        }
    }

    #[test]
    fn only_unknown_incompatible_features_keep_a_reader_out() {
        let mut opening = opening();
        opening.readonly_compatible = 1;
        assert_eq!(opening.check_features(), Ok(()));
        opening.incompatible = 1 << 63;
        assert_eq!(opening.check_features(), Err(Unsupported::Feature { bits: 1 << 63 }));
    }
}
