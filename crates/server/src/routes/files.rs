//! Files of containers: archives in and out, differences, images made of them.
//!
//! Invariant: what stands at a path is told before the first byte of it is sent.

use std::sync::Arc;

use dhow_engine::{ChangeKind, CommitRequest, ImportRequest, PathStat, UnpackRequest};
use dhow_spec::Reference;
use dhow_wire::{Change, FileStat, IdResponse, JsonMessage};
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::app::App;
use crate::convert;
use crate::http::api_version::ApiVersion;
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::Reply;
use crate::http::transfer::{BodyReader, archive_sink};
use crate::routes::images::{parse_tag, platform};
use dhow_spec::base64;

const TAR: &str = "application/x-tar";
/// Where clients look for what stands at a path.
const STAT: HeaderName = HeaderName::from_static("x-docker-container-path-stat");

/// `HEAD /containers/{id}/archive`.
pub(super) async fn stat(app: &Arc<App>, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let stat = app.engine.path_stat(id, path(call)?).await?;
    let mut response = hyper::Response::new(Body::empty());
    response.headers_mut().insert(STAT, header(&stat)?);
    Ok(Reply::Http(response))
}

/// `GET /containers/{id}/archive`.
pub(super) async fn get(app: &Arc<App>, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let (pieces, reply) = Reply::stream(TAR);
    let stat = app.engine.path_pack(id, path(call)?, archive_sink(pieces)).await?;
    match reply {
        Reply::Http(mut response) => {
            response.headers_mut().insert(STAT, header(&stat)?);
            Ok(Reply::Http(response))
        }
        reply => Ok(reply),
    }
}

/// `PUT /containers/{id}/archive`.
pub(super) async fn put(app: &Arc<App>, call: Call, id: &str) -> Result<Reply, ApiError> {
    let path = path(&call)?.to_owned();
    let request = UnpackRequest {
        keep_kinds: call.query.flag("noOverwriteDirNonDir"),
        as_user: call.query.flag("copyUIDGID"),
    };
    app.engine.path_unpack(id, &path, request, BodyReader::new(call.body)).await?;
    Ok(Reply::status(StatusCode::OK))
}

fn path(call: &Call) -> Result<&str, ApiError> {
    match call.query.text("path") {
        "" => Err(ApiError::invalid("bad parameter: 'path' cannot be empty")),
        path if path.contains('\0') => {
            Err(ApiError::invalid("bad parameter: 'path' cannot contain a null byte"))
        }
        path => Ok(path),
    }
}

/// `GET /containers/{id}/changes`.
pub(super) async fn changes(app: &Arc<App>, call: &Call, id: &str) -> Result<Reply, ApiError> {
    let changes = app.engine.changes(id).await?.into_iter().map(|(kind, path)| Change {
        path,
        kind: match kind {
            ChangeKind::Modified => 0,
            ChangeKind::Added => 1,
            ChangeKind::Deleted => 2,
        },
    });
    let changes: Vec<_> = changes.collect();
    // Before 1.52 Go's `null` for an empty list.
    let none = call.version < ApiVersion::new(1, 52) && changes.is_empty();
    Ok(Reply::ok(&Some(changes).filter(|_| !none)))
}

/// `GET /containers/{id}/export`.
pub(super) async fn export(app: &Arc<App>, id: &str) -> Result<Reply, ApiError> {
    let (pieces, reply) = Reply::stream("application/octet-stream");
    app.engine.export(id, archive_sink(pieces)).await?;
    Ok(reply)
}

/// `POST /commit`.
pub(super) async fn commit(app: &Arc<App>, mut call: Call) -> Result<Reply, ApiError> {
    let body: Option<Value> = call.json_or_nothing().await?;
    let config = body
        .filter(|body| body.as_object().is_some_and(|object| !object.is_empty()))
        .map(serde_json::from_value)
        .transpose()
        .map_err(|error| ApiError::invalid(format!("invalid JSON: {error}")))?;
    let query = &call.query;
    let request = CommitRequest {
        name: name(query.text("repo"), query.text("tag"))?,
        comment: query.text("comment").to_owned(),
        author: query.text("author").to_owned(),
        pause: query.flag_or("pause", true),
        changes: query.all("changes").map(str::to_owned).collect(),
        config: config.map(convert::container_config).transpose()?,
    };
    let id = app.engine.commit(query.text("container"), request).await?;
    Ok(Reply::json(StatusCode::CREATED, &IdResponse { id }))
}

/// `POST /images/create` with `fromSrc`.
pub(super) async fn import(app: &Arc<App>, call: Call) -> Result<Reply, ApiError> {
    let query = &call.query;
    if query.text("fromSrc") != "-" {
        return Err(ApiError::unsupported("importing from an address"));
    }
    let request = ImportRequest {
        name: name(query.text("repo"), query.text("tag"))?,
        platform: platform(query.text("platform"))?,
        message: query.text("message").to_owned(),
        changes: query.all("changes").map(str::to_owned).collect(),
    };
    let called = request.name.as_ref().map(Reference::familiar);
    let id = app.images.import(request, BodyReader::new(call.body)).await?;
    app.tell_image("import", &id, called.as_deref().unwrap_or(&id)).await;
    let (pieces, reply) = Reply::stream("application/json");
    tokio::spawn(async move {
        // Nobody to tell of a client that has gone.
        let _ = pieces.line(&JsonMessage::status("", id), "\r\n").await;
    });
    Ok(reply)
}

/// What an image is to be called, if anything.
fn name(repository: &str, tag: &str) -> Result<Option<Reference>, ApiError> {
    if repository.is_empty() {
        return Ok(None);
    }
    let invalid = |error: dhow_spec::ReferenceError| {
        ApiError::invalid(format!("invalid reference format: {error}"))
    };
    let parsed = Reference::parse(repository).map_err(invalid)?;
    if parsed.digest().is_some() {
        return Err(ApiError::invalid("cannot import digest reference"));
    }
    match tag {
        "" => Ok(Some(parsed)),
        tag => Ok(Some(Reference::tagged(parsed.repository().clone(), parse_tag(tag)?))),
    }
}

fn header(stat: &PathStat) -> Result<HeaderValue, ApiError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let time_ns = stat.modified.seconds.saturating_mul(1_000_000_000);
    let stat = FileStat {
        name: text(&stat.name),
        size: convert::signed(stat.size_bytes),
        mode: go_mode(stat.mode),
        mtime: convert::time(time_ns.saturating_add(stat.modified.nanoseconds.into())),
        link_target: stat.link_target.as_deref().map(text).unwrap_or_default(),
    };
    let json = serde_json::to_vec(&stat).unwrap_or_default();
    let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the path cannot be told");
    HeaderValue::from_str(&base64::encode(&json)).map_err(failed)
}

/// Kind and permissions in Go's number.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => (1 << 26) | (1 << 21),
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let bits = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = bits.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, go)| go).sum::<u32>();
    kind | special | (mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_go_s() {
        assert_eq!(go_mode(0o040_755), 0x8000_01ed);
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o120_777), 0x0800_01ff);
        assert_eq!(go_mode(0o041_777), 0x8010_01ff);
        assert_eq!(go_mode(0o104_755), 0x0080_01ed);
    }

    #[test]
    fn names_have_one_tag() {
        let name = |repository, tag| name(repository, tag).map(|name| name.map(|n| n.familiar()));
        assert_eq!(name("", "x").unwrap(), None);
        assert_eq!(name("a", "").unwrap().as_deref(), Some("a:latest"));
        assert_eq!(name("a:1", "2").unwrap().as_deref(), Some("a:2"));
        name("A", "").unwrap_err();
        name("a", "?").unwrap_err();
    }
}
