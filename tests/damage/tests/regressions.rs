//! Every seed and every regression of the fuzz targets, through the same functions, without a fuzzer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may be blunt")]

use std::fs;
use std::path::Path;

/// Body of the target of this name.
fn target(name: &str) -> fn(&[u8]) {
    match name {
        "scan" => tidelog_format::fuzz::fuzz_scan,
        "footer" => tidelog_format::fuzz::fuzz_footer,
        "parts" => tidelog_format::fuzz::fuzz_parts,
        "compression" => tidelog_format::fuzz::fuzz_compression,
        "batch" => tidelog_format::batch::fuzz_batch,
        "put_telnet" => tidelog_proto::fuzz::fuzz_telnet,
        "put_http" => tidelog_proto::fuzz::fuzz_http_put,
        "records" => tidelog_proto::fuzz::fuzz_records,
        "groups" => tidelog_proto::fuzz::fuzz_groups,
        "http_admin" => tidelog_proto::fuzz::fuzz_http_admin,
        "kafka_connection" => tidelog_proto::kafka::fuzz::fuzz_connection,
        "peer" => tidelog_proto::peer::fuzz_peer,
        "metadata" => tidelog_meta::fuzz::fuzz_metadata,
        "recovery" => damage::fuzz_recovery,
        _ => panic!("{name} is no fuzz target"),
    }
}

#[test]
fn what_once_broke_a_target_or_starts_it_breaks_nothing() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let mut inputs = 0;
    for folder in ["seeds", "regressions"] {
        for entry in fs::read_dir(fuzz.join(folder)).unwrap() {
            let folder = entry.unwrap().path();
            let body = target(folder.file_name().unwrap().to_str().unwrap());
            for entry in fs::read_dir(folder).unwrap() {
                let bytes = fs::read(entry.unwrap().path()).unwrap();
                body(&bytes);
                inputs += 1;
            }
        }
    }
    assert!(inputs > 20, "{inputs} inputs");
}
