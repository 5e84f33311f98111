//! Images in one tar: `docker save`'s format and an OCI image layout, both at once.
//!
//! | entry | what it is |
//! | --- | --- |
//! | `oci-layout`, `index.json` | an OCI image layout; names stand in the descriptors' annotations |
//! | `manifest.json` | Docker's list: configuration, layers and names by entry |
//! | `blobs/<algorithm>/<hex>` | everything that either of them speaks of |
//!
//! What we write has all of it, so that old and new programs read it. What we read needs one of
//! the two lists; Docker's older archives (layers as `<id>/layer.tar`, linked to each other) and
//! those of skopeo are read by their `manifest.json`, compressed ones as they are.
//!
//! Beside them, `docker import`'s tar of a root file system, which becomes one layer.
//!
//! Invariant: reading is one pass over a stream, with bounded memory; what it stores is kept by
//! the caller's lease, and no image is recorded before all of the archive was read and found good.
//! Absent on purpose: `repositories`, Docker's format before `manifest.json`.

mod commit;
mod contents;
mod docker;
mod error;
mod import;
mod load;
mod save;

pub use commit::{Changes, CommitError};
pub use error::{EntryFault, LoadError, SaveError};
pub use import::Import;
pub use load::{LoadLimits, Loaded};
pub use save::SaveItem;

const INDEX: &str = "index.json";
const MANIFEST: &str = "manifest.json";
