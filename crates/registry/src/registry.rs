//! A registry as a whole: opened over a root, served, and kept clean while it serves.
//!
//! Invariant: plain HTTP and everybody's writing are for loopback, unless the configuration says otherwise.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dhow_spec::RepositoryPath;
use dhow_store::{
    CheckReport, Clock, CollectOptions, Collected, PruneOptions, Pruned, RepositoryError, Steps,
    Store, StoreError, StoreOptions,
};

use crate::access::Access;
use crate::app::App;
use crate::audit::Audit;
use crate::config::Config;
use crate::hooks::Hooks;
use crate::layout::{self, Moved};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::mirror::Mirrors;
use crate::serve::{self, Listener};
use crate::tls::Identity;
use crate::uploads::Uploads;

/// How often certificates and idle uploads are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What a registry is opened with.
pub struct Options {
    /// Where it keeps what it has.
    pub root: PathBuf,
    /// How it is served.
    pub config: Config,
    /// Where lines for the operator go.
    pub log: Log,
    /// What time it is.
    pub clock: Clock,
    /// Where tests fail and kill.
    pub steps: Steps,
}

/// A registry; cloned freely.
#[derive(Clone)]
pub struct Registry {
    app: Arc<App>,
    /// Read when it is served first.
    identity: Arc<OnceLock<Identity>>,
}

/// Where clients come to.
#[derive(Debug)]
pub enum Place {
    /// `HOST:PORT`, to be listened on.
    Address(String),
    /// A socket that is listened on already.
    Socket(OwnedFd),
}

/// What a collection took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// From repositories.
    pub pruned: Pruned,
    /// From the store.
    pub collected: Collected,
}

/// Why there is no registry.
#[derive(Debug)]
pub enum RegistryError {
    /// What it keeps.
    Store(StoreError),
    /// Its repositories.
    Repositories(RepositoryError),
    /// A file or a socket.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        object: String,
        /// What came of it.
        source: io::Error,
    },
    /// Everybody could read what goes by, or write what they like.
    Insecure {
        /// Where it was to listen.
        address: SocketAddr,
        /// What is missing.
        why: &'static str,
    },
}

impl Registry {
    /// Opens a root, made if it is missing. Waits for the disk.
    pub fn open(options: Options) -> Result<Self, RegistryError> {
        let Options { root, config, log, clock, steps } = options;
        let store = Store::open(StoreOptions { root: root.clone(), clock, steps })?;
        let secret = crate::secret::load(&root).map_err(io_at("read the secret below", &root))?;
        let uploads = Uploads::new(store.content().clone(), &secret, config.limits.blob_bytes);
        let access = Access::new(config.access.as_ref(), &secret);
        let access = access.map_err(|source| RegistryError::Io {
            doing: "read",
            object: "the list of users".to_owned(),
            source,
        })?;
        let audit = Audit::open(config.log.audit.as_deref());
        let audit_path = config.log.audit.clone().unwrap_or_default();
        let audit = audit.map_err(io_at("open", &audit_path))?;
        let repositories = store.repositories();
        let metrics = Arc::new(Metrics::default());
        let hooks = Hooks::open(&config.webhooks).map_err(|source| RegistryError::Io {
            doing: "prepare",
            object: "the webhooks".to_owned(),
            source,
        })?;
        let mirrors = Mirrors::open(&config.mirrors).map_err(|source| RegistryError::Io {
            doing: "prepare",
            object: "the mirrors".to_owned(),
            source,
        })?;
        let app = App {
            config,
            store,
            repositories,
            uploads,
            access,
            audit,
            metrics,
            hooks,
            mirrors,
            log,
        };
        Ok(Self { app: Arc::new(app), identity: Arc::default() })
    }

    /// Reads certificates again that have changed, and closes uploads that are idle; every few seconds while it
    /// serves. Waits for the disk.
    pub fn look(&self) {
        self.app.uploads.close_idle();
        if let Some(identity) = self.identity.get() {
            identity.look(&self.app.log);
        }
    }

    /// Serves until `end` is over. `ready` hears where, once everybody can connect.
    pub async fn serve(
        &self,
        places: Vec<Place>,
        ready: impl FnOnce(&[SocketAddr]),
        end: impl Future<Output = ()>,
    ) -> Result<(), RegistryError> {
        let config = &self.app.config;
        if let Some(files) = &config.tls {
            let identity = Identity::open(files.clone()).map_err(|source| RegistryError::Io {
                doing: "read",
                object: "the certificate".to_owned(),
                source,
            })?;
            // One that serves twice has read it already.
            let _ = self.identity.set(identity);
        }
        let mut listeners = Vec::new();
        for place in places {
            listeners.push(self.listen(place).await?);
        }
        let addresses: io::Result<Vec<_>> = listeners.iter().map(Listener::address).collect();
        ready(&addresses.map_err(io_at("listen on", Path::new("a socket")))?);
        let care = tokio::spawn(self.clone().care());
        let deliveries = self.app.hooks.deliver(&self.app.log, &self.app.metrics);
        serve::serve(self.app.clone(), listeners, end).await;
        self.app.hooks.end(deliveries, &self.app.log).await;
        care.abort();
        Ok(())
    }

    async fn listen(&self, place: Place) -> Result<Listener, RegistryError> {
        let identity = self.app.config.tls.is_some().then(|| self.identity.clone());
        let (object, listener) = match place {
            Place::Address(address) => {
                let listener = Listener::bind(&address, identity).await;
                (address, listener)
            }
            Place::Socket(socket) => ("a socket".to_owned(), Listener::adopt(socket, identity)),
        };
        let failed =
            |source| RegistryError::Io { doing: "listen on", object: object.clone(), source };
        let listener = listener.map_err(failed)?;
        let address = listener.address().map_err(failed)?;
        let config = &self.app.config;
        let insecure = |why| Err(RegistryError::Insecure { address, why });
        match address.ip().to_canonical().is_loopback() {
            false if config.access.is_none() => insecure("\"access\" says who may do what"),
            false if !listener.has_tls() && !config.plain_http => {
                insecure("\"tls\" names a certificate (or \"plain-http\" says that others do)")
            }
            _ => Ok(listener),
        }
    }

    /// What has to be done from time to time.
    async fn care(self) {
        let interval = self.app.config.collect.interval.0;
        let mut look = tokio::time::interval(LOOK);
        let mut collect =
            tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        loop {
            let registry = self.clone();
            tokio::select! {
                _ = look.tick() => {
                    let _ = tokio::task::spawn_blocking(move || registry.look()).await;
                }
                _ = collect.tick() => {
                    // It says itself what it did.
                    let _ = tokio::task::spawn_blocking(move || registry.collect_and_say()).await;
                }
            }
        }
    }

    fn collect_and_say(&self) {
        match self.collect() {
            Ok(Swept { pruned, collected }) => {
                let went = collected.blobs + collected.ingests + pruned.manifests;
                if went > 0 {
                    let bytes = collected.blob_bytes + collected.ingest_bytes;
                    self.app.log.say(&format!(
                        "collected: {} blobs, {} uploads, {} manifests, {bytes} bytes",
                        collected.blobs, collected.ingests, pruned.manifests
                    ));
                }
            }
            Err(error) => self.app.log.say(&format!("collect garbage: {error}")),
        }
    }

    /// Removes what nobody names and nobody has used for a while. Waits for the disk, and holds up nobody.
    pub fn collect(&self) -> Result<Swept, RegistryError> {
        let (app, collect) = (&self.app, &self.app.config.collect);
        let now = app.store.now_ms();
        app.uploads.close_older(collect.uploads.0);
        let expired = app.mirrors.expire(&app.repositories, now)?;
        let mut pruned = app.repositories.prune(PruneOptions {
            used_before_ms: now.saturating_sub(collect.grace.as_ms()),
            untagged_before_ms: collect.untagged.map(|span| now.saturating_sub(span.as_ms())),
        })?;
        pruned.manifests += expired;
        let options = CollectOptions { ingest_age_ms_max: collect.uploads.as_ms() };
        let collected = app.store.collect(options, &[])?;
        app.metrics.collected(collected.blob_bytes + collected.ingest_bytes);
        Ok(Swept { pruned, collected })
    }

    /// Writes all tags of a repository into an OCI layout. May run while it serves.
    pub fn export(&self, name: &RepositoryPath, folder: &Path) -> Result<Moved, RegistryError> {
        layout::export(&self.app, name, folder).map_err(io_at("write the layout", folder))
    }

    /// Reads an OCI layout into a repository. May run while it serves.
    pub fn import(&self, name: &RepositoryPath, folder: &Path) -> Result<Moved, RegistryError> {
        layout::import(&self.app, name, folder).map_err(io_at("read the layout", folder))
    }

    /// Looks through everything; with `repair`, forgets what is damaged. May run while it serves.
    pub fn check(&self, repair: bool) -> Result<CheckReport, RegistryError> {
        Ok(self.app.store.check(repair, &[])?)
    }
}

fn io_at<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> RegistryError + 'a {
    move |source| RegistryError::Io { doing, object: path.display().to_string(), source }
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<RepositoryError> for RegistryError {
    fn from(error: RepositoryError) -> Self {
        Self::Repositories(error)
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Repositories(error) => error.fmt(f),
            Self::Io { doing, object, source } => write!(f, "{doing} {object}: {source}"),
            Self::Insecure { address, why } => {
                write!(f, "listen on {address}: refused until {why} in the configuration file")
            }
        }
    }
}

impl std::error::Error for RegistryError {}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("root", &self.app.store.root()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("root", &self.root).finish_non_exhaustive()
    }
}
