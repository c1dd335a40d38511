#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelog_io::fuzz::fuzz_disks(data));
