//! Archives as streams: tar, its compression, what a layer's entries mean, ignore patterns, and listings of what
//! need not be sent.
//!
//! Invariant: everything here reads from and writes to what it is given, holds a bounded amount
//! of memory whatever arrives, and says of every input either what all careful readers say, or no.
//! Absent on purpose: files, directories and paths on a disk (`store` applies layers), images,
//! HTTP, and any decision on what to keep.

pub mod compress;
pub mod hash;
pub mod ignore;
pub mod layer;
pub mod listing;
pub mod tar;
