//! Layers that are kept as plain archives, compressed for a registry.
//!
//! What a registry has served goes back as it came, digests and all. What never was in one — loaded from one of
//! Docker's archives, imported, committed — has a manifest of our own making: of such an image the registry gets
//! compressed layers, side by side, and a manifest that says so.
//! Invariants: the same layer is compressed into the same bytes, whoever does it and in how many threads; what
//! the configuration says, and so what a container sees, does not change.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use dhow_archive::compress::{Encoding, LayerWriter, Packed};
use dhow_spec::Digest;
use dhow_spec::image::{
    Compression, Descriptor, Document, Family, LayerType, MANIFEST_BYTES_MAX, Manifest, MediaType,
};
use dhow_store::{Begun, Content, ContentError, Expected, Image, Ingest, IngestId, LeaseId};
use tokio::task::{JoinSet, spawn_blocking};

use super::error::PushError;
use super::options::ImageEngine;

const BUFFER: usize = 256 << 10;
/// As long as another push may take for the same layer.
const PATIENCE: Duration = Duration::from_secs(3600);

impl ImageEngine {
    /// The image as it is to be pushed: itself, or its like with compressed layers, kept by the lease.
    pub(super) async fn packed(&self, image: Image, lease: &LeaseId) -> Result<Image, PushError> {
        let (content, target) = (self.store.content().clone(), image.target.clone());
        let found = spawn_blocking(move || of_our_making(&content, &target));
        let Some(mut manifest) = found.await.map_err(|_| PushError::Ended)?? else {
            return Ok(image);
        };
        let mut tasks = JoinSet::new();
        for (position, layer) in manifest.layers.iter().enumerate() {
            let Some(kind) = plain(layer) else { continue };
            let (engine, lease, digest) = (self.clone(), lease.clone(), layer.digest);
            tasks.spawn(async move {
                let turn = engine.unpacks.clone().acquire_owned().await;
                let _turn = turn.map_err(|_| PushError::Ended)?;
                let content = engine.store.content().clone();
                let packed = spawn_blocking(move || pack(&content, &lease, digest));
                let (digest, size) = packed.await.map_err(|_| PushError::Ended)??;
                let kind = LayerType { compression: Compression::Gzip, ..kind };
                let descriptor = Descriptor::new(MediaType::Layer(kind), digest, size);
                Ok::<_, PushError>((position, descriptor))
            });
        }
        while let Some(joined) = tasks.join_next().await {
            let (position, descriptor) = joined.map_err(|_| PushError::Ended)??;
            manifest.layers[position] = descriptor;
        }
        let (content, lease) = (self.store.content().clone(), lease.clone());
        let bytes = manifest.to_json();
        let put = spawn_blocking(move || content.put(&lease, bytes.as_bytes(), "a push"));
        let stored = put.await.map_err(|_| PushError::Ended)??;
        let media_type = image.target.media_type.clone();
        let target = Descriptor::new(media_type, stored.digest, stored.size);
        Ok(Image { target, ..image })
    }
}

/// The layer's type, if it is a plain archive that may travel.
fn plain(layer: &Descriptor) -> Option<LayerType> {
    match layer.media_type {
        MediaType::Layer(kind)
            if kind.compression == Compression::None && kind.distributable && !kind.encrypted =>
        {
            Some(kind)
        }
        _ => None,
    }
}

/// The manifest of an image with plain layers that no registry has served; `None` for all others.
fn of_our_making(content: &Content, target: &Descriptor) -> Result<Option<Manifest>, PushError> {
    if !matches!(target.media_type, MediaType::Manifest(Family::Oci)) {
        return Ok(None);
    }
    let bytes = match content.read(&target.digest, MANIFEST_BYTES_MAX as u64) {
        Ok(bytes) => bytes,
        // Whoever collects what is to be pushed says so.
        Err(ContentError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, Some(&target.media_type)) else {
        return Ok(None);
    };
    let layers: Vec<_> = manifest.layers.iter().filter(|layer| plain(layer).is_some()).collect();
    if layers.is_empty() || !manifest.is_image() {
        return Ok(None);
    }
    for layer in layers {
        let is_here = content.contains(&layer.digest)?;
        if !is_here || !content.sources(&layer.digest)?.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(manifest))
}

/// Compresses one layer into a blob; gives its digest and size.
fn pack(content: &Content, lease: &LeaseId, layer: Digest) -> Result<(Digest, u64), PushError> {
    let id = IngestId::named(&format!("push-{}", layer.hex())).ok_or(PushError::Ended)?;
    let expected = Expected { id, size: None, size_max: u64::MAX };
    let Begun::Ingest(mut ingest) = content.begin(lease, expected, "a push", PATIENCE)? else {
        return Err(PushError::Ended);
    };
    // A process before us may have died with this name.
    ingest.restart()?;
    let blob = content.open_blob(&layer)?.into_file();
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let encoding = Encoding::customary(Compression::Gzip, threads);
    let writer = LayerWriter::new(*ingest, encoding, layer.algorithm()).map_err(failed(layer))?;
    let (ingest, packed) = copy(&blob, writer).map_err(failed(layer))?;
    if packed.tar.digest != layer {
        ingest.discard()?;
        let (expected, actual) = (Box::new(layer), Box::new(packed.tar.digest));
        return Err(ContentError::Corrupt { expected, actual }.into());
    }
    let stored = ingest.commit()?;
    Ok((stored.digest, stored.size))
}

fn copy(blob: &File, mut writer: LayerWriter<Ingest>) -> io::Result<(Ingest, Packed)> {
    let (mut buffer, mut offset) = (vec![0; BUFFER], 0);
    loop {
        let count = blob.read_at(&mut buffer, offset)?;
        if count == 0 {
            return writer.finish();
        }
        writer.write_all(&buffer[..count])?;
        offset += count as u64;
    }
}

/// What the store said comes back through the stream.
fn failed(layer: Digest) -> impl Fn(io::Error) -> PushError {
    move |error| match error.downcast::<ContentError>() {
        Ok(error) => error.into(),
        Err(source) => {
            let path = format!("blobs/{}/{}", layer.algorithm(), layer.hex()).into();
            ContentError::Io { doing: "compress", path, source }.into()
        }
    }
}
