//! Blobs: reading them whole or in part, and taking them from a repository.

use std::sync::Arc;

use dhow_spec::{Digest, RepositoryPath};
use dhow_store::{Blob, ContentError};
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use hyper::{Method, StatusCode};

use super::{Answer, action_of, only};
use crate::app::{App, Subject, blocking};
use crate::audit::Change;
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::error::{ApiError, Code};
use crate::http::range::{self, Asked};
use crate::http::reply::{CONTENT_DIGEST, Reply};
use crate::mirror;

/// Bytes under a digest never change.
const FOREVER: &str = "private, max-age=31536000, immutable";

pub(super) async fn dispatch(
    app: &Arc<App>,
    call: &Call,
    name: &RepositoryPath,
    digest: &Digest,
) -> Answer {
    only(call, &[Method::GET, Method::HEAD, Method::DELETE])?;
    app.access.allow(call, name, action_of(&call.method))?;
    match call.method {
        Method::DELETE => remove(app, call, name, digest).await,
        _ => read(app, call, name, digest).await,
    }
}

async fn read(app: &Arc<App>, call: &Call, name: &RepositoryPath, digest: &Digest) -> Answer {
    let etag = format!("\"{digest}\"");
    let found = find(app, name, digest).await?;
    let blob = match found {
        Some(blob) => blob,
        None => match mirror::blob(app, call, name, digest).await? {
            Some(reply) => return Ok(reply),
            // It may have come meanwhile.
            None => find(app, name, digest).await?.ok_or_else(|| unknown(digest))?,
        },
    };
    if is_known(call, &etag) {
        return Ok(Reply::new(StatusCode::NOT_MODIFIED).with(ETAG, &etag));
    }
    let size = blob.size();
    let whole = call.header(&IF_RANGE).is_some_and(|known| known != etag);
    let asked = match call.header(&RANGE) {
        Some(header) if !whole => range::asked(Some(header), size),
        _ => Asked::Everything,
    };
    let described = |status| {
        Reply::new(status)
            .with(CONTENT_TYPE, "application/octet-stream")
            .with(CONTENT_DIGEST, digest.to_string())
            .with(ETAG, &etag)
            .with(CACHE_CONTROL, FOREVER)
            .with(ACCEPT_RANGES, "bytes")
    };
    let (reply, part) = match asked {
        Asked::Nothing => {
            return Err(ApiError::new(Code::SizeInvalid, "no such range")
                .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
                .with_header(CONTENT_RANGE, &format!("bytes */{size}")));
        }
        Asked::Everything => (described(StatusCode::OK), 0..size),
        Asked::Part(part) => {
            let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            (described(StatusCode::PARTIAL_CONTENT).with(CONTENT_RANGE, range), part)
        }
    };
    let bytes = part.end - part.start;
    let length = bytes.to_string();
    Ok(match call.method {
        Method::HEAD => reply.with(CONTENT_LENGTH, length),
        _ => {
            app.metrics.pulled(bytes);
            reply.with(CONTENT_LENGTH, length).with_body(Body::blob(
                blob,
                part,
                call.outlet.clone(),
            ))
        }
    })
}

/// The blob, if the repository has it. Who asks may be about to push what names it, so that it counts as used.
pub(crate) async fn find(
    app: &Arc<App>,
    name: &RepositoryPath,
    digest: &Digest,
) -> Result<Option<Blob>, ApiError> {
    let (app, name, digest) = (app.clone(), name.clone(), *digest);
    blocking(move || {
        let Some((_, used_ms)) = app.repositories.blob(&name, &digest)? else { return Ok(None) };
        let age_ms = app.store.now_ms().saturating_sub(used_ms);
        if age_ms > app.config.collect.grace.as_ms() / 4
            && !app.repositories.use_blob(&name, &digest)?
        {
            return Ok(None);
        }
        match app.store.content().open_blob(&digest) {
            Ok(blob) => Ok(Some(blob)),
            Err(ContentError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

async fn remove(app: &Arc<App>, call: &Call, name: &RepositoryPath, digest: &Digest) -> Answer {
    let removed = {
        let (app, name, digest) = (app.clone(), name.clone(), *digest);
        blocking(move || Ok(app.repositories.remove_blob(&name, &digest)?)).await?
    };
    if !removed {
        return Err(unknown(digest));
    }
    app.changed(call, Change::BlobRemoved, &Subject::new(name, digest));
    Ok(Reply::new(StatusCode::ACCEPTED).with(CONTENT_LENGTH, "0"))
}

fn unknown(digest: &Digest) -> ApiError {
    ApiError::new(Code::BlobUnknown, "the repository has no such blob").about("digest", digest)
}

/// Whether the client says to have it.
pub(super) fn is_known(call: &Call, etag: &str) -> bool {
    let matches = |name: &HeaderName| {
        call.header(name).is_some_and(|known| {
            known
                .split(',')
                .map(str::trim)
                .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag)
        })
    };
    matches(&IF_NONE_MATCH)
}
