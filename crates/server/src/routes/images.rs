//! Images.
//!
//! Invariant: what an image is called here is what Docker would call it.

use std::sync::Arc;

use dhow_engine::{
    EventKind, ImageDetails, ImageFilters, ImageRow, ImageUser, ImagesError, ManifestRow,
    ManifestRowKind, Removed,
};
use dhow_spec::image::Timestamp;
use dhow_spec::{Platform, PlatformMatcher, Reference, Tag};
use dhow_wire::{
    Filters, HistoryItem, ImageData, ImageDataSize, ImageDeleted, ImageInspect, ImageMetadata,
    ImageRootFs, ImageSummary, ImagesPruned, JsonMessage, ManifestSize, ManifestSummary,
};
use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::app::App;
use crate::compat::{Message, adapt};
use crate::convert::signed;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::reply::Reply;
use crate::http::transfer::{BodyReader, archive_sink};
use crate::routes::pull;

pub(super) async fn dispatch(app: &Arc<App>, call: Call, path: &[&str]) -> Result<Reply, ApiError> {
    match (&call.method, path) {
        (&Method::GET, ["json"]) => list(app, &call).await,
        (&Method::GET, ["search"]) => super::search::search(app, &call).await,
        (&Method::GET, ["get"]) => {
            let names = call.query.all("names").flat_map(|names| names.split(','));
            let names = names.map(str::to_owned).collect();
            save(app, &call, names).await
        }
        (&Method::GET, [name @ .., "get"]) => save(app, &call, vec![name.join("/")]).await,
        (&Method::GET, [name @ .., "history"]) => history(app, &call, &name.join("/")).await,
        (&Method::GET, [name @ .., "json"]) => inspect(app, &call, &name.join("/")).await,
        (&Method::GET, [_, .., "attestations"]) => {
            Err(ApiError::unsupported("reading attestations"))
        }
        (&Method::POST, ["load"]) => load(app, call).await,
        (&Method::POST, ["create"]) => pull::create(app, call).await,
        (&Method::POST, ["prune"]) => prune(app, &call).await,
        (&Method::POST, [name @ .., "push"]) => pull::push(app, &call, &name.join("/")).await,
        (&Method::POST, [name @ .., "tag"]) => tag(app, &call, &name.join("/")).await,
        (&Method::DELETE, name) if !name.is_empty() => remove(app, &call, &name.join("/")).await,
        _ => Err(ApiError::page_not_found()),
    }
}

async fn list(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    const KNOWN: &[&str] = &["before", "dangling", "label", "reference", "since", "until"];
    let filters = filters(&call.query.filters()?, KNOWN)?;
    let rows = app.images.list(&filters).await?;
    let with_manifests = call.query.flag("manifests") || call.query.flag("identity");
    let shared = match call.query.flag("shared-size") {
        true => Some(app.images.shared_bytes().await?),
        false => None,
    };
    let users = if with_manifests { app.image_users().await? } else { Vec::new() };
    let rows = rows.into_iter().map(|row| {
        let id = row.target.digest;
        let mut summary = summary(row, with_manifests.then_some(&*users));
        if let Some(shared) = &shared {
            summary.shared_size = signed(shared.get(&id).copied().unwrap_or(0));
        }
        let mut value = serde_json::to_value(summary).unwrap_or_default();
        adapt(call.version, Message::ImageRow, &mut value);
        value
    });
    Ok(Reply::ok(&rows.collect::<Vec<Value>>()))
}

async fn inspect(app: &Arc<App>, call: &Call, name: &str) -> Result<Reply, ApiError> {
    let platform = platform(call.query.text("platform"))?;
    let with_manifests = call.query.flag("manifests");
    if with_manifests && platform.is_some() {
        return Err(ApiError::invalid(
            "conflicting options: manifests and platform options cannot both be set",
        ));
    }
    let details = app.images.inspect(name, platform).await?;
    let users = if with_manifests { Some(app.image_users().await?) } else { None };
    let mut value = serde_json::to_value(details_of(details, users.as_deref())).unwrap_or_default();
    adapt(call.version, Message::ImageInspect, &mut value);
    Ok(Reply::ok(&value))
}

async fn history(app: &Arc<App>, call: &Call, name: &str) -> Result<Reply, ApiError> {
    let platform = platform(call.query.text("platform"))?;
    let rows = app.images.history(name, platform).await?.into_iter().map(|row| HistoryItem {
        comment: row.comment,
        created: row.created_s.unwrap_or(0),
        created_by: row.created_by,
        id: row.id.unwrap_or_else(|| "<missing>".to_owned()),
        size: signed(row.size_bytes),
        tags: Some(row.tags).filter(|tags| !tags.is_empty()),
    });
    Ok(Reply::ok(&rows.collect::<Vec<_>>()))
}

async fn tag(app: &Arc<App>, call: &Call, name: &str) -> Result<Reply, ApiError> {
    let (repository, _, digest) = Reference::split(call.query.text("repo"))
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    if digest.is_some() {
        return Err(ImagesError::TagWithDigest.into());
    }
    let text = call.query.text("tag");
    let asked = if text.is_empty() { Tag::latest() } else { parse_tag(text)? };
    let own = Reference::parse(call.query.text("repo")).ok();
    let own = own.and_then(|own| own.tag().cloned()).filter(|_| text.is_empty());
    let reference = Reference::tagged(repository, own.unwrap_or(asked));
    let called = reference.familiar();
    let id = app.images.tag(name, reference).await?;
    app.tell_image("tag", &id, &called).await;
    Ok(Reply::status(StatusCode::CREATED))
}

async fn remove(app: &Arc<App>, call: &Call, name: &str) -> Result<Reply, ApiError> {
    if call.query.has("platforms") {
        return Err(ApiError::unsupported("removing single platforms"));
    }
    let users = app.image_users().await?;
    let removed = app.images.remove(name, call.query.flag("force"), users).await?;
    tell_removed(app, &removed).await;
    Ok(Reply::ok(&removed.into_iter().map(deleted).collect::<Vec<_>>()))
}

async fn prune(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    let asked = call.query.filters()?;
    let mut filters = filters(&asked, &["dangling", "label", "label!", "until"])?;
    // Without a word about it, only what has no name.
    filters.dangling = if filters.dangling == Some(false) { None } else { Some(true) };
    let pruned = app.images.prune(&filters, app.image_users().await?).await?;
    tell_removed(app, &pruned.removed).await;
    app.tell_pruned(EventKind::Image, pruned.freed_bytes).await;
    let removed: Vec<_> = pruned.removed.into_iter().map(deleted).collect();
    Ok(Reply::ok(&ImagesPruned {
        images_deleted: Some(removed).filter(|removed| !removed.is_empty()),
        space_reclaimed: pruned.freed_bytes,
    }))
}

async fn tell_removed(app: &App, removed: &[Removed]) {
    for removed in removed {
        match removed {
            Removed::Untagged { name, image } => {
                app.tell_image("untag", &image.to_string(), name).await;
            }
            Removed::Deleted { image } => app.tell_image("delete", &image.to_string(), "").await,
        }
    }
}

async fn save(app: &Arc<App>, call: &Call, names: Vec<String>) -> Result<Reply, ApiError> {
    let mut platforms = call.query.all("platform").filter(|text| !text.is_empty());
    let platform = platforms.next().map(platform).transpose()?.flatten();
    if platforms.next().is_some() {
        return Err(ApiError::unsupported("saving more than one platform, but not all"));
    }
    let items = app.images.saveable(names).await?;
    let (pieces, reply) = Reply::stream("application/x-tar");
    let engine = app.images.clone();
    tokio::spawn(async move {
        let sink = archive_sink(pieces);
        // The status has been sent: an archive that ends too early tells by itself that it is not whole.
        let _ = engine.save(items, platform, sink).await;
    });
    Ok(reply)
}

async fn load(app: &Arc<App>, call: Call) -> Result<Reply, ApiError> {
    let mut platforms = call.query.all("platform").filter(|text| !text.is_empty());
    let platform = platforms.next().map(platform).transpose()?.flatten();
    if platforms.next().is_some() {
        return Err(ApiError::unsupported("loading more than one platform, but not all"));
    }
    let source = BodyReader::new(call.body);
    let loaded = app.images.load(source, platform).await;
    let (pieces, reply) = Reply::stream("application/json");
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            // As dockerd, which has sent the status before it has read anything: clients look here.
            let line = JsonMessage::failure(ApiError::from(error).message);
            tokio::spawn(async move {
                // A client that is gone hears nothing.
                let _ = pieces.line(&line, "\r\n").await;
            });
            return Ok(reply);
        }
    };
    for image in &loaded {
        app.tell_image("load", &image.id, image.name.as_deref().unwrap_or_default()).await;
    }
    tokio::spawn(async move {
        for image in loaded {
            let said = match image.name {
                Some(name) => format!("Loaded image: {name}\n"),
                None => format!("Loaded image ID: {}\n", image.id),
            };
            let line = JsonMessage { stream: said, ..JsonMessage::default() };
            if pieces.line(&line, "\r\n").await.is_err() {
                return;
            }
        }
    });
    Ok(reply)
}

/// A platform as JSON, or as text (`linux/arm64`).
pub(super) fn platform(text: &str) -> Result<Option<Platform>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('{') {
        let platform = serde_json::from_str(text);
        return platform
            .map(Some)
            .map_err(|error| ApiError::invalid(format!("failed to parse platform: {error}")));
    }
    let platform = Platform::parse(text, &Platform::of_build());
    platform.map(Some).map_err(|error| ApiError::invalid(error.to_string()))
}

pub(super) fn parse_tag(text: &str) -> Result<Tag, ApiError> {
    Tag::parse(text).ok_or_else(|| ApiError::invalid("invalid tag format"))
}

fn filters(asked: &Filters, known: &[&str]) -> Result<ImageFilters, ApiError> {
    if let Some((name, _)) = asked.iter().find(|(name, _)| !known.contains(name)) {
        return Err(ApiError::invalid(format!("invalid filter '{name}'")));
    }
    let all = |name| asked.get(name).map(str::to_owned).collect();
    let one = |name| asked.get(name).next().map(str::to_owned);
    let dangling = match one("dangling").as_deref() {
        None => None,
        Some("1" | "true" | "t" | "T" | "True" | "TRUE") => Some(true),
        Some("0" | "false" | "f" | "F" | "False" | "FALSE") => Some(false),
        Some(word) => {
            return Err(ApiError::invalid(format!("invalid filter 'dangling=[{word}]'")));
        }
    };
    Ok(ImageFilters {
        dangling,
        labels: all("label"),
        labels_not: all("label!"),
        references: all("reference"),
        before: one("before"),
        since: one("since"),
        until_s: one("until").map(|text| crate::routes::times::until_s(&text)).transpose()?,
    })
}

fn deleted(removed: Removed) -> ImageDeleted {
    match removed {
        Removed::Untagged { name, .. } => {
            ImageDeleted { untagged: name, ..ImageDeleted::default() }
        }
        Removed::Deleted { image } => {
            ImageDeleted { deleted: image.to_string(), ..ImageDeleted::default() }
        }
    }
}

/// A row of the list, with what the image has for each platform if somebody says who uses images.
pub(super) fn summary(row: ImageRow, users: Option<&[ImageUser]>) -> ImageSummary {
    let manifests = users.map(|users| manifests(&row, users));
    ImageSummary {
        containers: -1,
        created: row.created_s,
        id: row.target.digest.to_string(),
        labels: Some(row.labels),
        parent_id: String::new(),
        manifests,
        descriptor: Some(row.target),
        repo_digests: row.digests,
        repo_tags: row.tags,
        shared_size: -1,
        size: signed(row.size_bytes),
    }
}

/// What an image has for each platform. Containers are of what this machine runs best.
fn manifests(row: &ImageRow, users: &[ImageUser]) -> Vec<ManifestSummary> {
    let matcher = PlatformMatcher::compatible(&Platform::of_build());
    let rank = |found: &&ManifestRow| match &found.kind {
        ManifestRowKind::Image(Some(platform)) => matcher.rank(platform).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let images =
        row.manifests.iter().filter(|found| matches!(found.kind, ManifestRowKind::Image(_)));
    let run = images.filter(|found| found.available).min_by_key(rank);
    let run = run.map(|found| found.descriptor.digest);
    let users = users.iter().filter(|user| user.image == row.target.digest);
    let containers: Vec<_> = users.map(|user| user.container.clone()).collect();
    let told = |found: &ManifestRow| {
        let here = run == Some(found.descriptor.digest);
        manifest(found.clone(), if here { containers.clone() } else { Vec::new() })
    };
    row.manifests.iter().map(told).collect()
}

fn manifest(row: ManifestRow, containers: Vec<String>) -> ManifestSummary {
    let total = signed(row.content_bytes + row.unpacked_bytes);
    let (kind, image_data) = match row.kind {
        ManifestRowKind::Image(platform) => {
            let platform = platform.unwrap_or_default();
            let size = ImageDataSize { unpacked: signed(row.unpacked_bytes) };
            ("image", Some(ImageData { platform, size, containers }))
        }
        ManifestRowKind::Attestation => ("attestation", None),
        ManifestRowKind::Other => ("unknown", None),
    };
    ManifestSummary {
        id: row.descriptor.digest.to_string(),
        descriptor: row.descriptor,
        available: row.available,
        size: ManifestSize { content: signed(row.content_bytes), total },
        kind: kind.to_owned(),
        image_data,
    }
}

fn details_of(details: ImageDetails, users: Option<&[ImageUser]>) -> ImageInspect {
    let ImageDetails { row, config, .. } = details;
    let manifests = users.map(|users| manifests(&row, users));
    let comment = config.history.last().and_then(|step| step.comment.clone());
    let tagged = Timestamp::from_unix(
        row.tagged_ms.div_euclid(1000),
        (row.tagged_ms.rem_euclid(1000) * 1_000_000) as u32,
    );
    let layers = config.rootfs.diff_ids.iter().map(ToString::to_string).collect();
    ImageInspect {
        id: row.target.digest.to_string(),
        repo_tags: row.tags,
        repo_digests: row.digests,
        comment: comment.unwrap_or_default(),
        created: config.created.map(|time| time.as_str().to_owned()).unwrap_or_default(),
        author: config.author.unwrap_or_default(),
        config: config.config,
        architecture: config.architecture,
        variant: config.variant.unwrap_or_default(),
        os: config.os,
        os_version: config.os_version.unwrap_or_default(),
        size: signed(row.size_bytes),
        root_fs: ImageRootFs { kind: "layers".to_owned(), layers },
        metadata: ImageMetadata {
            last_tag_time: tagged.map(|time| time.as_str().to_owned()).unwrap_or_default(),
        },
        descriptor: Some(row.target),
        manifests,
    }
}
