//! What `export` writes.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidelog_format::batch::{BatchViews, Codec};

use crate::place::{Place, Ran, Shard, command, run};
use crate::support::batches::{coded, created, keyed};

fn export(source: &Path, args: &[&str]) -> (Ran, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out");
    let output = command(&["export"]).arg(source).arg("--to").arg(&to).args(args).output().unwrap();
    let ran = Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    (ran, to, dir)
}

#[test]
fn json_lines_are_those_of_dump() {
    let place = Place::clean();
    let (ran, to, _dir) = export(place.path(), &[]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.starts_with("10 records written to"), "{}", ran.out);
    let dump = run(&["dump", "--records", "--output", "json"], place.path()).out;
    assert_eq!(fs::read_to_string(to).unwrap(), dump);
}

#[test]
fn csv_has_a_head_quotes_what_must_be_codes_what_is_no_text_and_tells_null_from_empty() {
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.write(&[
        created(7, "m/3"),
        keyed(7, 0, 1000, b"a,b", b"line\n\"two\""),
        keyed(7, 1, 1001, b"k", b"\xff\x00"),
        coded(Codec::None, 7, 2, 1002, &[b""]),
    ]);
    shard.finish(&place);
    let (ran, to, _dir) = export(place.path(), &["--format", "csv"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let text = fs::read_to_string(to).unwrap();
    let golden = "topic,partition,offset,timestamp,key,value,headers,base64,null\n\
        m,3,0,1000,\"a,b\",\"line\n\"\"two\"\"\",\"[[\"\"host\"\",\"\"web-1\"\"]]\",,\n\
        m,3,1,1001,k,/wA=,\"[[\"\"host\"\",\"\"web-1\"\"]]\",value,\n\
        m,3,2,1002,,,,,key\n";
    assert_eq!(text, golden);
}

#[test]
fn batches_go_out_as_they_are_stored_with_whatever_codec() {
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.write(&[created(7, "../../etc/0")]);
    for (offset, codec) in (5..).zip(Codec::ALL) {
        shard.writer.write(&[coded(codec, 7, offset, 1000, &[b"value"])]);
    }
    shard.finish(&place);
    let (ran, to, _dir) = export(place.path(), &["--format", "batches"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let bytes = fs::read(to.join("7/00000000000000000005.log")).unwrap();
    let offsets: Vec<u64> = BatchViews::new(&bytes)
        .map(|batch| {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            batch.header().base_offset
        })
        .collect();
    assert_eq!(offsets, [5, 6, 7, 8, 9]);
    let list: Value =
        serde_json::from_str(&fs::read_to_string(to.join("partitions.jsonl")).unwrap()).unwrap();
    assert_eq!((&list["topic"], &list["batches"]), (&"../../etc".into(), &5.into()));
    let names: Vec<_> = fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn filters_choose_and_what_exists_is_never_overwritten() {
    let place = Place::clean();
    let (ran, _to, _dir) = export(place.path(), &["--topic", "other", "--pattern", "^f$"]);
    assert!(ran.out.starts_with("1 records"), "{}", ran.out);
    let existing = place.segment(1, 1);
    let output = command(&["export", "--to"]).arg(&existing).arg(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    let within = place.path().join("out.csv");
    let output = command(&["export", "--to"]).arg(&within).arg(place.path()).output().unwrap();
    assert_eq!((output.status.code(), within.exists()), (Some(6), false));
    let (ran, _to, _dir) = export(place.path(), &["--format", "batches", "--pattern", "x"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
}

#[test]
fn a_damaged_directory_gives_what_is_intact_and_says_so() {
    let place = Place::clean();
    place.flip(&place.segment(1, 2), 4096 + 200);
    let (ran, to, _dir) = export(place.path(), &[]);
    assert_eq!(ran.code, 5);
    assert!(ran.err.contains("CORRUPT"), "{}", ran.err);
    assert_eq!(fs::read_to_string(to).unwrap().lines().count(), 9);
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_read_back_by_its_own_crate() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let place = Place::clean();
    let (ran, to, _dir) = export(place.path(), &["--format", "parquet"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let reader = SerializedFileReader::new(fs::File::open(to).unwrap()).unwrap();
    let rows: Vec<String> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
    assert_eq!(rows.len(), 10);
    assert!(rows[0].contains("topic: \"metrics\"") && rows[0].contains("offset: 0"), "{}", rows[0]);
}
