#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelog_proto::peer::fuzz_peer(data));
