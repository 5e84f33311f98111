//! Manifests in registries, for `manifest`: read, and lists of them written. Not Docker's: its client asks the
//! registries itself, where ours leaves that to the engine, which knows the way to them.
//!
//! Invariant: what is written is what the client sent, to the byte.

use std::sync::Arc;

use dhow_spec::image::MediaType;
use dhow_spec::{Digest, Reference};
use dhow_wire::{DistributionInspect, PushManifest, RemoteManifest};
use hyper::{Method, StatusCode};

use crate::app::App;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::Reply;

pub(super) async fn dispatch(
    app: &Arc<App>,
    mut call: Call,
    name: &str,
) -> Result<Reply, ApiError> {
    let reference = parse(name)?;
    let mut images = app.images.clone();
    if let Some(credentials) = super::pull::credentials(&call) {
        images = images.with_credentials(reference.repository().domain(), credentials);
    }
    if call.method == Method::GET {
        let found = images.remote_manifest(&reference).await?;
        return Ok(Reply::ok(&RemoteManifest {
            descriptor: Some(found.descriptor),
            platform: found.platform,
            raw: String::from_utf8_lossy(&found.bytes).into_owned(),
        }));
    }
    let wanted: PushManifest = call.json().await?;
    let media_type = MediaType::parse(&wanted.media_type)
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    let mut sources = Vec::new();
    for (digest, repository) in &wanted.sources {
        let digest = Digest::parse(digest).map_err(|error| ApiError::invalid(error.to_string()))?;
        let repository = parse(repository)?.repository().clone();
        if repository.domain() != reference.repository().domain() {
            return Err(ApiError::invalid(format!(
                "cannot use source images from a different registry than the target image: {} != {}",
                repository.domain(),
                reference.repository().domain()
            )));
        }
        sources.push((digest, repository));
    }
    let list = wanted.raw.into_bytes().into();
    let descriptor = images.push_list(&reference, &media_type, list, sources).await?;
    let answer = DistributionInspect { descriptor: Some(descriptor), platforms: None };
    Ok(Reply::json(StatusCode::CREATED, &answer))
}

fn parse(name: &str) -> Result<Reference, ApiError> {
    Reference::parse(name)
        .map_err(|error| ApiError::invalid(format!("invalid reference format: {error}")))
}
