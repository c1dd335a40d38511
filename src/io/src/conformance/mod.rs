//! One suite that every disk backend passes.
//!
//! # Purpose
//! Each case is an async function over any [`Disk`] and an empty directory on it that exists. The macro
//! [`disk_conformance!`](crate::disk_conformance) makes a test of each for one backend.

mod files;
mod names;
mod tasks;
#[cfg(test)]
pub(crate) mod tests;

pub use files::*;
pub use names::*;
pub use tasks::*;

use crate::{Access, BLOCK, Buf, Disk, DiskFile};
use std::path::Path;

/// Makes one `#[test]` per case. `$run` is a function that takes an `AsyncFnOnce(D, PathBuf)`, gives it a disk
/// and an empty directory, and drives it to its end.
#[macro_export]
macro_rules! disk_conformance {
    ($run:path) => {
        $crate::disk_conformance!($run;
            what_was_written_is_read_back,
            a_durable_file_is_overwritten_in_place_after_reopening,
            a_read_is_short_only_at_the_end_of_the_file,
            set_len_grows_with_zeros_and_shrinks,
            bulk_writes_are_there_after_a_sync,
            unaligned_and_oversized_transfers_are_refused_and_the_buffer_comes_back,
            a_file_opened_for_reading_refuses_writes,
            transfers_larger_than_any_arena_work,
            a_buffer_is_zeroed_aligned_and_rounded_up,
            a_removed_file_stays_usable_while_open,
            creating_an_existing_file_is_refused,
            renaming_moves_and_never_overwrites,
            names_are_listed_in_order_with_their_lengths,
            what_is_missing_is_not_found,
            directories_are_made_with_their_parents,
            a_file_is_no_directory,
            the_free_space_is_known,
            many_files_at_once_do_not_mix,
            one_file_takes_many_writes_at_once,
            a_task_that_keeps_yielding_does_not_hold_back_a_write,
            dropping_a_future_mid_write_harms_nobody,
            dropping_a_future_mid_read_harms_nobody
        );
    };
    ($run:path; $($case:ident),+) => {
        $(#[test]
        fn $case() {
            $run(async |disk, dir| $crate::conformance::$case(&disk, &dir).await);
        })+
    };
}

/// A buffer of `blocks` blocks in which every block differs from every other and from zeros.
fn pattern<D: Disk>(disk: &D, blocks: usize, tag: u8) -> Buf {
    let mut buf = disk.buffer(blocks * BLOCK);
    for (number, block) in buf.chunks_mut(BLOCK).enumerate() {
        fill(block, number, tag);
    }
    buf
}

fn fill(block: &mut [u8], number: usize, tag: u8) {
    block.fill(tag);
    block[..8].copy_from_slice(&(number as u64 + 1).to_le_bytes());
}

/// Whether `block` is the one `pattern` makes.
fn is_pattern(block: &[u8], number: usize, tag: u8) -> bool {
    block[..8] == (number as u64 + 1).to_le_bytes() && block[8..].iter().all(|byte| *byte == tag)
}

/// A new file holding `blocks` blocks of the pattern.
async fn new_file<D: Disk>(disk: &D, path: &Path, access: Access, blocks: usize, tag: u8) -> D::File {
    let file = disk.create(path, access).await.unwrap();
    if blocks > 0 {
        file.write_at(pattern(disk, blocks, tag), blocks * BLOCK, 0).await.0.unwrap();
    }
    file
}

/// Reads `len` bytes (whole blocks) and returns what came.
async fn read<D: Disk>(disk: &D, file: &D::File, len: usize, pos: u64) -> Vec<u8> {
    let (count, buf) = file.read_at(disk.buffer(len), len, pos).await;
    buf[..count.unwrap()].to_vec()
}
