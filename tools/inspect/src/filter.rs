//! What of a directory is asked for: by topic, partition, offset, time, key and pattern.

use std::ops::Range;

use regex::bytes::Regex;
use tidelog_format::batch::{BatchHeader, Record};
use tidelog_format::entry::Entry;

use crate::args::{FilterArgs, Part};
use crate::names::Names;

/// What is to be shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    topic: Option<String>,
    partition: Option<u64>,
    offsets: Option<Range<u64>>,
    /// From the first to before the second, ms.
    times: Option<Range<i64>>,
    key: Option<Vec<u8>>,
    pattern: Option<Pattern>,
}

/// A pattern and where it is looked for.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pub(crate) regex: Regex,
    pub(crate) parts: Vec<Part>,
}

impl Pattern {
    fn is_in(&self, record: &Record<'_>) -> bool {
        let found = |bytes: Option<&[u8]>| bytes.is_some_and(|bytes| self.regex.is_match(bytes));
        self.parts.iter().any(|part| match part {
            Part::Key => found(record.key),
            Part::Value => found(record.value),
            Part::Headers => {
                record.headers.iter().any(|header| found(Some(header.name)) || found(header.value))
            }
        })
    }
}

impl Filter {
    pub(crate) fn new(args: &FilterArgs) -> Filter {
        Filter {
            topic: args.topic.clone(),
            partition: args.partition,
            offsets: args.offset.clone(),
            times: args.time.clone(),
            key: args.key.clone().map(String::into_bytes),
            pattern: None,
        }
    }

    /// The same, and with this pattern.
    pub(crate) fn with(self, pattern: Pattern) -> Filter {
        Filter { pattern: Some(pattern), ..self }
    }

    /// Whether everything is shown.
    pub(crate) fn is_open(&self) -> bool {
        let asked = [
            self.topic.is_some(),
            self.partition.is_some(),
            self.offsets.is_some(),
            self.times.is_some(),
            self.looks_inside(),
        ];
        asked.iter().all(|asked| !asked)
    }

    /// Whether the content of records decides.
    pub(crate) fn looks_inside(&self) -> bool {
        self.key.is_some() || self.pattern.is_some()
    }

    /// Whether a batch may hold something to be shown.
    pub(crate) fn takes_batch(&self, entry: &Entry<'_>, names: &Names) -> bool {
        let row = &entry.row;
        let behind = row.base_offset.saturating_add(u64::from(row.count));
        self.takes_partition(row.partition, names)
            && self.offsets.as_ref().is_none_or(|range| row.base_offset < range.end && range.start < behind)
            && self.takes_times(entry)
    }

    /// A batch's largest timestamp is its header's; the smallest is known only when it is looked into.
    fn takes_times(&self, entry: &Entry<'_>) -> bool {
        let Some(times) = &self.times else { return true };
        BatchHeader::parse(entry.body).is_ok_and(|batch| batch.max_timestamp >= times.start)
    }

    /// Whether a control entry is shown.
    pub(crate) fn takes_control(&self, entry: &Entry<'_>, names: &Names) -> bool {
        let narrow = self.offsets.is_some() || self.times.is_some() || self.looks_inside();
        let placed = self.topic.is_some() || self.partition.is_some();
        let of_partition = matches!(entry.row.kind, 3..=5);
        !narrow && (!placed || (of_partition && self.takes_partition(entry.row.partition, names)))
    }

    /// Whether a record of a batch that is taken is shown.
    pub(crate) fn takes_record(&self, offset: u64, record: &Record<'_>) -> bool {
        self.offsets.as_ref().is_none_or(|range| range.contains(&offset))
            && self.times.as_ref().is_none_or(|range| range.contains(&record.timestamp))
            && self.key.as_ref().is_none_or(|key| record.key == Some(key))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_in(record))
    }

    /// With a topic, the partition's number is that within the topic.
    fn takes_partition(&self, partition: u64, names: &Names) -> bool {
        let Some(topic) = &self.topic else {
            return self.partition.is_none_or(|wanted| wanted == partition);
        };
        let name = names.of(partition);
        name.topic == *topic && self.partition.is_none_or(|wanted| wanted == name.partition)
    }
}
