//! What `stat` counts.

use serde_json::Value;
use tidelog_format::batch::Codec;

use crate::place::{Place, Shard, run};
use crate::support::batches::{coded, created, numbered};

fn stat(path: &std::path::Path) -> Value {
    let ran = run(&["stat", "--output", "json"], path);
    assert_eq!(ran.code, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn everything_is_counted_by_segment_shard_and_directory() {
    let place = Place::clean();
    let report = stat(place.path());
    assert_eq!(
        (&report["total"]["segments"], &report["total"]["frames"]),
        (&4.into(), &11.into()),
        "{report}"
    );
    let shard = &report["shards"][1];
    assert_eq!((&shard["total"]["records"], &shard["total"]["batches"]), (&10.into(), &7.into()));
    assert_eq!(shard["total"]["control_entries"], 3 + 2 + 1, "openings, partitions, a trim");
    let states: Vec<&str> =
        shard["segments"].as_array().unwrap().iter().map(|s| s["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["sealed", "sealed", "open"]);
    let metrics = &shard["partitions"]["7"];
    assert_eq!((&metrics["name"], &metrics["records"]), (&"metrics/0".into(), &7.into()));
    assert_eq!((&metrics["first_offset"], &metrics["next_offset"]), (&0.into(), &7.into()));
    assert_eq!((&metrics["min_timestamp"], &metrics["max_timestamp"]), (&1000.into(), &5001.into()));
    assert_eq!(shard["total"]["frame_bytes"], 9 * 4096);
    let ran = run(&["stat"], place.path());
    assert!(ran.code == 0 && ran.out.contains("metrics/0") && ran.out.contains("0..7"), "{}", ran.out);
}

#[test]
fn the_ratio_is_of_decompressed_to_stored_bytes() {
    let place = Place::new();
    let mut shard = Shard::new(1);
    let value = vec![b'z'; 10_000];
    shard.writer.write(&[created(7, "m/0"), coded(Codec::Zstd, 7, 0, 1000, &[&value])]);
    shard.finish(&place);
    let total = stat(&place.shard(1))["total"].clone();
    let uncompressed = total["uncompressed_bytes"].as_u64().unwrap();
    assert!((10_061..10_100).contains(&uncompressed), "{total}");
    let stored = total["batch_bytes"].as_u64().unwrap();
    assert!(stored < 200);
    let ratio = total["compression_ratio"].as_f64().unwrap();
    assert!((ratio - uncompressed as f64 / stored as f64).abs() < 1e-9, "{total}");
}

#[test]
fn damage_is_counted_as_holes_and_exits_with_5() {
    let place = Place::clean();
    place.flip(&place.segment(1, 1), 4096 + 130);
    let ran = run(&["stat", "--output", "json"], place.path());
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &report["total"]["holes"], &report["total"]["frames"]), (5, &1.into(), &10.into()));
}

#[test]
fn the_page_has_plots_and_needs_nothing_else() {
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.write(&[created(7, "<script>/0"), coded(Codec::None, 7, 0, 1000, &[b"x"])]);
    shard.finish(&place);
    let ran = run(&["stat", "--output", "html"], place.path());
    let page = ran.out;
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"), "{page}");
    assert_eq!(page.matches("<svg").count(), 5);
    assert!(page.contains("&lt;script&gt;/0") && !page.contains("<script"), "{page}");
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("src="), "{page}");
}

#[test]
fn sizes_and_producers_are_counted() {
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.write(&[created(7, "m/0"), numbered(7, 0, 1000, (40, 2, 0), &[b"a", b"b"])]);
    shard.writer.write(&[numbered(7, 2, 1000, (41, 0, 9), &[b"c"])]);
    shard.finish(&place);
    let report = stat(&place.shard(1));
    assert_eq!(report["producers"], 2);
    let producer = &report["shards"][0]["producers"]["40"];
    assert_eq!((&producer["records"], &producer["last_epoch"]), (&2.into(), &2.into()), "{report}");
    let sizes = report["total"]["commit_sizes"].as_array().unwrap();
    assert_eq!((&sizes[0]["from"], &sizes[0]["count"]), (&4096.into(), &3.into()), "{report}");
    assert_eq!(report["total"]["batch_records"].as_array().unwrap().len(), 2);
}
