//! libFuzzer's way to [`dhow_fuzz::manifest`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dhow_fuzz::manifest(data));
