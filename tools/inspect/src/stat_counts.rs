//! Counting frames, batches and records.

use std::collections::BTreeMap;

use serde::Serialize;
use tidelog_format::batch::{BATCH_HEADER_LEN, BatchView};
use tidelog_format::block::HEADER_LEN;
use tidelog_format::entry::{Entry, EntryKind};
use tidelog_format::frame::Frame;

use crate::error::InspectError;
use crate::names::Names;
use crate::pass::{Hole, Visitor};
use crate::stat_histogram::{Histogram, Series};

/// Most partitions that are counted apart; a hostile file may name any number.
const MAX_PARTITIONS: usize = 1_000_000;

/// Most producers that are counted apart.
const MAX_PRODUCERS: usize = 100_000;

/// What was counted, in one segment or in many.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Counts {
    pub(crate) frames: u64,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) control_entries: u64,
    /// Bytes of all frames, headers and padding included.
    pub(crate) frame_bytes: u64,
    /// Bytes of batches as stored.
    pub(crate) batch_bytes: u64,
    /// Bytes of the same batches decompressed.
    pub(crate) uncompressed_bytes: u64,
    /// Bytes of zeroes behind frames' content.
    pub(crate) padding_bytes: u64,
    /// Batches whose records can't be decompressed; they are counted as stored.
    pub(crate) unreadable_batches: u64,
    pub(crate) holes: u64,
    /// Of records, ms.
    pub(crate) min_timestamp: Option<i64>,
    pub(crate) max_timestamp: Option<i64>,
    /// Of frames, ms.
    pub(crate) first_append_time: Option<i64>,
    pub(crate) last_append_time: Option<i64>,
    /// Bytes of frames, padding included.
    pub(crate) commit_sizes: Histogram,
    /// Bytes of batches as stored, and their records.
    pub(crate) batch_sizes: Histogram,
    pub(crate) batch_records: Histogram,
    /// Bytes of frames over append time.
    pub(crate) written: Series,
}

impl Counts {
    /// Uncompressed over stored bytes of batches.
    pub(crate) fn ratio(&self) -> Option<f64> {
        // Precise enough for a ratio up to 2^53 bytes.
        (self.batch_bytes > 0).then(|| self.uncompressed_bytes as f64 / self.batch_bytes as f64)
    }

    /// Adds what was counted elsewhere, later in the order of the files.
    pub(crate) fn add(&mut self, other: &Counts) {
        self.frames += other.frames;
        self.batches += other.batches;
        self.records += other.records;
        self.control_entries += other.control_entries;
        self.frame_bytes += other.frame_bytes;
        self.batch_bytes += other.batch_bytes;
        self.uncompressed_bytes += other.uncompressed_bytes;
        self.padding_bytes += other.padding_bytes;
        self.unreadable_batches += other.unreadable_batches;
        self.holes += other.holes;
        self.min_timestamp = least(self.min_timestamp, other.min_timestamp);
        self.max_timestamp = self.max_timestamp.max(other.max_timestamp);
        self.first_append_time = least(self.first_append_time, other.first_append_time);
        self.last_append_time = self.last_append_time.max(other.last_append_time);
        self.commit_sizes.merge(&other.commit_sizes);
        self.batch_sizes.merge(&other.batch_sizes);
        self.batch_records.merge(&other.batch_records);
        self.written.merge(&other.written);
    }
}

fn least(one: Option<i64>, two: Option<i64>) -> Option<i64> {
    one.into_iter().chain(two).min()
}

/// What was counted of one partition.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct PartitionCounts {
    pub(crate) name: String,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) batch_bytes: u64,
    pub(crate) first_offset: u64,
    pub(crate) next_offset: u64,
    pub(crate) min_timestamp: i64,
    pub(crate) max_timestamp: i64,
}

/// What was counted of one idempotent producer.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct ProducerCounts {
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) last_epoch: i16,
    pub(crate) last_timestamp: i64,
}

/// Counts what a pass finds.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    pub(crate) counts: Counts,
    pub(crate) partitions: BTreeMap<u64, PartitionCounts>,
    pub(crate) producers: BTreeMap<i64, ProducerCounts>,
    pub(crate) names: Names,
    scratch: Vec<u8>,
}

impl Counter {
    fn batch(&mut self, entry: &Entry<'_>) {
        // The frame was verified, its batches included.
        let Ok(batch) = BatchView::parse(entry.body) else {
            return;
        };
        let header = batch.header();
        let stored = entry.body.len() as u64;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let readable = batch.records(&mut scratch).is_ok();
        let body = if scratch.is_empty() { batch.body().len() } else { scratch.len() };
        self.scratch = scratch;
        let counts = &mut self.counts;
        counts.batches += 1;
        counts.records += u64::from(header.count);
        counts.batch_bytes += stored;
        counts.uncompressed_bytes += if readable { (BATCH_HEADER_LEN + body) as u64 } else { stored };
        counts.unreadable_batches += u64::from(!readable);
        counts.batch_sizes.add(stored);
        counts.batch_records.add(u64::from(header.count));
        counts.min_timestamp = least(counts.min_timestamp, Some(header.base_timestamp));
        counts.max_timestamp = counts.max_timestamp.max(Some(header.max_timestamp));
        if header.has_producer()
            && (self.producers.len() < MAX_PRODUCERS || self.producers.contains_key(&header.producer_id))
        {
            let producer = self.producers.entry(header.producer_id).or_default();
            producer.batches += 1;
            producer.records += u64::from(header.count);
            producer.last_epoch = header.producer_epoch;
            producer.last_timestamp = header.max_timestamp;
        }
        let id = entry.row.partition;
        if self.partitions.len() >= MAX_PARTITIONS && !self.partitions.contains_key(&id) {
            return;
        }
        let names = &self.names;
        let partition = self.partitions.entry(id).or_insert_with(|| PartitionCounts {
            name: names.shown(id),
            first_offset: header.base_offset,
            min_timestamp: header.base_timestamp,
            max_timestamp: header.max_timestamp,
            ..PartitionCounts::default()
        });
        partition.batches += 1;
        partition.records += u64::from(header.count);
        partition.batch_bytes += stored;
        partition.next_offset = header.next_offset();
        partition.min_timestamp = partition.min_timestamp.min(header.base_timestamp);
        partition.max_timestamp = partition.max_timestamp.max(header.max_timestamp);
    }
}

impl Visitor for Counter {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), InspectError> {
        self.names.note_frame(frame);
        let header = &frame.header;
        let counts = &mut self.counts;
        counts.frames += 1;
        counts.frame_bytes += header.total_len() as u64;
        counts.padding_bytes += (header.total_len() - HEADER_LEN) as u64 - u64::from(header.body_len);
        counts.commit_sizes.add(header.total_len() as u64);
        counts.written.add(header.append_time, header.total_len() as u64);
        counts.first_append_time = least(counts.first_append_time, Some(header.append_time));
        counts.last_append_time = counts.last_append_time.max(Some(header.append_time));
        for entry in frame.entries() {
            match entry.kind() {
                Some(EntryKind::Batch) => self.batch(&entry),
                _ => self.counts.control_entries += 1,
            }
        }
        Ok(())
    }

    fn hole(&mut self, _: &Hole) -> Result<(), InspectError> {
        self.counts.holes += 1;
        Ok(())
    }
}
