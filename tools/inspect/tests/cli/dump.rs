//! What `dump` prints.

use crate::place::{Place, Shard, command, run};
use crate::support::batches::{coded, created};
use serde_json::{Value, json};
use tidelog_format::batch::Codec;

#[test]
fn records_are_printed_in_the_format_asked_for() {
    let place = Place::clean();
    let ran = run(&["dump", "-f", "%t/%p %o %T [%k:%K] %S %h\\n"], &place.shard(1));
    let golden = "\
metrics/0 0 1000 [:-1] 1 
metrics/0 1 1001 [:-1] 1 
metrics/0 2 2000 [:-1] 1 
other/4 0 2500 [k:1] 1 host=web-1
metrics/0 3 3000 [:-1] 1 
other/4 1 3500 [:-1] 6 
other/4 2 3501 [:-1] 1 
metrics/0 4 4000 [:-1] 1 
metrics/0 5 5000 [:-1] 1 
metrics/0 6 5001 [:-1] 1 
";
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, golden, ""));
}

#[test]
fn values_go_out_raw_into_a_pipe_and_escaped_in_tables_and_json() {
    let place = Place::clean();
    let args = ["--partition", "9", "--offset", "1"];
    let raw = run(&[&["dump", "-f", "%s"][..], &args].concat(), place.path());
    assert_eq!(raw.out, "e\x1b[31m");
    let table = run(&[&["dump", "--records"][..], &args].concat(), place.path());
    assert_eq!(table.out, "other\t4\t1\t3500\t-\te\\u{1b}[31m\n");
    let json = run(&[&["dump", "--records", "--output", "json"][..], &args].concat(), place.path());
    assert!(!json.out.contains('\x1b'));
    let expected = json!({"type":"record","topic":"other","partition":4,"partition_id":9,"offset":1,
        "timestamp":3500,"key":null,"value":"e\x1b[31m"});
    assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap(), expected);
}

#[test]
fn every_codec_is_decompressed() {
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.write(&[created(7, "m/0")]);
    let value = vec![b'z'; 3000];
    for (offset, codec) in (0..).zip(Codec::ALL) {
        shard.writer.write(&[coded(codec, 7, offset, 1000, &[&value])]);
    }
    shard.finish(&place);
    let ran = run(&["dump", "-f", "%o %S %s\\n"], &place.shard(1));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let text = String::from_utf8(value).unwrap();
    let expected: String = (0..5).map(|offset| format!("{offset} 3000 {text}\n")).collect();
    assert_eq!(ran.out, expected);
    let rows = run(&["dump"], &place.shard(1)).out;
    for codec in Codec::ALL {
        assert!(rows.contains(&format!("bytes {codec},")), "{codec} is not in {rows}");
    }
}

#[test]
fn frames_and_their_entries_are_printed_line_by_line() {
    let place = Place::clean();
    let ran = run(&["dump"], &place.segment(1, 2));
    let lines: Vec<&str> = ran.out.lines().skip(2).map(str::trim_start).collect();
    assert_eq!(ran.code, 0);
    assert!(lines[0].starts_with("0..4096          4 frame 1 entries"), "{lines:#?}");
    assert!(
        lines[1].contains(" opening segment 2 of shard 1, after segment 1 of epoch 3, LSN 3"),
        "{lines:#?}"
    );
    assert!(lines[3].contains(" batch #7 offsets 3..4, 1 records"), "{lines:#?}");
    assert!(lines[6].ends_with("trim partition 7: records below offset 2 are unwanted"), "{lines:#?}");
    assert_eq!(lines.len(), 7, "{lines:#?}");
    let meta = run(&["dump"], &place.shard(0)).out;
    assert!(meta.contains(r#"command {"create_topic":"metrics"}"#), "{meta}");
    let created = run(&["dump"], &place.segment(1, 1)).out;
    assert!(created.contains("partition-created partition 7: metrics/0"), "{created}");
}

#[test]
fn filters_leave_out_what_was_not_asked_for() {
    let place = Place::clean();
    let offsets = |args: &[&str]| run(&[&["dump", "-f", "%p:%o "][..], args].concat(), &place.shard(1)).out;
    assert_eq!(offsets(&["--partition", "9"]), "4:0 4:1 4:2 ");
    assert_eq!(offsets(&["--offset", "5.."]), "0:5 0:6 ");
    assert_eq!(offsets(&["--partition", "7", "--offset", "1..3"]), "0:1 0:2 ");
    assert_eq!(offsets(&["--partition", "8"]), "");
    let lines = run(&["dump", "--partition", "9", "--output", "json"], &place.shard(1)).out;
    let kinds: Vec<String> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].to_string()).collect();
    assert_eq!(kinds, ["\"frame\"", "\"control\"", "\"batch\"", "\"frame\"", "\"batch\""]);
}

#[test]
fn a_hole_is_shown_and_the_records_behind_it_are_dumped() {
    let place = Place::clean();
    place.flip(&place.segment(1, 1), 4096 + 130);
    let ran = run(&["dump", "-f", "%o "], &place.segment(1, 1));
    assert_eq!((ran.code, ran.out.as_str()), (5, "2 0 "), "{}", ran.err);
    assert!(ran.err.contains("bytes 4096..8192 LSN 2 [corrupt]"), "{}", ran.err);
    let rows = run(&["dump"], &place.segment(1, 1)).out;
    assert!(rows.contains("4096..8192          2 HOLE table checksum"), "{rows}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    use std::process::Stdio;
    let place = Place::new();
    let mut shard = Shard::new(1);
    let value = vec![b'z'; 20_000];
    shard.writer.write(&[created(7, "m/0"), coded(Codec::Zstd, 7, 0, 1000, &vec![&value[..]; 100])]);
    shard.finish(&place);
    let mut child = command(&["dump", "-f", "%s"])
        .arg(place.shard(1))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", String::from_utf8(output.stderr));
}
