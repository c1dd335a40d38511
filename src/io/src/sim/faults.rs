//! Which operations of the simulated disk are to fail, and what was counted and written down about them.

use crate::Fault;
use std::collections::VecDeque;
use std::fmt;
use std::io;

/// Lines of the trace that are kept; its digest covers all of them.
const TRACE_LINES: usize = 20_000;

/// Classes of operations, for counting and failing them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `read_at`
    Read,
    /// `write_at` and `set_len`
    Write,
    /// `sync` and `sync_dir`
    Sync,
    /// `open`, `create`, `rename`, `remove`, `create_dir_all`, `list`, `free_space`, `len`
    Name,
}

/// How many operations were begun, and how many bytes they asked to move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads.
    pub reads: u64,
    /// Writes and changes of length.
    pub writes: u64,
    /// Syncs of files and directories.
    pub syncs: u64,
    /// Operations on names.
    pub names: u64,
    /// Bytes asked for by reads.
    pub bytes_read: u64,
    /// Bytes given to writes.
    pub bytes_written: u64,
}

#[derive(Debug)]
pub(super) struct Plan {
    /// None stands for reads, writes and syncs together.
    pub(super) kind: Option<Kind>,
    /// Operations to let pass, counting down.
    pub(super) skip: u64,
    pub(super) fault: Fault,
    pub(super) for_ever: bool,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    plans: Vec<Plan>,
}

impl Faults {
    pub(super) fn add(&mut self, plan: Plan) {
        self.plans.push(plan);
    }

    pub(super) fn clear(&mut self) {
        self.plans.clear();
    }

    /// The fault this operation is to have. Every plan counts it, the oldest one due wins.
    pub(super) fn next(&mut self, kind: Kind) -> Option<Fault> {
        let mut due = None;
        self.plans.retain_mut(|plan| {
            if plan.kind.map_or(kind == Kind::Name, |wanted| wanted != kind) {
                return true;
            }
            if plan.skip > 0 {
                plan.skip -= 1;
                return true;
            }
            due = due.or(Some(plan.fault));
            plan.for_ever
        });
        due
    }
}

impl Counters {
    pub(super) fn count(&mut self, kind: Kind, bytes: u64) {
        match kind {
            Kind::Read => (self.reads, self.bytes_read) = (self.reads + 1, self.bytes_read + bytes),
            Kind::Write => (self.writes, self.bytes_written) = (self.writes + 1, self.bytes_written + bytes),
            Kind::Sync => self.syncs += 1,
            Kind::Name => self.names += 1,
        }
    }
}

/// What happened, in order.
#[derive(Debug)]
pub(super) struct Trace {
    lines: VecDeque<String>,
    digest: u64,
}

impl Default for Trace {
    fn default() -> Trace {
        Trace { lines: VecDeque::new(), digest: 0xCBF2_9CE4_8422_2325 }
    }
}

impl Trace {
    pub(super) fn note(&mut self, line: fmt::Arguments<'_>) {
        let line = line.to_string();
        // FNV-1a: stable for ever, which std's hashers do not promise.
        for byte in line.bytes().chain([b'\n']) {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        }
        if self.lines.len() == TRACE_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }
}

/// The operating system's error that stands for a fault.
pub(super) fn cause_of(fault: Fault) -> io::Error {
    io::Error::from_raw_os_error(match fault {
        Fault::Io | Fault::ShortWrite => libc::EIO,
        Fault::Full => libc::ENOSPC,
        Fault::NotFound => libc::ENOENT,
        Fault::ReadOnly => libc::EROFS,
        Fault::Denied => libc::EACCES,
        Fault::Invalid => libc::EINVAL,
    })
}
