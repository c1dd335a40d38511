//! Seals a segment: footer and trailer behind its last frame, then the file is cut there.
//!
//! The trailer and all of the footer but its first block go first. The first block overwrites the end block, so
//! until the rest is durable the end block still proves the end; after that the trailer does.

use std::path::Path;

use tidelog_format::block::{BLOCK, BLOCK_U64};
use tidelog_format::footer::Footer;
use tidelog_format::trailer::Trailer;
use tidelog_io::{Access, Buf, Disk, DiskFile, IoError};

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

/// The trailer of a file of `len` bytes; `None` when it is not sealed.
pub(crate) async fn read_trailer<D: Disk>(
    disk: &D,
    path: &Path,
    len: u64,
) -> Result<Option<Trailer>, IoError> {
    Ok(open_sealed(disk, path, len).await?.map(|(_, trailer)| trailer))
}

/// Trailer and footer of a file of `len` bytes; `None` when it is not sealed or its footer is damaged.
pub(crate) async fn read_seal<D: Disk>(
    disk: &D,
    path: &Path,
    len: u64,
) -> Result<Option<(Trailer, Footer)>, IoError> {
    let Some((handle, trailer)) = open_sealed(disk, path, len).await? else { return Ok(None) };
    let len = usize::try_from(trailer.footer_len).unwrap_or(usize::MAX);
    let (read, buf) = handle.read_at(Buf::heap(len), len, trailer.footer_position()).await;
    let footer = buf.get(..read?.min(len)).and_then(|bytes| Footer::decode(bytes).ok());
    Ok(footer.filter(|footer| footer.next_lsn == trailer.next_lsn).map(|footer| (trailer, footer)))
}

/// A file of `len` bytes that ends with a trailer.
async fn open_sealed<D: Disk>(
    disk: &D,
    path: &Path,
    len: u64,
) -> Result<Option<(D::File, Trailer)>, IoError> {
    let Some(last) = len.checked_sub(BLOCK_U64).filter(|last| last % BLOCK_U64 == 0) else {
        return Ok(None);
    };
    let handle = disk.open(path, Access::Read).await?;
    let (read, buf) = handle.read_at(Buf::heap(BLOCK), BLOCK, last).await;
    let read = read?;
    let index = u32::try_from(last / BLOCK_U64).unwrap_or(u32::MAX);
    let block = buf.first_chunk::<BLOCK>().filter(|_| read >= BLOCK);
    let trailer = block.and_then(|block| Trailer::of_last_block(block, index));
    Ok(trailer.map(|trailer| (handle, trailer)))
}
