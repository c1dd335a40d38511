//! Names of files in a data directory. Numbers only, never names from the wire.
//!
//! ```text
//! DIR/lock                      held while a process has the directory open
//! DIR/superblock                identity: two alternating copies
//! DIR/promises                  what this store has promised: crate::promise
//! DIR/promises.new              the same, about to take its place
//! DIR/shards/SHARD/EPOCH-NUMBER.seg    segments (shard 0 is the metadata's)
//! DIR/shards/SHARD/spare/NUMBER.seg    files prepared ahead, content without meaning
//! DIR/lost+found/               bytes that recovery cut off, never deleted by Tidelog
//! ```

/// File of the lock.
pub const LOCK: &str = "lock";
/// File of the superblock.
pub const SUPERBLOCK: &str = "superblock";
/// File of the promise journal.
pub const PROMISES: &str = "promises";
/// A promise journal that is to take the place of the one at hand.
pub const NEW_PROMISES: &str = "promises.new";
/// Folder of the shards.
pub const SHARDS: &str = "shards";
/// Folder of a shard's spare files.
pub const SPARE: &str = "spare";
/// Folder of bytes that recovery cut off.
pub const LOST_AND_FOUND: &str = "lost+found";
/// Shard that holds the metadata.
pub const META_SHARD: u64 = 0;

/// File name of a segment, sorted by epoch and number.
pub fn segment(epoch: u32, number: u64) -> String {
    format!("{epoch:010}-{number:020}.seg")
}

/// Epoch and number in a segment's file name; `None` for any other file.
pub fn parse_segment(name: &str) -> Option<(u32, u64)> {
    let (epoch, number) = name.strip_suffix(".seg")?.split_once('-')?;
    let id = (epoch.parse().ok()?, number.parse().ok()?);
    (segment(id.0, id.1) == name).then_some(id)
}

/// File name of a spare.
pub fn spare(number: u64) -> String {
    format!("{number:020}.seg")
}

/// Number in a spare's file name; `None` for any other file.
pub fn parse_spare(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".seg")?.parse().ok()?;
    (spare(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_sort_as_their_numbers() {
        assert_eq!(parse_segment(&segment(7, 12)), Some((7, 12)));
        assert_eq!(parse_spare(&spare(3)), Some(3));
        assert!(segment(2, 900) < segment(10, 1));
    }

    #[test]
    fn other_names_are_not_segments() {
        for name in [
            "",
            "1-2.seg",
            "0000000001-00000000000000000002.seg.tmp",
            "lost+found",
            "+000000001-00000000000000000002.seg",
        ] {
            assert_eq!(parse_segment(name), None, "{name}");
        }
    }
}
