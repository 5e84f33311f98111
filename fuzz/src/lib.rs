//! What must hold for any bytes that arrive, as functions that panic where it does not.
//!
//! `cargo xtask fuzz` lets libFuzzer look for such bytes (`fuzz/libfuzzer`, which needs a nightly compiler);
//! `cargo test` tries those that it has kept (`fuzz/corpus`) with any compiler.
//! Absent on purpose: how inputs are found.

mod manifest;
mod reference;
mod tar;

pub use manifest::manifest;
pub use reference::reference;
pub use tar::tar;
