//! The golden files of the format, each with the verdict that they expect.

use std::path::Path;

use serde_json::Value;

use crate::place::run;

#[test]
fn every_golden_segment_gets_its_verdict() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../format/vectors");
    let list = std::fs::read(folder.join("vectors.json")).unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    let mut seen = 0;
    for vector in list.as_array().unwrap() {
        let file = vector["file"].as_str().unwrap();
        if !file.ends_with(".seg") {
            continue;
        }
        let (code, end) = match vector["verdict"].as_str().unwrap() {
            "end, proved" => (0, "proved"),
            "end, strong" => (0, "strong"),
            "end, weak" => (0, "weak"),
            "torn" => (0, "torn"),
            "corrupt" => (5, "corrupt"),
            "unsupported" => (1, "unsupported"),
            other => panic!("{file}: {other}"),
        };
        // Its frames are whole; the footer is not.
        let code = if ["damaged-footer.seg", "damaged-producers.seg"].contains(&file) { 5 } else { code };
        let ran = run(&["verify", "--output", "json"], &folder.join(file));
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((ran.code, report["segments"][0]["end"].as_str()), (code, Some(end)), "{file}: {report}");
        seen += 1;
    }
    assert!(seen >= 20, "{seen} segments");
}
