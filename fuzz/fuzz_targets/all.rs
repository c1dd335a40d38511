//! All targets in one binary, for CI: the first byte chooses.
#![no_main]

use tidelog_proto::kafka::ApiKey;
use tidelog_proto::kafka::fuzz::fuzz_api;

const TARGETS: [fn(&[u8]); 8] = [
    tidelog_format::fuzz::fuzz_scan,
    tidelog_format::fuzz::fuzz_footer,
    tidelog_format::batch::fuzz_batch,
    tidelog_proto::fuzz::fuzz_telnet,
    tidelog_proto::fuzz::fuzz_http_put,
    tidelog_proto::fuzz::fuzz_records,
    tidelog_proto::kafka::fuzz::fuzz_connection,
    any_api,
];

/// The next byte chooses the API.
fn any_api(data: &[u8]) {
    if let Some((choice, data)) = data.split_first() {
        let apis = ApiKey::ALL;
        fuzz_api(apis[usize::from(*choice) % apis.len()], data);
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((choice, data)) = data.split_first() {
        TARGETS[usize::from(*choice) % TARGETS.len()](data);
    }
});
