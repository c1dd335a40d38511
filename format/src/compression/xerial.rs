//! Snappy as Kafka clients write it: raw, or in the framing of the Java library "snappy-java" by xerial.
//!
//! # Format
//! `82 53 4E 41 50 50 59 00` ("SNAPPY"), version i32, least compatible version i32, then blocks: length i32,
//! raw snappy data of that length. All big-endian. What does not start with the magic is one raw block.

use std::io;

use super::Stop;

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
/// Magic, version 1, readable by version 1.
const HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// What snappy-java puts into one block.
const BLOCK: usize = 32 * 1024;
/// The densest element of the format, a copy, makes 64 bytes out of 3; nothing gets above this.
const MAX_RATIO: usize = 22;

/// Appends `plain` in xerial framing.
pub(super) fn compress(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = snap::raw::Encoder::new();
    out.extend_from_slice(&HEADER);
    for block in plain.chunks(BLOCK) {
        let at = out.len();
        out.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
        let len = encoder.compress(block, &mut out[at + 4..])?;
        out.truncate(at + 4 + len);
        let len = u32::try_from(len).map_err(io::Error::other)?;
        out[at..at + 4].copy_from_slice(&len.to_be_bytes());
    }
    Ok(())
}

/// Decompresses either form into the empty `out`.
pub(super) fn decompress(packed: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Stop> {
    if !packed.starts_with(&MAGIC) {
        return decompress_block(packed, out, limit);
    }
    let mut rest = packed.get(HEADER.len()..).ok_or("snappy framing is cut inside its header")?;
    while !rest.is_empty() {
        let (len, blocks) = rest.split_first_chunk::<4>().ok_or("a snappy block length is cut")?;
        let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
        let (block, next) = blocks.split_at_checked(len).ok_or("a snappy block is longer than its batch")?;
        decompress_block(block, out, limit)?;
        rest = next;
    }
    Ok(())
}

/// Appends one raw block to `out`.
fn decompress_block(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Stop> {
    let at = out.len();
    let len = snap::raw::decompress_len(block).map_err(io::Error::from)?;
    if len > limit - at {
        return Err(Stop::TooLarge);
    }
    if len > block.len().saturating_mul(MAX_RATIO) {
        return Err("a snappy block claims more bytes than it can hold".into());
    }
    super::grow(out, at + len, limit);
    snap::raw::Decoder::new().decompress(block, &mut out[at..]).map_err(io::Error::from)?;
    Ok(())
}
