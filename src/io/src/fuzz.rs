//! Body of the fuzz target for disks: whatever is done to a file, the three backends and a plain vector of bytes say the
//! same of it.
//!
//! # Format
//! The input is read as numbers: two bytes for the file's first length, then one operation after the other until it ends.
//! What is too large is taken modulo what fits.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sim::{Sim, block_on_sim};
use crate::{Access, BLOCK, Disk, DiskFile, Fault, IoError, block_on_posix, block_on_uring};

/// Files are this long at most, blocks.
const BLOCKS: u64 = 24;
/// More operations than this only take longer.
const OPERATIONS: usize = 12;

#[derive(Debug, Clone, Copy)]
enum Operation {
    /// So many blocks of this byte at a block.
    Write(u64, usize, u8),
    /// So many blocks at a block.
    Read(u64, usize),
    SetLen(u64),
    Sync,
    /// The file is closed and opened again, for filling or for durable writes.
    Reopen(Access),
    /// A read of a length that is no whole number of blocks.
    Crooked(u64),
}

/// What an operation showed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Bytes(Vec<u8>),
    Len(u64),
    Failed(Fault),
}

/// Does to a file what the input says, through each backend. Panics only when they differ.
pub fn fuzz_disks(data: &[u8]) {
    let (first, operations) = plan(data);
    let expected = model(first, &operations);
    let sim = Sim::new(1);
    let path = Path::new("/file");
    sim.write_file(path, &contents(first));
    let seen = block_on_sim(&sim, async |disk| run(&disk, path, &operations).await);
    assert_eq!(seen.ok().as_ref(), Some(&expected), "the simulator");
    let Ok(file) = TemporaryFile::new(&contents(first)) else { return };
    let seen = block_on_posix(async |disk| run(&disk, &file.0, &operations).await);
    assert_eq!(seen.ok().as_ref(), Some(&expected), "posix");
    let Ok(file) = TemporaryFile::new(&contents(first)) else { return };
    // Where io_uring is forbidden the server takes posix, too.
    if let Ok(seen) = block_on_uring(async |disk| run(&disk, &file.0, &operations).await) {
        assert_eq!(seen, expected, "uring");
    }
}

/// A file that is removed when it is not needed any more.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(bytes: &[u8]) -> std::io::Result<TemporaryFile> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("tidelog-fuzz-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let file = TemporaryFile(std::env::temp_dir().join(name));
        std::fs::write(&file.0, bytes)?;
        Ok(file)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // Nobody is waiting for the outcome; the place is for what may be lost.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Bytes of a file of this length, no block like another.
fn contents(len: u64) -> Vec<u8> {
    (0..len).map(|at| (at / BLOCK as u64 + at % 251) as u8).collect()
}

fn plan(data: &[u8]) -> (u64, Vec<Operation>) {
    let mut rest = data.iter().copied();
    let mut byte = || rest.next();
    let len = u64::from(byte().unwrap_or(0)) * 256 + u64::from(byte().unwrap_or(0));
    let mut operations = Vec::new();
    while operations.len() < OPERATIONS {
        let Some(what) = byte() else { break };
        let (place, more) = (u64::from(byte().unwrap_or(0)), byte().unwrap_or(0));
        let blocks = 1 + usize::from(more) % 5;
        operations.push(match what % 7 {
            0 | 1 => Operation::Write(place % BLOCKS, blocks, more),
            2 | 3 => Operation::Read(place % (BLOCKS + 4), blocks),
            4 => Operation::SetLen(place * 256 + u64::from(more)),
            5 if more % 2 == 0 => Operation::Sync,
            5 => Operation::Crooked(place * 16 + 1),
            _ if more % 2 == 0 => Operation::Reopen(Access::Bulk),
            _ => Operation::Reopen(Access::Durable),
        });
    }
    (len, operations)
}

/// What any disk must show.
fn model(first: u64, operations: &[Operation]) -> Vec<Seen> {
    let mut file = contents(first);
    let mut seen = Vec::new();
    for operation in operations {
        match *operation {
            Operation::Write(block, blocks, byte) => {
                let range = block as usize * BLOCK..(block as usize + blocks) * BLOCK;
                file.resize(file.len().max(range.end), 0);
                file[range].fill(byte);
            }
            Operation::Read(block, blocks) => {
                let from = (block as usize * BLOCK).min(file.len());
                let to = (from + blocks * BLOCK).min(file.len());
                seen.push(Seen::Bytes(file[from..to].to_vec()));
            }
            Operation::SetLen(len) => file.resize(len as usize, 0),
            Operation::Crooked(_) => seen.push(Seen::Failed(Fault::Invalid)),
            Operation::Sync | Operation::Reopen(_) => {}
        }
        seen.push(Seen::Len(file.len() as u64));
    }
    seen
}

async fn run<D: Disk>(disk: &D, path: &Path, operations: &[Operation]) -> Vec<Seen> {
    match try_run(disk, path, operations).await {
        Ok(seen) => seen,
        Err(error) => vec![Seen::Failed(error.kind())],
    }
}

async fn try_run<D: Disk>(disk: &D, path: &Path, operations: &[Operation]) -> Result<Vec<Seen>, IoError> {
    let mut file = disk.open(path, Access::Durable).await?;
    let mut seen = Vec::new();
    for operation in operations {
        match *operation {
            Operation::Write(block, blocks, byte) => {
                let mut buf = disk.buffer(blocks * BLOCK);
                buf[..blocks * BLOCK].fill(byte);
                file.write_at(buf, blocks * BLOCK, block * BLOCK as u64).await.0?;
            }
            Operation::Read(block, blocks) => {
                let len = blocks * BLOCK;
                let (read, buf) = file.read_at(disk.buffer(len), len, block * BLOCK as u64).await;
                seen.push(Seen::Bytes(buf[..read?].to_vec()));
            }
            Operation::SetLen(len) => file.set_len(len).await?,
            Operation::Sync => file.sync().await?,
            Operation::Reopen(access) => {
                drop(file);
                file = disk.open(path, access).await?;
            }
            Operation::Crooked(len) => {
                let (read, _) = file.read_at(disk.buffer(2 * BLOCK), len as usize, 0).await;
                seen.extend(read.err().map(|error| Seen::Failed(error.kind())));
            }
        }
        seen.push(Seen::Len(file.len().await?));
    }
    Ok(seen)
}
