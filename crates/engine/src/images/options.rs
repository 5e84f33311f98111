//! What moving images needs, put together once.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use dhow_archive::compress::Limits;
use dhow_distribution::{Client, Credentials, Keyring, Login};
use dhow_store::{Owners, Snapshots, Store};
use tokio::sync::Semaphore;

use super::error::{ImagesError, PullError};

/// How images are moved.
#[derive(Debug, Clone)]
pub struct ImageEngineOptions {
    /// Layers that are downloaded at a time.
    pub downloads_max: usize,
    /// Blobs that are uploaded at a time.
    pub uploads_max: usize,
    /// Layers that are unpacked at a time.
    pub unpacks_max: usize,
    /// Most bytes that one layer may unpack to.
    pub layer_bytes_max: u64,
    /// Most entries that one layer may have.
    pub layer_entries_max: u64,
    /// How owners are moved; device nodes are made only where they are not.
    pub owners: Owners,
    /// Layers that are unpacked are not kept as blobs if a registry can serve them again.
    pub discard_unpacked_layers: bool,
    /// Whether device nodes in layers are made.
    pub devices_allowed: bool,
}

impl ImageEngineOptions {
    /// Docker's number of transfers, one unpacking for each processor, and room for the largest images known.
    pub fn standard(processors: usize) -> Self {
        Self {
            downloads_max: 3,
            uploads_max: 5,
            unpacks_max: processors.max(1),
            layer_bytes_max: 1 << 40,
            layer_entries_max: 50_000_000,
            owners: Owners::SAME,
            discard_unpacked_layers: false,
            devices_allowed: true,
        }
    }

    pub(super) fn decoder_limits(&self) -> Limits {
        Limits { output_bytes_max: self.layer_bytes_max, ..Limits::NONE }
    }
}

/// Moves images; cloned freely.
#[derive(Clone)]
pub struct ImageEngine {
    pub(super) store: Arc<Store>,
    pub(super) snapshots: Arc<Snapshots>,
    transport: Arc<RwLock<Transport>>,
    /// Of somebody with credentials of his own.
    own: Option<Client>,
    pub(super) options: Arc<ImageEngineOptions>,
    pub(super) unpacks: Arc<Semaphore>,
}

/// The way to registries, as the settings have it now.
struct Transport {
    client: Client,
    downloads: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

impl Transport {
    fn new(client: Client, downloads_max: usize, uploads_max: usize) -> Self {
        Self {
            client,
            downloads: Arc::new(Semaphore::new(downloads_max.max(1))),
            uploads: Arc::new(Semaphore::new(uploads_max.max(1))),
        }
    }
}

impl ImageEngine {
    /// Between these registries and this store.
    pub fn new(
        store: Arc<Store>,
        snapshots: Arc<Snapshots>,
        client: Client,
        options: ImageEngineOptions,
    ) -> Self {
        let transport = Transport::new(client, options.downloads_max, options.uploads_max);
        Self {
            store,
            snapshots,
            transport: Arc::new(RwLock::new(transport)),
            own: None,
            unpacks: Arc::new(Semaphore::new(options.unpacks_max.max(1))),
            options: Arc::new(options),
        }
    }

    /// Takes another way to registries from now on; what is under way goes on as it began.
    pub fn reload(&self, client: Client, downloads_max: Option<usize>, uploads_max: Option<usize>) {
        let standard = ImageEngineOptions::standard(1);
        let transport = Transport::new(
            client,
            downloads_max.unwrap_or(standard.downloads_max),
            uploads_max.unwrap_or(standard.uploads_max),
        );
        *self.transport.write().unwrap_or_else(PoisonError::into_inner) = transport;
    }

    pub(super) fn client(&self) -> Client {
        let own = self.own.clone();
        own.unwrap_or_else(|| self.transport().client.clone())
    }

    pub(super) fn downloads(&self) -> Arc<Semaphore> {
        self.transport().downloads.clone()
    }

    pub(super) fn uploads(&self) -> Arc<Semaphore> {
        self.transport().uploads.clone()
    }

    fn transport(&self) -> RwLockReadGuard<'_, Transport> {
        self.transport.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for somebody whom a registry knows.
    pub fn with_credentials(&self, registry: &str, credentials: Credentials) -> Self {
        self.with_client(self.client().with_credentials(Keyring::of(registry, credentials)))
    }

    /// Asks a registry whether it knows somebody; gives what is to be kept in place of the password, if anything.
    pub async fn login(
        &self,
        registry: &str,
        credentials: Credentials,
    ) -> Result<Option<String>, PullError> {
        let client = self.client().with_credentials(Keyring::of(registry, credentials));
        match client.login(registry).await? {
            Login::Identity(Credentials::Identity { token }) => Ok(Some(token)),
            Login::Identity(_) | Login::Accepted | Login::Open => Ok(None),
        }
    }

    /// Runs what blocks where that harms nobody.
    pub(super) async fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ImagesError> + Send + 'static,
    ) -> Result<T, ImagesError> {
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(ImagesError::Ended))
    }

    /// The same for somebody with credentials of his own.
    pub fn with_client(&self, client: Client) -> Self {
        Self { own: Some(client), ..self.clone() }
    }
}
