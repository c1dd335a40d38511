//! All targets in one binary, for CI: the first byte chooses.
#![no_main]

const TARGETS: [fn(&[u8]); 6] = [
    tidelog_format::fuzz::fuzz_scan,
    tidelog_format::fuzz::fuzz_footer,
    tidelog_format::batch::fuzz_batch,
    tidelog_proto::fuzz::fuzz_telnet,
    tidelog_proto::fuzz::fuzz_http_put,
    tidelog_proto::fuzz::fuzz_records,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((choice, data)) = data.split_first() {
        TARGETS[usize::from(*choice) % TARGETS.len()](data);
    }
});
