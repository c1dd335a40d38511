#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelog_format::fuzz::fuzz_compression(data));
