//! Aligned buffers that can be lent to the kernel.
//!
//! # Purpose
//! `O_DIRECT` wants memory aligned to the block, and io_uring saves work per operation when the memory was
//! registered once. [`Buf`] is one concrete, owned, `Send` type for both: a piece of the ring's registered
//! [`Arena`] while that has room, else its own heap allocation.

use crate::disk::BLOCK;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// An owned buffer aligned to [`BLOCK`], zeroed at birth, of fixed capacity (a multiple of [`BLOCK`]).
/// Dereferences to all of it.
pub struct Buf {
    memory: NonNull<u8>,
    capacity: usize,
    home: Home,
}

enum Home {
    Heap,
    Arena(Arc<Arena>),
}

// SAFETY: a Buf is the only owner of its bytes (an arena never hands a range out twice before it came back),
// and the arena's book-keeping is behind a mutex, so the value may move to and be read from any thread.
unsafe impl Send for Buf {}
// SAFETY: `&Buf` gives shared reads only, as for a Box<[u8]>.
unsafe impl Sync for Buf {}

impl Buf {
    /// A zeroed buffer on the heap of at least `capacity` bytes, rounded up to a multiple of [`BLOCK`] and to at
    /// least one block. Aborts like any allocation when memory is exhausted.
    pub fn heap(capacity: usize) -> Buf {
        let capacity = rounded(capacity);
        Buf { memory: allocate(layout(capacity)), capacity, home: Home::Heap }
    }

    /// Bytes this buffer holds; always a multiple of [`BLOCK`].
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether these bytes lie in `arena`, that is, may be used with the ring that registered it.
    pub(crate) fn lives_in(&self, arena: &Arc<Arena>) -> bool {
        matches!(&self.home, Home::Arena(home) if Arc::ptr_eq(home, arena))
    }

    /// Start of the memory, for the kernel. Stays the same when the `Buf` value moves.
    pub(crate) fn as_raw(&mut self) -> *mut u8 {
        self.memory.as_ptr()
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: memory points to `capacity` initialised bytes that this Buf alone owns.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.capacity) }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in deref, and `&mut self` excludes every other reference.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.capacity) }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        match &self.home {
            // SAFETY: allocated in `heap` with this very layout and not freed before.
            Home::Heap => unsafe { dealloc(self.memory.as_ptr(), layout(self.capacity)) },
            Home::Arena(arena) => arena.give_back(self.memory, self.capacity),
        }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let home = if matches!(self.home, Home::Heap) { "heap" } else { "arena" };
        write!(f, "Buf({} bytes, {home})", self.capacity)
    }
}

/// One contiguous piece of memory that is registered with a ring once and cut into buffers, first fit.
/// Freed when the ring and the last buffer let go of it.
pub(crate) struct Arena {
    memory: NonNull<u8>,
    len: usize,
    /// Free ranges (start, length), ascending, never adjacent.
    free: Mutex<Vec<(usize, usize)>>,
}

// SAFETY: the arena itself never touches its bytes except to zero a range it is handing out; ranges have one
// owner at a time, and the list of ranges is behind a mutex.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena of at least `len` bytes (rounded up to a block).
    pub(crate) fn new(len: usize) -> Arc<Arena> {
        let len = rounded(len);
        let memory = allocate(layout(len));
        Arc::new(Arena { memory, len, free: Mutex::new(vec![(0, len)]) })
    }

    /// A zeroed buffer of `capacity` bytes (rounded up), or None when no free range is long enough.
    pub(crate) fn take(self: &Arc<Arena>, capacity: usize) -> Option<Buf> {
        let capacity = rounded(capacity);
        let start = self.cut(capacity)?;
        // SAFETY: start + capacity <= len, so the result stays within the allocation.
        let memory = unsafe { self.memory.add(start) };
        // SAFETY: the range was free, so nothing else refers to these bytes.
        unsafe { memory.write_bytes(0, capacity) };
        Some(Buf { memory, capacity, home: Home::Arena(Arc::clone(self)) })
    }

    /// Start and length of the whole, for registration.
    pub(crate) fn whole(&self) -> (*mut u8, usize) {
        (self.memory.as_ptr(), self.len)
    }

    /// Bytes not lent out.
    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(_, len)| len).sum()
    }

    fn cut(&self, capacity: usize) -> Option<usize> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let found = free.iter().position(|(_, len)| *len >= capacity)?;
        let (start, len) = free[found];
        if len == capacity {
            free.remove(found);
        } else {
            free[found] = (start + capacity, len - capacity);
        }
        Some(start)
    }

    fn give_back(&self, memory: NonNull<u8>, len: usize) {
        let start = memory.as_ptr().addr() - self.memory.as_ptr().addr();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let next = free.partition_point(|(other, _)| *other < start);
        free.insert(next, (start, len));
        if free.get(next + 1).is_some_and(|(after, _)| *after == start + len) {
            free[next].1 += free.remove(next + 1).1;
        }
        if next > 0 && free[next - 1].0 + free[next - 1].1 == start {
            free[next - 1].1 += free.remove(next).1;
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout; every Buf cut from it holds an Arc, so none is left.
        unsafe { dealloc(self.memory.as_ptr(), layout(self.len)) };
    }
}

fn rounded(capacity: usize) -> usize {
    // Saturating is enough: an impossible size is then refused by the allocator.
    capacity.max(1).div_ceil(BLOCK).saturating_mul(BLOCK)
}

fn layout(len: usize) -> Layout {
    #[expect(clippy::expect_used, reason = "a size over isize::MAX is an allocation no machine can make")]
    Layout::from_size_align(len, BLOCK).expect("buffer size fits the address space")
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the size is never zero, see `rounded`.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_buffer_is_aligned_zeroed_and_rounded_up_to_blocks() {
        for (asked, got) in [(0, BLOCK), (1, BLOCK), (BLOCK, BLOCK), (BLOCK + 1, 2 * BLOCK)] {
            let mut buf = Buf::heap(asked);
            assert_eq!(buf.capacity(), got);
            assert_eq!(buf.as_raw().addr() % BLOCK, 0);
            assert!(buf.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn an_arena_hands_out_disjoint_zeroed_ranges_and_takes_them_back() {
        let arena = Arena::new(4 * BLOCK);
        let mut first = arena.take(BLOCK).unwrap();
        let mut second = arena.take(2 * BLOCK).unwrap();
        let third = arena.take(BLOCK).unwrap();
        assert!(arena.take(1).is_none(), "full");
        first.fill(1);
        second.fill(2);
        assert!(third.iter().all(|byte| *byte == 0));
        drop(first);
        assert_eq!(arena.free_bytes(), BLOCK);
        assert!(arena.take(2 * BLOCK).is_none(), "no range is long enough");
        drop(third);
        drop(second);
        let whole = arena.take(4 * BLOCK).expect("neighbours grow together again");
        assert!(whole.iter().all(|byte| *byte == 0), "zeroed at birth also the second time");
    }

    #[test]
    fn a_buffer_outlives_the_arenas_owner_and_may_be_dropped_elsewhere() {
        let arena = Arena::new(BLOCK);
        let mut buf = arena.take(BLOCK).unwrap();
        drop(arena);
        std::thread::spawn(move || buf.fill(7)).join().unwrap();
    }
}
