//! From a path to whoever answers: one file for each group of the protocol.
//!
//! Invariant: names, tags and digests are parsed before anything is done with them; a path that is none of
//! the protocol's reaches nothing.

mod blobs;
mod lists;
mod manifests;
mod referrers;
mod uploads;

use std::sync::Arc;

use dhow_spec::{Digest, RepositoryPath, Tag};
use hyper::header::ALLOW;
use hyper::{Method, StatusCode};

use crate::access::Action;
use crate::app::App;
use crate::http::call::Call;
use crate::http::error::{ApiError, Code};
use crate::http::reply::Reply;

pub(crate) use manifests::{find as find_manifest, store as store_manifest};

type Answer = Result<Reply, ApiError>;

/// Answers what lies below `/v2/`.
pub(crate) async fn dispatch(app: &Arc<App>, mut call: Call, path: &str) -> Answer {
    let segments: Vec<&str> = path.split('/').collect();
    match segments.as_slice() {
        [""] => base(app, &call),
        ["_catalog"] => lists::catalog(app, &call).await,
        [name @ .., "blobs", "uploads" | "uploads/"] | [name @ .., "blobs", "uploads", ""] => {
            uploads::begin(app, &mut call, &repository(name)?).await
        }
        [name @ .., "blobs", "uploads", id] => {
            uploads::dispatch(app, &mut call, &repository(name)?, id).await
        }
        [name @ .., "blobs", digest] => {
            let name = repository(name)?;
            blobs::dispatch(app, &call, &name, &digest_of(digest)?).await
        }
        [name @ .., "manifests", reference] => {
            let name = repository(name)?;
            manifests::dispatch(app, &mut call, &name, Target::parse(reference)?).await
        }
        [name @ .., "tags", "list"] => lists::tags(app, &call, &repository(name)?).await,
        [name @ .., "referrers", digest] => {
            let name = repository(name)?;
            referrers::list(app, &call, &name, &digest_of(digest)?).await
        }
        _ => {
            Err(ApiError::new(Code::Unsupported, "no such address")
                .with_status(StatusCode::NOT_FOUND))
        }
    }
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Tag(Tag),
    Digest(Digest),
}

impl Target {
    fn parse(text: &str) -> Result<Self, ApiError> {
        if text.contains(':') {
            return digest_of(text).map(Self::Digest);
        }
        let invalid = || ApiError::new(Code::ManifestInvalid, "no tag and no digest");
        Tag::parse(text).map(Self::Tag).ok_or_else(invalid)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Whether we are there and the caller may come in.
fn base(app: &App, call: &Call) -> Answer {
    only(call, &[Method::GET, Method::HEAD])?;
    app.access.base(call)?;
    Ok(Reply::json(&serde_json::json!({})))
}

fn repository(segments: &[&str]) -> Result<RepositoryPath, ApiError> {
    let text = segments.join("/");
    let invalid = || {
        let text: String = text.chars().take(255).collect();
        ApiError::new(Code::NameInvalid, "no name of a repository").about("name", text)
    };
    RepositoryPath::parse(&text).ok_or_else(invalid)
}

pub(crate) fn digest_of(text: &str) -> Result<Digest, ApiError> {
    Digest::parse(text).map_err(|error| ApiError::new(Code::DigestInvalid, error))
}

/// Refuses what cannot be done with an address.
fn only(call: &Call, methods: &[Method]) -> Result<(), ApiError> {
    if methods.contains(&call.method) {
        return Ok(());
    }
    let allowed: Vec<_> = methods.iter().map(Method::as_str).collect();
    Err(ApiError::new(Code::Unsupported, format_args!("{} is not possible here", call.method))
        .with_header(ALLOW, &allowed.join(", ")))
}

/// What a method is to a repository.
const fn action_of(method: &Method) -> Action {
    match *method {
        Method::GET | Method::HEAD => Action::Pull,
        Method::DELETE => Action::Delete,
        _ => Action::Push,
    }
}
