//! Keeps the shard's files in order beside the appender: prepares the next segment, seals rolled ones, recycles
//! what nobody wants.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidelog_format::footer::Footer;
use tidelog_io::{Disk, Fault, IoError};
use tokio::sync::{Mutex, Notify, mpsc};

use crate::seal::seal;
use crate::segments::SegmentId;
use crate::shared::{KeeperJob, Shared};
use crate::spares::Spares;
use crate::stats::Stats;

/// How often room for the next segment is looked for while there is none.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// A rolled segment that waits for its footer.
pub(crate) struct ToSeal<F> {
    pub(crate) id: SegmentId,
    pub(crate) file: Rc<F>,
    pub(crate) footer: Arc<Footer>,
    pub(crate) digest: [u8; 16],
}

pub(crate) struct Keeper<D: Disk> {
    pub(crate) shared: Arc<Shared>,
    spares: Spares<D>,
    prepared: RefCell<Option<(SegmentId, Rc<D::File>)>>,
    next_id: Cell<SegmentId>,
    /// Held while a segment gets its number and its file: they are used in the order of their numbers.
    turn: Mutex<()>,
    to_seal: RefCell<VecDeque<ToSeal<D::File>>>,
    wanted: Notify,
    wants_next: Cell<bool>,
    changed: Notify,
    busy: Cell<bool>,
    stopping: Cell<bool>,
}

impl<D: Disk> Keeper<D> {
    pub(crate) fn new(shared: Arc<Shared>, spares: Spares<D>, next_id: SegmentId) -> Keeper<D> {
        Keeper {
            shared,
            spares,
            prepared: RefCell::new(None),
            next_id: Cell::new(next_id),
            turn: Mutex::new(()),
            to_seal: RefCell::new(VecDeque::new()),
            wanted: Notify::new(),
            wants_next: Cell::new(false),
            changed: Notify::new(),
            busy: Cell::new(false),
            stopping: Cell::new(false),
        }
    }

    /// The next segment is going to be needed soon.
    pub(crate) fn want_next(&self) {
        if !self.wants_next.replace(true) {
            self.wanted.notify_one();
        }
    }

    /// Hands a rolled segment over to be sealed.
    pub(crate) fn seal_later(&self, job: ToSeal<D::File>) {
        self.to_seal.borrow_mut().push_back(job);
        self.wanted.notify_one();
    }

    /// The next segment's file: prepared, or a spare that gets its name now, or (counted as a wait) made now; then with
    /// this number, if there is one.
    pub(crate) async fn next_file(&self, number: Option<u64>) -> Result<(SegmentId, Rc<D::File>), IoError> {
        let _turn = self.turn.lock().await;
        let prepared = self.prepared.borrow_mut().take();
        let next = match prepared {
            Some(next) => next,
            None => {
                if let Some(number) = number {
                    self.next_id.set(SegmentId { number, ..self.next_id.get() });
                }
                if self.spares.len() == 0 {
                    Stats::add(&self.shared.stats.rolls_waited, 1);
                }
                self.make_next().await?
            }
        };
        Stats::add(&self.shared.stats.rolls, 1);
        self.wants_next.set(false);
        Ok(next)
    }

    async fn make_next(&self) -> Result<(SegmentId, Rc<D::File>), IoError> {
        let id = self.next_id.get();
        self.next_id.set(SegmentId { number: id.number + 1, epoch: id.epoch });
        let file = self.spares.take(id).await?;
        Ok((id, Rc::new(file)))
    }

    /// Makes the first segment's file possible at the start. A new shard's is filled first: nobody waits yet. One that is
    /// opened again has producers that wait, and serves at once: when no spare is left, its first segment grows by the
    /// writes while the next file is filled beside them.
    ///
    /// The file gets its name with the first write, and not now: a shard that nobody writes to leaves nothing behind that
    /// the next start would have to read from end to end, only to find that it was never used.
    pub(crate) async fn prepare_first(&self, is_new: bool) -> Result<(), IoError> {
        if self.spares.len() == 0 {
            let ready = match is_new {
                true => self.spares.fill(Duration::ZERO, &self.shared.stats).await,
                false => self.spares.check_room().await,
            };
            match ready {
                Ok(()) if is_new => {}
                Ok(()) => self.want_next(),
                Err(error) if error.kind() == Fault::Full => self.shared.set_full(true),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether a file for the next segment is at hand or can be made.
    pub(crate) fn has_next(&self) -> bool {
        self.prepared.borrow().is_some() || self.spares.len() > 0
    }

    /// Works until it is stopped.
    pub(crate) async fn run(self: Rc<Self>, mut jobs: mpsc::UnboundedReceiver<KeeperJob>) {
        loop {
            self.busy.set(true);
            if let Err(error) = self.work(&mut jobs).await {
                self.shared.poison(Arc::new(error));
            }
            self.busy.set(false);
            self.changed.notify_waiters();
            if self.stopping.get() && self.to_seal.borrow().is_empty() {
                return;
            }
            tokio::select! {
                () = self.wanted.notified() => {}
                job = jobs.recv() => match job {
                    Some(job) => self.retire(job).await,
                    None => self.wanted.notified().await,
                },
                // Somebody else may have made room on the disk.
                () = tokio::time::sleep(FULL_RETRY), if self.starving() => {}
            }
        }
    }

    /// The next segment is wanted, not there, and could not be made.
    fn starving(&self) -> bool {
        self.wants_next.get() && self.prepared.borrow().is_none() && !self.stopping.get()
    }

    async fn work(&self, jobs: &mut mpsc::UnboundedReceiver<KeeperJob>) -> Result<(), IoError> {
        loop {
            let job = self.to_seal.borrow_mut().pop_front();
            if let Some(job) = job {
                self.seal(job).await?;
            } else if let Ok(job) = jobs.try_recv() {
                self.retire(job).await;
            } else if self.starving() {
                if !self.prepare().await? {
                    return Ok(());
                }
            } else {
                return Ok(());
            }
        }
    }

    /// Makes the next segment's file ready; false when there is no room for it.
    async fn prepare(&self) -> Result<bool, IoError> {
        if self.spares.len() == 0 {
            match self.spares.fill(self.shared.options.fill_pause, &self.shared.stats).await {
                Ok(()) => {}
                Err(error) if error.kind() == Fault::Full => {
                    self.shared.set_full(true);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.shared.set_full(false);
        let _turn = self.turn.lock().await;
        // While the spare was filled the appender may have helped itself.
        if self.prepared.borrow().is_none() && self.wants_next.get() {
            let next = self.make_next().await?;
            *self.prepared.borrow_mut() = Some(next);
            self.changed.notify_waiters();
        }
        Ok(true)
    }

    async fn seal(&self, job: ToSeal<D::File>) -> Result<(), IoError> {
        let ToSeal { id, file, footer, digest } = job;
        let len = seal(&*file, &footer, digest).await?;
        let lsn = footer.next_lsn;
        drop(footer);
        self.shared.state_mut().segments.sealed(id.number, len);
        Stats::add(&self.shared.stats.seals, 1);
        tracing::debug!(shard = self.shared.shard, number = id.number, lsn, len, "segment sealed");
        Ok(())
    }

    /// Recycles or removes a segment that was taken out of the state already. A failure costs space, not data.
    async fn retire(&self, job: KeeperJob) {
        let KeeperJob::Release(id) = job;
        let pause = self.shared.options.fill_pause;
        let done = if self.spares.len() < self.shared.options.spares {
            self.spares.recycle(id, pause, &self.shared.stats).await
        } else {
            self.spares.remove(id, pause).await
        };
        match done {
            Ok(()) => {
                tracing::debug!(shard = self.shared.shard, number = id.number, "segment released");
                // Room came back: the next file may be possible now.
                if self.wants_next.get() {
                    self.wanted.notify_one();
                }
            }
            Err(error) => {
                tracing::warn!(shard = self.shared.shard, number = id.number, %error, "segment not recycled")
            }
        }
    }

    /// Stops after what is to be sealed.
    pub(crate) async fn stop(&self) {
        self.stopping.set(true);
        self.wanted.notify_one();
        loop {
            let changed = self.changed.notified();
            if !self.busy.get() && self.to_seal.borrow().is_empty() {
                return;
            }
            changed.await;
        }
    }
}
