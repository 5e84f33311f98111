//! Images between registries and the store.
//!
//! A pull is one stream per layer: what arrives is hashed and written to the store's file, and whoever unpacks
//! reads that same file behind the writer. Neither waits for the other longer than it must, memory does not
//! grow with the image, and a layer that is here already is unpacked by the same code.
//! Absent on purpose: what a registry's protocol is, and how layers lie on disk.

mod archive;
mod catalog;
mod class;
mod discard;
mod error;
mod fetch;
mod hello;
mod import;
mod instructions;
mod lists;
mod options;
mod pack;
mod part;
mod pipe;
mod progress;
mod pull;
mod push;
mod ready;
mod remote;
mod remove;
mod unpack;
mod wanted;

pub use archive::{LoadedImage, Saveable};
pub use catalog::{HistoryRow, ImageDetails, ImageRow, ManifestRow, ManifestRowKind};
pub use error::{BlobFault, ImageConflict, ImagesError, LayerFault, PullError, PushError};
pub use hello::{HELLO, HelloError};
pub use import::ImportRequest;
pub(crate) use import::now;
pub use instructions::InstructionError;
pub(crate) use instructions::apply_instruction;
pub use lists::RemoteManifest;
pub use options::{ImageEngine, ImageEngineOptions};
pub use part::Interruption;
pub use progress::{Progress, Step, Watcher};
pub use pull::{PullRequest, Pulled};
pub use push::PushRequest;
pub use ready::Ready;
pub use remove::{ImageUser, Pruned, Removed};
pub use wanted::ImageFilters;
