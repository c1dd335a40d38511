//! What `dump` and `grep` leave out, and how `dump --follow` goes on.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::Stdio;

use tidelog_format::BLOCK;

use crate::place::{Place, Shard, command, run};
use crate::support::batches::{batch, created};

fn shown(args: &[&str]) -> String {
    let place = Place::clean();
    let ran = run(&[&["dump", "-f", "%t/%p:%o "], args].concat(), place.path());
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.out
}

#[test]
fn records_are_chosen_by_topic_time_key_and_pattern() {
    assert_eq!(shown(&["--topic", "other"]), "other/4:0 other/4:1 other/4:2 ");
    assert_eq!(shown(&["--topic", "other", "--partition", "4", "--offset", "1"]), "other/4:1 ");
    assert_eq!(shown(&["--topic", "other", "--partition", "9"]), "");
    assert_eq!(shown(&["--time", "2000..3000"]), "metrics/0:2 other/4:0 ");
    assert_eq!(shown(&["--time", "..1970-01-01T00:00:01.001"]), "metrics/0:0 ");
    assert_eq!(shown(&["--time", "1970-01-01T00:00:05.001Z.."]), "metrics/0:6 ");
    assert_eq!(shown(&["--key", "k"]), "other/4:0 ");
    assert_eq!(shown(&["--pattern", "^[gh]$"]), "metrics/0:4 metrics/0:5 ");
    assert_eq!(shown(&["--max", "3"]), "metrics/0:0 metrics/0:1 metrics/0:2 ");
}

#[test]
fn a_key_or_a_pattern_asks_for_records() {
    let place = Place::clean();
    let ran = run(&["dump", "--key", "k"], place.path());
    assert_eq!(ran.out, "other\t4\t0\t2500\tk\tv\n");
    let wrong = run(&["dump", "--time", "yesterday.."], place.path());
    assert!(wrong.code == 2 && wrong.err.contains("`yesterday` is not a time"), "{}", wrong.err);
}

#[test]
fn grep_looks_where_it_is_told_and_says_when_it_found_nothing() {
    let place = Place::clean();
    let grep = |args: &[&str]| run(&[&["grep"], args].concat(), place.path());
    assert_eq!(grep(&["-f", "%o ", "WEB-1", "-i"]).out, "0 ");
    assert_eq!(grep(&["-f", "%o ", "web-1", "--in", "headers"]).out, "0 ");
    let nothing = grep(&["web-1", "--in", "key,value"]);
    assert_eq!((nothing.code, nothing.out.as_str()), (3, ""));
    assert_eq!(grep(&["-c", "[a-c]", "--in", "value"]).out, "3\n");
    assert_eq!(grep(&["(?-u)\\x1b\\[31m", "-c"]).out, "1\n");
    assert_eq!(grep(&["-m", "2", "-f", "%s", "."]).out, "ab");
    let wrong = grep(&["("]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
}

#[test]
fn follow_shows_what_is_written_and_goes_on_in_the_next_segment() {
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.file.resize(64 * BLOCK, 0);
    shard.writer.write(&[created(7, "m/0"), batch(7, 0, 1000, &[b"before"])]);
    let mut writer = shard.writer.clone();
    let mut rolled = Shard::new(1);
    rolled.writer = shard.writer.clone();
    shard.finish(&place);
    let mut child = command(&["dump", "-f", "%o %s\\n", "--follow", "--max", "4"])
        .arg(place.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "0 before");
    let file = std::fs::OpenOptions::new().write(true).open(place.segment(1, 1)).unwrap();
    for offset in 1..3 {
        let value = format!("later {offset}");
        let pending = writer.prepare(&[batch(7, offset, 1000, &[value.as_bytes()])]);
        file.write_all_at(&pending.bytes, u64::try_from(pending.at).unwrap()).unwrap();
        writer.apply(&pending);
        writer.took(&pending);
        assert_eq!(lines.next().unwrap(), format!("{offset} {value}"));
    }
    rolled.writer = writer;
    rolled.roll();
    rolled.writer.write(&[batch(7, 3, 1000, &[b"next segment"])]);
    rolled.finish(&place);
    assert_eq!(lines.next().unwrap(), "3 next segment");
    assert_eq!(lines.next(), None);
    assert!(child.wait().unwrap().success());
}
