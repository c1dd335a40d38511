//! SPEC.md against the code: its worked example byte for byte, and its tables of numbers.
//!
//! `cargo test -p tidelog-format --test spec -- --ignored --nocapture print_the_example` prints the example anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests may be blunt"
)]

mod support;

use std::collections::BTreeMap;

use tidelog_format::entry::{EntryKind, FIRST_SKIPPABLE};
use tidelog_format::opening::Opening;

use support::batches::batch;
use support::writer::Writer;

const SPEC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/SPEC.md");

/// The example: cluster of 0xC1 bytes, shard 1, segment 1, epoch 3, LSNs 1 and 2, one record.
fn example() -> Vec<u8> {
    let mut opening = Opening::new([0xC1; 16], 1, 1, 65536);
    opening.next_salt = [0x5B; 16];
    let mut writer = Writer::new(Vec::new(), opening, [0x5A; 16], 3, 1);
    writer.write(&[batch(7, 0, 1_700_000_000_000, &[b"hello"])]);
    writer.file
}

const PRELUDE: [(usize, &str); 6] =
    [(8, "magic"), (4, "header_crc"), (2, "header_len 128"), (1, "kind"), (1, "version 1"), (16, "salt")];
const FRAME: [(usize, &str); 9] = [
    (8, "lsn"),
    (8, "committed_lsn"),
    (8, "chain"),
    (8, "append_time"),
    (4, "epoch"),
    (4, "block_index"),
    (4, "body_len"),
    (4, "entries"),
    (4, "table_crc"),
];
const ROW: [(usize, &str); 7] = [
    (8, "row: partition"),
    (8, "row: base_offset"),
    (4, "row: length"),
    (4, "row: count"),
    (1, "row: kind"),
    (1, "row: flags"),
    (6, "row: reserved"),
];
const OPENING: [(usize, &str); 15] = [
    (2, "opening: minor version"),
    (6, "reserved"),
    (8, "incompatible features"),
    (8, "read-only compatible features"),
    (8, "compatible features"),
    (16, "cluster"),
    (8, "shard"),
    (8, "segment number"),
    (8, "segment size"),
    (4, "predecessor: epoch"),
    (4, "reserved"),
    (8, "predecessor: number, none"),
    (8, "predecessor: last LSN"),
    (8, "predecessor: chain"),
    (16, "next salt"),
];
const BATCH: [(usize, &str); 14] = [
    (8, "batch: base offset, stamped"),
    (4, "length (big-endian from here)"),
    (4, "leader epoch, stamped"),
    (1, "magic 2"),
    (4, "crc"),
    (2, "attributes: no codec"),
    (4, "last offset delta"),
    (8, "base timestamp"),
    (8, "max timestamp"),
    (8, "producer id, none"),
    (2, "producer epoch, none"),
    (4, "base sequence, none"),
    (4, "count"),
    (12, "the record: length 11, attributes, deltas 0 0, null key, \"hello\", 0 headers"),
];
const END: [(usize, &str); 6] =
    [(8, "next_lsn"), (8, "first_lsn"), (8, "chain"), (8, "(zero)"), (4, "epoch"), (4, "block_index")];

/// Where the fields of the example stand and what they are called.
fn fields() -> Vec<(usize, usize, String)> {
    let mut out = Vec::new();
    let mut at = 0;
    let mut place = |start: usize, group: &[(usize, &str)], what: &str| {
        at = start;
        for (len, name) in group {
            out.push((at, *len, format!("{what}{name}")));
            at += len;
        }
        at
    };
    let after = place(0, &PRELUDE, "");
    place(after, &FRAME, "");
    let after = place(128, &OPENING, "");
    place(after, &ROW, "");
    let after = place(4096, &PRELUDE, "");
    place(after, &FRAME, "");
    let after = place(4096 + 128, &BATCH, "");
    place(after, &ROW, "");
    let after = place(8192, &PRELUDE, "");
    place(after, &END, "");
    place(8192 + 72, &[(4, "flags: neither mark")], "");
    out
}

#[test]
#[ignore = "prints the example for SPEC.md"]
fn print_the_example() {
    let file = example();
    for (at, len, name) in fields() {
        for (index, bytes) in file[at..at + len].chunks(16).enumerate() {
            let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let name = if index == 0 { name.as_str() } else { "" };
            println!("{:04x}  {:<47}  {name}", at + index * 16, hex.join(" "));
        }
    }
    println!("{:04x}  end of the file", file.len());
}

/// Reads the example back from the page; what no line shows is zero.
fn example_of_the_page() -> Vec<u8> {
    let page = std::fs::read_to_string(SPEC).unwrap();
    let lines =
        page.lines().skip_while(|line| !line.starts_with("0000  89 54")).take_while(|line| *line != "```");
    let mut file = Vec::new();
    for line in lines {
        let at = usize::from_str_radix(&line[..4], 16).unwrap();
        assert!(at >= file.len(), "the example goes on in order: {line}");
        file.resize(at, 0);
        let hex = line[6..].split("  ").next().unwrap();
        if hex != "end of the file" {
            file.extend(hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()));
        }
    }
    file
}

#[test]
fn the_worked_example_is_what_the_code_writes() {
    let (page, code) = (example_of_the_page(), example());
    assert_eq!(page.len(), code.len());
    for (at, len, name) in fields() {
        assert_eq!(page[at..at + len], code[at..at + len], "{name} at {at:#x}");
    }
    assert!(page == code, "a byte that no field of the example names");
}

/// `| number | name | ...` rows under a heading of the page.
fn numbers_under(heading: &str) -> BTreeMap<u8, String> {
    let page = std::fs::read_to_string(SPEC).unwrap();
    page.lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            Some((cells.next()?.parse().ok()?, cells.next()?.to_owned()))
        })
        .collect()
}

#[test]
fn the_numbers_of_entry_kinds_are_those_of_the_page() {
    let page = numbers_under("### Entry kinds");
    for number in 0..=u8::MAX {
        let code = EntryKind::from_number(number).map(|kind| format!("{kind:?}"));
        assert_eq!(code.as_ref(), page.get(&number), "entry kind {number}");
    }
    assert_eq!(FIRST_SKIPPABLE, 128);
}

#[test]
fn the_numbers_of_header_kinds_are_those_of_the_page() {
    use tidelog_format::block::Kind;
    let page = numbers_under("### Header kinds");
    for kind in [Kind::Frame, Kind::EndBlock, Kind::Footer, Kind::Trailer, Kind::Superblock] {
        assert_eq!(page.get(&(kind as u8)), Some(&format!("{kind:?}")));
    }
    assert_eq!(page.len(), 5);
}

#[test]
fn the_limits_are_those_of_the_page() {
    use tidelog_format::{batch, entry, frame, opening, producers};
    let page = std::fs::read_to_string(SPEC).unwrap();
    for (limit, bytes) in [
        ("frame body", frame::MAX_BODY),
        ("control entry", entry::MAX_CONTROL_LEN),
        ("stored batch", batch::MAX_BATCH_LEN),
        ("decompressed batch", batch::MAX_DECOMPRESSED_LEN),
        ("record value", batch::MAX_VALUE_LEN),
        ("record key and headers", batch::MAX_KEY_AND_HEADERS_LEN),
        ("smallest segment", usize::try_from(opening::MIN_SEGMENT).unwrap()),
        ("largest segment", usize::try_from(opening::MAX_SEGMENT).unwrap()),
        ("producer rows", producers::MAX_ROWS),
        ("age of a producer row", usize::try_from(producers::MAX_AGE).unwrap()),
    ] {
        assert!(page.contains(&format!("| {limit} | {bytes} |")), "{limit}: {bytes}");
    }
}
