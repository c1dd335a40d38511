//! Content of files.

use super::{fill, is_pattern, new_file, pattern, read};
use crate::{Access, BLOCK, Disk, DiskFile, Fault};
use std::path::Path;

const BLOCK64: u64 = BLOCK as u64;

/// Writes of several sizes and places read back as they were, and the rest of the buffer is not written.
pub async fn what_was_written_is_read_back<D: Disk>(disk: &D, dir: &Path) {
    let file = disk.create(&dir.join("f"), Access::Durable).await.unwrap();
    let (done, buf) = file.write_at(pattern(disk, 8, 1), 3 * BLOCK, 0).await;
    done.unwrap();
    assert!(is_pattern(&buf[7 * BLOCK..], 7, 1), "the buffer came back as it was");
    assert_eq!(file.len().await.unwrap(), 3 * BLOCK64, "only the first three blocks were written");
    file.write_at(buf, BLOCK, 2 * BLOCK64).await.0.unwrap();
    let bytes = read(disk, &file, 3 * BLOCK, 0).await;
    assert!(is_pattern(&bytes[..BLOCK], 0, 1) && is_pattern(&bytes[BLOCK..2 * BLOCK], 1, 1));
    assert!(is_pattern(&bytes[2 * BLOCK..], 0, 1), "the overwritten block");
}

/// A file closed and opened again keeps its content and takes overwrites.
pub async fn a_durable_file_is_overwritten_in_place_after_reopening<D: Disk>(disk: &D, dir: &Path) {
    let path = dir.join("f");
    drop(new_file(disk, &path, Access::Durable, 4, 1).await);
    let file = disk.open(&path, Access::Durable).await.unwrap();
    file.write_at(pattern(disk, 1, 2), BLOCK, BLOCK64).await.0.unwrap();
    drop(file);
    let file = disk.open(&path, Access::Read).await.unwrap();
    let bytes = read(disk, &file, 4 * BLOCK, 0).await;
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        let expected = if number == 1 { is_pattern(block, 0, 2) } else { is_pattern(block, number, 1) };
        assert!(expected, "block {number}");
    }
    assert_eq!(file.len().await.unwrap(), 4 * BLOCK64);
}

/// Reading over and behind the end gives what there is, also when the length is no multiple of a block.
pub async fn a_read_is_short_only_at_the_end_of_the_file<D: Disk>(disk: &D, dir: &Path) {
    let file = new_file(disk, &dir.join("f"), Access::Durable, 5, 3).await;
    assert_eq!(read(disk, &file, 2 * BLOCK, 3 * BLOCK64).await.len(), 2 * BLOCK, "to the very end");
    let tail = read(disk, &file, 8 * BLOCK, 3 * BLOCK64).await;
    assert_eq!(tail.len(), 2 * BLOCK);
    assert!(is_pattern(&tail[BLOCK..], 4, 3));
    assert_eq!(read(disk, &file, BLOCK, 5 * BLOCK64).await.len(), 0);
    assert_eq!(read(disk, &file, BLOCK, 900 * BLOCK64).await.len(), 0);
    file.set_len(4 * BLOCK64 + 700).await.unwrap();
    assert_eq!(read(disk, &file, 2 * BLOCK, 3 * BLOCK64).await.len(), BLOCK + 700);
}

/// Growing shows zeros, shrinking cuts, and growing again does not bring back what was cut.
pub async fn set_len_grows_with_zeros_and_shrinks<D: Disk>(disk: &D, dir: &Path) {
    let file = new_file(disk, &dir.join("f"), Access::Bulk, 2, 4).await;
    file.set_len(6 * BLOCK64).await.unwrap();
    assert_eq!(file.len().await.unwrap(), 6 * BLOCK64);
    let bytes = read(disk, &file, 6 * BLOCK, 0).await;
    assert!(is_pattern(&bytes[BLOCK..2 * BLOCK], 1, 4));
    assert!(bytes[2 * BLOCK..].iter().all(|byte| *byte == 0));
    file.set_len(BLOCK64).await.unwrap();
    file.set_len(2 * BLOCK64).await.unwrap();
    let bytes = read(disk, &file, 4 * BLOCK, 0).await;
    assert_eq!(bytes.len(), 2 * BLOCK);
    assert!(is_pattern(&bytes[..BLOCK], 0, 4) && bytes[BLOCK..].iter().all(|byte| *byte == 0));
    file.sync().await.unwrap();
}

/// Filling ahead: many bulk writes, one sync, and another handle sees it all.
pub async fn bulk_writes_are_there_after_a_sync<D: Disk>(disk: &D, dir: &Path) {
    let path = dir.join("f");
    let file = disk.create(&path, Access::Bulk).await.unwrap();
    let mut buf = pattern(disk, 16, 5);
    for round in 0..4 {
        let done;
        (done, buf) = file.write_at(buf, 16 * BLOCK, round * 16 * BLOCK64).await;
        done.unwrap();
    }
    file.sync().await.unwrap();
    disk.sync_dir(dir).await.unwrap();
    let other = disk.open(&path, Access::Read).await.unwrap();
    let bytes = read(disk, &other, 64 * BLOCK, 0).await;
    assert_eq!(bytes.len(), 64 * BLOCK);
    assert!(bytes.chunks(BLOCK).enumerate().all(|(number, block)| is_pattern(block, number % 16, 5)));
}

/// The caller's mistakes are `Invalid`, change nothing and cost no buffer.
pub async fn unaligned_and_oversized_transfers_are_refused_and_the_buffer_comes_back<D: Disk>(
    disk: &D,
    dir: &Path,
) {
    let file = new_file(disk, &dir.join("f"), Access::Durable, 2, 6).await;
    let mut buf = pattern(disk, 2, 7);
    let end = u64::MAX / BLOCK64 * BLOCK64;
    for (len, pos) in [(1, 0), (BLOCK, 512), (BLOCK + 512, 0), (3 * BLOCK, 0), (BLOCK, end), (BLOCK, 1 << 63)]
    {
        let written;
        (written, buf) = file.write_at(buf, len, pos).await;
        assert_eq!(written.unwrap_err().kind(), Fault::Invalid, "write of {len} at {pos}");
        let count;
        (count, buf) = file.read_at(buf, len, pos).await;
        assert_eq!(count.unwrap_err().kind(), Fault::Invalid, "read of {len} at {pos}");
        assert!(is_pattern(&buf[BLOCK..], 1, 7), "the same buffer, untouched");
    }
    let bytes = read(disk, &file, 2 * BLOCK, 0).await;
    assert!(is_pattern(&bytes[..BLOCK], 0, 6) && is_pattern(&bytes[BLOCK..], 1, 6));
}

/// A reading handle cannot change the file.
pub async fn a_file_opened_for_reading_refuses_writes<D: Disk>(disk: &D, dir: &Path) {
    let path = dir.join("f");
    drop(new_file(disk, &path, Access::Durable, 1, 8).await);
    let file = disk.open(&path, Access::Read).await.unwrap();
    let (done, _) = file.write_at(pattern(disk, 1, 9), BLOCK, 0).await;
    assert_eq!(done.unwrap_err().kind(), Fault::Invalid);
    assert_eq!(file.set_len(0).await.unwrap_err().kind(), Fault::Invalid);
    assert!(is_pattern(&read(disk, &file, BLOCK, 0).await, 0, 8));
}

/// 9 MiB in one transfer, which no registered arena holds.
pub async fn transfers_larger_than_any_arena_work<D: Disk>(disk: &D, dir: &Path) {
    let blocks = 9 * 256;
    let file = new_file(disk, &dir.join("f"), Access::Durable, blocks, 10).await;
    let bytes = read(disk, &file, blocks * BLOCK, 0).await;
    assert!(bytes.chunks(BLOCK).enumerate().all(|(number, block)| is_pattern(block, number, 10)));
}

/// Also the second time, when the memory was used before.
pub async fn a_buffer_is_zeroed_aligned_and_rounded_up<D: Disk>(disk: &D, _dir: &Path) {
    for _ in 0..2 {
        for asked in [0, 1, BLOCK, BLOCK + 1, 1 << 20, 8 << 20] {
            let mut buf = disk.buffer(asked);
            assert_eq!(buf.capacity(), asked.max(1).div_ceil(BLOCK) * BLOCK);
            assert_eq!(buf.len(), buf.capacity());
            assert_eq!(buf.as_ptr().addr() % BLOCK, 0);
            assert!(buf.iter().all(|byte| *byte == 0), "{asked}");
            fill(&mut buf, 0, 0xFF);
        }
    }
}

/// As a segment that is removed while somebody reads it.
pub async fn a_removed_file_stays_usable_while_open<D: Disk>(disk: &D, dir: &Path) {
    let path = dir.join("f");
    let file = new_file(disk, &path, Access::Durable, 2, 11).await;
    disk.remove(&path).await.unwrap();
    disk.sync_dir(dir).await.unwrap();
    assert_eq!(disk.list(dir).await.unwrap(), []);
    let second = new_file(disk, &path, Access::Durable, 1, 12).await;
    assert!(is_pattern(&read(disk, &file, 2 * BLOCK, 0).await[BLOCK..], 1, 11));
    assert!(is_pattern(&read(disk, &second, BLOCK, 0).await, 0, 12));
}
