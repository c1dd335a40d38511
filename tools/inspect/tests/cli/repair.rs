//! What `repair` saves, what it says is missing, and that it touches nothing but its target.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::place::{Place, Ran, command, problems, run};

/// Repairs into a new place beside the source.
fn repair(place: &Place, args: &[&str]) -> (Ran, PathBuf, tempfile::TempDir) {
    repair_of(place.path(), args)
}

fn repair_of(source: &Path, args: &[&str]) -> (Ran, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("copy");
    let output = command(&[&["repair", "--output", "json"], args].concat()).arg(source).arg(&target).output();
    let output = output.unwrap();
    let ran = Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    (ran, target, dir)
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err))
}

fn records(path: &Path) -> BTreeSet<String> {
    run(&["dump", "-f", "%t %p %o %T %k %s %h\\n"], path).out.lines().map(str::to_owned).collect()
}

#[test]
fn an_intact_directory_is_copied_byte_for_byte() {
    let place = Place::clean();
    let (ran, target, _dir) = repair(&place, &[]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!((&json(&ran)["copied"], &json(&ran)["verified"]), (&4.into(), &"ok".into()));
    for (shard, number) in [(0, 1), (1, 1), (1, 2), (1, 3)] {
        let name = place.segment(shard, number);
        let copy = target.join(name.strip_prefix(place.path()).unwrap());
        assert!(fs::read(name).unwrap() == fs::read(copy).unwrap(), "{shard} {number}");
    }
    assert!(
        fs::read(place.path().join("superblock")).unwrap() == fs::read(target.join("superblock")).unwrap()
    );
}

#[test]
fn a_damaged_batch_costs_itself_and_nothing_else() {
    let place = Place::clean();
    let before = records(&place.shard(1));
    // The first batch of the second frame of segment 1: offset 2 of partition 7.
    place.flip(&place.segment(1, 1), 2 * 4096 + 128 + 63);
    let (ran, target, _dir) = repair(&place, &[]);
    let report = json(&ran);
    assert_eq!(ran.code, 5, "{}{}", ran.out, ran.err);
    assert_eq!(report["lost"].as_array().unwrap().len(), 1, "{report}");
    let lost = &report["lost"][0];
    assert_eq!((&lost["name"], &lost["from"], &lost["to"]), (&"metrics/0".into(), &2.into(), &3.into()));
    assert_eq!((&report["holes"][0]["first_lsn"], &report["holes"][0]["salvaged"]), (&3.into(), &2.into()));
    assert_eq!(report["verified"], "ok", "{report}");
    let after = records(&target);
    assert_eq!(before.difference(&after).collect::<Vec<_>>(), ["metrics 0 2 2000  c "]);
    assert!(after.is_subset(&before));
    let dump = run(&["dump"], &target).out;
    assert!(dump.contains("lost offsets 2..3 were lost before a repair"), "{dump}");
}

#[test]
fn segments_before_the_damage_go_over_as_they_are() {
    let place = Place::clean();
    place.flip(&place.segment(1, 2), 4096 + 128 + 63);
    let (ran, target, _dir) = repair(&place, &[]);
    let report = json(&ran);
    assert_eq!((&report["copied"], &report["rewritten"]), (&2.into(), &2.into()), "{report}");
    let name = place.segment(1, 1);
    let copy = target.join(name.strip_prefix(place.path()).unwrap());
    assert!(fs::read(name).unwrap() == fs::read(copy).unwrap());
    assert_eq!(problems(&target).0, 0);
}

#[test]
fn a_lost_footer_costs_nothing() {
    let place = Place::clean();
    let before = records(place.path());
    place.flip(&place.segment(1, 1), 3 * 4096 + 70);
    assert_eq!(run(&["verify"], place.path()).code, 5);
    let (ran, target, _dir) = repair(&place, &[]);
    assert_eq!((ran.code, json(&ran)["verified"].as_str()), (0, Some("ok")), "{}", ran.out);
    assert_eq!(records(&target), before);
}

#[test]
fn a_missing_segment_is_named_by_the_offsets_that_were_in_it() {
    let place = Place::clean();
    fs::remove_file(place.segment(1, 2)).unwrap();
    let (ran, target, _dir) = repair(&place, &[]);
    let report = json(&ran);
    assert_eq!((ran.code, &report["verified"]), (5, &"ok".into()), "{report}");
    let lost: Vec<_> =
        report["lost"].as_array().unwrap().iter().map(|lost| (&lost["from"], &lost["to"])).collect();
    assert_eq!(lost, [(&3.into(), &4.into())]);
    assert_eq!(problems(&target).0, 0);
}

#[test]
fn a_dry_run_says_the_same_and_writes_nothing() {
    let place = Place::clean();
    place.flip(&place.segment(1, 1), 2 * 4096 + 128 + 63);
    let (dry, target, dir) = repair(&place, &["--dry-run"]);
    assert!(!target.exists() && fs::read_dir(dir.path()).unwrap().next().is_none());
    let (wet, _target, _dir) = repair(&place, &[]);
    let (mut dry, mut wet) = (json(&dry), json(&wet));
    for report in [&mut dry, &mut wet] {
        for field in ["target", "dry_run", "verified"] {
            report.as_object_mut().unwrap().remove(field);
        }
    }
    assert_eq!(dry, wet);
}

#[test]
fn what_would_not_be_safe_is_refused() {
    let place = Place::clean();
    let within = place.path().join("shards/copy");
    let refused = |target: &Path| command(&["repair"]).arg(place.path()).arg(target).output().unwrap();
    for target in [place.path(), &within] {
        let output = refused(target);
        assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(!within.exists());
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../format/vectors");
    let (newer, target, _dir) = repair_of(&vectors.join("unknown-entry-must.seg"), &[]);
    assert_eq!(newer.code, 6, "{}", newer.err);
    assert!(!target.join("copy").exists());
}

#[test]
fn the_source_keeps_every_byte_and_no_flip_costs_more_than_its_frame() {
    let place = Place::clean();
    let path = place.segment(1, 1);
    // Without names: those of partitions whose creation was in the damaged frame are gone.
    let nameless = |path: &Path| -> BTreeSet<String> {
        run(&["dump", "-f", "%o %T %k %s %h\\n"], path).out.lines().map(str::to_owned).collect()
    };
    let (whole, before) = (fs::read(&path).unwrap(), nameless(place.path()));
    for bit in (0..whole.len() * 8).step_by(2741) {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let (ran, target, _dir) = repair(&place, &[]);
        assert!(fs::read(&path).unwrap() == bytes, "bit {bit}: the source was changed");
        let report = json(&ran);
        assert_eq!(report["verified"], "ok", "bit {bit}: {report}");
        let after = nameless(&target);
        assert!(after.is_subset(&before), "bit {bit}: a record that never was");
        let gone = before.difference(&after).count() as u64;
        let lost = report["lost"].as_array().unwrap().iter();
        let named: u64 = lost.map(|lost| lost["to"].as_u64().unwrap() - lost["from"].as_u64().unwrap()).sum();
        assert_eq!(gone, named, "bit {bit}: {report}");
        assert_eq!(ran.code, if gone == 0 && report["holes"].as_array().unwrap().is_empty() { 0 } else { 5 });
        assert!(gone <= 2, "bit {bit}: {gone} records");
    }
}
