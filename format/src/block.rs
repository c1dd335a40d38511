//! The 4 KiB block and the 32-byte prelude that every header on disk begins with.
//!
//! # Format
//! | at | field | rule |
//! |---|---|---|
//! | 0 | magic, 8 bytes | `89 54 4C 47 0D 0A 1A 0A`: text-mode transfer breaks it |
//! | 8 | header_crc u32 | CRC-32C of bytes 12..128 |
//! | 12 | header_len u16 | 128 |
//! | 14 | kind u8 | see [`Kind`] |
//! | 15 | version u8 | major version of the format |
//! | 16 | salt, 16 bytes | of the segment (superblock: the store id) |
//!
//! The prelude's layout, the header length, and the rule of the CRC are frozen for all versions. Version and
//! kind are believed only after a good CRC, and only of a header with the segment's salt: what a producer may
//! have put into a record of the file's earlier life can't pass for a newer version.

use crate::le;

/// Bytes of a block: the unit of every write, and the alignment of every header on disk.
pub const BLOCK: usize = 4096;
/// [`BLOCK`] for arithmetic on file positions.
pub const BLOCK_U64: u64 = 4096;
/// Bytes of every header.
pub const HEADER_LEN: usize = 128;
/// First eight bytes of every header.
pub const MAGIC: [u8; 8] = [0x89, b'T', b'L', b'G', 0x0D, 0x0A, 0x1A, 0x0A];
/// Major version that this code reads and writes.
pub const FORMAT_MAJOR: u8 = 1;
/// Minor version that this code writes.
pub const FORMAT_MINOR: u16 = 0;
/// Incompatible features that this code understands; any other bit set means [`Unsupported::Feature`].
pub const KNOWN_INCOMPATIBLE: u64 = 0;

/// Random identity of a segment's life in a file; never reused, so that what an earlier life left behind is
/// told from damage.
pub type Salt = [u8; 16];
/// One header's bytes.
pub type Header = [u8; HEADER_LEN];

/// What a header heads. Numbers are fixed for ever; 0 is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// One group commit: [`crate::frame`].
    Frame = 1,
    /// The block that ends every write: [`crate::end_block`].
    EndBlock = 2,
    /// Index of a sealed segment: [`crate::footer`].
    Footer = 3,
    /// Last block of a sealed segment: [`crate::trailer`].
    Trailer = 4,
    /// Identity of a data directory: [`crate::superblock`].
    Superblock = 5,
}

impl Kind {
    fn from_number(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::Frame,
            2 => Kind::EndBlock,
            3 => Kind::Footer,
            4 => Kind::Trailer,
            5 => Kind::Superblock,
            _ => return None,
        })
    }
}

/// Intact bytes that this version does not understand. Never a sign of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Written by a newer major version.
    #[error(
        "format version {found} is newer than {FORMAT_MAJOR}, the newest this program reads; use a newer Tidelog"
    )]
    Version {
        /// The major version found.
        found: u8,
    },
    /// An intact header of a kind that this version does not know.
    #[error("header kind {found} is unknown to this program; use a newer Tidelog")]
    Kind {
        /// The kind number found.
        found: u8,
    },
    /// A frame entry that must be understood and is not known.
    #[error("entry kind {found} must be understood and is unknown to this program; use a newer Tidelog")]
    Entry {
        /// The entry kind number found.
        found: u8,
    },
    /// An incompatible feature bit that this version does not know.
    #[error("incompatible features {bits:#x} are unknown to this program; use a newer Tidelog")]
    Feature {
        /// The unknown bits.
        bits: u64,
    },
}

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Neither zero nor a header.
    #[error("the magic is wrong")]
    Magic,
    /// The header's checksum does not fit its bytes.
    #[error("header checksum is {stored:08x}, its bytes give {computed:08x}")]
    HeaderCrc {
        /// As read.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// The checksum of table, batch heads and control entries does not fit.
    #[error("table checksum is {stored:08x}, its bytes give {computed:08x}")]
    TableCrc {
        /// As read.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A batch's own checksum does not fit its bytes.
    #[error("batch {entry} of the frame fails its checksum")]
    BatchCrc {
        /// Index in the frame's table.
        entry: u32,
    },
    /// A footer's body does not fit its checksum.
    #[error("body checksum is {stored:08x}, its bytes give {computed:08x}")]
    BodyCrc {
        /// As read.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// An intact header that belongs to another place in the file.
    #[error("belongs to block {says}, found at block {at}")]
    Misplaced {
        /// Block index in the header.
        says: u32,
        /// Block index where it was found.
        at: u32,
    },
    /// An intact header with another LSN than the place must have.
    #[error("LSN is {found}, must be {expected}")]
    Lsn {
        /// In the header.
        found: u64,
        /// By the frames before.
        expected: u64,
    },
    /// An intact header with another epoch than the segment's.
    #[error("epoch is {found}, must be {expected}")]
    Epoch {
        /// In the header.
        found: u32,
        /// Of the segment.
        expected: u32,
    },
    /// An intact header that does not follow the one before it.
    #[error("chain is {found:016x}, the header before it gives {expected:016x}")]
    Chain {
        /// In the header.
        found: u64,
        /// Of the header before.
        expected: u64,
    },
    /// A header of another kind than the place must have.
    #[error("a {found:?} header stands where it can't")]
    OutOfPlace {
        /// The kind found.
        found: Kind,
    },
    /// A field outside its range.
    #[error("{field} is out of range")]
    Range {
        /// The field's name in SPEC.md.
        field: &'static str,
    },
    /// The file ends before the structure does.
    #[error("the file ends before byte {needed} of the structure")]
    Truncated {
        /// Bytes the structure needs.
        needed: u64,
    },
    /// A digest over many bytes does not fit.
    #[error("the digest of the file's content does not fit")]
    Digest,
}

/// What the prelude of a block says, once its checksum is good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prelude {
    pub(crate) kind: Kind,
    pub(crate) salt: Salt,
}

/// A block's first look.
pub(crate) enum FirstLook {
    Virgin,
    Header(Prelude),
    Damaged(Damage),
    /// Intact and newer; the salt says whose it is.
    Unsupported(Salt, Unsupported),
}

/// Reads the prelude of `block` (at least one whole block).
pub(crate) fn first_look(block: &[u8]) -> FirstLook {
    if block[..8] != MAGIC {
        let virgin = le::is_zero(&block[..BLOCK]);
        return if virgin { FirstLook::Virgin } else { FirstLook::Damaged(Damage::Magic) };
    }
    let stored = le::u32_at(block, 8);
    let computed = crc32c::crc32c(&block[12..HEADER_LEN]);
    if stored != computed {
        return FirstLook::Damaged(Damage::HeaderCrc { stored, computed });
    }
    if usize::from(le::u16_at(block, 12)) != HEADER_LEN {
        return FirstLook::Damaged(Damage::Range { field: "header_len" });
    }
    let salt = le::array_at(block, 16);
    if block[15] != FORMAT_MAJOR {
        return FirstLook::Unsupported(salt, Unsupported::Version { found: block[15] });
    }
    match Kind::from_number(block[14]) {
        Some(kind) => FirstLook::Header(Prelude { kind, salt }),
        None => FirstLook::Unsupported(salt, Unsupported::Kind { found: block[14] }),
    }
}

/// Writes the prelude around a header whose own fields already stand in 32..128, checksum last.
pub(crate) fn close_header(header: &mut [u8], kind: Kind, salt: &Salt) {
    le::put(header, 0, &MAGIC);
    le::put(header, 12, &128u16.to_le_bytes());
    header[14] = kind as u8;
    header[15] = FORMAT_MAJOR;
    le::put(header, 16, salt);
    let crc = crc32c::crc32c(&header[12..HEADER_LEN]);
    le::put(header, 8, &crc.to_le_bytes());
}

/// `bytes` rounded up to whole blocks.
pub const fn round_up(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK) * BLOCK
}

/// The chain value that the header after `header` carries: XXH3-64 of all its 128 bytes, its own chain
/// included, so that one value vouches for all headers before it.
pub fn chain_after(header: &Header) -> u64 {
    xxhash_rust::xxh3::xxh3_64(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: Kind) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        close_header(&mut block, kind, &[7; 16]);
        block
    }

    fn resum(block: &mut [u8]) {
        let crc = crc32c::crc32c(&block[12..HEADER_LEN]);
        le::put(block, 8, &crc.to_le_bytes());
    }

    #[test]
    fn a_header_is_read_as_the_kind_and_salt_that_were_written() {
        for kind in [Kind::Frame, Kind::EndBlock, Kind::Footer, Kind::Trailer, Kind::Superblock] {
            let FirstLook::Header(prelude) = first_look(&header(kind)) else {
                panic!("{kind:?} is not read")
            };
            assert_eq!((prelude.kind, prelude.salt), (kind, [7; 16]));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_damage() {
        let mut block = header(Kind::Frame);
        for bit in 0..HEADER_LEN * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(first_look(&block), FirstLook::Damaged(_)), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_block_is_virgin_only_when_all_of_it_is_zero() {
        let mut block = [0; BLOCK];
        assert!(matches!(first_look(&block), FirstLook::Virgin));
        block[BLOCK - 1] = 1;
        assert!(matches!(first_look(&block), FirstLook::Damaged(Damage::Magic)));
    }

    #[test]
    fn an_intact_header_of_another_version_or_kind_is_unsupported_and_tells_its_salt() {
        let mut newer = header(Kind::Frame);
        newer[15] = 2;
        let damaged = newer;
        resum(&mut newer);
        let FirstLook::Unsupported(salt, found) = first_look(&newer) else { panic!("version 2 is read") };
        assert_eq!((salt, found), ([7; 16], Unsupported::Version { found: 2 }));
        assert!(matches!(first_look(&damaged), FirstLook::Damaged(_)), "believed before its checksum");

        let mut unknown = header(Kind::Frame);
        unknown[14] = 0;
        resum(&mut unknown);
        assert!(matches!(first_look(&unknown), FirstLook::Unsupported(_, Unsupported::Kind { found: 0 })));
    }

    #[test]
    fn sizes_are_rounded_up_to_whole_blocks() {
        for (bytes, whole) in [(0, 0), (1, BLOCK), (BLOCK, BLOCK), (BLOCK + 1, 2 * BLOCK)] {
            assert_eq!(round_up(bytes), whole);
        }
    }

    #[test]
    fn the_chain_depends_on_every_byte_of_the_header() {
        let header = [3; HEADER_LEN];
        for byte in 0..HEADER_LEN {
            let mut other = header;
            other[byte] ^= 1;
            assert_ne!(chain_after(&header), chain_after(&other), "byte {byte}");
        }
    }
}
