//! Footers that the frames give, beside those that are stored.

use serde_json::Value;

use crate::place::{Place, run};

fn index(place: &Place) -> (i32, Vec<Value>) {
    let ran = run(&["index", "--output", "json"], &place.shard(1));
    (ran.code, ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn states(reports: &[Value]) -> Vec<&str> {
    reports.iter().map(|report| report["state"].as_str().unwrap()).collect()
}

#[test]
fn intact_footers_are_the_same_and_an_open_segment_gets_one() {
    let (code, reports) = index(&Place::clean());
    assert_eq!((code, states(&reports)), (0, vec!["same", "same", "open"]));
    let row = &reports[2]["partitions"][0];
    assert_eq!(
        (&row["partition"], &row["first_offset"], &row["next_offset"]),
        (&7.into(), &4.into(), &7.into())
    );
    assert_eq!(row["log_start"], 2);
}

#[test]
fn a_lost_footer_is_rebuilt_and_a_hole_is_not_papered_over() {
    let place = Place::clean();
    place.flip(&place.segment(1, 2), 3 * 4096 + 40);
    let (code, reports) = index(&place);
    assert_eq!((code, states(&reports)), (5, vec!["same", "lost", "open"]));
    assert_eq!(reports[1]["partitions"][0]["next_offset"], 4);
    let place = Place::clean();
    place.flip(&place.segment(1, 2), 4096 + 200);
    let (code, reports) = index(&place);
    assert_eq!((code, states(&reports)), (5, vec!["same", "unknown", "unknown"]));
}

#[test]
fn rows_are_printed_when_they_are_asked_for() {
    let place = Place::clean();
    let without = run(&["index"], &place.shard(1)).out;
    assert!(!without.contains("offset@block"));
    let with = run(&["index", "--rows"], &place.shard(1)).out;
    assert!(with.contains("offset@block") && with.contains("3..4"), "{with}");
}
