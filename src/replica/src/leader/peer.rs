//! What the leader knows of one holder.

use std::time::Duration;

use crate::span::Replica;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) replica: Replica,
    /// What it has said to be durable.
    pub(super) durable: u64,
    /// The next frame to send.
    pub(super) next: u64,
    /// What it was told as committed.
    pub(super) told: u64,
    pub(super) sent_at: Duration,
    heard_at: Duration,
    /// Since when it lacks something that it was sent.
    behind_since: Option<Duration>,
    /// Since when it says that it cannot be written.
    gone_since: Option<Duration>,
    /// Frames for it are being read from the disk.
    pub(super) reading: bool,
}

impl Peer {
    pub(super) fn new(replica: Replica, base: u64, now: Duration) -> Peer {
        Peer {
            replica,
            durable: base,
            next: base,
            told: base,
            sent_at: now,
            heard_at: now,
            behind_since: None,
            gone_since: None,
            reading: false,
        }
    }

    /// Frames that were sent and not answered.
    pub(super) fn under_way(&self) -> usize {
        usize::try_from(self.next.saturating_sub(self.durable)).unwrap_or(usize::MAX)
    }

    /// The first frame that it may still have to be sent.
    pub(super) fn wants(&self) -> u64 {
        self.durable
    }

    /// It has everything below.
    pub(super) fn has(&mut self, now: Duration, durable: u64) {
        if durable > self.durable {
            self.behind_since = Some(now);
        }
        self.durable = durable;
        self.next = self.next.max(durable);
        self.heard(now);
    }

    /// It goes on here: what was sent from there on did not reach it.
    pub(super) fn ends_at(&mut self, now: Duration, end: u64) {
        self.durable = self.durable.min(end);
        if !self.reading {
            self.next = end;
        }
        self.heard(now);
    }

    pub(super) fn refuses(&mut self, now: Duration, gone: bool) {
        self.heard_at = now;
        if gone {
            self.gone_since.get_or_insert(now);
        }
        if !self.reading {
            // What it refused it must be sent again, after a while.
            self.behind_since.get_or_insert(now);
        }
    }

    fn heard(&mut self, now: Duration) {
        self.heard_at = now;
        self.gone_since = None;
        if self.durable >= self.next {
            self.behind_since = None;
        }
    }

    /// Frames up to there are under way.
    pub(super) fn sent(&mut self, now: Duration, behind: u64) {
        self.next = behind;
        self.sent_at = now;
        self.behind_since.get_or_insert(now);
    }

    /// Sends again what was not answered for so long.
    pub(super) fn give_up_waiting(&mut self, now: Duration, again: Duration) {
        let waited = self.behind_since.is_some_and(|since| now >= since + again);
        if waited && !self.reading && self.next > self.durable {
            self.next = self.durable;
            self.behind_since = None;
        }
    }

    /// Nothing was heard of it for so long, or for so long it has said that it cannot be written.
    pub(super) fn lags(&self, now: Duration, long: Duration) -> bool {
        self.is_gone(now, long) || now >= self.heard_at + long
    }

    /// It has said for so long that its disk, or what it holds of this span, cannot be written.
    pub(super) fn is_gone(&self, now: Duration, long: Duration) -> bool {
        self.gone_since.is_some_and(|since| now >= since + long)
    }
}
