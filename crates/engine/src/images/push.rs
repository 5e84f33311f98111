//! From an image here to a registry.
//!
//! The way: an image that no registry has seen gets compressed layers → everything behind its target → the blobs that registries keep, side by side → the manifests
//! from the innermost out, the named one last. A registry never holds a name whose parts are not there.
//!
//! Invariant: what a registry has served is neither compressed nor computed again; what others pulled from us has
//! the digests that we had.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use dhow_distribution::Source;
use dhow_spec::image::{Descriptor, MANIFEST_BYTES_MAX, MediaType};
use dhow_spec::{Digest, Platform, Reference, Repository};
use dhow_store::{Content, ContentError, Image, LeaseId, StoreImageError};
use tokio::task::JoinSet;

use super::error::{PullError, PushError};
use super::options::ImageEngine;
use super::progress::{Transfers, Watcher};
use super::pull::blocking;

/// What one read of a source gives: as much as a connection takes at once.
const BUFFER: usize = 256 << 10;

/// What is to be pushed.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// What, and to where.
    pub reference: Reference,
    /// Only this platform's image, in place of all that the name stands for.
    pub platform: Option<Platform>,
}

/// A document, and how registries shall know it.
struct Named {
    descriptor: Descriptor,
    bytes: Bytes,
}

/// All that travels, in two parts.
struct Cargo {
    blobs: Vec<Descriptor>,
    /// The innermost first.
    documents: Vec<Named>,
}

impl ImageEngine {
    /// Pushes an image under its name; gives what the name points to in the registry.
    pub async fn push(
        &self,
        request: &PushRequest,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Descriptor, PushError> {
        let lease = self.begin_lease().await.map_err(no_lease)?;
        let pushed = self.push_kept(request, watcher, &lease).await;
        let store = self.store.clone();
        let ended =
            blocking(move || store.end_lease(&lease)).await.map_err(|_| PushError::Ended)?;
        ended.map_err(StoreImageError::Db)?;
        self.discard_unpacked().await.map_err(|error| PushError::Discarded(Box::new(error)))?;
        pushed
    }

    /// The same; what is made on the way is kept by the lease.
    async fn push_kept(
        &self,
        request: &PushRequest,
        watcher: Arc<dyn Watcher>,
        lease: &LeaseId,
    ) -> Result<Descriptor, PushError> {
        let (store, reference) = (self.store.clone(), request.reference.clone());
        let platform = request.platform.clone();
        let image = blocking(move || {
            let image = store.images().by_name(&reference)?;
            let image = image.ok_or(PushError::NoImage { reference: Box::new(reference) })?;
            match platform {
                None => Ok(image),
                Some(platform) => {
                    let selected = store.images().select(&image, &platform)?;
                    // On its own it needs nobody to say which platform's it is.
                    let target = Descriptor { platform: None, ..selected.descriptor };
                    Ok::<_, PushError>(Image { target, ..image })
                }
            }
        });
        let image = image.await.map_err(|_| PushError::Ended)??;
        self.push_image(image, &request.reference, watcher, lease).await
    }

    /// Pushes an image, which need have no name here, under one.
    pub(crate) async fn push_image(
        &self,
        image: Image,
        reference: &Reference,
        watcher: Arc<dyn Watcher>,
        lease: &LeaseId,
    ) -> Result<Descriptor, PushError> {
        let (image, store) = (self.packed(image, lease).await?, self.store.clone());
        let back = self.bring_back(std::slice::from_ref(&image), lease).await;
        back.map_err(|error| PushError::Discarded(Box::new(error)))?;
        let cargo = blocking(move || load(store.content(), &image, &store.images().blobs(&image)?));
        let cargo = cargo.await.map_err(|_| PushError::Ended)??;
        let transfers = Transfers(watcher);
        self.push_blobs(reference, cargo.blobs, &transfers).await?;
        let mut documents = cargo.documents.into_iter().peekable();
        while let Some(Named { descriptor, bytes }) = documents.next() {
            let name = match documents.peek() {
                Some(_) => Reference::pinned(reference.repository().clone(), descriptor.digest),
                None => reference.clone(),
            };
            let media_type = &descriptor.media_type;
            let pushed = self.client().push_manifest(&name, media_type, bytes, &transfers).await?;
            if documents.peek().is_none() {
                return Ok(pushed);
            }
        }
        Err(PushError::NoImage { reference: Box::new(reference.clone()) })
    }

    /// As many at a time as is allowed; the first failure ends the others.
    async fn push_blobs(
        &self,
        reference: &Reference,
        blobs: Vec<Descriptor>,
        transfers: &Transfers,
    ) -> Result<(), PushError> {
        let mut tasks = JoinSet::new();
        for descriptor in blobs {
            let (engine, transfers) = (self.clone(), transfers.clone());
            let repository = reference.repository().clone();
            tasks.spawn(async move {
                let turn = engine.uploads().acquire_owned().await;
                let _turn = turn.map_err(|_| PushError::Ended)?;
                engine.push_blob(&repository, &descriptor, &transfers).await
            });
        }
        while let Some(joined) = tasks.join_next().await {
            // Dropping the set ends the rest.
            joined.map_err(|_| PushError::Ended)??;
        }
        Ok(())
    }

    async fn push_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        transfers: &Transfers,
    ) -> Result<(), PushError> {
        let (content, digest) = (self.store.content().clone(), descriptor.digest);
        let own = repository.clone();
        let (source, from) = blocking(move || -> Result<_, ContentError> {
            let sources = content.sources(&digest)?;
            let neighbour = |one: &Repository| one.domain() == own.domain() && *one != own;
            let from = sources.into_iter().find(neighbour);
            Ok((BlobSource::open(&content, digest)?, from))
        })
        .await
        .map_err(|_| PushError::Ended)??;
        let mut source = source;
        self.client().push(repository, descriptor, from.as_ref(), &mut source, transfers).await?;
        let (content, repository) = (self.store.content().clone(), repository.clone());
        let noted = blocking(move || content.add_source(&digest, &repository)).await;
        Ok(noted.map_err(|_| PushError::Ended)??)
    }
}

fn no_lease(error: PullError) -> PushError {
    match error {
        PullError::Db(error) => PushError::Store(StoreImageError::Db(error)),
        _ => PushError::Ended,
    }
}

/// Reads the documents, and finds what is missing before anything travels.
fn load(content: &Content, image: &Image, all: &[Descriptor]) -> Result<Cargo, PushError> {
    let mut cargo = Cargo { blobs: Vec::new(), documents: Vec::new() };
    for descriptor in all {
        match descriptor.media_type {
            MediaType::Index(_) | MediaType::Manifest(_) => {
                let bytes = content.read(&descriptor.digest, MANIFEST_BYTES_MAX as u64);
                let bytes = bytes.map_err(|error| missing(image, descriptor, error))?;
                cargo.documents.push(Named { descriptor: descriptor.clone(), bytes: bytes.into() });
            }
            _ => {
                if !content.contains(&descriptor.digest)? {
                    let (image, blob) =
                        (Box::new(image.target.digest), Box::new(descriptor.digest));
                    return Err(PushError::Incomplete { image, blob });
                }
                if !cargo.blobs.iter().any(|known| known.digest == descriptor.digest) {
                    cargo.blobs.push(descriptor.clone());
                }
            }
        }
    }
    // The walk gives what points before what is pointed to.
    cargo.documents.reverse();
    Ok(cargo)
}

fn missing(image: &Image, descriptor: &Descriptor, error: ContentError) -> PushError {
    match error {
        ContentError::NotFound { .. } => {
            let (image, blob) = (Box::new(image.target.digest), Box::new(descriptor.digest));
            PushError::Incomplete { image, blob }
        }
        error => PushError::Content(error),
    }
}

/// A blob of the store, for an upload.
struct BlobSource {
    file: Arc<std::fs::File>,
    offset: u64,
}

impl BlobSource {
    fn open(content: &Content, digest: Digest) -> Result<Self, ContentError> {
        Ok(Self { file: Arc::new(content.open_blob(&digest)?.into_file()), offset: 0 })
    }
}

impl Source for BlobSource {
    async fn open(&mut self, offset: u64) -> io::Result<()> {
        self.offset = offset;
        Ok(())
    }

    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        let (file, offset) = (self.file.clone(), self.offset);
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; BUFFER];
            let count = file.read_at(&mut buffer, offset)?;
            buffer.truncate(count);
            Ok::<_, io::Error>(buffer)
        });
        let buffer = read.await.map_err(io::Error::other)??;
        self.offset += buffer.len() as u64;
        Ok(if buffer.is_empty() { None } else { Some(buffer.into()) })
    }
}
