//! The report of `stat` as one page that needs nothing else: no script, no font, no address.

use std::fmt::Write as _;
use std::io::{self, Write};

use tidelog_format::time_text::time_text;

use crate::stat::StatReport;
use crate::stat_plot::{bars, html, size, split};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;\
color:#1c2733;background:#fff}h1{font-size:1.5rem;margin-bottom:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}\
p.where{color:#5b6b7b;margin-top:.2rem;overflow-wrap:anywhere}.tiles{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.5rem 0}\
.tile{border:1px solid #d5dde5;border-radius:6px;padding:.5rem .9rem;min-width:8rem}.tile b{display:block;font-size:1.25rem}\
.tile span{color:#5b6b7b;font-size:.85rem}.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(28rem,1fr));gap:1rem}\
figure{margin:0}figcaption{color:#5b6b7b;font-size:.9rem}svg{width:100%;height:auto}table{border-collapse:collapse;font-size:.9rem}\
td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #e4eaf0}th{font-weight:600;color:#5b6b7b}\
td.l,th.l{text-align:left}.bad{color:#b3261e;font-weight:600}.wide{overflow-x:auto}";

/// Most rows of a table; the JSON output has all.
const MAX_ROWS: usize = 200;

/// Writes the page.
pub(crate) fn page(out: &mut dyn Write, report: &StatReport) -> io::Result<()> {
    let path = html(&report.path);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>Tidelog: {path}</title><style>{STYLE}</style></head>\
         <body><h1>What is stored</h1><p class=\"where\">{path}</p>{}{}{}{}{}</body></html>\n",
        findings(report),
        tiles(report),
        plots(report),
        partitions(report),
        segments(report)
    )
}

fn findings(report: &StatReport) -> String {
    let loud: Vec<_> = report.findings.iter().filter(|finding| finding.is_loud()).collect();
    if loud.is_empty() {
        return String::new();
    }
    let mut out = String::from("<h2>What is wrong</h2><ul>");
    for finding in loud.iter().take(MAX_ROWS) {
        let _ = write!(out, "<li class=\"bad\">{}</li>", html(&finding.to_string()));
    }
    out + "</ul>"
}

fn tiles(report: &StatReport) -> String {
    let total = &report.total;
    let counts = &total.counts;
    let span = match (counts.min_timestamp, counts.max_timestamp) {
        (Some(from), Some(to)) => format!("{} to {}", time_text(from), time_text(to)),
        _ => "no records".to_owned(),
    };
    let ratio = total.compression_ratio.map_or_else(|| "none".to_owned(), |ratio| format!("{ratio:.2} x"));
    let tiles = [
        (counts.records.to_string(), "records"),
        (counts.batches.to_string(), "batches"),
        (counts.frames.to_string(), "commits (frames)"),
        (total.segments.to_string(), "segments"),
        (size(total.bytes), "of files"),
        (size(counts.batch_bytes), "of batches as stored"),
        (ratio, "compression"),
        (share(counts.padding_bytes, counts.frame_bytes), "of frames is padding"),
        (report.producers.to_string(), "idempotent producers"),
        (counts.holes.to_string(), "holes"),
    ];
    let mut out = String::from("<div class=\"tiles\">");
    for (value, name) in tiles {
        let _ = write!(out, "<div class=\"tile\"><b>{}</b><span>{name}</span></div>", html(&value));
    }
    let _ = write!(out, "</div><p>Timestamps of records: {}</p>", html(&span));
    out
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    format!("{:.1} %", 100.0 * part as f64 / whole as f64)
}

fn plots(report: &StatReport) -> String {
    let total = &report.total;
    let counts = &total.counts;
    let figure =
        |caption: &str, svg: String| format!("<figure><figcaption>{caption}</figcaption>{svg}</figure>");
    let sized = |histogram: &crate::stat_histogram::Histogram| -> Vec<(String, u64)> {
        histogram.bars().into_iter().map(|(from, _, count)| (size(from), count)).collect()
    };
    let numbered = |histogram: &crate::stat_histogram::Histogram| -> Vec<(String, u64)> {
        let label = |from: u64, to: u64| if from == to { from.to_string() } else { format!("{from}-{to}") };
        histogram.bars().into_iter().map(|(from, to, count)| (label(from, to), count)).collect()
    };
    let series = &counts.written;
    let over_time: Vec<(String, u64)> = (0i64..)
        .zip(&series.bytes)
        .map(|(at, bytes)| {
            let width = i64::try_from(series.width).unwrap_or(i64::MAX);
            (time_text(series.start.saturating_add(at.saturating_mul(width))), *bytes)
        })
        .collect();
    let content = counts.frame_bytes.saturating_sub(counts.batch_bytes + counts.padding_bytes);
    let parts = [
        ("batches", counts.batch_bytes),
        ("headers, tables, control entries", content),
        ("padding", counts.padding_bytes),
        ("footers, and not yet written", total.bytes.saturating_sub(counts.frame_bytes)),
    ];
    format!(
        "<h2>How it was written</h2><div class=\"plots\">{}{}{}{}{}</div>",
        figure("Bytes of commits over append time", bars(&over_time, true)),
        figure("Commits by size (frame with padding)", bars(&sized(&counts.commit_sizes), false)),
        figure("Batches by size as stored", bars(&sized(&counts.batch_sizes), false)),
        figure("Batches by number of records", bars(&numbered(&counts.batch_records), false)),
        figure("What the files' bytes are", split(&parts)),
    )
}

fn partitions(report: &StatReport) -> String {
    let mut rows: Vec<_> = report
        .shards
        .iter()
        .flat_map(|shard| shard.partitions.iter().map(move |row| (shard.shard, row)))
        .collect();
    rows.sort_by_key(|(_, (_, counts))| std::cmp::Reverse(counts.records));
    if rows.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<h2>Partitions, most records first</h2><div class=\"wide\"><table><tr><th>shard</th><th>partition</th>\
         <th class=\"l\">name</th><th>records</th><th>offsets</th><th>batches</th><th>stored</th><th>from</th><th>to</th></tr>",
    );
    for (shard, (id, counts)) in rows.iter().take(MAX_ROWS) {
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{id}</td><td class=\"l\">{}</td><td>{}</td><td>{}..{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td></tr>",
            crate::output::dash(*shard),
            html(&counts.name),
            counts.records,
            counts.first_offset,
            counts.next_offset,
            counts.batches,
            size(counts.batch_bytes),
            time_text(counts.min_timestamp),
            time_text(counts.max_timestamp)
        );
    }
    out.push_str("</table></div>");
    out + &more(rows.len())
}

fn more(rows: usize) -> String {
    match rows.checked_sub(MAX_ROWS) {
        Some(more) if more > 0 => format!("<p>and {more} more; the JSON output has all</p>"),
        _ => String::new(),
    }
}

fn segments(report: &StatReport) -> String {
    let rows: Vec<_> = report
        .shards
        .iter()
        .flat_map(|shard| shard.segments.iter().map(move |segment| (shard.shard, segment)))
        .collect();
    let mut out = String::from(
        "<h2>Segments</h2><div class=\"wide\"><table><tr><th>shard</th><th class=\"l\">segment</th>\
         <th class=\"l\">state</th><th class=\"l\">end</th><th>frames</th><th>batches</th><th>records</th><th>file</th>\
         <th>ratio</th><th>padding</th></tr>",
    );
    for (shard, segment) in rows.iter().take(MAX_ROWS) {
        let counts = &segment.total.counts;
        let ratio = segment.total.compression_ratio.map(|ratio| format!("{ratio:.2}"));
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=\"l\">{}</td><td class=\"l\">{}</td><td class=\"l\">{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            crate::output::dash(*shard),
            html(segment.file.rsplit('/').next().unwrap_or_default()),
            segment.state,
            segment.end,
            counts.frames,
            counts.batches,
            counts.records,
            size(segment.total.bytes),
            crate::output::dash(ratio),
            share(counts.padding_bytes, counts.frame_bytes)
        );
    }
    out.push_str("</table></div>");
    out + &more(rows.len())
}
