//! Which byte of an intact file belongs to what. Written from SPEC.md alone and not with the format's own reader, so that
//! "nobody said anything because nothing was there" is judged by somebody else.

use std::ops::Range;

use tidelog_format::BLOCK;
use tidelog_format::name;

use crate::directory::{segment, u32_at, u64_at};

/// What a byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Region {
    /// Header, bodies and table of the frame with this LSN.
    Frame(u64),
    /// Zeroes between a frame's table and the next block.
    Padding(u64),
    /// The end block behind the last write.
    End,
    /// Header and body of a footer.
    Footer,
    /// Zeroes behind a footer's body.
    FooterPadding,
    Trailer,
    Superblock,
    /// Behind the end of what was written, in a file that waits for its turn, or no data at all.
    Nothing,
}

impl Region {
    /// Whether damage there may go unnoticed: nothing was ever written there that counts. An end block holds nothing
    /// that was acknowledged; where it is gone, what stands behind the last frame tells the end.
    pub(crate) fn is_free(self) -> bool {
        matches!(self, Region::Nothing | Region::End)
    }

    /// Whether it is written when the segment is sealed.
    pub(crate) fn is_of_seal(self) -> bool {
        matches!(self, Region::Footer | Region::FooterPadding | Region::Trailer)
    }
}

/// The regions of a file, in order and without gaps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Regions(Vec<(Range<usize>, Region)>);

impl Regions {
    /// Of the intact file at this path.
    pub(crate) fn of(path: &str, bytes: &[u8]) -> Regions {
        let mut regions = Regions(Vec::new());
        match segment(path) {
            Some((_, _, number)) => regions.walk(bytes, number),
            None if path == name::SUPERBLOCK => regions.push(bytes.len(), Region::Superblock),
            None => {}
        }
        regions.push(bytes.len(), Region::Nothing);
        regions
    }

    fn end(&self) -> usize {
        self.0.last().map_or(0, |(range, _)| range.end)
    }

    fn push(&mut self, to: usize, region: Region) {
        if to > self.end() {
            self.0.push((self.end()..to, region));
        }
    }

    fn walk(&mut self, bytes: &[u8], number: u64) {
        // The opening's body stands behind the header; its number tells a file that waits for its turn.
        if bytes.len() < BLOCK || u64_at(bytes, 128 + 56) != number {
            return;
        }
        let salt = &bytes[16..32];
        loop {
            let at = self.end();
            let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= BLOCK) else { return };
            if rest[..8] != *b"\x89TLG\r\n\x1a\n" || &rest[16..32] != salt {
                return;
            }
            match rest[14] {
                1 => {
                    let (lsn, used) =
                        (u64_at(rest, 32), 128 + usize::try_from(u32_at(rest, 72)).unwrap_or(usize::MAX));
                    self.push(at + used, Region::Frame(lsn));
                    self.push(at + used.next_multiple_of(BLOCK), Region::Padding(lsn));
                }
                3 => {
                    let used = 128 + usize::try_from(u64_at(rest, 56)).unwrap_or(usize::MAX);
                    self.push(at + used, Region::Footer);
                    self.push(at + used.next_multiple_of(BLOCK), Region::FooterPadding);
                }
                4 => return self.push(at + BLOCK, Region::Trailer),
                _ => return self.push(at + BLOCK, Region::End),
            }
        }
    }

    /// All frames: LSN, first byte, first byte behind what counts.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (u64, Range<usize>)> {
        self.0.iter().filter_map(|(range, region)| match region {
            Region::Frame(lsn) => Some((*lsn, range.clone())),
            _ => None,
        })
    }

    /// The regions in which a file differs from what it was.
    pub(crate) fn touched(&self, before: &[u8], after: &[u8]) -> Vec<Region> {
        let mut touched = Vec::new();
        for (range, region) in &self.0 {
            let now = after.get(range.start.min(after.len())..range.end.min(after.len())).unwrap_or_default();
            if before.get(range.clone()) != Some(now) {
                touched.push(*region);
            }
        }
        if after.len() > before.len() {
            touched.push(Region::Nothing);
        }
        touched
    }
}
