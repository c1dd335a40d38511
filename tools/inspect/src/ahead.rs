//! Reads segments ahead of their turn, on all cores.
//!
//! # Purpose
//! What a segment must be follows from those before it, so verification goes in order. But reading and summing take
//! nearly all of the time, and in good order the neighbours' seals already say what will be known. So each segment
//! is read by what its neighbour's footer says; when its turn comes and the same is known from the frames, the
//! reading counts. If not, it is read once more, in order.
//!
//! # Limits
//! At most a few segments are held before their turn.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tidelog_format::index::SegmentIndex;

use crate::chain::{Chain, first_frame};
use crate::checker::Checker;
use crate::pass::pass;
use crate::progress::Progress;
use crate::read::{Raw, seal_of};
use crate::seal::{Seal, index_by};
use crate::tree::{SegmentFile, Tree, shown};
use crate::window::Window;

/// Segments that may be read before their turn, for each thread.
const HELD: usize = 3;

/// From what a segment's index goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Basis {
    /// From nothing: the shard begins here.
    Nothing,
    /// From the footer of the segment before.
    Footer,
    /// From the segment's own footer, or from nowhere.
    #[default]
    Own,
}

/// A segment that was read before its turn.
#[derive(Debug)]
pub(crate) struct Ahead {
    pub(crate) raw: Raw,
    pub(crate) checker: Checker,
    pub(crate) basis: Basis,
}

#[derive(Debug)]
struct Job {
    before: Option<SegmentFile>,
    file: SegmentFile,
    next: Option<SegmentFile>,
}

#[derive(Debug, Default)]
struct State {
    /// The job whose turn it is.
    turn: usize,
    done: HashMap<usize, Option<Box<Ahead>>>,
}

/// All segments of a tree, each to be read once.
#[derive(Debug)]
pub(crate) struct Plan {
    jobs: Vec<Job>,
    next: AtomicUsize,
    held: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Plan {
    /// All segments in the order in which their turn comes.
    pub(crate) fn new(tree: &Tree, threads: usize) -> Plan {
        let mut jobs = Vec::new();
        for folder in &tree.shards {
            let files = &folder.segments;
            for (at, file) in files.iter().enumerate() {
                let before = at.checked_sub(1).and_then(|at| files.get(at)).cloned();
                jobs.push(Job { before, file: file.clone(), next: files.get(at + 1).cloned() });
            }
        }
        Plan {
            jobs,
            next: AtomicUsize::new(0),
            held: threads * HELD,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's work: takes segments until none is left.
    pub(crate) fn work(&self, progress: &Progress) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = self.jobs.get(at) else { return };
            let mut state = self.lock();
            while at >= state.turn.saturating_add(self.held) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let over = state.turn > at;
            drop(state);
            if over {
                continue;
            }
            let read = read_ahead(job, progress).map(Box::new);
            self.lock().done.insert(at, read);
            self.changed.notify_all();
        }
    }

    /// What was read of the file whose turn it is; `None` when it must be read in order.
    pub(crate) fn take(&self, path: &Path) -> Option<Box<Ahead>> {
        let at = self.jobs.iter().position(|job| job.file.path == path)?;
        let mut state = self.lock();
        state.turn = state.turn.max(at);
        self.changed.notify_all();
        while at >= state.turn {
            if let Some(read) = state.done.remove(&at) {
                state.turn = at + 1;
                self.changed.notify_all();
                return read;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // Its turn is over: it was taken before.
        None
    }

    /// Lets all threads run to their end: nobody waits for them any more.
    pub(crate) fn abandon(&self) {
        self.next.store(self.jobs.len(), Ordering::Relaxed);
        self.lock().turn = self.jobs.len();
        self.changed.notify_all();
    }
}

fn read_ahead(job: &Job, progress: &Progress) -> Option<Ahead> {
    let file = &job.file;
    let (chain, index, basis) = before(job)?;
    let mut window = Window::open(&file.path).ok()?;
    let seal = Seal::read(&window).ok()?;
    let mut known = chain.known(file, job.next.as_ref());
    known.trailer = seal.as_ref().map(|seal| seal.trailer);
    let mut checker = Checker::new(shown(&file.path), index).counting(progress.clone());
    let passed = pass(&mut window, &known, &mut checker).ok()?;
    window.let_go();
    Some(Ahead { raw: Raw { window, seal, known, passed }, checker, basis })
}

/// What will be known before the segment, by the files around it.
fn before(job: &Job) -> Option<(Chain, Option<SegmentIndex>, Basis)> {
    let (_, number) = job.file.id?;
    let Some(before) = &job.before else {
        if number == 1 {
            return Some((Chain::default(), Some(SegmentIndex::default()), Basis::Nothing));
        }
        let own = seal_of(&job.file).ok()?.and_then(|seal| seal.footer.ok());
        return Some((Chain::default(), own.as_ref().map(index_by), Basis::Own));
    };
    if before.id?.1.checked_add(1) != Some(number) {
        return None;
    }
    let footer = seal_of(before).ok()??.footer.ok()?;
    let first = first_frame(before)?;
    let index = SegmentIndex::behind(&footer);
    Some((Chain::behind(before, &footer, &first.opening)?, Some(index), Basis::Footer))
}
