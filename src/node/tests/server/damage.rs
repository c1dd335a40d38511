//! Data directories that the node must not start on, or must start on with care.

use std::path::Path;
use std::process::{Command, Output};

use tidelog_format::block::{BLOCK, FORMAT_MAJOR, HEADER_LEN, MAGIC};

use crate::support::http::Http;
use crate::support::node::{Node, program};
use crate::{SMALL, ok, start};

/// Starts a server that must refuse to run.
pub(crate) fn refusal(args: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } = Command::new(program()).arg("serve").args(args).output().unwrap();
    (status.code().unwrap(), String::from_utf8_lossy(&stderr).into_owned())
}

fn refusal_of(node: &Node) -> (i32, String) {
    refusal(&["--data", node.data().to_str().unwrap(), "--http", "127.0.0.1:0", "--kafka", "off"])
}

#[test]
fn a_directory_in_use_is_refused_with_the_process_that_uses_it() {
    let (node, _http) = start("");
    let (code, text) = refusal_of(&node);
    assert_eq!(code, 6);
    assert!(text.contains("locked by process "), "{text}");
}

#[test]
fn a_directory_of_something_else_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "precious").unwrap();
    let (code, text) = refusal(&["--data", dir.path().to_str().unwrap(), "--http", "127.0.0.1:0"]);
    assert_eq!(code, 6, "{text}");
    assert!(text.contains("not a data directory"), "{text}");
    assert_eq!(std::fs::read_to_string(dir.path().join("thesis.txt")).unwrap(), "precious");
}

#[test]
fn a_damaged_superblock_is_called_damage() {
    let (mut node, mut http) = start("");
    ok(http.post("/v1/topics/t/records", "text/plain", b"x"));
    assert!(node.stop().success());
    let path = node.data().join("superblock");
    let len = std::fs::metadata(&path).unwrap().len();
    std::fs::write(&path, vec![0x55; usize::try_from(len).unwrap()]).unwrap();
    let (code, text) = refusal_of(&node);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("superblock"), "{text}");
}

/// Says in the header at `at` that a newer version wrote it, with a good checksum.
fn make_newer(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let header = &mut bytes[at..at + HEADER_LEN];
    header[15] = FORMAT_MAJOR + 1;
    let crc = crc32c::crc32c(&header[12..]);
    header[8..12].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_directory_of_a_newer_version_is_called_newer_and_left_as_it_is() {
    let (mut node, mut http) = start("");
    ok(http.post("/v1/topics/t/records", "text/plain", b"x"));
    assert!(node.stop().success());
    let path = node.data().join("superblock");
    make_newer(&path, 0);
    make_newer(&path, BLOCK);
    let before = std::fs::read(&path).unwrap();
    let (code, text) = refusal_of(&node);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("superblock") && text.contains("use a newer Tidelog"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_segment_of_a_newer_version_is_called_newer_and_left_as_it_is() {
    let (mut node, mut http) = start("");
    ok(http.post("/v1/topics/t/records", "text/plain", b"x"));
    let shard = ok(http.get("/v1/topics/t"))["partitions"][0]["shard"].to_string();
    node.kill();
    let segments = std::fs::read_dir(node.data().join("shards").join(shard)).unwrap();
    let opened = segments
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(&MAGIC)));
    let path = opened.max().unwrap();
    make_newer(&path, 0);
    let before = std::fs::read(&path).unwrap();
    let (code, text) = refusal_of(&node);
    assert_eq!(code, 1, "{text}");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(text.contains(name) && text.contains("use a newer Tidelog"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_missing_shard_folder_is_named_and_nothing_starts_empty() {
    let (mut node, mut http) = start("");
    ok(http.post("/v1/topics/t/records", "text/plain", b"x"));
    let shard = ok(http.get("/v1/topics/t"))["partitions"][0]["shard"].to_string();
    assert!(node.stop().success());
    let aside = node.data().with_file_name("aside");
    std::fs::rename(node.data().join("shards").join(&shard), &aside).unwrap();
    let (code, text) = refusal_of(&node);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains(&format!("shard {shard} carries partitions")), "{text}");
    std::fs::rename(&aside, node.data().join("shards").join(&shard)).unwrap();
    node.restart();
    assert_eq!(crate::values(&node, "t", 0), ["x"]);
}

#[test]
fn a_missing_metadata_folder_is_named_and_nothing_starts_empty() {
    let (mut node, mut http) = start("");
    ok(http.post("/v1/topics/t/records", "text/plain", b"x"));
    assert!(node.stop().success());
    std::fs::rename(node.data().join("shards/0"), node.data().with_file_name("aside")).unwrap();
    let (code, text) = refusal_of(&node);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("metadata folder"), "{text}");
}

/// The segments in a shard's folder, the oldest first.
pub(crate) fn segments(node: &Node, shard: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(node.data().join("shards").join(shard)).unwrap();
    let mut files: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

#[test]
fn a_shard_whose_segments_were_all_taken_away_does_not_start_empty() {
    for shard in ["1", "0"] {
        let (mut node, mut http) = start("");
        ok(http.post("/v1/topics/t/records", "text/plain", b"x"));
        assert_eq!(ok(http.get("/v1/topics/t"))["partitions"][0]["shard"], 1);
        assert!(node.stop().success());
        for file in segments(&node, shard) {
            std::fs::remove_file(file).unwrap();
        }
        let (code, text) = refusal_of(&node);
        assert_eq!(code, 5, "{text}");
        assert!(text.contains("holds no segment"), "{text}");
    }
}

#[test]
fn metadata_without_its_first_segment_is_not_taken_for_all_of_it() {
    let (mut node, mut http) = start("");
    ok(http.post("/v1/topics/t/records", "text/plain", b"x"));
    for _ in 0..2 {
        assert!(node.stop().success());
        node.restart();
    }
    assert!(node.stop().success());
    std::fs::remove_file(&segments(&node, "0")[0]).unwrap();
    let (code, text) = refusal_of(&node);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("files before it are missing"), "{text}");
}

#[test]
fn a_copy_of_a_segment_under_the_next_number_is_not_taken_for_the_newest() {
    let (mut node, mut http) = start("");
    ok(http.post("/v1/topics/t/records", "text/plain", b"x"));
    assert!(node.stop().success());
    node.restart();
    let mut http = Http::new(node.address());
    ok(http.post("/v1/topics/t/records", "text/plain", b"y"));
    assert!(node.stop().success());
    let newest = segments(&node, "1").pop().unwrap();
    let copy = newest.with_file_name("0000000002-00000000000000000009.seg");
    std::fs::copy(&newest, &copy).unwrap();
    let (code, text) = refusal_of(&node);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("00000000000000000009.seg belongs to another place"), "{text}");
    std::fs::remove_file(copy).unwrap();
    node.restart();
    assert_eq!(crate::values(&node, "t", 0), ["x", "y"]);
}

#[test]
fn settings_that_cannot_be_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, format!("{SMALL}segmentbytes = 5\n")).unwrap();
    let (code, text) = refusal(&["--config", file.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(text.contains("segmentbytes"), "{text}");
    assert_eq!(refusal(&["--kafka", "localhost"]).0, 2);
    let (code, text) = refusal(&["--http", "0.0.0.0:0", "--data", dir.path().join("d").to_str().unwrap()]);
    assert_eq!(code, 6);
    assert!(text.contains("--insecure-listen") && !dir.path().join("d").exists(), "{text}");
}

#[test]
fn the_posix_backend_serves_the_same() {
    let mut node = Node::start(&format!("io = \"posix\"\n{SMALL}"));
    let mut http = Http::new(node.address());
    ok(http.post("/v1/topics/t/records", "text/plain", b"a\nb\n"));
    assert_eq!(ok(http.get("/v1/status"))["backend"], "posix");
    node.kill();
    node.restart();
    assert_eq!(crate::values(&node, "t", 0), ["a", "b"]);
}
