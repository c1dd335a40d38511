//! What one read of a partition brought.

use std::ops::ControlFlow;

use bytes::Bytes;
use tidelog_format::batch::{BatchError, BatchViews, Record};

/// From which record on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Offset(u64),
    /// The first record whose timestamp (ms) is at or after this.
    Timestamp(i64),
}

/// Consecutive batches of one partition, checked against their CRCs, and which of their records were asked for.
#[derive(Debug, Clone)]
pub struct Chunk {
    partition: u32,
    bytes: Bytes,
    from: From,
    until: u64,
    next: u64,
}

impl Chunk {
    /// Checks the batches: whole, intact, in ascending order.
    pub(crate) fn check(partition: u32, bytes: Bytes, from: From, until: u64) -> Result<Chunk, ChunkFault> {
        let mut next = match from {
            From::Offset(offset) => offset,
            From::Timestamp(_) => 0,
        };
        for (n, view) in BatchViews::new(&bytes).enumerate() {
            let view = view?;
            view.verify_crc()?;
            let header = view.header();
            if header.next_offset() <= next || (n > 0 && header.base_offset < next) {
                let (base_offset, end) = (header.base_offset, header.next_offset());
                return Err(ChunkFault::Order { base_offset, end, wanted: next });
            }
            next = header.next_offset();
        }
        Ok(Chunk { partition, bytes, from, until, next })
    }

    /// The partition read.
    pub const fn partition(&self) -> u32 {
        self.partition
    }

    /// The offset behind the last record, where reading goes on.
    pub const fn next_offset(&self) -> u64 {
        self.next
    }

    /// The whole batches as stored; they may hold records beside those asked for.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether no batch was there.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Hands each record asked for with its offset to `each`, in order, until it breaks. `scratch` is memory to
    /// decompress into; what it holds does not matter.
    ///
    /// # Errors
    /// A batch that does not decode, with the offset of its first record. What came before it was handed out.
    pub fn for_each<B>(
        &self,
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(u64, &Record<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, crate::Error> {
        let mut reached = matches!(self.from, From::Offset(_));
        for view in BatchViews::new(&self.bytes) {
            let view = view.map_err(|cause| self.fault(self.next, cause))?;
            let at = view.header().base_offset;
            for record in view.records(scratch).map_err(|cause| self.fault(at, cause))? {
                let (offset, record) = record.map_err(|cause| self.fault(at, cause))?;
                reached = reached || self.reaches(&record);
                if !reached || self.lies_before(offset) {
                    continue;
                }
                if offset >= self.until {
                    return Ok(ControlFlow::Continue(()));
                }
                if let ControlFlow::Break(value) = each(offset, &record) {
                    return Ok(ControlFlow::Break(value));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn reaches(&self, record: &Record<'_>) -> bool {
        matches!(self.from, From::Timestamp(ms) if record.timestamp >= ms)
    }

    fn lies_before(&self, offset: u64) -> bool {
        matches!(self.from, From::Offset(from) if offset < from)
    }

    fn fault(&self, offset: u64, cause: BatchError) -> crate::Error {
        crate::Error::Batch { partition: self.partition, offset, cause }
    }
}

/// Why an answer to a read is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChunkFault {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("a batch holds offsets {base_offset} to {end} where {wanted} was to come")]
    Order { base_offset: u64, end: u64, wanted: u64 },
}
