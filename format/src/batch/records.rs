//! The records of a batch, one by one.

use super::cursor::Cursor;
use super::error::{Allowed, BatchError, Field};
use super::header::BatchHeader;
use super::record::{RawRecord, Record};

/// The records of a batch with their offsets, in order. After an error nothing more comes.
///
/// It allocates only the Vec of a record's headers, when there are any. What it checks: every length, dense
/// offsets, and that after the last record nothing is left over.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    from: Cursor<'a>,
    base_offset: u64,
    base_timestamp: i64,
    count: u32,
    next: u32,
    done: bool,
}

impl<'a> Records<'a> {
    pub(super) fn new(header: &BatchHeader, body: &'a [u8]) -> Self {
        Self {
            from: Cursor(body),
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            count: header.count,
            next: 0,
            done: false,
        }
    }

    /// How many records are still to come, if none is damaged.
    pub fn remaining(&self) -> u32 {
        if self.done { 0 } else { self.count - self.next }
    }

    /// The next record, not yet resolved, through `read`; the index is put into its error.
    #[inline]
    pub(super) fn step<T>(
        &mut self,
        read: impl FnOnce(u32, &RawRecord<'a>) -> Result<T, BatchError>,
    ) -> Option<Result<T, BatchError>> {
        if self.done {
            return None;
        }
        if self.next == self.count {
            self.done = true;
            return self.left_over().map(Err);
        }
        let index = self.next;
        let result = RawRecord::decode(&mut self.from).and_then(|raw| {
            if i64::from(raw.offset_delta) != i64::from(index) {
                let allowed = Allowed::Exactly(i64::from(index));
                return Err(BatchError::invalid(Field::OffsetDelta, raw.offset_delta, allowed));
            }
            read(index, &raw)
        });
        self.next += 1;
        self.done = result.is_err();
        Some(result.map_err(|error| error.in_record(index)))
    }

    fn left_over(&self) -> Option<BatchError> {
        let rule = Allowed::Rule("no bytes left behind the last record");
        (!self.from.is_empty()).then(|| BatchError::corrupt(Field::Body, self.from.remaining(), rule))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(u64, Record<'a>), BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (base_offset, base_timestamp) = (self.base_offset, self.base_timestamp);
        self.step(|index, raw| {
            let record = raw.resolve(base_timestamp)?;
            Ok((base_offset.saturating_add(u64::from(index)), record))
        })
    }
}

impl std::iter::FusedIterator for Records<'_> {}
