//! A place in a slice, moving forward; every step says whether there is enough left.

use super::error::{Allowed, BatchError, Field};
use super::varint;

/// The bytes not yet read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn remaining(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `N` bytes.
    #[inline]
    pub(super) fn array<const N: usize>(&mut self, field: Field) -> Result<[u8; N], BatchError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| self.short(field, N))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// The next `len` bytes.
    #[inline]
    pub(super) fn take(&mut self, len: usize, field: Field) -> Result<&'a [u8], BatchError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(|| self.short(field, len))?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn varint_i32(&mut self, field: Field) -> Result<i32, BatchError> {
        let (value, len) = varint::read_i32(self.0).ok_or_else(|| self.no_varint(field))?;
        self.0 = &self.0[len..];
        Ok(value)
    }

    #[inline]
    pub(super) fn varint_i64(&mut self, field: Field) -> Result<i64, BatchError> {
        let (value, len) = varint::read_i64(self.0).ok_or_else(|| self.no_varint(field))?;
        self.0 = &self.0[len..];
        Ok(value)
    }

    /// A length and that many bytes; -1 is null.
    #[inline]
    pub(super) fn nullable(&mut self, field: Field) -> Result<Option<&'a [u8]>, BatchError> {
        match self.varint_i32(field)? {
            -1 => Ok(None),
            len => self.take_wire(len, field).map(Some),
        }
    }

    /// A length and that many bytes, null not allowed.
    #[inline]
    pub(super) fn bytes(&mut self, field: Field) -> Result<&'a [u8], BatchError> {
        let len = self.varint_i32(field)?;
        self.take_wire(len, field)
    }

    fn take_wire(&mut self, len: i32, field: Field) -> Result<&'a [u8], BatchError> {
        match usize::try_from(len) {
            Ok(len) => self.take(len, field),
            Err(_) => Err(BatchError::corrupt(field, len, Allowed::AtLeast(0))),
        }
    }

    #[cold]
    fn short(&self, field: Field, wanted: usize) -> BatchError {
        let most = i64::try_from(self.remaining()).unwrap_or(i64::MAX);
        BatchError::corrupt(field, wanted, Allowed::AtMost(most))
    }

    #[cold]
    fn no_varint(&self, field: Field) -> BatchError {
        // What stands there is best shown by its first byte.
        let first = self.0.first().map_or(-1, |&byte| i32::from(byte));
        BatchError::corrupt(field, first, Allowed::Rule("a whole varint in its shortest form"))
    }
}
