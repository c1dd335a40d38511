#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelog_proto::kafka::fuzz::fuzz_connection(data));
