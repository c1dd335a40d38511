//! How reports look.

use std::io;

use tidelog_format::record_format::escaped;

use crate::args::{Output, StatOutput};
use crate::finding::{Severity, Status};
use crate::output::{Screen, dash, tell};
use crate::stat::{Part, ShardStat, StatReport};
use crate::verify::Report;

/// Prints what `verify` came to.
pub(crate) fn verify(screen: &mut Screen<'_>, output: Output, report: &Report) -> io::Result<()> {
    if output == Output::Json {
        return screen.json(report);
    }
    if let Some(superblock) = &report.superblock {
        writeln!(
            screen.out,
            "node {} of cluster {}, store {}, incarnation {}",
            superblock.node, superblock.cluster, superblock.store, superblock.incarnation
        )?;
    }
    let rows: Vec<Vec<String>> = report.segments.iter().map(segment_row).collect();
    if !rows.is_empty() {
        let head = ["shard", "segment", "state", "end", "LSNs", "frames", "batches", "records", "bytes"];
        screen.table(&head, &[0, 5, 6, 7, 8], &rows)?;
    }
    if let Some(journal) = &report.promises {
        writeln!(
            screen.out,
            "promises: {} shards, end {}, {} frames, {} bytes",
            journal.promises.len(),
            journal.end,
            journal.frames,
            journal.bytes
        )?;
    }
    for finding in &report.findings {
        screen.finding(finding)?;
    }
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let word = match report.status {
        Status::Ok | Status::NotFound => "ok",
        Status::Error => "not all could be read",
        Status::Corrupt => "CORRUPT",
    };
    writeln!(
        screen.out,
        "{}: {word}: {} segments, {} corrupt, {} unreadable, {} unsupported, {} warnings, {} notes",
        report.path,
        report.segments.len(),
        count(Severity::Corrupt),
        count(Severity::Error),
        count(Severity::Unsupported),
        count(Severity::Warning),
        count(Severity::Note)
    )
}

fn segment_row(segment: &crate::verify::SegmentReport) -> Vec<String> {
    vec![
        dash(segment.shard),
        file_name(&segment.file),
        segment.state.to_owned(),
        segment.end.to_owned(),
        lsns(segment.base_lsn, segment.next_lsn),
        segment.frames.to_string(),
        segment.batches.to_string(),
        segment.records.to_string(),
        segment.bytes.to_string(),
    ]
}

fn lsns(base: Option<u64>, next: Option<u64>) -> String {
    match (base, next) {
        (Some(base), Some(next)) => format!("{base}..{next}"),
        _ => "-".to_owned(),
    }
}

fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// Prints what `stat` came to; its findings go to standard error.
pub(crate) fn stat(screen: &mut Screen<'_>, output: StatOutput, report: &StatReport) -> io::Result<()> {
    match output {
        StatOutput::Json => return screen.json(report),
        StatOutput::Html => return crate::stat_html::page(screen.out, report),
        StatOutput::Table => {}
    }
    let mut rows = Vec::new();
    for shard in &report.shards {
        for segment in &shard.segments {
            let lead = [
                dash(shard.shard),
                file_name(&segment.file),
                segment.state.to_owned(),
                segment.end.to_owned(),
            ];
            rows.push(part_row(lead, &segment.total));
        }
        let lead =
            [dash(shard.shard), format!("{} segments", shard.total.segments), String::new(), String::new()];
        rows.push(part_row(lead, &shard.total));
    }
    if report.shards.len() > 1 {
        let lead =
            ["all".to_owned(), format!("{} segments", report.total.segments), String::new(), String::new()];
        rows.push(part_row(lead, &report.total));
    }
    let head = [
        "shard",
        "segment",
        "state",
        "end",
        "frames",
        "batches",
        "records",
        "bytes",
        "batch bytes",
        "ratio",
        "padding",
        "times (ms)",
    ];
    screen.table(&head, &[0, 4, 5, 6, 7, 8, 9, 10], &rows)?;
    for shard in report.shards.iter().filter(|shard| !shard.partitions.is_empty()) {
        writeln!(screen.out)?;
        partitions(screen, shard)?;
    }
    sizes(screen, report)?;
    screen.out.flush()?;
    let told: Vec<_> =
        report.findings.iter().filter(|found| found.severity != Severity::Note).cloned().collect();
    tell(&told);
    Ok(())
}

/// How large batches and commits are.
fn sizes(screen: &mut Screen<'_>, report: &StatReport) -> io::Result<()> {
    let counts = &report.total.counts;
    if report.producers > 0 {
        writeln!(screen.out, "\n{} idempotent producers", report.producers)?;
    }
    let plots = [
        ("commit bytes", "commits", &counts.commit_sizes),
        ("batch bytes", "batches", &counts.batch_sizes),
        ("batch records", "batches", &counts.batch_records),
    ];
    for (what, count, histogram) in plots {
        let bars = histogram.bars();
        let most = bars.iter().map(|(_, _, count)| *count).max().unwrap_or(0);
        let line = |(from, to, count): &(u64, u64, u64)| {
            vec![format!("{from}..{to}"), count.to_string(), "#".repeat(bar(*count, most))]
        };
        let rows: Vec<_> = bars.iter().map(line).collect();
        if !rows.is_empty() {
            writeln!(screen.out)?;
            screen.table(&[what, count, ""], &[0, 1], &rows)?;
        }
    }
    Ok(())
}

/// Length of a bar of at most 40 characters; something is never nothing.
fn bar(count: u64, most: u64) -> usize {
    let long = u128::from(count) * 40 / u128::from(most.max(1));
    usize::try_from(long).unwrap_or(40).max(usize::from(count > 0))
}

fn part_row(lead: [String; 4], part: &Part) -> Vec<String> {
    let counts = &part.counts;
    let mut row = lead.to_vec();
    row.extend([
        counts.frames.to_string(),
        counts.batches.to_string(),
        counts.records.to_string(),
        part.bytes.to_string(),
        counts.batch_bytes.to_string(),
        dash(part.compression_ratio.map(|ratio| format!("{ratio:.2}"))),
        counts.padding_bytes.to_string(),
        span(counts.min_timestamp, counts.max_timestamp),
    ]);
    row
}

fn span(from: Option<i64>, to: Option<i64>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => format!("{from}..{to}"),
        _ => "-".to_owned(),
    }
}

fn partitions(screen: &mut Screen<'_>, shard: &ShardStat) -> io::Result<()> {
    let rows: Vec<Vec<String>> = shard
        .partitions
        .iter()
        .map(|(id, counts)| {
            vec![
                dash(shard.shard),
                id.to_string(),
                escaped(counts.name.as_bytes()),
                counts.records.to_string(),
                format!("{}..{}", counts.first_offset, counts.next_offset),
                counts.batches.to_string(),
                counts.batch_bytes.to_string(),
                span(Some(counts.min_timestamp), Some(counts.max_timestamp)),
            ]
        })
        .collect();
    let head = ["shard", "partition", "name", "records", "offsets", "batches", "batch bytes", "times (ms)"];
    screen.table(&head, &[0, 1, 3, 5, 6], &rows)
}
