//! What moving images needs, put together once.

use std::sync::Arc;

use dhow_archive::compress::Limits;
use dhow_distribution::Client;
use dhow_store::{Owners, Snapshots, Store};
use tokio::sync::Semaphore;

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
    pub(super) client: Client,
    pub(super) options: Arc<ImageEngineOptions>,
    pub(super) downloads: Arc<Semaphore>,
    pub(super) uploads: Arc<Semaphore>,
    pub(super) unpacks: Arc<Semaphore>,
}

impl ImageEngine {
    /// Between these registries and this store.
    pub fn new(
        store: Arc<Store>,
        snapshots: Arc<Snapshots>,
        client: Client,
        options: ImageEngineOptions,
    ) -> Self {
        Self {
            store,
            snapshots,
            client,
            downloads: Arc::new(Semaphore::new(options.downloads_max.max(1))),
            uploads: Arc::new(Semaphore::new(options.uploads_max.max(1))),
            unpacks: Arc::new(Semaphore::new(options.unpacks_max.max(1))),
            options: Arc::new(options),
        }
    }

    /// The same for somebody with credentials of his own.
    pub fn with_client(&self, client: Client) -> Self {
        Self { client, ..self.clone() }
    }
}
