#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zk_server::fuzzing::packed(data));
