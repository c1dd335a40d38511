//! Seals a segment: footer and trailer behind its last frame, then the file is cut there.
//!
//! The trailer and all of the footer but its first block go first. The first block overwrites the end block, so
//! until the rest is durable the end block still proves the end; after that the trailer does.

use tidelog_format::block::{BLOCK, BLOCK_U64};
use tidelog_format::footer::Footer;
use tidelog_format::trailer::Trailer;
use tidelog_io::{Buf, DiskFile, IoError};

/// Longest piece of one write.
const PIECE: usize = 1024 * 1024;

/// Writes footer and trailer into `file` (opened durable) and cuts it. Gives the file's length.
pub(crate) async fn seal<F: DiskFile>(file: &F, footer: &Footer, digest: [u8; 16]) -> Result<u64, IoError> {
    let mut bytes = footer.encode();
    let footer_len = bytes.len();
    let footer_blocks = u32::try_from(footer_len / BLOCK).unwrap_or(u32::MAX);
    let trailer = Trailer {
        salt: footer.salt,
        base_lsn: footer.base_lsn,
        next_lsn: footer.next_lsn,
        chain: footer.chain,
        footer_len: footer_len as u64,
        epoch: footer.epoch,
        block_index: footer.block_index.saturating_add(footer_blocks),
        digest,
    };
    let mut block = [0; BLOCK];
    trailer.encode(&mut block);
    bytes.extend_from_slice(&block);
    let position = u64::from(footer.block_index) * BLOCK_U64;
    write_all(file, &bytes[BLOCK..], position + BLOCK_U64).await?;
    write_all(file, &bytes[..BLOCK], position).await?;
    let len = position + bytes.len() as u64;
    file.set_len(len).await?;
    file.sync().await?;
    Ok(len)
}

async fn write_all<F: DiskFile>(file: &F, bytes: &[u8], mut position: u64) -> Result<(), IoError> {
    let mut buf = Buf::heap(bytes.len().min(PIECE));
    for piece in bytes.chunks(PIECE) {
        buf[..piece.len()].copy_from_slice(piece);
        let (result, back) = file.write_at(buf, piece.len(), position).await;
        result?;
        buf = back;
        position += piece.len() as u64;
    }
    Ok(())
}
