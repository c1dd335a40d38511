//! Reading and writing the primitive types of Kafka's protocol, in their classic and their compact encodings.
//!
//! # Invariants
//! A [`Reader`] never allocates from a length or a count that it has not compared with the bytes at hand, and the
//! elements of all arrays of one request are bounded together: a count costs one byte on the wire and many in memory.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use crate::shown::beginning;

/// Most elements of all arrays of one request together.
pub const MAX_ELEMENTS: usize = 1_000_000;

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault} in field `{field}`, {at} bytes behind the length")]
pub struct WireError {
    /// What is wrong.
    pub fault: WireFault,
    /// The field of the schema; empty in the header.
    pub field: &'static str,
    /// Bytes of the frame before the place.
    pub at: usize,
}

/// What is wrong with bytes from the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireFault {
    /// A length or count reaches beyond the frame.
    #[error("more is announced than the request holds")]
    Truncated,
    /// Null where something must be.
    #[error("null is not allowed")]
    Null,
    /// A length below -1, or a number of more than five bytes.
    #[error("a length is not valid")]
    Length,
    /// Text that is no UTF-8.
    #[error("the text is not UTF-8")]
    Utf8,
    /// Bytes behind the last field.
    #[error("bytes are left over")]
    Trailing,
    /// More than [`MAX_ELEMENTS`] array elements.
    #[error("too many array elements")]
    Elements,
}

/// How a version of a message is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Version of the message.
    pub version: i16,
    /// Whether lengths are compact and structs end with tagged fields.
    pub flexible: bool,
}

/// A bounded reader over one frame.
#[derive(Debug)]
pub struct Reader<'a> {
    frame: &'a [u8],
    at: usize,
    end: usize,
    elements: usize,
}

impl<'a> Reader<'a> {
    /// Reads a frame from its first byte behind the length.
    pub fn new(frame: &'a [u8]) -> Reader<'a> {
        Reader { frame, at: 0, end: frame.len(), elements: MAX_ELEMENTS }
    }

    /// Bytes of the frame that were read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// An error at this place.
    pub fn error(&self, fault: WireFault) -> WireError {
        WireError { fault, field: "", at: self.at }
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// [`WireFault::Trailing`].
    pub fn finish(&self) -> Result<(), WireError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.error(WireFault::Trailing)) }
    }

    /// The next `len` bytes, as their place in the frame.
    pub(super) fn range(&mut self, len: usize) -> Result<Range<usize>, WireError> {
        if len > self.remaining() {
            return Err(self.error(WireFault::Truncated));
        }
        let range = self.at..self.at + len;
        self.at = range.end;
        Ok(range)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let range = self.range(len)?;
        Ok(&self.frame[range])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// An unsigned number in base 128, low digits first, of at most five bytes.
    pub(super) fn varint(&mut self) -> Result<u32, WireError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let digit = u32::from(byte & 0x7f);
            if shift == 28 && digit > 0x0f {
                break;
            }
            value |= digit << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(WireFault::Length))
    }

    /// A length or count: in the compact encoding one more than it is, so that 0 is null; `None` for null.
    fn size(&mut self, layout: Layout, classic: impl FnOnce(&mut Self) -> Result<i32, WireError>) -> Size {
        let size = if layout.flexible { i64::from(self.varint()?) - 1 } else { i64::from(classic(self)?) };
        match usize::try_from(size) {
            Ok(size) if size <= self.remaining() => Ok(Some(size)),
            Ok(_) => Err(self.error(WireFault::Truncated)),
            Err(_) if size == -1 => Ok(None),
            Err(_) => Err(self.error(WireFault::Length)),
        }
    }

    pub(super) fn count(&mut self, layout: Layout) -> Size {
        let count = self.size(layout, |reader| Ok(i32::from_be_bytes(reader.array()?)))?;
        if let Some(count) = count {
            let left = self.elements.checked_sub(count);
            self.elements = left.ok_or_else(|| self.error(WireFault::Elements))?;
        }
        Ok(count)
    }

    pub(super) fn bytes(&mut self, layout: Layout) -> Result<Option<Range<usize>>, WireError> {
        match self.size(layout, |reader| Ok(i32::from_be_bytes(reader.array()?)))? {
            Some(len) => self.range(len).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn slice(&self, range: Range<usize>) -> &'a [u8] {
        &self.frame[range]
    }

    pub(super) fn text(&mut self, layout: Layout) -> Result<Option<&'a str>, WireError> {
        let size = self.size(layout, |reader| Ok(i16::from_be_bytes(reader.array()?).into()))?;
        let Some(len) = size else { return Ok(None) };
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| self.error(WireFault::Utf8))
    }

    /// Reads tagged fields: `each` reads those it knows; the others are skipped.
    pub(super) fn tagged(
        &mut self,
        mut each: impl FnMut(u32, &mut Self) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
            let range = self.range(len)?;
            let whole = std::mem::replace(&mut self.end, range.end);
            self.at = range.start;
            each(tag, self)?;
            self.at = range.end;
            self.end = whole;
        }
        Ok(())
    }
}

type Size = Result<Option<usize>, WireError>;

/// A message being written: owned pieces, and between them bytes that are passed on as they are.
#[derive(Debug, Default)]
pub struct Writer {
    parts: Vec<Part>,
    tail: BytesMut,
}

#[derive(Debug)]
enum Part {
    Own(BytesMut),
    Shared(Bytes),
}

impl Writer {
    /// An empty message.
    pub fn new() -> Writer {
        Writer::default()
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
    }

    pub(super) fn varint(&mut self, mut value: u32) {
        while let Some(more) = Some(value >> 7).filter(|more| *more > 0) {
            self.tail.put_u8(value.to_le_bytes()[0] | 0x80);
            value = more;
        }
        self.tail.put_u8(value.to_le_bytes()[0]);
    }

    /// A count or a length of bytes; `None` is null.
    pub(super) fn size(&mut self, size: Option<usize>, layout: Layout) {
        // What is written here was bounded by limits far below 2^31.
        let size = size.map(|size| i32::try_from(size).unwrap_or(i32::MAX));
        if layout.flexible {
            self.varint(size.map_or(0, |size| size.unsigned_abs() + 1));
        } else {
            self.put(&size.unwrap_or(-1).to_be_bytes());
        }
    }

    pub(super) fn text(&mut self, text: Option<&str>, layout: Layout) {
        // Longer text than a classic length can say is cut: only messages for people come near it.
        let text = text.map(|text| beginning(text, usize::from(i16::MAX.unsigned_abs())));
        if layout.flexible {
            self.size(text.map(str::len), layout);
        } else {
            let len = text.map_or(-1, |text| i16::try_from(text.len()).unwrap_or(i16::MAX));
            self.put(&len.to_be_bytes());
        }
        self.put(text.unwrap_or_default().as_bytes());
    }

    /// Passes bytes on without copying them.
    pub(super) fn share(&mut self, bytes: Bytes) {
        if !self.tail.is_empty() {
            self.parts.push(Part::Own(std::mem::take(&mut self.tail)));
        }
        self.parts.push(Part::Shared(bytes));
    }

    pub(super) fn tagged(&mut self, fields: Vec<(u32, Writer)>) {
        self.varint(u32::try_from(fields.len()).unwrap_or(u32::MAX));
        for (tag, field) in fields {
            self.varint(tag);
            self.varint(u32::try_from(field.tail.len()).unwrap_or(u32::MAX));
            self.put(&field.tail);
        }
    }

    /// The message as a frame: its length first.
    pub fn into_frame(mut self) -> Vec<Bytes> {
        if !self.tail.is_empty() {
            self.parts.push(Part::Own(std::mem::take(&mut self.tail)));
        }
        let parts: Vec<Bytes> = self.parts.into_iter().map(Part::freeze).collect();
        let len: usize = parts.iter().map(Bytes::len).sum();
        let len = i32::try_from(len).unwrap_or(i32::MAX).to_be_bytes();
        match &parts[..] {
            // One piece, one system call, one packet.
            [only] => {
                let mut whole = BytesMut::with_capacity(4 + only.len());
                whole.put_slice(&len);
                whole.put_slice(only);
                vec![whole.freeze()]
            }
            _ => std::iter::once(Bytes::copy_from_slice(&len)).chain(parts).collect(),
        }
    }
}

impl Part {
    fn freeze(self) -> Bytes {
        match self {
            Part::Own(bytes) => bytes.freeze(),
            Part::Shared(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSIC: Layout = Layout { version: 0, flexible: false };
    const COMPACT: Layout = Layout { version: 0, flexible: true };

    #[test]
    fn numbers_in_base_128_read_back_and_longer_ones_are_refused() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u32::MAX] {
            let mut writer = Writer::new();
            writer.varint(value);
            assert_eq!(Reader::new(&writer.tail).varint(), Ok(value));
        }
        for bytes in [&[0x80; 5][..], &[0xff, 0xff, 0xff, 0xff, 0x1f], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]]
        {
            assert_eq!(Reader::new(bytes).varint().unwrap_err().fault, WireFault::Length);
        }
        assert_eq!(Reader::new(&[0x80]).varint().unwrap_err().fault, WireFault::Truncated);
    }

    #[test]
    fn a_count_beyond_the_frame_is_refused_before_anything_is_allocated() {
        let lying = i32::MAX.to_be_bytes();
        assert_eq!(Reader::new(&lying).count(CLASSIC).unwrap_err().fault, WireFault::Truncated);
        let mut writer = Writer::new();
        writer.varint(u32::MAX);
        assert_eq!(Reader::new(&writer.tail).count(COMPACT).unwrap_err().fault, WireFault::Truncated);
        assert_eq!(Reader::new(&(-2i32).to_be_bytes()).count(CLASSIC).unwrap_err().fault, WireFault::Length);
        assert_eq!(Reader::new(&(-1i32).to_be_bytes()).count(CLASSIC), Ok(None));
    }

    #[test]
    fn the_elements_of_all_arrays_are_bounded_together() {
        let frame = vec![0; MAX_ELEMENTS + 100];
        let mut reader = Reader::new(&frame);
        reader.elements = 10;
        let count = |reader: &mut Reader<'_>, count: i32| {
            let mut with = count.to_be_bytes().to_vec();
            with.extend_from_slice(&[0; 64]);
            let mut inner = Reader { frame: &with, at: 0, end: with.len(), elements: reader.elements };
            let read = inner.count(CLASSIC);
            reader.elements = inner.elements;
            read
        };
        assert_eq!(count(&mut reader, 6), Ok(Some(6)));
        assert_eq!(count(&mut reader, 6).unwrap_err().fault, WireFault::Elements);
    }

    #[test]
    fn shared_bytes_are_passed_on_and_the_frame_says_how_long_it_is() {
        let batch = Bytes::from_static(b"batch");
        let mut writer = Writer::new();
        writer.put(b"ab");
        writer.share(batch.clone());
        writer.put(b"c");
        let frame = writer.into_frame();
        assert_eq!(frame.concat(), b"\0\0\0\x08abbatchc");
        assert_eq!(frame[2].as_ptr(), batch.as_ptr(), "not copied");
    }

    #[test]
    fn unknown_tagged_fields_are_skipped() {
        let mut reader = Reader::new(&[2, 7, 3, 1, 2, 3, 9, 1, 5, 0xAA]);
        let mut seen = Vec::new();
        let each = |tag, reader: &mut Reader<'_>| {
            if tag == 9 {
                seen.push(reader.array::<1>()?);
            }
            Ok(())
        };
        reader.tagged(each).unwrap();
        assert_eq!((seen, reader.remaining()), (vec![[5]], 1));
    }
}
