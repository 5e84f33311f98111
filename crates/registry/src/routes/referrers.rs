//! Manifests that are about another: signatures, bills of materials, and what else names a subject.
//!
//! Clients that push for registries without this address keep an index under a tag made of the subject's
//! digest; that is a tag like any other here, and what such manifests say of their subject is in this list too.

use std::sync::Arc;

use dhow_spec::image::{Descriptor, Index, MediaType};
use dhow_spec::{Digest, RepositoryPath};
use dhow_store::RepositoryManifest;
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{Method, StatusCode};

use super::lists::linked;
use super::{Answer, only};
use crate::access::Action;
use crate::app::{App, blocking};
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::query::escape;
use crate::http::reply::Reply;
use crate::mirror;

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Entries of one answer, so that it stays smaller than a manifest may be.
const PAGE: usize = 500;
/// Bytes of descriptors of one answer: a referrer's notes may be long.
const BYTES_MAX: usize = 3 << 20;

pub(super) async fn list(
    app: &Arc<App>,
    call: &Call,
    name: &RepositoryPath,
    subject: &Digest,
) -> Answer {
    only(call, &[Method::GET, Method::HEAD])?;
    app.access.allow(call, name, Action::Pull)?;
    let kind = call.query.get("artifactType").filter(|kind| !kind.is_empty());
    let after = call.query.get("last").unwrap_or_default().to_owned();
    let found = match mirror::referrers(app, name, subject).await {
        Some(mut all) => {
            all.retain(|entry| entry.digest.to_string() > after);
            all
        }
        None => {
            let (app, name, subject) = (app.clone(), name.clone(), *subject);
            let known = move || {
                let found = app.repositories.referrers(&name, &subject, &after, PAGE + 1)?;
                Ok(found.into_iter().map(entry).collect())
            };
            blocking(known).await?
        }
    };
    let (mut bytes, mut last, mut entries) = (0, None, Vec::new());
    let total = found.len();
    let mut seen = 0;
    for entry in found.into_iter().take(PAGE) {
        let notes = entry.annotations.iter();
        bytes += 512 + notes.map(|(name, value)| name.len() + value.len() + 8).sum::<usize>();
        if bytes > BYTES_MAX && seen > 0 {
            break;
        }
        seen += 1;
        last = Some(entry.digest);
        let is_kind = |found: &MediaType| kind.is_some_and(|kind| found.as_str() == kind);
        if kind.is_none() || entry.artifact_type.as_ref().is_some_and(is_kind) {
            entries.push(entry);
        }
    }
    let link = last.filter(|_| seen < total).map(|last| {
        let filter = kind.map(|kind| format!("&artifactType={}", escape(kind))).unwrap_or_default();
        let last = escape(&last.to_string());
        format!("</v2/{name}/referrers/{subject}?last={last}{filter}>; rel=\"next\"")
    });
    let reply = Reply::new(StatusCode::OK)
        .with(CONTENT_TYPE, INDEX)
        .with_body(Body::whole(Index::new(entries).to_json()));
    let reply = if kind.is_some() { reply.with(FILTERS, "artifactType") } else { reply };
    Ok(linked(reply, link))
}

fn entry(manifest: RepositoryManifest) -> Descriptor {
    let mut entry = Descriptor::new(manifest.media_type, manifest.digest, manifest.size);
    entry.artifact_type = manifest.artifact_type.and_then(|kind| MediaType::parse(&kind).ok());
    entry.annotations = manifest.annotations;
    entry
}
