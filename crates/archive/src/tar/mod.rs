//! Tar, read and written, as a stream of [`Entry`] values and bodies.
//!
//! Archives are hostile, and "which files are in it" decides what a scanner saw and what a
//! container gets. So this is the rule: **one reading or an error**. All dialects that images and
//! people bring are read (v7, ustar, PAX, GNU's long names, GNU's four forms of sparse files,
//! base 256); where GNU tar, Go, Python and libarchive would not see the same entries in the same
//! bytes, the archive is refused and the [`Fault`] says why:
//!
//! | what | we |
//! | --- | --- |
//! | the size in an extended header differs from the header's | refuse; but for sizes over 8 GiB, which the header cannot hold |
//! | two values for one keyword | refuse if they differ |
//! | two extended headers for one entry, an empty value in one | refuse |
//! | PAX, GNU and a sparse file's map name the entry in different ways | refuse |
//! | a path's beginning in a v7 header | refuse |
//! | a global header | comments are skipped; what changes entries is a matter of [`Globals`] |
//! | a link, directory or device that announces a body | refuse |
//! | a file whose name ends in a slash | a directory if the type is v7's, else refuse |
//! | a nul in an extended name, text behind the nul of a long one | refuse |
//! | a number with anything unusual about it | refuse |
//! | either checksum, signed or not | take: all do |
//! | types for labels, dumps, volumes, vendors | refuse |
//! | one block of zeros, then an entry; anything but zeros behind the end | refuse |
//! | no mark at the end | take, and say so: see [`End`] |
//! | an attribute twice, in star's form and libarchive's | refuse if the values differ |
//!
//! Absent on purpose: seeking, changing archives in place, multiple volumes.

mod body;
mod decimal;
mod encode;
mod entry;
mod error;
mod header;
mod number;
mod options;
mod pax;
mod reader;
mod resolve;
mod source;
mod sparse;
mod writer;

pub use body::{Body, Piece};
pub use entry::{Content, Device, Entry, Extent, Kind, Metadata, SparseMap, Time, Xattrs};
pub(crate) use error::Quoted;
pub use error::{Fault, TarError};
pub use options::{Globals, Options};
pub use reader::{End, Reader};
pub use writer::Writer;
