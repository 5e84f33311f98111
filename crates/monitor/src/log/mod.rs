//! A container's local log: written by its monitor, read by the engine, on disk as Docker has it.
//!
//! Invariant: the files are bounded where the configuration says so, a line is in one file as a whole, and
//! reading never needs the writer.
//! Absent on purpose: drivers that send lines elsewhere, and who wants to read.

mod entry;
mod json;
mod local;
mod reader;
mod split;
mod writer;

pub use entry::{Line, LogStream};
pub use reader::{ReadOptions, Reader};
pub use writer::Writer;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The file that was put aside `age` rotations ago.
fn aside(path: &Path, age: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{age}"));
    name.into()
}

/// The same, compressed.
fn compressed(path: &Path, age: u32) -> PathBuf {
    let mut name = aside(path, age).into_os_string();
    name.push(".gz");
    name.into()
}
