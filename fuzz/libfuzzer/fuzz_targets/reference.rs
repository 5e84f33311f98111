//! libFuzzer's way to [`dhow_fuzz::reference`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dhow_fuzz::reference(data));
