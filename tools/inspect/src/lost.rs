//! The entry that says which offsets are gone: written by `repair` only, so that a hole is told wherever it is read.
//!
//! # Format
//! Entry kind 129, which readers may skip: partition, base_offset = the first offset that is gone, count = how many;
//! no body (SPEC.md, section 4.2).

use std::ops::Range;

use tidelog_format::entry::Row;

/// Number of the entry's kind.
pub(crate) const LOST: u8 = 129;

/// Rows that say that the offsets from `from` to before `to` are gone.
pub(crate) fn rows(partition: u64, from: u64, to: u64) -> impl Iterator<Item = Row> {
    let mut at = from;
    std::iter::from_fn(move || {
        let left = to.checked_sub(at).filter(|left| *left > 0)?;
        let count = u32::try_from(left).unwrap_or(u32::MAX);
        let base_offset = at;
        at += u64::from(count);
        Some(Row { partition, base_offset, length: 0, count, kind: LOST })
    })
}

/// The offsets that an entry says are gone.
pub(crate) fn of(row: &Row) -> Option<Range<u64>> {
    (row.kind == LOST).then(|| row.base_offset..row.base_offset.saturating_add(u64::from(row.count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_any_width_is_said_without_a_rest() {
        assert_eq!(rows(7, 5, 5).count(), 0);
        assert_eq!(rows(7, 5, 4).count(), 0);
        let wide = 3 * u64::from(u32::MAX) + 5;
        let said: Vec<Range<u64>> = rows(7, 10, 10 + wide).filter_map(|row| of(&row)).collect();
        assert_eq!(said.len(), 4);
        assert_eq!((said[0].start, said[3].end), (10, 10 + wide));
        assert!(said.windows(2).all(|pair| pair[0].end == pair[1].start));
    }
}
