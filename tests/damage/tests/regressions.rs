//! Every seed and every regression of the fuzz targets, through the same functions, without a fuzzer; and what a run has found,
//! where `TIDELOG_FUZZ_CORPUS` names its folder.
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
        "disks" => tidelog_io::fuzz::fuzz_disks,
        _ => panic!("{name} is no fuzz target"),
    }
}

/// Targets of which only runs have inputs, and which are no single function.
fn is_elsewhere(name: &str) -> bool {
    name == "all" || name == "differential" || (name.starts_with("kafka_") && name != "kafka_connection")
}

/// Runs every input below a folder, and counts them.
fn replay(folder: &Path) -> usize {
    let mut inputs = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        if is_elsewhere(name) {
            continue;
        }
        let body = target(name);
        for entry in fs::read_dir(&folder).unwrap() {
            body(&fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
    }
    inputs
}

#[test]
fn what_once_broke_a_target_or_starts_it_breaks_nothing() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let inputs = replay(&fuzz.join("seeds")) + replay(&fuzz.join("regressions"));
    assert!(inputs > 20, "{inputs} inputs");
    if let Some(corpus) = std::env::var_os("TIDELOG_FUZZ_CORPUS").filter(|path| Path::new(path).is_dir()) {
        replay(Path::new(&corpus));
    }
}
