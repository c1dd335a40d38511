//! Names of files in a data directory. Numbers only, never names from the wire.
//!
//! ```text
//! DIR/lock                      held while a process has the directory open
//! DIR/superblock                identity: two alternating copies
//! DIR/promises                  what this store has promised: crate::promise
//! DIR/promises.new              the same, about to take its place
//! DIR/shards/SHARD/EPOCH-NUMBER.seg    segments (shard 0 is the metadata's)
//! DIR/shards/SHARD/spare/NUMBER.seg    files prepared ahead, content without meaning
//! DIR/shards/SHARD/copies/EPOCH-NUMBER-LENGTH-DIGEST.part   what has come of a sealed file of another holder
//! DIR/shards/SHARD/copies/EPOCH-NUMBER.mend                 a file that is put together frame by frame
//! DIR/shards/SHARD/copies/EPOCH-NUMBER.seg                  a segment that a copy is to replace
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
/// Folder of a shard's copies that are being made.
pub const COPIES: &str = "copies";
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

/// File name of what has come of another holder's sealed file: its length and its digest are those that it was listed with.
pub fn part(epoch: u32, number: u64, len: u64, digest: &[u8; 16]) -> String {
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{epoch:010}-{number:020}-{len:010}-{digest}.part")
}

/// Epoch, number, length and digest in such a name; `None` for any other file.
pub fn parse_part(name: &str) -> Option<(u32, u64, u64, [u8; 16])> {
    let mut fields = name.strip_suffix(".part")?.split('-');
    let mut next = || fields.next();
    let (epoch, number, len) = (next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?);
    let digest = u128::from_str_radix(next()?, 16).ok()?.to_be_bytes();
    (part(epoch, number, len, &digest) == name).then_some((epoch, number, len, digest))
}

/// File name of a segment that is put together frame by frame.
pub fn mend(epoch: u32, number: u64) -> String {
    format!("{epoch:010}-{number:020}.mend")
}

/// Epoch and number in such a name; `None` for any other file.
pub fn parse_mend(name: &str) -> Option<(u32, u64)> {
    let (epoch, number) = name.strip_suffix(".mend")?.split_once('-')?;
    let id = (epoch.parse().ok()?, number.parse().ok()?);
    (mend(id.0, id.1) == name).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_sort_as_their_numbers() {
        assert_eq!(parse_segment(&segment(7, 12)), Some((7, 12)));
        assert_eq!(parse_spare(&spare(3)), Some(3));
        assert!(segment(2, 900) < segment(10, 1));
        let digest = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];
        assert_eq!(parse_part(&part(7, 12, 4096, &digest)), Some((7, 12, 4096, digest)));
        assert_eq!(parse_mend(&mend(7, 12)), Some((7, 12)));
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
            assert_eq!((parse_part(name), parse_mend(name)), (None, None), "{name}");
        }
    }
}
