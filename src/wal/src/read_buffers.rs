//! Buffers that segments are read into: used again, so that a read neither zeroes memory nor faults pages in.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tidelog_io::Buf;

/// Bytes of a large read, and of each buffer that is kept: a little over 1 MiB, so that a reader that asks for that
/// much has it, with what stands around it, from one read.
pub(crate) const CHUNK: usize = 1280 * 1024;

/// Buffers kept while nobody uses them.
const KEPT: usize = 4;

#[derive(Default)]
pub(crate) struct ReadBuffers {
    free: Mutex<Vec<Buf>>,
}

impl ReadBuffers {
    /// A buffer of at least `len` bytes; what stands in it has no meaning.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Lent {
        let free = (CHUNK / 8..=CHUNK).contains(&len).then(|| self.free().pop());
        let buf = match free {
            Some(free) => free.unwrap_or_else(|| Buf::heap(CHUNK)),
            None => Buf::heap(len),
        };
        Lent { buf: Some(buf), home: Arc::clone(self) }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Buf>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer that goes back when it is dropped.
pub(crate) struct Lent {
    /// None only while it is lent on to the disk.
    buf: Option<Buf>,
    home: Arc<ReadBuffers>,
}

impl Lent {
    /// Its memory, for the disk, and where [`Lent::back`] puts it.
    pub(crate) fn lend(mut self) -> (Buf, Lent) {
        (self.buf.take().unwrap_or_else(|| Buf::heap(0)), self)
    }

    /// With the memory that the disk has given back.
    pub(crate) fn back(self, buf: Buf) -> Lent {
        Lent { buf: Some(buf), home: Arc::clone(&self.home) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buf.as_deref_mut().unwrap_or_default()
    }

    /// Its first `len` bytes, shared: the buffer goes back with the last of them.
    pub(crate) fn share(self, len: usize) -> Bytes {
        Bytes::from_owner(self).slice(..len)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.buf.as_deref().unwrap_or_default()
    }
}

impl Deref for Lent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(buf) = self.buf.take().filter(|buf| buf.capacity() == CHUNK) else { return };
        let mut free = self.home.free();
        if free.len() < KEPT {
            free.push(buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_comes_back_when_the_last_piece_of_it_is_gone() {
        let buffers = Arc::<ReadBuffers>::default();
        let piece = buffers.take(CHUNK).share(100).slice(10..20);
        assert!(buffers.free().is_empty());
        drop(piece);
        assert_eq!(buffers.free().len(), 1);
        let taken = buffers.take(CHUNK - 1);
        assert!(buffers.free().is_empty(), "it is used again");
        let (buf, empty) = taken.lend();
        drop(empty.back(buf));
        assert_eq!(buffers.free().len(), 1, "also after it was with the disk");
    }

    #[test]
    fn small_and_huge_buffers_are_not_kept_and_large_ones_only_so_many() {
        let buffers = Arc::<ReadBuffers>::default();
        drop((buffers.take(1), buffers.take(2 * CHUNK)));
        assert!(buffers.free().is_empty());
        let many: Vec<Lent> = (0..KEPT + 3).map(|_| buffers.take(CHUNK)).collect();
        drop(many);
        assert_eq!(buffers.free().len(), KEPT);
    }
}
