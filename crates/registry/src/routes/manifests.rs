//! Manifests: reading them by tag or digest, pushing them, taking them away.
//!
//! Invariant: a manifest that was accepted is what it was pushed as, and all blobs that it names are in its
//! repository, unless the repository's rules let it be sparse.

use std::sync::Arc;

use dhow_spec::image::{Document, LayerType, MANIFEST_BYTES_MAX, MediaType};
use dhow_spec::{Algorithm, Digest, RepositoryPath, Tag};
use dhow_store::{LeaseId, NewManifest, PushRules, RepositoryManifest};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, LOCATION};
use hyper::{Method, StatusCode};

use super::{Answer, Target, action_of, only};
use crate::app::{App, Subject, blocking};
use crate::audit::Change;
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::error::{ApiError, Code};
use crate::http::reply::{CONTENT_DIGEST, Reply};
use crate::mirror;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Tags that one push may set.
const TAGS_MAX: usize = 64;
/// A push that takes longer to record its manifest has failed.
const LEASE_MS: i64 = 600_000;

pub(super) async fn dispatch(
    app: &Arc<App>,
    call: &mut Call,
    name: &RepositoryPath,
    target: Target,
) -> Answer {
    only(call, &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE])?;
    app.access.allow(call, name, action_of(&call.method))?;
    match call.method {
        Method::PUT => push(app, call, name, target).await,
        Method::DELETE => remove(app, call, name, target).await,
        _ => read(app, call, name, target).await,
    }
}

async fn read(app: &Arc<App>, call: &Call, name: &RepositoryPath, target: Target) -> Answer {
    let found = mirror::manifest(app, name, &target).await?;
    let Some(manifest) = found else { return Err(unknown(app, name, &target).await) };
    let etag = format!("\"{}\"", manifest.digest);
    if super::blobs::is_known(call, &etag) {
        return Ok(Reply::new(StatusCode::NOT_MODIFIED).with(ETAG, &etag));
    }
    let reply = Reply::new(StatusCode::OK)
        .with(CONTENT_TYPE, manifest.media_type.as_str())
        .with(CONTENT_DIGEST, manifest.digest.to_string())
        .with(ETAG, &etag)
        .with(CONTENT_LENGTH, manifest.size.to_string());
    if call.method == Method::HEAD {
        return Ok(reply);
    }
    let bytes = {
        let (app, digest) = (app.clone(), manifest.digest);
        blocking(move || Ok(app.store.content().read(&digest, MANIFEST_BYTES_MAX as u64)?)).await?
    };
    app.metrics.pulled(manifest.size);
    Ok(reply.with_body(Body::whole(bytes)))
}

/// What the repository has under a tag or a digest.
pub(crate) async fn find(
    app: &Arc<App>,
    name: &RepositoryPath,
    target: &Target,
) -> Result<Option<RepositoryManifest>, ApiError> {
    let (app, name, target) = (app.clone(), name.clone(), target.clone());
    blocking(move || {
        let digest = match target {
            Target::Digest(digest) => digest,
            Target::Tag(tag) => match app.repositories.tag(&name, &tag)? {
                Some(tag) => tag.digest,
                None => return Ok(None),
            },
        };
        Ok(app.repositories.manifest(&name, &digest)?)
    })
    .await
}

async fn unknown(app: &Arc<App>, name: &RepositoryPath, target: &Target) -> ApiError {
    let exists = {
        let (app, name) = (app.clone(), name.clone());
        blocking(move || Ok(app.repositories.exists(&name)?)).await
    };
    match exists {
        Ok(true) => ApiError::new(Code::ManifestUnknown, "the repository has no such manifest")
            .about("reference", target),
        Ok(false) => ApiError::new(Code::NameUnknown, "no such repository").about("name", name),
        Err(error) => error,
    }
}

async fn push(app: &Arc<App>, call: &mut Call, name: &RepositoryPath, target: Target) -> Answer {
    mirror::refuse_writing(app, name)?;
    let declared = declared_type(call)?;
    let max = usize::try_from(app.config.limits.manifest_bytes).unwrap_or(usize::MAX);
    let bytes = call.read_all(max.min(MANIFEST_BYTES_MAX)).await?;
    let mut tags = tags_of(call)?;
    let (algorithm, promised) = match target {
        Target::Digest(digest) => (digest.algorithm(), Some(digest)),
        Target::Tag(tag) => {
            tags.push(tag);
            (Algorithm::Sha256, None)
        }
    };
    let rules = app.config.rules_of(name);
    let rules =
        PushRules { bytes_max: rules.quota, immutable: rules.immutable_tags, sparse: rules.sparse };
    let pushed = {
        let (app, name, tags) = (app.clone(), name.clone(), tags.clone());
        let work = move || store(&app, &name, &bytes, declared, algorithm, promised, &tags, rules);
        blocking(work).await?
    };
    app.metrics.pushed(pushed.size);
    let mut subject = Subject::new(name, &pushed.digest);
    subject.media_type = Some(pushed.media_type.as_str().into_owned());
    subject.size = Some(pushed.size);
    // Each tag is a change of its own; a push by digest alone is one, too.
    for tag in tags.iter().map(|tag| Some(tag.as_str())).chain(tags.is_empty().then_some(None)) {
        subject.tag = tag;
        app.changed(call, Change::ManifestPushed, &subject);
    }
    let mut reply = Reply::new(StatusCode::CREATED)
        .with(LOCATION, format!("/v2/{name}/manifests/{}", pushed.digest))
        .with(CONTENT_DIGEST, pushed.digest.to_string())
        .with(CONTENT_LENGTH, "0");
    if let Some(subject) = pushed.subject {
        reply = reply.with(SUBJECT, subject.to_string());
    }
    for tag in &tags {
        reply = reply.with(TAG, tag.as_str());
    }
    Ok(reply)
}

/// Keeps a manifest's bytes and records them. Waits for the disk.
#[expect(clippy::too_many_arguments, reason = "they are what a push consists of")]
pub(crate) fn store(
    app: &App,
    name: &RepositoryPath,
    bytes: &[u8],
    declared: Option<MediaType>,
    algorithm: Algorithm,
    promised: Option<Digest>,
    tags: &[Tag],
    rules: PushRules,
) -> Result<RepositoryManifest, ApiError> {
    let new = read_document(bytes, declared)?;
    let lease = format!("manifest {}", crate::secret::random_name().map_err(ApiError::internal)?);
    let lease = LeaseId::parse(&lease).expect("a short word");
    app.store.lease(&lease, Some(app.store.now_ms() + LEASE_MS))?;
    let recorded = record(app, name, bytes, new, algorithm, promised, tags, rules, &lease);
    if recorded.is_err() {
        // It ends by itself; sooner is better.
        let _ = app.store.end_lease(&lease);
    }
    recorded
}

#[expect(clippy::too_many_arguments, reason = "they are what a push consists of")]
fn record(
    app: &App,
    name: &RepositoryPath,
    bytes: &[u8],
    mut new: NewManifest,
    algorithm: Algorithm,
    promised: Option<Digest>,
    tags: &[Tag],
    rules: PushRules,
    lease: &LeaseId,
) -> Result<RepositoryManifest, ApiError> {
    let content = app.store.content();
    let digest = match promised {
        // Nothing is written that is not what it should be.
        Some(digest) => {
            let actual = dhow_store::measure(bytes, algorithm);
            if actual != digest {
                let why = format_args!("the bytes are those of {actual}").to_string();
                return Err(ApiError::new(Code::DigestInvalid, why).about("digest", digest));
            }
            content.put_by(lease, bytes, algorithm, "a push")?.digest
        }
        None => content.put_by(lease, bytes, algorithm, "a push")?.digest,
    };
    new.manifest.digest = digest;
    new.manifest.size = bytes.len() as u64;
    let manifest = new.manifest.clone();
    app.repositories.put_manifest(name, new, tags, rules, lease)?;
    Ok(manifest)
}

/// What a manifest says, as far as it is recorded. Digest and size are for who has hashed it.
fn read_document(bytes: &[u8], declared: Option<MediaType>) -> Result<NewManifest, ApiError> {
    let invalid = |error: &dyn std::fmt::Display| ApiError::new(Code::ManifestInvalid, error);
    let document = Document::parse(bytes, declared.as_ref()).map_err(|error| invalid(&error))?;
    let nothing = Digest::Sha256([0; 32]);
    Ok(match document {
        Document::Index(index) => NewManifest {
            is_index: true,
            blobs: Vec::new(),
            manifests: index.manifests.iter().map(|entry| entry.digest).collect(),
            manifest: RepositoryManifest {
                digest: nothing,
                size: 0,
                media_type: declared.or(index.media_type).unwrap_or(OCI_INDEX),
                artifact_type: index.artifact_type.map(|kind| kind.as_str().into_owned()),
                subject: index.subject.map(|subject| subject.digest),
                annotations: index.annotations,
            },
        },
        Document::Manifest(manifest) => {
            let kept = |media_type: &MediaType| match media_type {
                MediaType::Layer(LayerType { distributable, .. }) => *distributable,
                _ => true,
            };
            let layers = manifest.layers.iter().filter(|layer| kept(&layer.media_type));
            let layers = layers.map(|layer| layer.digest);
            let kind = manifest.artifact_type.unwrap_or(manifest.config.media_type);
            NewManifest {
                is_index: false,
                blobs: std::iter::once(manifest.config.digest).chain(layers).collect(),
                manifests: Vec::new(),
                manifest: RepositoryManifest {
                    digest: nothing,
                    size: 0,
                    media_type: declared.or(manifest.media_type).unwrap_or(OCI_MANIFEST),
                    artifact_type: Some(kind.as_str().into_owned()),
                    subject: manifest.subject.map(|subject| subject.digest),
                    annotations: manifest.annotations,
                },
            }
        }
    })
}

const OCI_INDEX: MediaType = MediaType::Index(dhow_spec::image::Family::Oci);
const OCI_MANIFEST: MediaType = MediaType::Manifest(dhow_spec::image::Family::Oci);

/// What the client says it is; parameters say nothing about a document.
fn declared_type(call: &Call) -> Result<Option<MediaType>, ApiError> {
    let Some(header) = call.header(&CONTENT_TYPE) else { return Ok(None) };
    let text = header.split(';').next().unwrap_or_default().trim();
    let invalid = |_| ApiError::new(Code::ManifestInvalid, "no media type");
    match MediaType::parse(text).map_err(invalid)? {
        known @ (MediaType::Index(_) | MediaType::Manifest(_) | MediaType::Legacy { .. }) => {
            Ok(Some(known))
        }
        // What tools without a thought for it send: the document says what it is.
        MediaType::Other(other) if GENERIC.contains(&&*other) => Ok(None),
        other => Err(ApiError::new(Code::ManifestInvalid, "manifests of this type are not taken")
            .about("mediaType", other.as_str())),
    }
}

const GENERIC: [&str; 3] =
    ["application/json", "application/octet-stream", "application/x-www-form-urlencoded"];

fn tags_of(call: &Call) -> Result<Vec<Tag>, ApiError> {
    let invalid = || ApiError::new(Code::ManifestInvalid, "no tag");
    let tags: Result<Vec<_>, _> =
        call.query.all("tag").map(|tag| Tag::parse(tag).ok_or_else(invalid)).collect();
    match tags? {
        tags if tags.len() > TAGS_MAX => {
            let why = format_args!("more than {TAGS_MAX} tags").to_string();
            Err(ApiError::new(Code::ManifestInvalid, why).with_status(StatusCode::URI_TOO_LONG))
        }
        tags => Ok(tags),
    }
}

async fn remove(app: &Arc<App>, call: &Call, name: &RepositoryPath, target: Target) -> Answer {
    let immutable = app.config.rules_of(name).immutable_tags;
    let found = {
        let (app, name, target) = (app.clone(), name.clone(), target.clone());
        blocking(move || remove_record(&app, &name, &target, immutable)).await?
    };
    let Some(digest) = found else { return Err(unknown(app, name, &target).await) };
    let (change, tag) = match &target {
        Target::Tag(tag) => (Change::TagRemoved, Some(tag.as_str())),
        Target::Digest(_) => (Change::ManifestRemoved, None),
    };
    app.changed(call, change, &Subject { tag, ..Subject::new(name, &digest) });
    Ok(Reply::new(StatusCode::ACCEPTED).with(CONTENT_LENGTH, "0"))
}

fn remove_record(
    app: &App,
    name: &RepositoryPath,
    target: &Target,
    immutable: bool,
) -> Result<Option<Digest>, ApiError> {
    let refused = || ApiError::new(Code::Denied, "tags of this repository stay as they are");
    match target {
        Target::Tag(_) if immutable => Err(refused()),
        Target::Tag(tag) => Ok(app.repositories.remove_tag(name, tag)?),
        Target::Digest(digest) => {
            if immutable && app.repositories.is_tagged(name, digest)? {
                return Err(refused());
            }
            let removed = app.repositories.remove_manifest(name, digest)?;
            Ok(removed.map(|_| *digest))
        }
    }
}
