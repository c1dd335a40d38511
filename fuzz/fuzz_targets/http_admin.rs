#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelog_proto::fuzz::fuzz_http_admin(data));
