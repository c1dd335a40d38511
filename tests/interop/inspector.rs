//! `tidelog-inspect` on the directory of a server that writes to it: every command, with every option that it has.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::http::Http;
use crate::support::node::{Node, scratch};
use crate::support::offline;

/// Small segments that are soon given back: they roll, vanish and are recycled while they are read.
const CONFIG: &str = "[storage]\nsegment_bytes = 65536\nretention_check_ms = 100\n";
const TOPIC: &str = r#"{"name":"live","partitions":2,"config":{"retention_bytes":300000}}"#;
/// What every record says.
const WORD: &str = "measured";

/// Command lines: what they begin with is the command; PATH is the directory, SEGMENT a file of it, NEW a place that is not
/// there yet.
const LINES: &[&str] = &[
    "verify PATH",
    "verify PATH --output json",
    "dump PATH --max 50",
    "dump PATH --output json",
    "dump PATH --records --topic live --partition 1 --offset 0.. --time 2020-01-01T00:00..",
    "dump PATH --records --key k1 --pattern measured --max 3 --output json",
    "dump PATH --format %t/%p/%o:%S --max 3",
    "stat PATH",
    "stat PATH --output json",
    "stat PATH --output html",
    "explain SEGMENT",
    "explain SEGMENT --at 0x80",
    "explain SEGMENT --fields --output json",
    "grep measured PATH --topic live --partition 1 --offset 0.. --time 2020-01-01T00:00.. --key k1 --count",
    "grep MEASURED PATH --ignore-case --in value --max 3 --output json",
    "grep measured PATH --format %o --max 3",
    "export PATH --to NEW",
    "export PATH --to NEW --format csv --topic live --partition 1 --offset 0..",
    "export PATH --to NEW --format batches --time 2020-01-01T00:00.. --topic live",
    "export PATH --to NEW --key k1 --pattern measured",
    "repair PATH NEW --dry-run --output json",
    "repair PATH NEW",
    "diff PATH PATH --output json",
    "index PATH",
    "index PATH --rows --output json",
];

/// Runs `work` while records are written.
fn beside_a_load(node: &Node, work: impl FnOnce()) {
    let made = Http::new(node.address()).post("/v1/topics", "application/json", TOPIC.as_bytes()).unwrap();
    assert!(made.is_success(), "{}", made.text());
    let (mut http, mut number) = (Http::new(node.address()), 0);
    let mut write = || {
        let record = format!("{{\"key\":\"k1\",\"value\":\"{WORD} {number} {}\"}}\n", "x".repeat(700));
        let path = format!("/v1/topics/live/records?partition={}", number % 2);
        let answer = http.post(&path, "application/x-ndjson", record.repeat(5).as_bytes()).unwrap();
        assert!(answer.is_success(), "{}", answer.text());
        number += 1;
    };
    // Enough that segments were given back before the first look.
    (0..300).for_each(|_| write());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                write();
            }
        });
        let _over = Over(&over);
        work();
    });
}

/// Ends the load, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A file of the metadata: none of those is given back.
fn segment(data: &Path) -> PathBuf {
    let files = std::fs::read_dir(data.join("shards/0")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).min().unwrap()
}

/// The options of a command that its help tells of.
fn options(inspector: &Path, command: &str) -> BTreeSet<String> {
    let help = Command::new(inspector).args([command, "--help"]).output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    let options = text.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let long = options.filter_map(|line| line.split([' ', ',']).find(|word| word.starts_with("--")));
    long.filter(|name| *name != "--help").map(str::to_owned).collect()
}

fn words_of(command: &str) -> impl Iterator<Item = &'static str> {
    LINES.iter().filter(move |line| line.starts_with(&format!("{command} "))).flat_map(|line| line.split(' '))
}

#[test]
fn every_command_with_every_option_reads_the_directory_of_a_running_node_and_finds_it_sound() {
    let Some(inspector) = offline::inspector() else { return };
    for command in ["verify", "dump", "stat", "explain", "grep", "export", "repair", "diff", "index"] {
        let tried: BTreeSet<String> = words_of(command).map(str::to_owned).collect();
        let untried: Vec<_> =
            options(&inspector, command).into_iter().filter(|o| !tried.contains(o)).collect();
        // `--follow` does not end by itself; it has a test of its own.
        assert!(untried.iter().all(|option| option == "--follow"), "{command}: {untried:?}");
    }
    let node = Node::start(CONFIG);
    let (_dir, place) = scratch();
    beside_a_load(&node, || {
        for (number, line) in LINES.iter().enumerate() {
            let new = place.join(number.to_string());
            let argument = |word: &str| match word {
                "PATH" => node.data(),
                "SEGMENT" => segment(&node.data()),
                "NEW" => new.clone(),
                other => other.into(),
            };
            let ran = Command::new(&inspector).args(line.split(' ').map(argument)).output().unwrap();
            let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
            // Two looks at what grows differ.
            let expected: &[i32] = if line.starts_with("diff") { &[0, 1] } else { &[0] };
            assert!(expected.contains(&ran.status.code().unwrap()), "{line}: {}\n{out}\n{err}", ran.status);
            assert!(!out.is_empty() || new.exists(), "{line} says nothing");
            assert_eq!(new.exists(), line.contains("NEW") && !line.contains("--dry-run"), "{line}");
            if line.contains("--output json") {
                let documents = serde_json::Deserializer::from_str(&out).into_iter::<Value>();
                assert!(documents.map(Result::unwrap).count() > 0, "{line}");
            }
        }
    });
    let status = Http::new(node.address()).get("/healthz").unwrap();
    assert_eq!(status.status, 200, "{}", status.text());
}

#[test]
fn a_dump_that_follows_a_running_node_shows_each_record_once_and_in_order() {
    let Some(inspector) = offline::inspector() else { return };
    let node = Node::start("");
    beside_a_load(&node, || {
        let data = node.data();
        let args = ["dump", "--follow", "--topic", "live", "--partition", "0", "--format", "%o %s\\n"];
        let mut follower =
            Command::new(&inspector).args(args).arg(&data).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        for (offset, line) in lines.take(3_000).enumerate() {
            let line = line.unwrap();
            // Five records of one request say the same, and every other request is of this partition.
            let expected = format!("{offset} {WORD} {} ", offset / 5 * 2);
            assert!(line.starts_with(&expected), "{line} where {expected} should be");
        }
        follower.kill().unwrap();
        follower.wait().unwrap();
    });
}
