//! An owned batch that was checked once.

use bytes::{Bytes, BytesMut};

use super::error::{Allowed, BatchError, Field};
use super::header::{BatchHeader, LEADER_EPOCH_AT};
use super::record::RawRecord;
use super::records::Records;
use super::view::BatchView;
use super::{MAX_BATCH_LEN, MAX_KEY_AND_HEADERS_LEN, MAX_VALUE_LEN};
use crate::compression::Codec;

/// An owned batch whose length, magic, CRC, counts and attributes have been checked once: no transaction, no
/// control batch, create time, known codec. Offset and epoch may still be stamped.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: BytesMut,
    header: BatchHeader,
    codec: Codec,
}

impl Batch {
    /// Checks that `bytes` are exactly one batch that may be stored, and takes it. Reads every byte once, for the
    /// CRC; the records are not looked into.
    ///
    /// # Errors
    /// `Corrupt` for lengths and CRC, `TooLarge` for more than [`MAX_BATCH_LEN`] bytes, `Unsupported` for another
    /// magic, an unknown codec or attribute bits that are not served, `Invalid` for counts that do not fit and for a
    /// producer id without epoch or sequence.
    pub fn validate(bytes: BytesMut) -> Result<Self, BatchError> {
        let view = BatchView::frame(&bytes)?;
        let header = *view.header();
        if header.total_len() != bytes.len() {
            let allowed = Allowed::Exactly(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
            return Err(BatchError::corrupt(Field::BatchLength, header.total_len(), allowed));
        }
        // The CRC comes first, so that damage is called damage and not somebody's fault.
        view.verify_crc()?;
        header.check_attributes()?;
        header.check_counts()?;
        header.check_producer()?;
        let codec = header.codec()?;
        Ok(Self { bytes, header, codec })
    }

    /// A batch made by our own builder.
    pub(super) fn built(bytes: BytesMut, header: BatchHeader, codec: Codec) -> Self {
        debug_assert_eq!(header.total_len(), bytes.len());
        debug_assert!(bytes.len() <= MAX_BATCH_LEN);
        Self { bytes, header, codec }
    }

    /// The deep check: decompresses within the limit and decodes every record. Lengths, dense offsets, UTF-8
    /// header names, value at most [`MAX_VALUE_LEN`], key and headers at most [`MAX_KEY_AND_HEADERS_LEN`], and the
    /// max timestamp of the header is that of the records.
    ///
    /// # Errors
    /// Any [`BatchError`], with the record it is in.
    pub fn validate_records(&self) -> Result<(), BatchError> {
        self.validate_records_with(&mut Vec::new())
    }

    /// [`validate_records`](Self::validate_records) with memory to decompress into, for callers that check many.
    ///
    /// # Errors
    /// As there.
    pub fn validate_records_with(&self, scratch: &mut Vec<u8>) -> Result<(), BatchError> {
        let mut records = self.records(scratch)?;
        let mut max_timestamp = i64::MIN;
        while let Some(checked) = records.step(|_, raw| {
            check_limits(raw)?;
            raw.timestamp(self.header.base_timestamp)
        }) {
            max_timestamp = max_timestamp.max(checked?);
        }
        if max_timestamp != self.header.max_timestamp {
            let allowed = Allowed::Exactly(max_timestamp);
            return Err(BatchError::invalid(Field::MaxTimestamp, self.header.max_timestamp, allowed));
        }
        Ok(())
    }

    /// The records, as in [`BatchView::records`].
    ///
    /// # Errors
    /// As there.
    pub fn records<'s>(&'s self, scratch: &'s mut Vec<u8>) -> Result<Records<'s>, BatchError> {
        self.view().records(scratch)
    }

    /// A view on the batch.
    pub fn view(&self) -> BatchView<'_> {
        BatchView::checked(self.header, &self.bytes)
    }

    /// The header, stamped fields included.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// How the records are compressed.
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Number of records, 1 or more.
    pub const fn count(&self) -> u32 {
        self.header.count
    }

    /// Highest timestamp of the records in ms, as the header has it.
    pub const fn max_timestamp(&self) -> i64 {
        self.header.max_timestamp
    }

    /// Stored bytes, header included; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a batch has at least its header and one record")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the base offset and the leader's epoch, the two fields that the CRC does not cover. Epochs fit an
    /// i32, offsets an i64, which is what Kafka's clients read there.
    pub fn stamp(&mut self, base_offset: u64, leader_epoch: u32) {
        self.header.base_offset = base_offset;
        self.header.leader_epoch = i32::from_ne_bytes(leader_epoch.to_ne_bytes());
        self.bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        self.bytes[LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4].copy_from_slice(&leader_epoch.to_be_bytes());
    }

    /// Gives up the right to stamp and returns the bytes.
    pub fn freeze(self) -> Bytes {
        self.bytes.freeze()
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("header", &self.header)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

/// Cuts `bytes`, which hold nothing but consecutive batches, into them without copying. No bytes, no batches.
///
/// # Errors
/// The first batch that [`Batch::validate`] refuses; a cut last one is `Corrupt`.
pub fn split(mut bytes: BytesMut) -> Result<Vec<Batch>, BatchError> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let len = BatchView::frame(&bytes)?.bytes().len();
        batches.push(Batch::validate(bytes.split_to(len))?);
    }
    Ok(batches)
}

/// Checks what is not a matter of decoding.
fn check_limits(raw: &RawRecord<'_>) -> Result<(), BatchError> {
    let value = raw.value.map_or(0, <[u8]>::len);
    if value > MAX_VALUE_LEN {
        return Err(BatchError::too_large(Field::Value, value, MAX_VALUE_LEN));
    }
    check_key_and_headers(raw.key.map_or(0, <[u8]>::len) + raw.headers_len())?;
    raw.each_header(|header| check_name(header.name))
}

/// Checks the bytes of key and encoded headers against the limit.
pub(super) fn check_key_and_headers(len: usize) -> Result<(), BatchError> {
    if len > MAX_KEY_AND_HEADERS_LEN {
        return Err(BatchError::too_large(Field::KeyAndHeaders, len, MAX_KEY_AND_HEADERS_LEN));
    }
    Ok(())
}

/// Checks that a header's name is UTF-8.
pub(super) fn check_name(name: &[u8]) -> Result<(), BatchError> {
    std::str::from_utf8(name).map(|_| ()).map_err(|error| {
        let rule = Allowed::Rule("UTF-8 throughout (shown is where it stops being so)");
        BatchError::invalid(Field::HeaderName, error.valid_up_to(), rule)
    })
}
