//! Every byte has one owner, and every field is what the parser says it is.

use std::ops::Range;

use tidelog_format::footer::Footer;
use tidelog_format::opening::Opening;
use tidelog_format::superblock::Superblock;
use tidelog_format::trailer::Trailer;

use super::layout::{FOOTER, FRAME, OPENING, SUPERBLOCK, TRAILER};

fn vector(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../../format/vectors/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_layouts_read_what_the_parser_reads() {
    let file = vector("clean-sealed.seg");
    let last = file.len() / 4096 - 1;
    let block: &[u8; 4096] = file[last * 4096..].try_into().unwrap();
    let trailer = Trailer::of_last_block(block, u32::try_from(last).unwrap()).unwrap();
    let number = |name| TRAILER.number(block, name);
    assert_eq!((number("base_lsn"), number("next_lsn")), (trailer.base_lsn, trailer.next_lsn));
    assert_eq!((number("chain"), number("footer_len")), (trailer.chain, trailer.footer_len));
    let at = usize::try_from(trailer.footer_position()).unwrap();
    let footer = Footer::decode(&file[at..]).unwrap();
    assert_eq!(FOOTER.number(&file[at..], "partitions"), footer.partitions.len() as u64);
    assert_eq!(FOOTER.number(&file[at..], "last_append_time"), footer.last_append_time.cast_unsigned());
    let opening = Opening::decode(&file[128..248]).unwrap();
    assert_eq!(OPENING.number(&file[128..], "number"), opening.number);
    assert_eq!(OPENING.number(&file[128..], "predecessor_chain"), opening.predecessor.unwrap().chain);
    assert_eq!(FRAME.number(&file, "lsn"), 100);
    let superblock = vector("superblock.bin");
    let decoded = Superblock::decode(&superblock).unwrap();
    assert_eq!(SUPERBLOCK.number(&superblock, "generation"), decoded.generation);
    assert_eq!(SUPERBLOCK.number(&superblock, "created"), decoded.created.cast_unsigned());
}

/// The ranges that fields have in `--fields --output json`.
fn ranges(name: &str) -> (Vec<Range<u64>>, u64) {
    use clap::Parser;
    let path = format!("{}/../../format/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let cli = crate::args::Cli::parse_from(["x", "explain", &path, "--fields", "--output", "json"]);
    let crate::args::Command::Explain(args) = cli.command else { panic!() };
    let mut out = Vec::new();
    let mut screen = crate::output::Screen::new(&mut out);
    super::explain(&mut screen, &args).unwrap();
    let mut found = Vec::new();
    for line in String::from_utf8(out).unwrap().lines() {
        let structure: serde_json::Value = serde_json::from_str(line).unwrap();
        for field in structure["fields"].as_array().unwrap() {
            found.push(field["from"].as_u64().unwrap()..field["to"].as_u64().unwrap());
        }
    }
    found.sort_by_key(|range| (range.start, range.end));
    (found, std::fs::metadata(path).unwrap().len())
}

#[test]
fn every_byte_of_every_golden_file_belongs_to_exactly_one_field() {
    let folder = format!("{}/../../format/vectors", env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "vectors.json" {
            continue;
        }
        let (found, len) = ranges(&name);
        let mut at = 0;
        for range in found {
            assert_eq!(range.start, at, "{name}: {range:?} does not begin where the field before ends");
            at = range.end;
        }
        assert_eq!(at, len, "{name}: its last bytes belong to nobody");
        seen += 1;
    }
    assert!(seen > 25);
}
