//! Retention: advances the first wanted offsets by age and size, then releases segments that nobody wants.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tidelog_format::footer::Footer;

use crate::control::Control;
use crate::error::AppendError;
use crate::shared::KeeperJob;
use crate::wal::Wal;

/// The machine's clock must not be set further than this during a run, or age is not judged.
const MAX_JUMP_MS: i64 = 60 * 60 * 1000;

/// Trims that are handed in before the first of them is waited for: producers' batches wait behind no more.
const TRIMS_AT_ONCE: usize = 256;

/// How long and how much of a partition is kept. Whole segments only; whichever bound is passed first counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Records appended longer ago are not wanted.
    pub max_age: Option<Duration>,
    /// Stored bytes beyond this are not wanted, oldest first.
    pub max_bytes: Option<u64>,
}

/// What a round of retention did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retained {
    /// Partitions whose first wanted offset moved.
    pub trimmed: u64,
    /// Segments given back.
    pub released: u64,
    /// The wall clock was set during this run: nothing was judged by age.
    pub age_suspended: bool,
}

/// What is wanted of a span's segments on this disk, of those that are not written any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpanUse {
    /// How many there are.
    pub segments: u64,
    /// In how many of them no live partition has a wanted record.
    pub unwanted: u64,
    /// For each partition with records in them, the next offset behind the last one.
    pub ends: BTreeMap<u64, u64>,
}

/// A segment's part of a partition.
struct Part {
    next_offset: u64,
    bytes: u64,
    last_append_time: i64,
}

impl Wal {
    /// Runs one round: trims by `policy` (partition -> what is kept; `None`: everything), then releases.
    ///
    /// # Errors
    /// When a trim can't be written, or a segment's index can't be read (nothing is released then).
    pub async fn retain(
        &self,
        policy: &(dyn Fn(u64) -> Option<Retention> + Sync),
    ) -> Result<Retained, AppendError> {
        let mut done = self.trim_old(policy).await?;
        done.released = self.release_unwanted().await?;
        Ok(done)
    }

    /// Trims by `policy` (partition -> what is kept; `None`: everything), and releases nothing.
    ///
    /// # Errors
    /// When a trim can't be written, or a segment's index can't be read.
    pub async fn trim_old(
        &self,
        policy: &(dyn Fn(u64) -> Option<Retention> + Sync),
    ) -> Result<Retained, AppendError> {
        let mut done = Retained { age_suspended: self.age_is_suspended(), ..Retained::default() };
        let wanted = self.wanted_by(policy);
        let starts = self.starts_of(wanted, done.age_suspended).await?;
        let trims = starts.into_iter().map(|(partition, offset)| Control::Trim { partition, offset });
        done.trimmed = self.trim(trims.collect()).await?;
        Ok(done)
    }

    /// Where partitions begin by `policy` (partition -> what is kept; `None`: everything), of those that would begin elsewhere
    /// than they do. Trims nothing.
    ///
    /// # Errors
    /// When a segment's index can't be read.
    pub async fn starts_by(
        &self,
        policy: &(dyn Fn(u64) -> Option<Retention> + Sync),
    ) -> Result<Vec<(u64, u64)>, AppendError> {
        let suspended = self.age_is_suspended();
        self.starts_of(self.wanted_by(policy), suspended).await
    }

    async fn starts_of(
        &self,
        wanted: Vec<(u64, Retention)>,
        age_suspended: bool,
    ) -> Result<Vec<(u64, u64)>, AppendError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        self.roll_if_old(&wanted, age_suspended).await?;
        let mut parts = self.parts().await?;
        let start = |(partition, retention)| {
            let parts = parts.remove(&partition).unwrap_or_default();
            Some((partition, self.start_by(partition, retention, &parts, age_suspended)?))
        };
        Ok(wanted.into_iter().filter_map(start).collect())
    }

    /// Whether the wall clock was set during this run.
    fn age_is_suspended(&self) -> bool {
        self.shared.clock.wall_jump_ms().abs() > MAX_JUMP_MS
    }

    fn wanted_by(&self, policy: &(dyn Fn(u64) -> Option<Retention> + Sync)) -> Vec<(u64, Retention)> {
        let partitions = self.partitions().into_iter();
        partitions.filter_map(|(partition, _)| Some((partition, policy(partition)?))).collect()
    }

    /// What is wanted of each span that has segments here, by epoch.
    ///
    /// # Errors
    /// When a segment's index can't be read.
    pub async fn span_uses(&self) -> Result<BTreeMap<u32, SpanUse>, AppendError> {
        let mut uses: BTreeMap<u32, SpanUse> = BTreeMap::new();
        for number in self.segment_numbers() {
            let (segment, footer) = self.footer(number).await.map_err(|error| unreadable(&error))?;
            let used = uses.entry(segment.id.epoch).or_default();
            used.segments += 1;
            used.unwanted += u64::from(segment.sealed && !self.wants(&footer));
            for row in footer.partitions.iter().filter(|row| row.has_batches()) {
                let end = used.ends.entry(row.partition).or_default();
                *end = row.next_offset.max(*end);
            }
        }
        Ok(uses)
    }

    /// Whether a live partition has a wanted record in a segment.
    fn wants(&self, footer: &Footer) -> bool {
        footer
            .partitions
            .iter()
            .filter(|row| row.has_batches())
            .any(|row| self.partition(row.partition).is_some_and(|live| live.log_start < row.next_offset))
    }

    /// The active segment can't be released; one that is too old for someone is ended.
    async fn roll_if_old(&self, wanted: &[(u64, Retention)], age_suspended: bool) -> Result<(), AppendError> {
        let age = wanted.iter().filter_map(|(_, retention)| retention.max_age).min();
        let first = self.shared.state().index.append_times().map(|times| times.0);
        if let (Some(age), Some(first), false) = (age, first, age_suspended)
            && first < self.shared.clock.now_ms().saturating_sub(millis(age))
        {
            self.roll().await?;
        }
        Ok(())
    }

    /// What each sealed segment holds of each live partition, oldest first.
    async fn parts(&self) -> Result<HashMap<u64, Vec<Part>>, AppendError> {
        let mut parts: HashMap<u64, Vec<Part>> = HashMap::new();
        for number in self.segment_numbers() {
            let (_, footer) = self.footer(number).await.map_err(|error| unreadable(&error))?;
            for row in footer.partitions.iter().filter(|row| row.has_batches()) {
                parts.entry(row.partition).or_default().push(Part {
                    next_offset: row.next_offset,
                    bytes: row.bytes,
                    last_append_time: footer.last_append_time,
                });
            }
        }
        Ok(parts)
    }

    /// The offset that a partition begins with now, if that is another one than before.
    fn start_by(
        &self,
        partition: u64,
        retention: Retention,
        parts: &[Part],
        age_suspended: bool,
    ) -> Option<u64> {
        let here = self.partition(partition)?;
        let mut kept: u64 = here.active_bytes
            + parts
                .iter()
                .filter(|part| part.next_offset > here.log_start)
                .map(|part| part.bytes)
                .sum::<u64>();
        let oldest =
            retention.max_age.filter(|_| !age_suspended).map(|age| self.shared.clock.now_ms() - millis(age));
        let mut start = here.log_start;
        for part in parts.iter().filter(|part| part.next_offset > here.log_start) {
            let too_old = oldest.is_some_and(|oldest| part.last_append_time < oldest);
            let too_much = retention.max_bytes.is_some_and(|max| kept.saturating_sub(part.bytes) >= max);
            if !too_old && !too_much {
                break;
            }
            kept -= part.bytes;
            start = part.next_offset;
        }
        (start != here.log_start).then_some(start)
    }

    /// Trims, many in a frame: thousands of partitions would wait for as many writes otherwise. Answers how many did.
    async fn trim(&self, trims: Vec<Control>) -> Result<u64, AppendError> {
        let mut trimmed = 0;
        let mut trims = trims.into_iter().peekable();
        let mut waiting = Vec::with_capacity(TRIMS_AT_ONCE.min(trims.len()));
        while trims.peek().is_some() {
            for trim in trims.by_ref().take(TRIMS_AT_ONCE) {
                waiting.push(self.begin_control(trim).await?);
            }
            for appending in waiting.drain(..) {
                match appending.await {
                    Ok(_) => trimmed += 1,
                    // Deleted meanwhile.
                    Err(AppendError::UnknownPartition(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(trimmed)
    }

    /// Releases sealed segments in which no live partition has a wanted record. The newest one stays: a restart
    /// begins with its footer.
    async fn release_unwanted(&self) -> Result<u64, AppendError> {
        let newest = self.shared.state().segments.newest().map(|segment| segment.id.number);
        let mut released = 0;
        for number in self.segment_numbers() {
            if Some(number) == newest {
                break;
            }
            let (segment, footer) = self.footer(number).await.map_err(|error| unreadable(&error))?;
            // The metadata's segments hold commands and no batches: they are wanted.
            let commands = footer.partitions.is_empty();
            if self.wants(&footer) || commands || !segment.sealed {
                continue;
            }
            released += u64::from(self.release(segment.id));
        }
        Ok(released)
    }

    /// Releases the sealed segments of a shard of commands whose frames all come before `lsn`: what they said is in a
    /// snapshot behind them. The newest segment stays, and so does every segment with records. Answers how many went.
    ///
    /// # Errors
    /// When a segment's index can't be read (nothing behind it is released then).
    pub async fn release_commands_before(&self, lsn: u64) -> Result<u64, AppendError> {
        let newest = self.shared.state().segments.newest().map(|segment| segment.id.number);
        let mut released = 0;
        for number in self.segment_numbers().into_iter().filter(|number| Some(*number) != newest) {
            let (segment, footer) = self.footer(number).await.map_err(|error| unreadable(&error))?;
            if footer.next_lsn > lsn || !footer.partitions.is_empty() || !segment.sealed {
                break;
            }
            released += u64::from(self.release(segment.id));
        }
        Ok(released)
    }

    /// Takes a segment out of sight and has its file recycled.
    fn release(&self, id: crate::segments::SegmentId) -> bool {
        let known = self.shared.state_mut().segments.remove(id.number).is_some();
        if known {
            // The keeper lives as long as the shard; a closing shard releases at its next start.
            let _ = self.shared.keeper.send(KeeperJob::Release(id));
        }
        known
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn unreadable(error: &crate::error::ReadError) -> AppendError {
    tracing::warn!(%error, "retention stopped: a segment's index can't be read");
    AppendError::Invalid("a segment's index can't be read, see the server's messages")
}
