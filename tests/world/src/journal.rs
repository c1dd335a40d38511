//! The promise journal of a store: `format`'s own, one promise a write.

use std::rc::Rc;

use tidelog_format::block::Salt;
use tidelog_format::promise::{self, Promise, Promises};
use tidelog_format::verdict::{Grade, Verdict};

use crate::disk::{Disk, Name, Step};

/// A journal that is open for writing.
#[derive(Debug)]
pub struct Journal {
    promises: Promises,
    journal: promise::Journal,
    /// Bytes of its file.
    len: usize,
}

/// What a restart found.
pub struct Read {
    /// The highest promise of each shard.
    pub promises: Promises,
    /// Whether the last write is surely there.
    pub proved: bool,
}

/// Reads the journal. `None`: it is damaged where it was durable, or not there.
pub fn read(disk: &Disk) -> Option<Read> {
    let read = promise::read(disk.read(Name::Promises)?);
    // A file that is put in place whole has its opening frame, or it is damaged.
    read.opening?;
    let proved = match read.outcome.verdict {
        Verdict::End(Grade::Proved) => true,
        Verdict::End(_) | Verdict::Torn => false,
        Verdict::Corrupt | Verdict::Unsupported => return None,
    };
    Some(Read { promises: read.promises, proved })
}

impl Journal {
    /// A new journal with these promises, and the step that puts it in place.
    pub fn begin(promises: Promises, salt: Salt) -> (Journal, Step) {
        let (journal, file) = promise::Journal::begin([1; 16], salt, &promises);
        let len = file.len();
        (Journal { promises, journal, len }, Step::Put { name: Name::Promises, bytes: Rc::new(file) })
    }

    /// The step that makes a promise durable.
    pub fn keep(&mut self, shard: u64, epoch: u32, salt: Salt) -> Step {
        promise::raise(&mut self.promises, Promise { shard, epoch });
        if let Some(write) = self.journal.keep(&[(shard, epoch)].into()) {
            let at = write.position as usize;
            return Step::Write { name: Name::Promises, at, bytes: write.bytes, planned: self.len };
        }
        let (anew, step) = Journal::begin(std::mem::take(&mut self.promises), salt);
        *self = anew;
        step
    }
}
