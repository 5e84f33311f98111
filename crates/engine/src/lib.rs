//! What users do with images and containers: registries, store and runtime brought together.
//!
//! Invariant: a slow operation holds nothing that a listing needs; whatever is interrupted can be done again.
//! Absent on purpose: HTTP routes, Docker's JSON, command lines.

mod containers;
mod images;

pub use containers::request;
pub use images::{
    BlobFault, HELLO, HelloError, ImageEngine, ImageEngineOptions, Interruption, LayerFault,
    Progress, PullError, PullRequest, Pulled, PushError, PushRequest, Ready, Step, Watcher,
};
