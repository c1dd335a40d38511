#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelog_meta::fuzz::fuzz_metadata(data));
