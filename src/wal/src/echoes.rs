//! Duplicates whose originals are framed and not durable yet: they are answered when their originals are.

use std::collections::VecDeque;

use tidelog_format::producers::Stored;

use crate::error::AppendError;
use crate::queue::Queue;
use crate::reply::Reply;
use crate::wal::Durable;

/// A batch that is stored already, or about to be.
pub(crate) struct Echo {
    pub(crate) original: Stored,
    pub(crate) reply: Reply,
    pub(crate) cost: u32,
}

impl Echo {
    /// Answers with where the original is, which is durable.
    pub(crate) fn answer(self, queue: &Queue) {
        let Stored { lsn, base_offset, .. } = self.original;
        queue.release(self.cost);
        self.reply.send(Ok(Durable { lsn, base_offset, append_time: None, duplicate: true }));
    }

    pub(crate) fn refuse(self, queue: &Queue, error: AppendError) {
        queue.release(self.cost);
        self.reply.send(Err(error));
    }
}

/// Those that wait, in the order in which they came.
#[derive(Default)]
pub(crate) struct Echoes(VecDeque<Echo>);

impl Echoes {
    pub(crate) fn push(&mut self, echo: Echo) {
        self.0.push_back(echo);
    }

    /// Takes out those whose originals are in frames up to `lsn`.
    pub(crate) fn settle(&mut self, lsn: u64, mut each: impl FnMut(Echo)) {
        for _ in 0..self.0.len() {
            match self.0.pop_front() {
                Some(echo) if echo.original.lsn <= lsn => each(echo),
                Some(later) => self.0.push_back(later),
                None => return,
            }
        }
    }

    /// The frame that was to be `lsn` is `to`.
    pub(crate) fn renumber(&mut self, lsn: u64, to: u64) {
        self.0.iter_mut().filter(|echo| echo.original.lsn == lsn).for_each(|echo| echo.original.lsn = to);
    }
}
