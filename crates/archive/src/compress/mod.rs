//! gzip and zstd, both ways, and what they come to; bzip2 and xz, read only.
//!
//! Reading believes nothing: output, ratio and the decoder's memory have limits that the caller
//! sets ([`Limits`]). Writing is reproducible: the same bytes at the same level give the same
//! bytes, whatever the number of threads and whatever the portions in which they came.
//! [`LayerReader`] and [`LayerWriter`] measure both sides of a layer in one pass: the blob, and
//! the tar in it.
//!
//! Absent on purpose: writing bzip2 and xz, which no image has; seeking in compressed data.

mod decoder;
mod detect;
mod encoder;
mod gzip;
mod layer;

pub use decoder::{DecodeError, Decoder, Limits, as_images_have_it};
pub use detect::{Format, detect};
pub use encoder::{Encoder, Encoding};
pub use gzip::GzipWriter;
pub use layer::{LayerReader, LayerWriter, Packed};
