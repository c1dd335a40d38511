//! The golden files of `format/vectors/`: written by this code, read back by this code and by other readers.
//!
//! `cargo test -p tidelog-format --test vectors -- --ignored regenerate` writes them anew. A change of the format
//! needs a change of SPEC.md, new vectors, and the old ones still read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may be blunt")]

mod support;

#[path = "golden/describe.rs"]
mod describe;
#[path = "golden/make.rs"]
mod make;

use std::path::PathBuf;

use tidelog_format::superblock::{Superblock, SuperblockError};
use tidelog_format::verdict::{At, Evidence, Grade, Verdict};

use make::Golden;
use support::walking::{walk, walk_in_pieces};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors"))
}

fn stored(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
#[ignore = "writes format/vectors/"]
fn regenerate() {
    std::fs::create_dir_all(folder()).unwrap();
    let all = make::all();
    for vector in &all {
        std::fs::write(folder().join(vector.name), &vector.bytes).unwrap();
    }
    std::fs::write(folder().join("vectors.json"), describe::json(&all)).unwrap();
}

#[test]
fn the_generator_still_makes_the_same_bytes() {
    for vector in make::all() {
        // What a codec's library writes may change with the library; what it must read may not.
        if !make::compressed(vector.name) {
            assert!(vector.bytes == stored(vector.name), "{} differs from what is stored", vector.name);
        }
    }
}

#[test]
fn every_vector_is_read_as_its_description_says() {
    let mut all = make::all();
    for vector in &mut all {
        vector.bytes = stored(vector.name);
    }
    let json = String::from_utf8(stored("vectors.json")).unwrap();
    for (line, wanted) in describe::json(&all).lines().zip(json.lines()) {
        assert_eq!(line, wanted);
    }
    assert_eq!(describe::json(&all), json);
}

#[test]
fn every_file_in_the_folder_is_described() {
    let known: Vec<_> = make::all().iter().map(|vector| vector.name).collect();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "vectors.json" || known.contains(&name.as_str()), "{name} has no description");
    }
}

/// The verdicts, written down by hand: what regenerates itself proves nothing.
const VERDICTS: [(&str, At, Evidence, Verdict, usize); 24] = {
    use At::{DamagedBody, DamagedHeader, EndBlock, Footer, Stale, Unsupported, Virgin};
    use Evidence::{EndsHere, Nothing, WasDurable, WriteBegun};
    use Verdict::{Corrupt, End, Torn};
    [
        ("clean-sealed.seg", Footer, EndsHere, End(Grade::Proved), 4),
        ("clean-open.seg", EndBlock, Nothing, End(Grade::Proved), 4),
        ("clean-stop.seg", EndBlock, Nothing, End(Grade::Proved), 4),
        ("virgin-behind.seg", Virgin, Nothing, End(Grade::Strong), 4),
        ("torn-header-missing.seg", DamagedHeader, WriteBegun, Torn, 3),
        ("torn-body-missing.seg", DamagedBody, WriteBegun, Torn, 3),
        ("torn-end-missing.seg", Stale, Nothing, End(Grade::Strong), 4),
        ("rotten-middle.seg", DamagedBody, WasDurable, Corrupt, 2),
        ("rotten-last-marked.seg", DamagedBody, WasDurable, Corrupt, 3),
        ("rotten-last-unmarked.seg", DamagedBody, WriteBegun, Torn, 3),
        ("rotten-last-alone.seg", DamagedHeader, Nothing, End(Grade::Weak), 3),
        ("stale-recycled.seg", EndBlock, Nothing, End(Grade::Proved), 4),
        ("stale-newer-version.seg", Stale, Nothing, End(Grade::Strong), 4),
        ("misdirected.seg", DamagedHeader, WasDurable, Corrupt, 2),
        ("newer-major.seg", Unsupported, WasDurable, Verdict::Unsupported, 0),
        ("unknown-entry-must.seg", Unsupported, WriteBegun, Verdict::Unsupported, 2),
        ("unknown-entry-skip.seg", EndBlock, Nothing, End(Grade::Proved), 3),
        ("unknown-feature.seg", Unsupported, WriteBegun, Verdict::Unsupported, 0),
        ("producers-sealed.seg", Footer, EndsHere, End(Grade::Proved), 4),
        ("damaged-producers.seg", Footer, EndsHere, End(Grade::Proved), 4),
        ("span-start.seg", EndBlock, Nothing, End(Grade::Proved), 3),
        ("partition-taken.seg", Footer, EndsHere, End(Grade::Proved), 3),
        ("promises.seg", EndBlock, Nothing, End(Grade::Proved), 4),
        ("damaged-footer.seg", DamagedHeader, EndsHere, End(Grade::Proved), 4),
    ]
};

#[test]
fn every_segment_gets_the_verdict_that_people_wrote_down() {
    for (name, at, evidence, verdict, frames) in VERDICTS {
        let vector = make::all().into_iter().find(|vector| vector.name == name).expect(name);
        let Golden::Segment(expect) = vector.golden else { panic!("{name} is no segment") };
        for walked in [walk(&stored(name), expect, None), walk_in_pieces(&stored(name), expect, None)] {
            let found = walked.outcome;
            let got = (found.at, found.evidence, found.verdict, walked.frames.len());
            assert_eq!(got, (at, evidence, verdict, frames), "{name}: {:?}", found.cause);
        }
    }
}

#[test]
fn every_segment_has_a_verdict_that_people_wrote_down() {
    for vector in make::all() {
        let named = VERDICTS.iter().any(|row| row.0 == vector.name);
        let segment = matches!(vector.golden, Golden::Segment(_));
        assert!(named || !segment || vector.name == make::CODECS, "{}", vector.name);
    }
}

#[test]
fn a_superblock_survives_the_loss_of_one_copy_and_a_newer_one_is_refused() {
    let of = |name: &str| Superblock::decode(&stored(name));
    assert_eq!(of("superblock.bin").unwrap().generation, 8);
    assert_eq!(of("superblock-damaged-copy.bin").unwrap().generation, 7);
    assert!(matches!(of("superblock-damaged.bin"), Err(SuperblockError::Damaged { .. })));
    assert!(matches!(of("superblock-newer-major.bin"), Err(SuperblockError::Unsupported(_))));
    assert!(matches!(of("superblock-unknown-feature.bin"), Err(SuperblockError::Unsupported(_))));
}

#[test]
fn all_codecs_are_read() {
    let json = describe::json(&[make::codecs_of(stored(make::CODECS))]);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        assert!(json.contains(&format!("\"codec\": \"{codec}\"")), "{codec}");
    }
    assert_eq!(json.matches("web-1 answered in 12 ms").count(), 5 * make::CODEC_RECORDS);
}
