//! From the tar of a root file system to an image of one layer.
//!
//! Invariant: the layer is the very bytes that came, compressed or not, and a tar that has one
//! reading; its diff-id is what was seen of it.

use std::io::{self, Read};
use std::time::Duration;

use dhow_archive::compress::{Decoder, as_images_have_it};
use dhow_archive::hash::HashingReader;
use dhow_archive::tar::{Fault, Options, Reader, TarError};
use dhow_spec::image::{
    Compression, Descriptor, Family, History, ImageConfig, Manifest, MediaType, RootFs,
};
use dhow_spec::{Algorithm, Digest, Reference};

use super::contents::ingest_id;
use super::error::LoadError;
use super::load::{LoadLimits, Loaded};
use crate::content::{Begun, ContentError, Expected, Ingest, Stored};
use crate::db::LeaseId;
use crate::store::Store;

const BY: &str = "importing a file system";

/// An image in the making.
#[derive(Debug, Clone)]
pub struct Import {
    /// What it will be called, if anything.
    pub name: Option<Reference>,
    /// What its configuration says beside the layer: platform, time, what a container runs.
    pub config: ImageConfig,
    /// The step that its history tells.
    pub step: History,
}

/// Gives a stream on and keeps it.
struct Tee<'a, R> {
    source: R,
    ingest: &'a mut Ingest,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.ingest.write(&buffer[..count]).map_err(io::Error::other)?;
        Ok(count)
    }
}

type Result<T> = std::result::Result<T, LoadError>;

impl Store {
    /// Makes an image of one layer. Its blobs are kept by the lease, which the caller ends
    /// afterwards.
    pub fn import(
        &self,
        lease: &LeaseId,
        source: impl Read,
        import: Import,
        limits: LoadLimits,
    ) -> Result<Loaded> {
        let Import { name, mut config, step } = import;
        let (layer, diff_id, compression) = self.import_layer(lease, source, limits)?;
        config.rootfs = RootFs::new(vec![diff_id]);
        config.history.push(step);
        let config = self.content().put(lease, config.to_json().as_bytes(), BY)?;
        let point = |kind, stored: Stored| Descriptor::new(kind, stored.digest, stored.size);
        let layer = point(MediaType::layer(Family::Oci, compression), layer);
        let config = point(MediaType::Config(Family::Oci), config);
        let manifest = Manifest::new(config, vec![layer]).to_json();
        let manifest = self.content().put(lease, manifest.as_bytes(), BY)?;
        self.record(name, point(MediaType::Manifest(Family::Oci), manifest))
    }

    fn import_layer(
        &self,
        lease: &LeaseId,
        source: impl Read,
        limits: LoadLimits,
    ) -> Result<(Stored, Digest, Compression)> {
        let expected = Expected { id: ingest_id(None), size: None, size_max: limits.bytes_max };
        let begun = self.content().begin(lease, expected, BY, Duration::ZERO)?;
        let Begun::Ingest(mut ingest) = begun else {
            unreachable!("a blob of unknown digest cannot be there")
        };
        // A process before us may have died with this name.
        ingest.restart()?;
        match read(&mut ingest, source, limits) {
            Ok((diff_id, compression)) => Ok((ingest.commit()?, diff_id, compression)),
            Err(error) => {
                ingest.discard()?;
                Err(error)
            }
        }
    }
}

/// Reads all of a tar through to the ingest; gives its diff-id, and how it came.
fn read(
    ingest: &mut Ingest,
    source: impl Read,
    limits: LoadLimits,
) -> Result<(Digest, Compression)> {
    let source = as_images_have_it(source, limits.compression).map_err(compression)?;
    let decoder = Decoder::new(Tee { source, ingest }, limits.compression).map_err(compression)?;
    let kind = decoder.compression().unwrap_or(Compression::None);
    let mut reader = Reader::new(HashingReader::new(decoder, Algorithm::Sha256), Options::LAYER);
    while reader.next_entry().map_err(content_or_tar)?.is_some() {}
    Ok((reader.into_inner().finish().1.digest, kind))
}

fn compression(error: io::Error) -> LoadError {
    match error.downcast::<ContentError>() {
        Ok(error) => error.into(),
        Err(error) => LoadError::Compression(error),
    }
}

/// What could not be kept comes back through the stream.
fn content_or_tar(error: TarError) -> LoadError {
    let TarError { index, path, fault } = error;
    match fault {
        Fault::Io(error) => match error.downcast::<ContentError>() {
            Ok(error) => error.into(),
            Err(error) => LoadError::Tar(TarError { index, path, fault: Fault::Io(error) }),
        },
        fault => LoadError::Tar(TarError { index, path, fault }),
    }
}
