//! `stat`: what is there, counted by segment, shard and directory.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::chain::Chain;
use crate::error::InspectError;
use crate::finding::{Finding, Status, Subject};
use crate::read::{read_segment, unreadable};
use crate::stat_counts::{Counter, Counts, PartitionCounts, ProducerCounts};
use crate::tail;
use crate::tree::{ShardFolder, Tree};

/// The result, as printed in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct StatReport {
    pub(crate) path: String,
    pub(crate) status: Status,
    pub(crate) total: Part,
    /// Idempotent producers, each counted once.
    pub(crate) producers: u64,
    pub(crate) shards: Vec<ShardStat>,
    pub(crate) findings: Vec<Finding>,
}

/// Counts and what they come to.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Part {
    pub(crate) segments: u64,
    /// Of files.
    pub(crate) bytes: u64,
    /// Uncompressed over stored bytes of batches.
    pub(crate) compression_ratio: Option<f64>,
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

impl Part {
    fn add(&mut self, segments: u64, bytes: u64, counts: &Counts) {
        self.segments += segments;
        self.bytes += bytes;
        self.counts.add(counts);
        self.compression_ratio = self.counts.ratio();
    }
}

/// One shard.
#[derive(Debug, Serialize)]
pub(crate) struct ShardStat {
    pub(crate) shard: Option<u64>,
    pub(crate) total: Part,
    pub(crate) segments: Vec<SegmentStat>,
    /// By the number that files know the partition by.
    pub(crate) partitions: BTreeMap<u64, PartitionCounts>,
    /// By the producer's id.
    pub(crate) producers: BTreeMap<i64, ProducerCounts>,
}

/// One segment.
#[derive(Debug, Serialize)]
pub(crate) struct SegmentStat {
    pub(crate) file: String,
    pub(crate) state: &'static str,
    pub(crate) end: &'static str,
    pub(crate) base_lsn: Option<u64>,
    pub(crate) next_lsn: Option<u64>,
    pub(crate) total: Part,
}

/// Counts everything in the tree.
pub(crate) fn stat(path: String, tree: &Tree) -> Result<StatReport, InspectError> {
    let mut findings = Vec::new();
    let mut total = Part::default();
    let mut shards = Vec::new();
    for folder in &tree.shards {
        let shard = stat_shard(folder, &mut findings);
        total.add(shard.total.segments, shard.total.bytes, &shard.total.counts);
        shards.push(shard);
    }
    let ids: BTreeSet<i64> = shards.iter().flat_map(|shard| shard.producers.keys().copied()).collect();
    let (producers, status) = (ids.len() as u64, Status::of(&findings));
    Ok(StatReport { path, status, total, producers, shards, findings })
}

fn stat_shard(folder: &ShardFolder, findings: &mut Vec<Finding>) -> ShardStat {
    let mut stat = ShardStat {
        shard: folder.shard,
        total: Part::default(),
        segments: Vec::new(),
        partitions: BTreeMap::new(),
        producers: BTreeMap::new(),
    };
    let mut chain = Chain::default();
    let mut counter = Counter::default();
    for (at, file) in folder.segments.iter().enumerate() {
        counter.counts = Counts::default();
        match read_segment(&mut chain, file, folder.segments.get(at + 1), &mut counter) {
            Ok(read) => {
                let mut total = Part::default();
                total.add(1, read.len, &counter.counts);
                stat.total.add(1, read.len, &counter.counts);
                stat.shard = stat.shard.or(read.passed.opening.map(|opening| opening.shard));
                stat.segments.push(SegmentStat {
                    file: read.name.clone(),
                    state: read.state(),
                    end: tail::word(&read.passed),
                    base_lsn: read.passed.base.map(|(lsn, _)| lsn),
                    next_lsn: read.passed.end.lsn,
                    total,
                });
                // Whether a missing segment is a loss is for verify to say.
                let told = |finding: &Finding| finding.subject != Subject::MissingSegment;
                findings.extend(read.findings.into_iter().filter(told));
            }
            Err(error) => {
                chain.forget();
                findings.push(unreadable(file, &error));
            }
        }
    }
    stat.partitions = counter.partitions;
    stat.producers = counter.producers;
    stat
}
