//! Uploads: beginning one, its pieces in order, its end; and blobs that need none, because another
//! repository has them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dhow_spec::{Algorithm, Digest, RepositoryPath};
use dhow_store::{ContentError, Ingest, RepositoryError};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, RANGE};
use hyper::{Method, StatusCode};

use super::{Answer, digest_of, only};
use crate::access::Action;
use crate::app::{App, Subject, blocking};
use crate::audit::Change;
use crate::http::call::{Call, Gathered};
use crate::http::error::{ApiError, Code};
use crate::http::range;
use crate::http::reply::{CONTENT_DIGEST, Reply};
use crate::mirror;
use crate::uploads::UploadId;

/// How long a request waits for another one that has the upload.
const PATIENCE: Duration = Duration::from_secs(2);
/// From so many bytes on it pays to hash and write on two threads.
const HASHED_BESIDE: usize = 48 << 10;
const BYTES: &str = "application/octet-stream";
const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// `POST` of a new upload, of a whole blob, or of a blob that another repository has.
pub(super) async fn begin(app: &Arc<App>, call: &mut Call, name: &RepositoryPath) -> Answer {
    only(call, &[Method::POST])?;
    app.access.allow(call, name, Action::Push)?;
    mirror::refuse_writing(app, name)?;
    if let Some(mount) = call.query.get("mount") {
        let digest = digest_of(mount)?;
        if mount_from_anywhere(app, call, name, &digest).await? {
            app.changed(call, Change::BlobMounted, &Subject::new(name, &digest));
            return Ok(created(name, &digest));
        }
    }
    check_algorithm(call)?;
    let digest = call.query.get("digest").map(digest_of).transpose()?;
    let (id, mut ingest) = {
        let (app, name) = (app.clone(), name.clone());
        blocking(move || app.uploads.begin(&name)).await?
    };
    let Some(digest) = digest else {
        let reply = accepted(name, &id, 0);
        app.uploads.put_back(&id, ingest);
        return Ok(reply);
    };
    // What of it came is of no use to anybody: its sender knows no name of it.
    ingest = match receive(app, call, ingest).await {
        (ingest, Ok(())) => ingest,
        (ingest, Err(error)) => {
            blocking(move || Ok(ingest.discard()?)).await?;
            return Err(error);
        }
    };
    finish(app, call, name, ingest, digest).await
}

/// A request to an upload that was begun.
pub(super) async fn dispatch(
    app: &Arc<App>,
    call: &mut Call,
    name: &RepositoryPath,
    id: &str,
) -> Answer {
    only(call, &[Method::GET, Method::PATCH, Method::PUT, Method::DELETE])?;
    // Whoever may push may give up what was being pushed.
    app.access.allow(call, name, Action::Push)?;
    let id = app.uploads.parse(name, id)?;
    match call.method {
        Method::GET => {
            if let Some(offset) = app.uploads.offset(&id) {
                return Ok(progress(StatusCode::NO_CONTENT, name, &id, offset));
            }
            let ingest = take(app, &id).await?;
            let reply = progress(StatusCode::NO_CONTENT, name, &id, ingest.offset());
            app.uploads.put_back(&id, ingest);
            Ok(reply)
        }
        Method::DELETE => {
            let ingest = take(app, &id).await?;
            blocking(move || Ok(ingest.discard()?)).await?;
            Ok(Reply::new(StatusCode::NO_CONTENT))
        }
        Method::PATCH => {
            let ingest = write(app, call, name, &id).await?;
            let reply = accepted(name, &id, ingest.offset());
            app.uploads.put_back(&id, ingest);
            Ok(reply)
        }
        _ => {
            let missing = || ApiError::new(Code::DigestInvalid, "no digest was given");
            let digest = digest_of(call.query.get("digest").ok_or_else(missing)?)?;
            let ingest = write(app, call, name, &id).await?;
            finish(app, call, name, ingest, digest).await
        }
    }
}

/// Adds the request's body to the upload.
async fn write(
    app: &Arc<App>,
    call: &mut Call,
    name: &RepositoryPath,
    id: &UploadId,
) -> Result<Box<Ingest>, ApiError> {
    let ingest = take(app, id).await?;
    if let Err(error) = fits(call, name, id, ingest.offset()) {
        app.uploads.put_back(id, ingest);
        return Err(error);
    }
    match receive(app, call, ingest).await {
        (ingest, Ok(())) => Ok(ingest),
        // What came stays, and the client may go on behind it.
        (ingest, Err(error)) => {
            app.uploads.put_back(id, ingest);
            Err(error)
        }
    }
}

/// Whether the piece that is brought belongs where the upload ends.
fn fits(call: &Call, name: &RepositoryPath, id: &UploadId, offset: u64) -> Result<(), ApiError> {
    let Some(header) = call.headers.get(CONTENT_RANGE) else { return Ok(()) };
    let range = header.to_str().ok().and_then(range::brought);
    let Some(range) = range else {
        return Err(ApiError::new(Code::BlobUploadInvalid, "no range was understood"));
    };
    if range.start != offset {
        let why = format_args!("the next byte is {offset}, not {}", range.start).to_string();
        return Err(ApiError::new(Code::BlobUploadInvalid, why)
            .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
            .with_header(LOCATION, &location(name, id))
            .with_header(RANGE, &written(offset)));
    }
    match call.content_length() {
        Some(length) if length != range.end - range.start => {
            Err(ApiError::new(Code::SizeInvalid, "range and length differ"))
        }
        _ => Ok(()),
    }
}

/// Writes the body as it comes: what has come is written and hashed, side by side, while more arrives.
async fn receive(
    app: &App,
    call: &mut Call,
    mut ingest: Box<Ingest>,
) -> (Box<Ingest>, Result<(), ApiError>) {
    let idle = call.idle;
    let receiving = app.uploads.receive();
    let mut gathered = Gathered::default();
    while let Some(pieces) = gathered.take(&mut call.body, idle, receiving.share()).await {
        let mut adding = std::pin::pin!(add(ingest, pieces));
        let added = loop {
            tokio::select! {
                biased;
                added = &mut adding => break added,
                () = gathered.more(&mut call.body, idle), if gathered.wants_more() => {}
            }
        };
        let result;
        (ingest, result) = added;
        if let Err(error) = result {
            return (ingest, Err(error.into()));
        }
    }
    (ingest, gathered.end())
}

/// Adds some bytes to the upload.
async fn add(
    mut ingest: Box<Ingest>,
    pieces: Vec<Bytes>,
) -> (Box<Ingest>, Result<(), ContentError>) {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let hashing = (length >= HASHED_BESIDE).then(|| {
        let (mut hash, pieces) = (ingest.lend_hash(), pieces.clone());
        tokio::task::spawn_blocking(move || {
            pieces.iter().for_each(|bytes| hash.update(bytes));
            hash
        })
    });
    let lent = hashing.is_some();
    let writing = tokio::task::spawn_blocking(move || {
        let written = pieces.iter().try_for_each(|bytes| match lent {
            true => ingest.write_unhashed(bytes),
            false => ingest.write(bytes),
        });
        (ingest, written)
    });
    // A panic in there was our bug and goes on here.
    let (mut ingest, written) = joined(writing.await);
    if let Some(hashing) = hashing {
        ingest.give_hash_back(joined(hashing.await));
    }
    (ingest, written)
}

fn joined<T>(ended: Result<T, tokio::task::JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

async fn finish(
    app: &Arc<App>,
    call: &Call,
    name: &RepositoryPath,
    ingest: Box<Ingest>,
    digest: Digest,
) -> Answer {
    let quota = app.config.rules_of(name).quota;
    let stored = {
        let name = name.clone();
        blocking(move || Ok(ingest.commit_to(&name, &digest, quota)?)).await?
    };
    app.metrics.pushed(stored.size);
    let mut subject = Subject::new(name, &digest);
    subject.media_type = Some(BYTES.to_owned());
    subject.size = Some(stored.size);
    app.changed(call, Change::BlobPushed, &subject);
    Ok(created(name, &digest))
}

/// Gives the repository a blob that it, the one that was named, or any other that the caller may read has.
async fn mount_from_anywhere(
    app: &Arc<App>,
    call: &Call,
    name: &RepositoryPath,
    digest: &Digest,
) -> Result<bool, ApiError> {
    let from = match call.query.get("from") {
        Some(from) => vec![from.to_owned()],
        None => {
            let (app, digest) = (app.clone(), *digest);
            blocking(move || Ok(app.repositories.with_blob(&digest)?)).await?
        }
    };
    for source in from.iter().filter_map(|source| RepositoryPath::parse(source)) {
        if !app.access.may_mount(call, &source) {
            continue;
        }
        let (app, name, digest) = (app.clone(), name.clone(), *digest);
        let quota = app.config.rules_of(&name).quota;
        let mounted = blocking(move || {
            if app.repositories.blob(&source, &digest)?.is_none()
                || !app.store.content().contains(&digest)?
            {
                return Ok(false);
            }
            match app.repositories.adopt_blob(&name, &digest, quota) {
                Ok(found) => Ok(found.is_some()),
                Err(error @ RepositoryError::OverQuota { .. }) => Err(error.into()),
                Err(error) => Err(ApiError::internal(error)),
            }
        });
        if mounted.await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes the upload. A request that has it may be one whose end nobody has noticed yet: it is waited for
/// a moment.
async fn take(app: &Arc<App>, id: &UploadId) -> Result<Box<Ingest>, ApiError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let taken = {
            let (app, id) = (app.clone(), id.clone());
            blocking(move || app.uploads.take(&id)).await
        };
        match taken {
            Err(error)
                if error.status() == StatusCode::CONFLICT
                    && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(PATIENCE / 40).await;
            }
            taken => return taken,
        }
    }
}

fn check_algorithm(call: &Call) -> Result<(), ApiError> {
    let known =
        |name: &str| [Algorithm::Sha256, Algorithm::Sha512].iter().any(|a| a.as_str() == name);
    match call.query.get("digest-algorithm") {
        Some(name) if !known(name) => {
            Err(ApiError::new(Code::DigestInvalid, "this algorithm is not known here"))
        }
        _ => Ok(()),
    }
}

fn location(name: &RepositoryPath, id: &UploadId) -> String {
    format!("/v2/{name}/blobs/uploads/{}", id.as_str())
}

/// What is there, as the protocol words it: `0-0` for nothing as well as for one byte.
fn written(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

fn accepted(name: &RepositoryPath, id: &UploadId, offset: u64) -> Reply {
    progress(StatusCode::ACCEPTED, name, id, offset).with(CONTENT_LENGTH, "0")
}

fn progress(status: StatusCode, name: &RepositoryPath, id: &UploadId, offset: u64) -> Reply {
    Reply::new(status)
        .with(LOCATION, location(name, id))
        .with(RANGE, written(offset))
        .with(UPLOAD, id.as_str())
}

fn created(name: &RepositoryPath, digest: &Digest) -> Reply {
    Reply::new(StatusCode::CREATED)
        .with(LOCATION, format!("/v2/{name}/blobs/{digest}"))
        .with(CONTENT_DIGEST, digest.to_string())
        .with(CONTENT_TYPE, BYTES)
        .with(CONTENT_LENGTH, "0")
}
