//! The span start: who leads a span and who holds it, in the first frame behind the opening frame of its first segment.
//!
//! # Purpose
//! The metadata decides about spans and is believed; this says the same where the frames are, so that files tell their
//! story to whoever has nothing else. What a leader must know to go on (offsets, producers) is in the footer before.
//!
//! # Format (32 bytes and 24 for each holder)
//! The row's base offset is the LSN of the span's first frame, its count the number of holders.
//! | at | field |
//! |---|---|
//! | 0 | chain u64: that the span's first frame carries |
//! | 8 | leader: node u64, incarnation u64 |
//! | 24 | epoch of the span before u32; 0: none |
//! | 28 | quorum u8, zero (3 bytes) |
//! | 32 | holders: node u64, store id 16 bytes each, ascending by node |

use crate::block::Damage;
use crate::entry::{EntryKind, Row};
use crate::le;

/// Bytes before the holders.
const HEAD: usize = 32;
/// Bytes of a holder.
const HOLDER: usize = 24;
/// The most holders of a span.
pub const MAX_HOLDERS: usize = 7;

/// Who holds a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its node.
    pub node: u64,
    /// The node's data directory.
    pub store: [u8; 16],
}

/// The beginning of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanStart {
    /// LSN of its first frame.
    pub base_lsn: u64,
    /// The chain value that it carries.
    pub base_chain: u64,
    /// The node that leads it.
    pub leader: u64,
    /// In which of its process starts.
    pub incarnation: u64,
    /// Epoch of the span before, if there was one.
    pub previous: Option<u32>,
    /// How many holders make a frame durable before it is acknowledged.
    pub quorum: u8,
    /// Who holds it, ascending by node.
    pub holders: Vec<Holder>,
}

impl SpanStart {
    /// The entry's row and body.
    ///
    /// # Panics
    /// With more than [`MAX_HOLDERS`] holders, which no span has.
    pub fn encode(&self) -> (Row, Vec<u8>) {
        assert!(self.holders.len() <= MAX_HOLDERS, "a span of {} holders", self.holders.len());
        let mut body = vec![0; HEAD + self.holders.len() * HOLDER];
        le::put(&mut body, 0, &self.base_chain.to_le_bytes());
        le::put(&mut body, 8, &self.leader.to_le_bytes());
        le::put(&mut body, 16, &self.incarnation.to_le_bytes());
        le::put(&mut body, 24, &self.previous.unwrap_or(0).to_le_bytes());
        body[28] = self.quorum;
        for (at, holder) in (HEAD..).step_by(HOLDER).zip(&self.holders) {
            le::put(&mut body, at, &holder.node.to_le_bytes());
            le::put(&mut body, at + 8, &holder.store);
        }
        let row = Row {
            partition: 0,
            base_offset: self.base_lsn,
            length: u32::try_from(body.len()).unwrap_or(u32::MAX),
            count: u32::try_from(self.holders.len()).unwrap_or(u32::MAX),
            kind: EntryKind::SpanStart as u8,
        };
        (row, body)
    }

    /// Reads an entry of a frame whose checksums are good.
    ///
    /// # Errors
    /// A length that is not that of its holders, or what no span has: none or too many of them, a quorum beyond them.
    pub fn decode(row: &Row, body: &[u8]) -> Result<SpanStart, Damage> {
        let count = le::index(row.count);
        if !(1..=MAX_HOLDERS).contains(&count) || body.len() != HEAD + count * HOLDER {
            return Err(Damage::Range { field: "span start: holders" });
        }
        let quorum = body[28];
        if !(1..=count).contains(&usize::from(quorum)) {
            return Err(Damage::Range { field: "span start: quorum" });
        }
        let holders: Vec<Holder> = body[HEAD..]
            .chunks_exact(HOLDER)
            .map(|holder| Holder { node: le::u64_at(holder, 0), store: le::array_at(holder, 8) })
            .collect();
        if holders.windows(2).any(|two| two[0].node >= two[1].node) {
            return Err(Damage::Range { field: "span start: order of holders" });
        }
        let previous = le::u32_at(body, 24);
        Ok(SpanStart {
            base_lsn: row.base_offset,
            base_chain: le::u64_at(body, 0),
            leader: le::u64_at(body, 8),
            incarnation: le::u64_at(body, 16),
            previous: (previous != 0).then_some(previous),
            quorum,
            holders,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(holders: u64) -> SpanStart {
        let holder = |node| Holder { node, store: [node as u8; 16] };
        SpanStart {
            base_lsn: 77,
            base_chain: 0xABCD,
            leader: 2,
            incarnation: 9,
            previous: Some(4),
            quorum: (holders / 2 + 1) as u8,
            holders: (1..=holders).map(holder).collect(),
        }
    }

    #[test]
    fn a_span_start_reads_back() {
        for holders in 1..=MAX_HOLDERS as u64 {
            for previous in [None, Some(1), Some(u32::MAX)] {
                let start = SpanStart { previous, ..start(holders) };
                let (row, body) = start.encode();
                assert_eq!(SpanStart::decode(&row, &body), Ok(start));
            }
        }
    }

    #[test]
    fn what_no_span_is_is_damage() {
        let (row, body) = start(3).encode();
        for len in 0..body.len() {
            assert!(SpanStart::decode(&row, &body[..len]).is_err(), "{len} bytes");
        }
        for count in [0, 2, 4, u32::MAX] {
            assert!(SpanStart::decode(&Row { count, ..row }, &body).is_err(), "{count} holders");
        }
        for (at, value) in [(28, 0), (28, 4), (32, 3), (56, 1)] {
            let mut other = body.clone();
            other[at] = value;
            assert!(SpanStart::decode(&row, &other).is_err(), "byte {at} = {value}");
        }
    }
}
