//! Manifests in registries, as `manifest` asks for them. Docker's client asks the registries itself.
//!
//! Invariant: none of its own; bytes of manifests are texts, for they are JSON.

use std::collections::BTreeMap;

use dhow_spec::Platform;
use dhow_spec::image::Descriptor;

use crate::go::object;

object! {
    /// `GET /distribution/{name}/manifest`.
    RemoteManifest {
        descriptor: Option<Descriptor> = "Descriptor",
        /// Of one image.
        platform: Option<Platform> = "Platform",
        raw: String = "Raw",
    }

    /// The body of `POST /distribution/{name}/manifest`.
    PushManifest {
        media_type: String = "MediaType",
        raw: String = "Raw",
        /// By digest, the repository that a manifest comes from.
        sources: BTreeMap<String, String> = "Sources",
    }
}
