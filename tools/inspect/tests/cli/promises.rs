//! The promise journal in `verify`, `dump` and `explain`.

use serde_json::Value;
use tidelog_format::BLOCK;
use tidelog_format::name;
use tidelog_format::promise::Journal;
use tidelog_format::span_start::{Holder, SpanStart};

use crate::place::{CLUSTER, EPOCH, Place, Shard, problems, run};
use crate::support::batches::{Laid, batch, control, created};

/// A shard with a span that says who holds it, and a journal that promised it: opening frame, first promise, second one.
fn place() -> Place {
    let place = Place::new();
    Shard::new(0).finish(&place);
    let start = SpanStart {
        base_lsn: 1,
        base_chain: 0,
        leader: 1,
        incarnation: EPOCH.into(),
        previous: None,
        quorum: 1,
        holders: vec![Holder { node: 1, store: [0x57; 16] }],
    };
    let (row, body) = start.encode();
    let mut shard = Shard::new(1);
    shard.writer.write(&[Laid { row, body }, created(7, "metrics/0")]).write(&[batch(7, 0, 1000, &[b"a"])]);
    shard.finish(&place);
    std::fs::write(place.path().join(name::PROMISES), journal(&[EPOCH - 1, EPOCH])).unwrap();
    place
}

/// A journal with these promises for shard 1, each in its own frame.
fn journal(epochs: &[u32]) -> Vec<u8> {
    let (mut journal, mut file) = Journal::begin(CLUSTER, [8; 16], &[(1, epochs[0])].into());
    for epoch in &epochs[1..] {
        let write = journal.keep(&[(1, *epoch)].into()).unwrap();
        let at = usize::try_from(write.position).unwrap();
        file[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
    }
    file
}

fn report(place: &Place) -> Value {
    let ran = run(&["verify", "--output", "json"], place.path());
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn a_journal_is_reported_with_the_highest_promise_of_each_shard() {
    let place = place();
    let ran = run(&["verify"], place.path());
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.out.contains("promises: 1 shards, end proved, 3 frames, 65536 bytes"), "{}", ran.out);
    let promises = report(&place)["promises"]["promises"].clone();
    assert_eq!(promises, serde_json::json!([{"shard": 1, "epoch": EPOCH}]));
    std::fs::rename(place.path().join(name::PROMISES), place.path().join(name::NEW_PROMISES)).unwrap();
    assert_eq!(problems(place.path()), (0, vec![]), "a crash may leave only the new name");
}

#[test]
fn damage_in_a_journal_is_named_and_an_end_that_nothing_proves_is_noted() {
    for (block, code) in [(0, 5), (1, 5), (2, 0), (3, 0)] {
        let place = place();
        place.flip(&place.path().join(name::PROMISES), block * BLOCK + 40);
        let report = report(&place);
        let findings = report["findings"].as_array().unwrap();
        let file = place.path().join(name::PROMISES);
        let of = |found: &&Value| found["file"] == file.to_str().unwrap();
        let found = findings.iter().find(of).unwrap_or_else(|| panic!("block {block}: {report}"));
        assert_eq!(problems(place.path()).0, code, "block {block}: {found}");
        if code == 5 {
            assert_eq!((&found["severity"], &found["from"]), (&"corrupt".into(), &(block * BLOCK).into()));
        } else {
            assert_eq!(found["subject"], "promises", "{found}");
        }
    }
}

#[test]
fn a_journal_that_is_gone_or_older_than_the_frames_is_told() {
    let place = place();
    let file = place.path().join(name::PROMISES);
    std::fs::write(&file, journal(&[EPOCH - 1])).unwrap();
    let (code, found) = problems(place.path());
    assert_eq!((code, found.len()), (0, 1), "{found:?}");
    assert_eq!((&found[0]["severity"], &found[0]["verdict"]), (&"warning".into(), &"behind".into()));
    std::fs::remove_file(&file).unwrap();
    let (code, found) = problems(place.path());
    assert_eq!((code, &found[0]["subject"]), (5, &"missing-file".into()), "{found:?}");
}

#[test]
fn a_journal_of_another_cluster_is_told() {
    let place = place();
    let (_, file) = Journal::begin([1; 16], [8; 16], &[(1, EPOCH)].into());
    std::fs::write(place.path().join(name::PROMISES), file).unwrap();
    let (code, found) = problems(place.path());
    assert_eq!((code, &found[0]["subject"]), (5, &"identity".into()), "{found:?}");
}

#[test]
fn dump_and_explain_speak_of_promises_and_span_starts() {
    let place = place();
    let dump = run(&["dump"], place.path());
    assert_eq!(dump.code, 0, "{}", dump.err);
    for text in ["shard 1 takes nothing below epoch 3", "span from LSN 1, the shard's first; node 1 leads"] {
        assert!(dump.out.contains(text), "{text}: {}", dump.out);
    }
    let file = place.path().join(name::PROMISES);
    let explained = run(&["explain", "--at", "8320"], &file);
    assert_eq!(explained.code, 0, "{}", explained.err);
    assert!(explained.out.contains("promise"), "{}", explained.out);
    let alone = run(&["verify"], &file);
    assert_eq!(alone.code, 0, "{}", alone.out);
}

#[test]
fn a_superblock_that_is_older_than_the_metadata_is_told() {
    let place = Place::new();
    let mut meta = Shard::new(0);
    let says = |generation: u64| {
        let store = "57".repeat(16);
        format!(r#"{{"raise_generation":{{"node":1,"store":"{store}","generation":{generation}}}}}"#)
    };
    meta.writer.write(&[control(8, 0, 0, says(5).as_bytes())]);
    let newer = meta.writer.prepare(&[control(8, 0, 0, says(6).as_bytes())]);
    meta.finish(&place);
    assert_eq!(problems(place.path()), (0, vec![]));
    place.edit(&place.segment(0, 1), |bytes| {
        bytes[newer.at..newer.at + newer.bytes.len()].copy_from_slice(&newer.bytes);
    });
    let (code, found) = problems(place.path());
    assert_eq!((code, &found[0]["verdict"]), (5, &"rolled back".into()), "{found:?}");
}

#[test]
fn a_superblock_that_has_counted_fewer_starts_than_the_metadata_has_files_of_is_told_though_its_commands_are_gone()
 {
    let place = Place::new();
    Shard::new(0).finish(&place);
    assert_eq!(problems(place.path()), (0, vec![]));
    // A file of a later start, made ready and not begun.
    let newer = place.shard(0).join(name::segment(EPOCH + 1, 2));
    std::fs::write(newer, vec![0; 65536]).unwrap();
    let (code, found) = problems(place.path());
    assert_eq!((code, &found[0]["verdict"]), (5, &"rolled back".into()), "{found:?}");
    let text = found[0]["text"].as_str().unwrap();
    assert!(text.contains("it counts 3 starts, and the metadata knows 4"), "{text}");
}
