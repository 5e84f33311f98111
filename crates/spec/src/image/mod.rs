//! Images as documents: descriptors, indexes, manifests and configurations, OCI's and Docker's.
//!
//! Invariant: what [`Document::parse`] gives is what it says it is — its media type agrees with
//! whoever pointed to it and with its own members — and its size was bounded before it was read.
//! Absent on purpose: hashing, stores, registries; and Docker's schema 1, which is refused by name.

pub mod annotation;

mod config;
mod descriptor;
mod document;
mod error;
mod layout;
mod media_type;
mod timestamp;

pub use config::{HealthCheck, History, ImageConfig, RootFs, RunConfig};
pub use descriptor::Descriptor;
pub use document::{Document, Index, Manifest};
pub use error::{ImageError, LayerFault};
pub use layout::Layout;
pub use media_type::{Compression, Family, LayerType, MediaType, MediaTypeError};
pub use timestamp::{Timestamp, TimestampError};

/// Largest index or manifest; registries refuse larger ones.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Largest image configuration.
pub const CONFIG_BYTES_MAX: usize = 8 << 20;
