//! The field's words as plain values: parsed, printed, never acted on.
//!
//! Invariant: nothing here opens a file, reads a clock or the environment, or talks to a network;
//! what comes in is bytes, what goes out is values or text. Every document that arrives from
//! outside is refused with the JSON path of what is wrong in it.
//! Absent on purpose: reading files (callers have directory fds), hashing, and every decision.

pub mod base64;
pub mod image;
pub mod percent;
pub mod runtime;

mod any_case;
mod capability;
mod digest;
mod json;
mod platform;
mod platform_match;
mod query;
mod reference;
mod signal;

pub use any_case::Tree as AnyCase;
pub use capability::CAPABILITY_NAMES;
pub use digest::{Algorithm, Digest, DigestError};
pub use json::JsonError;
pub use platform::{Platform, PlatformError};
pub use platform_match::PlatformMatcher;
pub use query::{AmbiguousId, IdPrefix, Query};
pub use reference::{Reference, ReferenceError, Repository, RepositoryPath, Tag};
pub use signal::{SIGNAL_MAX, signal_number};
