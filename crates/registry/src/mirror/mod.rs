//! A cache of other registries: what is not here is fetched when somebody asks, and kept.
//!
//! A tag is believed for a while, then the upstream is asked again; an upstream that cannot be reached is
//! answered for with what is here. Manifests come when they are asked for; a blob is fetched only if a manifest
//! that is here names it, so that nobody makes us fetch whatever they like.
//!
//! Invariant: what is fetched is proven by its digest before it is kept. However many ask for the same, it is
//! fetched once.
//! Absent on purpose: pushing through a mirror, and the upstream's catalog: repositories are those that are here.

mod download;
mod lists;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use dhow_distribution::{
    Class, Client, Config as ClientConfig, Credentials, Insecure, Keyring, RegistryConfig,
    SystemResolver,
};
use dhow_spec::image::{Descriptor, Document, MANIFEST_BYTES_MAX};
use dhow_spec::{Digest, Reference, Repository, RepositoryPath, Tag};
use dhow_store::{ContentError, PushRules, Repositories, RepositoryError, RepositoryManifest};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, RANGE};
use hyper::{Method, StatusCode};

use crate::app::{App, blocking};
use crate::config::{MirrorConfig, Span};
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::error::{ApiError, Code};
use crate::http::reply::{CONTENT_DIGEST, Reply};
use crate::pattern::Pattern;
use crate::routes::{Target, find_manifest, store_manifest};

use download::{Download, Downloads};
pub(crate) use lists::{referrers, tags};

/// Where the machine keeps the authorities that it trusts.
const ROOTS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Names that are looked through at once.
const REPOSITORIES: usize = 1000;

/// All upstreams, and what is being fetched from them.
#[derive(Default)]
pub(crate) struct Mirrors {
    mirrors: Vec<Mirror>,
    downloads: Downloads,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// One upstream.
pub(crate) struct Mirror {
    repositories: Vec<Pattern>,
    upstream: String,
    client: Client,
    fresh: Span,
    keep: Option<Span>,
}

/// The authorities that the machine trusts, PEM.
pub(crate) fn system_authorities() -> Vec<u8> {
    ROOTS.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default()
}

impl Mirrors {
    /// Reads the files that the configuration names.
    pub(crate) fn open(configs: &[MirrorConfig]) -> io::Result<Self> {
        let mirrors: io::Result<Vec<_>> = configs.iter().map(Mirror::open).collect();
        Ok(Self { mirrors: mirrors?, ..Self::default() })
    }

    /// Who is asked for what the repository lacks.
    pub(crate) fn of(&self, name: &RepositoryPath) -> Option<&Mirror> {
        self.mirrors.iter().find(|mirror| Pattern::any(&mirror.repositories, name))
    }

    /// Gives up what nobody has asked for so long that its mirror does not keep it; says how many manifests.
    /// Waits for the disk.
    pub(crate) fn expire(
        &self,
        repositories: &Repositories,
        now_ms: i64,
    ) -> Result<u64, RepositoryError> {
        let (mut expired, mut after) = (0, String::new());
        if self.mirrors.iter().all(|mirror| mirror.keep.is_none()) {
            return Ok(expired);
        }
        loop {
            let some = repositories.list(&after, REPOSITORIES)?;
            let Some(last) = some.last() else { return Ok(expired) };
            after.clone_from(&last.name);
            for name in some.iter().filter_map(|found| RepositoryPath::parse(&found.name)) {
                if let Some(keep) = self.of(&name).and_then(|mirror| mirror.keep) {
                    expired += repositories.expire(&name, now_ms.saturating_sub(keep.as_ms()))?;
                }
            }
        }
    }

    /// Waits until nobody else fetches the same.
    async fn turn(&self, key: String) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // What nobody waits for is held by the table alone.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(key).or_default().clone()
        };
        turn.lock_owned().await
    }
}

impl Mirror {
    fn open(config: &MirrorConfig) -> io::Result<Self> {
        let wrong = |why: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", config.upstream))
        };
        let read = |path: &Path| std::fs::read(path).map_err(|error| wrong(&error));
        let agent = concat!("dhow-registry/", env!("CARGO_PKG_VERSION"));
        let mut settings = ClientConfig::new(agent, system_authorities());
        if config.plain_http {
            let names = [config.upstream.as_str()];
            settings.insecure = Insecure::parse(names).map_err(|error| wrong(&error))?;
        }
        if let Some(path) = &config.ca {
            let entry = RegistryConfig { ca_pem: read(path)?, ..RegistryConfig::default() };
            settings.registries.insert(config.upstream.clone(), entry);
        }
        let client = Client::new(settings, Arc::new(SystemResolver));
        let mut client = client.map_err(|error| wrong(&error))?;
        if let (Some(username), Some(path)) = (&config.username, &config.password_file) {
            let password = String::from_utf8(read(path)?).map_err(|error| wrong(&error))?;
            let password = password.trim_end_matches(['\n', '\r']).to_owned();
            let credentials = Credentials::Password { username: username.clone(), password };
            client = client.with_credentials(Keyring::of(&config.upstream, credentials));
        }
        let (repositories, upstream) = (config.repositories.clone(), config.upstream.clone());
        let mirror =
            Self { repositories, upstream, client, fresh: config.fresh, keep: config.keep };
        let probe = RepositoryPath::parse("a/b").expect("a path");
        mirror.repository(&probe).ok_or_else(|| wrong(&"no name of a registry"))?;
        Ok(mirror)
    }

    /// What a repository is called there.
    fn repository(&self, name: &RepositoryPath) -> Option<Repository> {
        Repository::parse(&format!("{}/{name}", self.upstream)).ok()
    }

    fn reference(&self, name: &RepositoryPath, target: &Target) -> Option<Reference> {
        let repository = self.repository(name)?;
        Some(match target {
            Target::Tag(tag) => Reference::tagged(repository, tag.clone()),
            Target::Digest(digest) => Reference::pinned(repository, *digest),
        })
    }

    /// Asks the upstream, and keeps what it says. `None` if it has no such thing.
    async fn fetch(
        &self,
        app: &Arc<App>,
        name: &RepositoryPath,
        target: &Target,
        known: Option<&RepositoryManifest>,
    ) -> Result<Option<RepositoryManifest>, ApiError> {
        let Some(reference) = self.reference(name, target) else { return Ok(None) };
        if let (Some(known), Target::Tag(tag)) = (known, target) {
            match self.client.resolve(&reference, &()).await {
                Ok(found) if found.digest == known.digest => {
                    touch(app, name, tag).await?;
                    return Ok(Some(known.clone()));
                }
                Err(error) if error.class() == Class::NotFound => return Ok(None),
                Err(error) => return Err(unreachable(&error)),
                Ok(_) => {}
            }
        }
        let fetched = match self.client.manifest(&reference, &()).await {
            Ok(fetched) => fetched,
            Err(error) if error.class() == Class::NotFound => return Ok(None),
            Err(error) => return Err(unreachable(&error)),
        };
        let (app, name) = (app.clone(), name.clone());
        let tags: Vec<Tag> = match target {
            Target::Tag(tag) => vec![tag.clone()],
            Target::Digest(_) => Vec::new(),
        };
        let bytes_max = app.config.rules_of(&name).quota;
        let rules = PushRules { bytes_max, immutable: false, sparse: true };
        blocking(move || {
            let Descriptor { media_type, digest, .. } = fetched.descriptor;
            let kind = Some(media_type);
            let algorithm = digest.algorithm();
            store_manifest(&app, &name, &fetched.bytes, kind, algorithm, Some(digest), &tags, rules)
        })
        .await
        .map(Some)
    }
}

/// What is here under a tag or a digest, or what the upstream has.
pub(crate) async fn manifest(
    app: &Arc<App>,
    name: &RepositoryPath,
    target: &Target,
) -> Result<Option<RepositoryManifest>, ApiError> {
    let known = find_manifest(app, name, target).await?;
    let Some(mirror) = app.mirrors.of(name) else { return Ok(known) };
    if known.is_some() && is_fresh(app, mirror, name, target).await? {
        return Ok(known);
    }
    let _turn = app.mirrors.turn(format!("{name}@{target}")).await;
    let known = find_manifest(app, name, target).await?;
    if known.is_some() && is_fresh(app, mirror, name, target).await? {
        return Ok(known);
    }
    match mirror.fetch(app, name, target, known.as_ref()).await {
        Ok(found) => Ok(found),
        // Better an old answer than none.
        Err(error) if known.is_some() => {
            let why = error.cause().unwrap_or_default();
            app.log.say(&format!("mirror of {name}:{target}: {why}; what is here is served"));
            Ok(known)
        }
        Err(error) => Err(error),
    }
}

/// Whether what is here needs no question to the upstream. Under a digest it never does.
async fn is_fresh(
    app: &Arc<App>,
    mirror: &Mirror,
    name: &RepositoryPath,
    target: &Target,
) -> Result<bool, ApiError> {
    let Target::Tag(tag) = target else { return Ok(true) };
    let fresh_ms = mirror.fresh.as_ms();
    let (app, name, tag) = (app.clone(), name.clone(), tag.clone());
    blocking(move || {
        let found = app.repositories.tag(&name, &tag)?;
        let age_ms = |checked_ms: i64| app.store.now_ms().saturating_sub(checked_ms);
        Ok(found.is_some_and(|tag| age_ms(tag.checked_ms) < fresh_ms))
    })
    .await
}

async fn touch(app: &Arc<App>, name: &RepositoryPath, tag: &Tag) -> Result<(), ApiError> {
    let (app, name, tag) = (app.clone(), name.clone(), tag.clone());
    blocking(move || Ok(app.repositories.touch_tag(&name, &tag)?)).await
}

/// A blob that is not here: given to the caller while it comes in. `None` if nothing here names it.
pub(crate) async fn blob(
    app: &Arc<App>,
    call: &Call,
    name: &RepositoryPath,
    digest: &Digest,
) -> Result<Option<Reply>, ApiError> {
    let Some(mirror) = app.mirrors.of(name) else { return Ok(None) };
    let Some(descriptor) = described(app, name, digest).await? else { return Ok(None) };
    let size = descriptor.size;
    let reply = Reply::new(StatusCode::OK)
        .with(CONTENT_TYPE, "application/octet-stream")
        .with(CONTENT_DIGEST, digest.to_string())
        .with(CONTENT_LENGTH, size.to_string());
    if call.method == Method::HEAD {
        return Ok(Some(reply));
    }
    let Some(repository) = mirror.repository(name) else { return Ok(None) };
    let download = app.mirrors.downloads.join(app, &mirror.client, repository, name, descriptor);
    if call.headers.contains_key(RANGE) {
        // A part of what is not here yet: once it is, it is like any other.
        download.whole().await?;
        return Ok(None);
    }
    app.metrics.pulled(size);
    Ok(Some(reply.with_body(Body::Pieces(Download::follow(download), size))))
}

/// What a manifest of the repository says of a blob.
async fn described(
    app: &Arc<App>,
    name: &RepositoryPath,
    digest: &Digest,
) -> Result<Option<Descriptor>, ApiError> {
    let (app, name, digest) = (app.clone(), name.clone(), *digest);
    blocking(move || {
        for parent in app.repositories.naming(&name, &digest)? {
            let bytes = match app.store.content().read(&parent, MANIFEST_BYTES_MAX as u64) {
                Ok(bytes) => bytes,
                Err(ContentError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, None) else { continue };
            let mut entries = std::iter::once(manifest.config).chain(manifest.layers);
            if let Some(found) = entries.find(|entry| entry.digest == digest) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    })
    .await
}

fn unreachable(error: &dhow_distribution::Error) -> ApiError {
    let status = match error.class() {
        Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    };
    ApiError::internal(error).with_status(status).saying("the upstream could not be asked")
}

/// Refuses writing to what is another registry's.
pub(crate) fn refuse_writing(app: &App, name: &RepositoryPath) -> Result<(), ApiError> {
    match app.mirrors.of(name) {
        Some(_) => Err(ApiError::new(Code::Unsupported, "the repository is a mirror of another")
            .about("name", name)),
        None => Ok(()),
    }
}
