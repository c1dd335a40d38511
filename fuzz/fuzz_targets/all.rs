//! All targets in one binary, for CI: the first byte chooses.
#![no_main]

use tidelog_proto::kafka::ApiKey;
use tidelog_proto::kafka::fuzz::fuzz_api;

const TARGETS: [fn(&[u8]); 13] = [
    tidelog_format::fuzz::fuzz_scan,
    tidelog_format::fuzz::fuzz_footer,
    tidelog_format::batch::fuzz_batch,
    tidelog_proto::fuzz::fuzz_telnet,
    tidelog_proto::fuzz::fuzz_http_put,
    tidelog_proto::fuzz::fuzz_records,
    tidelog_proto::kafka::fuzz::fuzz_connection,
    any_api,
    tidelog_format::fuzz::fuzz_parts,
    tidelog_format::fuzz::fuzz_compression,
    tidelog_proto::fuzz::fuzz_groups,
    tidelog_proto::fuzz::fuzz_http_admin,
    tidelog_proto::peer::fuzz_peer,
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
