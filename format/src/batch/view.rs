//! A borrowed view on one whole batch.

use super::error::{Allowed, BatchError, Field};
use super::header::{BatchHeader, CRC_FROM};
use super::records::Records;
use super::{BATCH_HEADER_LEN, MAX_DECOMPRESSED_LEN};
use crate::compression::{self, Codec, CompressionError};

/// A whole batch in someone else's memory, with its header read.
#[derive(Debug, Clone, Copy)]
pub struct BatchView<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Views the batch that `bytes` begin with; what follows it is left out. Checks length, magic and counts,
    /// not the CRC and not the attributes.
    ///
    /// # Errors
    /// As [`BatchHeader::parse`]; `Corrupt` when the batch is cut; `Invalid` when the counts do not fit together;
    /// `Unsupported` for an unknown codec.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let view = Self::frame(bytes)?;
        view.header.check_counts()?;
        Ok(view)
    }

    /// Reads the header and finds the end, no more.
    pub(super) fn frame(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let Some(bytes) = bytes.get(..header.total_len()) else {
            let allowed = Allowed::AtMost(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
            return Err(BatchError::corrupt(Field::BatchLength, header.total_len(), allowed));
        };
        Ok(Self { header, bytes })
    }

    /// The view of a batch that was checked before.
    pub(super) const fn checked(header: BatchHeader, bytes: &'a [u8]) -> Self {
        Self { header, bytes }
    }

    /// The header as read.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// All bytes of the batch, header included.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records as they stand, compressed or not.
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(BATCH_HEADER_LEN..).unwrap_or_default()
    }

    /// Compares the CRC with the bytes.
    ///
    /// # Errors
    /// `Corrupt` when they differ.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let crc = crc32c::crc32c(self.bytes.get(CRC_FROM..).unwrap_or_default());
        if crc == self.header.crc {
            return Ok(());
        }
        Err(BatchError::corrupt(Field::Crc, self.header.crc, Allowed::Exactly(i64::from(crc))))
    }

    /// The records, one by one. They borrow from the batch, or from `scratch` when they had to be decompressed;
    /// its former content is lost, its memory reused.
    ///
    /// # Errors
    /// `TooLarge` when the records decompress to more than [`MAX_DECOMPRESSED_LEN`], `Corrupt` when they do not
    /// decompress, `Unsupported` for an unknown codec.
    pub fn records<'s>(&self, scratch: &'s mut Vec<u8>) -> Result<Records<'s>, BatchError>
    where
        'a: 's,
    {
        let codec = self.header.codec()?;
        if codec == Codec::None {
            return Ok(Records::new(&self.header, self.body()));
        }
        compression::decompress(codec, self.body(), scratch, MAX_DECOMPRESSED_LEN)
            .map_err(|error| self.decompression(&error))?;
        Ok(Records::new(&self.header, scratch))
    }

    fn decompression(&self, error: &CompressionError) -> BatchError {
        match error {
            CompressionError::TooLarge { limit, .. } => {
                BatchError::too_large(Field::Body, limit.saturating_add(1), *limit)
            }
            CompressionError::Corrupt { .. } | CompressionError::Encoder { .. } => {
                let rule = Allowed::Rule("whole and valid data of the batch's codec");
                BatchError::corrupt(Field::Body, self.body().len(), rule)
            }
        }
    }
}

/// Consecutive batches, as in the answer to a fetch. Ends after the first error.
#[derive(Debug, Clone)]
pub struct BatchViews<'a>(&'a [u8]);

impl<'a> BatchViews<'a> {
    /// Walks the batches in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for BatchViews<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let view = BatchView::parse(self.0);
        self.0 = view.as_ref().ok().and_then(|view| self.0.get(view.bytes.len()..)).unwrap_or_default();
        Some(view)
    }
}
