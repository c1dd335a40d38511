//! Requests and responses of one API of Kafka's protocol: the one by whose name this binary was built.
#![no_main]

use std::sync::LazyLock;

use tidelog_proto::kafka::ApiKey;

static API: LazyLock<ApiKey> = LazyLock::new(|| {
    let wanted = env!("CARGO_BIN_NAME").trim_start_matches("kafka_").replace('_', "");
    *ApiKey::ALL.iter().find(|api| api.name().eq_ignore_ascii_case(&wanted)).expect("a binary for each API")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelog_proto::kafka::fuzz::fuzz_api(*API, data));
