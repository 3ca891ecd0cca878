#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| antiphon_replay_tests::strangers::frame(bytes));
