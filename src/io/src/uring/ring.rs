//! The ring, and who owns what is lent to it.
//!
//! # Invariants
//! From submission until the kernel's completion, buffer and file of an operation lie in the [`Table`] of the ring,
//! not in the future that waits for it. A dropped, forgotten or cancelled future therefore frees nothing early.
//! tokio-uring keeps a [`Ticket`] per operation and drops it when the completion has arrived, with one exception:
//! when its driver shuts down it drops the tickets of operations still in flight *before* it waits for them. So
//! shutting down first marks the table as closing, after which a dropped ticket releases nothing; the table itself
//! goes only after the driver has seen the last completion.

use super::flush::flush_starved;
use crate::blocking::Opened;
use crate::buf::Arena;
use crate::{Buf, IoError};
use io_uring::{cqueue, opcode, squeue, types};
use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_uring::buf::fixed::FixedBufRegistry;
use tokio_uring::buf::{IoBuf, IoBufMut};
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

/// Most operations of one ring inside the kernel at once.
pub const MAX_IN_FLIGHT: usize = 512;

/// Slots of the submission queue. Small, because a full queue is the only way to force a submission.
pub(super) const QUEUE: u32 = 8;

/// Sizes tried for the registered arena, in bytes: the locked-memory limit of 8 MiB is shared with other rings.
const ARENA_SIZES: [usize; 3] = [4 << 20, 2 << 20, 1 << 20];

/// The registered arena is the only registered buffer.
const ARENA_INDEX: u16 = 0;

/// State of one ring, shared by the disk handle, its files and the starvation guard.
pub(super) struct Ring {
    table: Rc<Table>,
    arena: Option<Arc<Arena>>,
    permits: Arc<Semaphore>,
    /// Whether the starvation guard is awake already.
    pub(super) guarded: Cell<bool>,
    pub(super) submitted: Notify,
}

/// How an operation ended, with the buffer that was lent to it.
pub(super) struct Done {
    pub(super) result: io::Result<usize>,
    pub(super) buf: Buf,
}

/// What an operation in flight keeps alive.
struct Held {
    buf: Option<Buf>,
    _file: Arc<Opened>,
    _permit: OwnedSemaphorePermit,
    sequence: u64,
}

#[derive(Default)]
struct Table {
    slots: RefCell<Vec<Option<Held>>>,
    vacant: RefCell<Vec<usize>>,
    sequence: Cell<u64>,
    closing: Cell<bool>,
}

/// Lies with tokio-uring for as long as the operation is in flight.
struct Ticket {
    table: Rc<Table>,
    slot: usize,
}

struct TakeBack;

/// Marks the table as closing; must be dropped before the runtime.
struct CloseFirst(Rc<Table>);

impl Drop for CloseFirst {
    fn drop(&mut self) {
        self.0.closing.set(true);
    }
}

/// Makes a ring and its runtime on this thread, runs `body` and takes all down in the right order.
pub(super) fn with_runtime<T>(body: impl AsyncFnOnce(Rc<Ring>) -> T) -> Result<T, IoError> {
    let fail = |cause| IoError::new("start of a ring", Path::new("io_uring"), cause);
    // This frame's own hold on the table, declared before the runtime so that it is the last to go.
    let table = Rc::new(Table::default());
    let mut settings = tokio_uring::uring_builder();
    // Room for all completions at once and some nops. The memory of a ring counts as locked, so no more than that.
    settings.setup_cqsize(2 * MAX_IN_FLIGHT as u32);
    // When this fails tokio-uring leaks a few descriptors. A ring made and dropped before, just to see, would be
    // worse: the kernel gives its locked memory back late, which can make the second one fail.
    let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(QUEUE).uring_builder(&settings));
    let runtime = runtime.map_err(fail)?;
    // Declared last, dropped first, also when `body` panics: then the runtime, then the table.
    let _close_first = CloseFirst(Rc::clone(&table));
    Ok(runtime.block_on(async {
        let ring = Rc::new(Ring::new(Rc::clone(&table)));
        tokio::task::spawn_local(flush_starved(Rc::clone(&ring)));
        body(ring).await
    }))
}

impl Ring {
    /// Must run inside the runtime: registers the arena with its ring.
    fn new(table: Rc<Table>) -> Ring {
        Ring {
            table,
            arena: ARENA_SIZES.into_iter().find_map(register_arena),
            permits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            guarded: Cell::new(false),
            submitted: Notify::new(),
        }
    }

    pub(super) fn arena(&self) -> Option<&Arc<Arena>> {
        self.arena.as_ref()
    }

    /// Writes bytes `[0, len)` of `buf`, which the caller has checked against its capacity.
    pub(super) async fn write(&self, file: &Arc<Opened>, mut buf: Buf, len: usize, pos: u64) -> Done {
        let (fd, memory) = (types::Fd(file.as_raw_fd()), buf.as_raw());
        let entry = match self.index_of(&buf) {
            Some(index) => opcode::WriteFixed::new(fd, memory, len as u32, index).offset(pos).build(),
            None => opcode::Write::new(fd, memory, len as u32).offset(pos).build(),
        };
        self.transfer(file, buf, entry).await
    }

    /// Reads into bytes `range` of `buf`, which the caller has checked against its capacity.
    pub(super) async fn read(&self, file: &Arc<Opened>, mut buf: Buf, range: Range<usize>, pos: u64) -> Done {
        let (fd, len) = (types::Fd(file.as_raw_fd()), range.len() as u32);
        // SAFETY: range.start is within the buffer's capacity.
        let memory = unsafe { buf.as_raw().add(range.start) };
        let entry = match self.index_of(&buf) {
            Some(index) => opcode::ReadFixed::new(fd, memory, len, index).offset(pos).build(),
            None => opcode::Read::new(fd, memory, len).offset(pos).build(),
        };
        self.transfer(file, buf, entry).await
    }

    /// Makes data and metadata durable.
    pub(super) async fn sync(&self, file: &Arc<Opened>) -> io::Result<()> {
        let entry = opcode::Fsync::new(types::Fd(file.as_raw_fd())).build();
        let (result, _) = self.submit(file, None, entry).await;
        result.map(|_| ())
    }

    /// Operations submitted so far.
    pub(super) fn sequence(&self) -> u64 {
        self.table.sequence.get()
    }

    /// The oldest operation still in flight among those submitted as number `first` or later.
    pub(super) fn oldest_since(&self, first: u64) -> Option<u64> {
        let slots = self.table.slots.borrow();
        slots.iter().flatten().map(|held| held.sequence).filter(|sequence| *sequence >= first).min()
    }

    fn index_of(&self, buf: &Buf) -> Option<u16> {
        self.arena.as_ref().filter(|arena| buf.lives_in(arena)).map(|_| ARENA_INDEX)
    }

    async fn transfer(&self, file: &Arc<Opened>, buf: Buf, entry: squeue::Entry) -> Done {
        let capacity = buf.capacity();
        let (result, buf) = self.submit(file, Some(buf), entry).await;
        Done { result, buf: buf.unwrap_or_else(|| Buf::heap(capacity)) }
    }

    /// Puts an entry on the ring and waits. `entry` may refer to `file` and to the memory of `buf` only.
    async fn submit(
        &self,
        file: &Arc<Opened>,
        buf: Option<Buf>,
        entry: squeue::Entry,
    ) -> (io::Result<usize>, Option<Buf>) {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let Ok(permit) = permit else {
            return (Err(io::Error::other("the ring is closed")), buf);
        };
        if self.table.closing.get() {
            return (Err(io::Error::other("the runtime of this ring has ended")), buf);
        }
        let slot = self.table.put(buf, Arc::clone(file), permit);
        let ticket = Ticket { table: Rc::clone(&self.table), slot };
        let flight = UnsubmittedOneshot::new(ticket, TakeBack, entry).submit();
        if !self.guarded.replace(true) {
            self.submitted.notify_one();
        }
        flight.await
    }
}

impl Table {
    fn put(&self, buf: Option<Buf>, file: Arc<Opened>, permit: OwnedSemaphorePermit) -> usize {
        let sequence = self.sequence.get();
        self.sequence.set(sequence + 1);
        let held = Some(Held { buf, _file: file, _permit: permit, sequence });
        let mut slots = self.slots.borrow_mut();
        match self.vacant.borrow_mut().pop() {
            Some(slot) => {
                slots[slot] = held;
                slot
            }
            None => {
                slots.push(held);
                slots.len() - 1
            }
        }
    }

    fn take(&self, slot: usize) -> Option<Held> {
        let held = self.slots.borrow_mut().get_mut(slot).and_then(Option::take);
        if held.is_some() {
            self.vacant.borrow_mut().push(slot);
        }
        held
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // While closing, tokio-uring lets go of tickets whose operations the kernel is still working on.
        if !self.table.closing.get() {
            drop(self.table.take(self.slot));
        }
    }
}

impl OneshotOutputTransform for TakeBack {
    type Output = (io::Result<usize>, Option<Buf>);
    type StoredData = Ticket;

    fn transform_oneshot_output(self, ticket: Ticket, completion: cqueue::Entry) -> Self::Output {
        let held = ticket.table.take(ticket.slot);
        let code = completion.result();
        let result = usize::try_from(code).map_err(|_| io::Error::from_raw_os_error(code.saturating_neg()));
        (result, held.and_then(|held| held.buf))
    }
}

/// Shows the arena to tokio-uring's registry, which only reads its address and length and keeps it alive.
struct Registered(Arc<Arena>);

// SAFETY: the memory of an arena never moves and is initialised (zeroed) over its whole length.
unsafe impl IoBuf for Registered {
    fn stable_ptr(&self) -> *const u8 {
        self.0.whole().0
    }

    fn bytes_init(&self) -> usize {
        self.0.whole().1
    }

    fn bytes_total(&self) -> usize {
        self.0.whole().1
    }
}

// SAFETY: as above. The registry never writes through the pointer: no buffer is checked out of it, ranges are
// handed out by the arena alone.
unsafe impl IoBufMut for Registered {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0.whole().0
    }

    unsafe fn set_init(&mut self, _pos: usize) {}
}

fn register_arena(len: usize) -> Option<Arc<Arena>> {
    let arena = Arena::new(len);
    let registry = FixedBufRegistry::new([Registered(Arc::clone(&arena))]);
    match registry.register() {
        Ok(()) => Some(arena),
        Err(error) => {
            tracing::debug!(bytes = len, %error, "the ring refused to register this much memory");
            None
        }
    }
}
