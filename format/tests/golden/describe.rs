//! Describes the golden files in JSON, for readers that are not this code.

use std::fmt::Write;

use tidelog_format::BLOCK;
use tidelog_format::batch::BatchView;
use tidelog_format::entry::{Entry, EntryKind};
use tidelog_format::footer::Footer;
use tidelog_format::scan::{Expect, Found, scan};
use tidelog_format::superblock::Superblock;
use tidelog_format::trailer::Trailer;
use tidelog_format::verdict::{At, Grade, Verdict};

use crate::make::{Golden, Vector};
use crate::support::walking::{Walked, walk};

/// The whole of `vectors.json`.
pub(crate) fn json(vectors: &[Vector]) -> String {
    let mut out = "[\n".to_owned();
    for (index, vector) in vectors.iter().enumerate() {
        let _ = writeln!(out, "  {{");
        let _ = writeln!(out, "    \"file\": {:?},", vector.name);
        let _ = writeln!(out, "    \"what\": {:?},", vector.what);
        match vector.golden {
            Golden::Segment(expect) => segment(&mut out, &vector.bytes, expect),
            Golden::Superblock => superblock(&mut out, &vector.bytes),
            Golden::Batch => {
                let _ = write!(out, "    \"verdict\": \"intact\"");
                batch(&mut out, &vector.bytes);
                out.push('\n');
            }
        }
        let _ = writeln!(out, "  }}{}", if index + 1 < vectors.len() { "," } else { "" });
    }
    out + "]\n"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A JSON string of mostly readable bytes; long ones are shown by length and checksum.
fn text(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".to_owned(),
        Some(bytes) if bytes.len() > 80 => {
            format!("\"{} bytes, crc32c {:08x}\"", bytes.len(), crc32c::crc32c(bytes))
        }
        Some(bytes) => format!("\"{}\"", String::from_utf8_lossy(bytes).replace('"', "\\\"")),
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::End(Grade::Proved) => "end, proved",
        Verdict::End(Grade::Strong) => "end, strong",
        Verdict::End(Grade::Weak) => "end, weak",
        Verdict::Torn => "torn",
        Verdict::Corrupt => "corrupt",
        Verdict::Unsupported => "unsupported",
    }
}

fn segment(out: &mut String, bytes: &[u8], expect: Expect) {
    let walked = walk(bytes, expect, None);
    let outcome = &walked.outcome;
    let known = (expect.salt.unwrap(), expect.epoch.unwrap(), expect.lsn.unwrap(), expect.chain.unwrap());
    let _ = writeln!(
        out,
        "    \"known\": {{\"salt\": \"{}\", \"epoch\": {}, \"lsn\": {}, \"chain\": \"{:016x}\"}},",
        hex(&known.0),
        known.1,
        known.2,
        known.3
    );
    let _ = writeln!(out, "    \"verdict\": \"{}\",", verdict(outcome.verdict));
    let _ = writeln!(out, "    \"at\": \"{:?}\", \"evidence\": \"{:?}\",", outcome.at, outcome.evidence);
    let next = outcome.expect.lsn.unwrap();
    let _ = writeln!(out, "    \"end\": {{\"position\": {}, \"lsn\": {next}}},", outcome.position);
    if outcome.at == At::Footer {
        sealed(out, bytes, &walked);
    }
    frames(out, bytes, &walked);
}

fn sealed(out: &mut String, bytes: &[u8], walked: &Walked) {
    let last: &[u8; BLOCK] = bytes.last_chunk().unwrap();
    let trailer = Trailer::of_last_block(last, u32::try_from(bytes.len() / BLOCK - 1).unwrap()).unwrap();
    let _ = writeln!(
        out,
        "    \"digest\": \"{}\", \"digest_fits\": {},",
        hex(&trailer.digest),
        trailer.digest == walked.digest
    );
    let at = usize::try_from(trailer.footer_position()).unwrap();
    let footer = match Footer::decode(&bytes[at..]) {
        Ok(footer) => footer,
        Err(damage) => {
            let _ = writeln!(out, "    \"footer\": \"{damage}\",");
            return;
        }
    };
    for row in &footer.partitions {
        let positions: Vec<_> =
            row.positions.iter().map(|place| (place.offset, place.max_timestamp, place.block)).collect();
        let _ = writeln!(
            out,
            "    \"partition {}\": {{\"log_start\": {}, \"offsets\": [{}, {}], \"times\": [{}, {}], \"bytes\": {}, \"positions\": {:?}}},",
            row.partition,
            row.log_start,
            row.first_offset,
            row.next_offset,
            row.min_timestamp,
            row.max_timestamp,
            row.bytes,
            positions
                .iter()
                .map(|place| [i128::from(place.0), i128::from(place.1), i128::from(place.2)])
                .collect::<Vec<_>>()
        );
    }
    for row in &footer.producers {
        let stored = row.window.batches().iter().map(|stored| {
            [u64::from(stored.first_sequence), u64::from(stored.count), stored.base_offset, stored.lsn]
        });
        let _ = writeln!(
            out,
            "    \"partition {} producer {}\": {{\"epoch\": {}, \"run\": {}, \"age\": {}, \"sequence_count_offset_lsn\": {:?}}},",
            row.partition,
            row.producer_id,
            row.epoch,
            row.run,
            row.age,
            stored.collect::<Vec<_>>()
        );
    }
}

fn frames(out: &mut String, bytes: &[u8], walked: &Walked) {
    let _ = write!(out, "    \"frames\": [");
    for (index, seen) in walked.frames.iter().enumerate() {
        let place = Expect { block_index: u32::try_from(seen.at / BLOCK).unwrap(), ..Expect::default() };
        let Found::Frame(frame) = scan(&bytes[seen.at..], &place) else { panic!("walked before") };
        let header = frame.header;
        let _ = write!(
            out,
            "{}\n      {{\"lsn\": {}, \"position\": {}, \"length\": {}, \"chain\": \"{:016x}\", \"append_time\": {}, \"entries\": [",
            if index > 0 { "," } else { "" },
            header.lsn,
            seen.at,
            header.total_len(),
            header.chain,
            header.append_time
        );
        for (index, item) in frame.entries().enumerate() {
            out.push_str(if index > 0 { ",\n" } else { "\n" });
            entry(out, &item);
        }
        out.push_str("\n      ]}");
    }
    out.push_str("\n    ]\n");
}

fn entry(out: &mut String, entry: &Entry<'_>) {
    let row = &entry.row;
    let _ = write!(
        out,
        "        {{\"kind\": {}, \"partition\": {}, \"base_offset\": {}, \"count\": {}, \"length\": {}, \"at\": {}",
        row.kind, row.partition, row.base_offset, row.count, row.length, entry.at
    );
    if entry.kind() != Some(EntryKind::Batch) {
        let _ = write!(out, ", \"body\": \"{}\"}}", hex(entry.body));
        return;
    }
    batch(out, entry.body);
    out.push('}');
}

fn batch(out: &mut String, bytes: &[u8]) {
    let view = BatchView::parse(bytes).unwrap();
    view.verify_crc().unwrap();
    let _ = write!(out, ", \"codec\": \"{}\", \"records\": [", view.header().codec().unwrap());
    let mut scratch = Vec::new();
    for (index, record) in view.records(&mut scratch).unwrap().enumerate() {
        let (offset, record) = record.unwrap();
        let _ = write!(
            out,
            "{}\n          {{\"offset\": {offset}, \"timestamp\": {}, \"key\": {}, \"value\": {}, \"headers\": {}}}",
            if index > 0 { "," } else { "" },
            record.timestamp,
            text(record.key),
            text(record.value),
            record.headers.len()
        );
    }
    out.push(']');
}

fn superblock(out: &mut String, bytes: &[u8]) {
    match Superblock::decode(bytes) {
        Ok(found) => {
            let _ = writeln!(out, "    \"verdict\": \"intact\",");
            let _ = writeln!(
                out,
                "    \"cluster\": \"{}\", \"store\": \"{}\", \"node\": {}, \"incarnation\": {}, \"generation\": {}",
                hex(&found.cluster),
                hex(&found.store),
                found.node,
                found.incarnation,
                found.generation
            );
        }
        Err(error) => {
            let _ = writeln!(out, "    \"verdict\": {:?}", error.to_string());
        }
    }
}
