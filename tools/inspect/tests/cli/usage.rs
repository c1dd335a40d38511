//! Command line, exit codes, and the promise that nothing is ever written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::place::{Place, run};

#[test]
fn a_clean_directory_verifies_with_exit_code_0_and_a_line_per_segment() {
    let place = Place::clean();
    let ran = run(&["verify"], place.path());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert_eq!(ran.out.matches("sealed").count(), 2, "{}", ran.out);
    assert!(
        ran.out
            .trim_end()
            .ends_with("ok: 4 segments, 0 corrupt, 0 unreadable, 0 unsupported, 0 warnings, 0 notes"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains('\x1b'), "plain when nobody looks");
}

#[test]
fn a_shard_folder_and_a_lone_segment_verify_too() {
    let place = Place::clean();
    for path in [place.shard(1), place.segment(1, 1), place.segment(1, 2), place.segment(1, 3)] {
        let ran = run(&["verify"], &path);
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    }
}

#[test]
fn a_segment_under_another_name_is_read_and_said_to_be_one() {
    let place = Place::clean();
    let copy = place.path().join("copy");
    fs::copy(place.segment(1, 2), &copy).unwrap();
    let ran = run(&["verify"], &copy);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.out.contains("segment 2 of shard 1, by another name"), "{}", ran.out);
}

#[test]
fn wrong_usage_exits_with_2() {
    let place = Place::clean();
    for args in
        [&["verify", "--repair"][..], &["frobnicate"], &["verify", "--output", "xml"], &["dump", "-f", "%q"]]
    {
        let ran = run(args, place.path());
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.err);
        assert!(ran.out.is_empty());
    }
    let named = run(&["dump", "-f", "%o %q"], place.path());
    assert!(named.err.contains("unknown directive `%q` at position 4"), "{}", named.err);
}

#[test]
fn what_is_not_there_exits_with_3() {
    let place = Place::clean();
    let nowhere = place.path().join("nowhere");
    let empty = place.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for command in ["verify", "dump", "stat"] {
        let ran = run(&[command], &nowhere);
        assert_eq!(ran.code, 3);
        assert!(ran.err.contains("nowhere does not exist"), "{}", ran.err);
        let ran = run(&[command], &empty);
        assert_eq!(ran.code, 3);
        assert!(ran.err.contains("holds nothing of Tidelog"), "{}", ran.err);
    }
}

#[test]
fn a_path_with_escape_sequences_does_not_reach_the_terminal() {
    let place = Place::new();
    let ran = run(&["verify"], &place.path().join("x\x1b]0;owned\x07"));
    assert_eq!(ran.code, 3);
    assert!(!ran.err.contains('\x1b'), "{:?}", ran.err);
}

fn state(path: &Path, into: &mut Vec<(PathBuf, SystemTime, Vec<u8>)>) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        if path.is_dir() {
            into.push((path.clone(), modified, Vec::new()));
            state(&path, into);
        } else {
            into.push((path.clone(), modified, fs::read(&path).unwrap()));
        }
    }
    into.sort();
}

#[test]
fn no_command_changes_a_byte_or_a_time_of_any_file_even_of_a_damaged_one() {
    let place = Place::clean();
    place.flip(&place.segment(1, 2), 4096 + 200);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    state(place.path(), &mut before);
    for args in [
        &["verify"][..],
        &["dump"],
        &["dump", "--records"],
        &["stat"],
        &["verify", "--output", "json"],
        &["stat", "--output", "html"],
        &["index"],
        &["grep", "a"],
    ] {
        assert_eq!(run(args, place.path()).code, 5);
    }
    state(place.path(), &mut after);
    assert!(before == after, "a file was changed");
}

#[test]
fn man_pages_and_completions_come_from_the_same_definition() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man");
    assert_eq!(run(&["man"], &pages).code, 0);
    for page in ["tidelog-inspect.1", "tidelog-inspect-explain.1", "tidelog-inspect-repair.1"] {
        let text = fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
    let script = run(&["completions"], Path::new("bash"));
    assert!(script.code == 0 && script.out.contains("tidelog-inspect"), "{}", script.err);
}
