//! What all tests use: names, clients, sinks and sources that keep what they see.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dhow_distribution::{
    Addresses, Client, Config, Event, Limits, Observer, Resolver, Sink, Source, Verifier,
};
use dhow_spec::image::{Compression, Descriptor, Family, Index, Manifest, MediaType};
use dhow_spec::{Digest, Platform, PlatformMatcher, Reference, Repository};
use sha2::Digest as _;

use crate::memory::Content;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Names of the tests; all others lead nowhere.
#[derive(Clone, Default)]
pub(crate) struct Names(BTreeMap<String, Vec<SocketAddr>>);

impl Names {
    pub(crate) fn new<const N: usize>(names: [(&str, SocketAddr); N]) -> Self {
        Self(names.into_iter().map(|(name, address)| (name.to_owned(), vec![address])).collect())
    }

    /// A name with several addresses.
    pub(crate) fn of(name: &str, addresses: Vec<SocketAddr>) -> Self {
        Self([(name.to_owned(), addresses)].into())
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a str, _: u16) -> Addresses<'a> {
        Box::pin(async move { Ok(self.0.get(host).cloned().unwrap_or_default()) })
    }
}

/// A configuration with short waits between attempts, and patience within them: a machine that is
/// busy must not look like a registry that stalls.
pub(crate) fn config() -> Config {
    let mut config = Config::new("dhow-test/1", Vec::new());
    config.limits = Limits {
        back_off: Duration::from_millis(2),
        back_off_max: Duration::from_millis(20),
        connect: Duration::from_secs(20),
        stall: Duration::from_secs(20),
        commit: Duration::from_secs(20),
        ..Limits::standard()
    };
    config
}

pub(crate) fn client() -> Client {
    client_of(config(), Names::default())
}

pub(crate) fn client_of(config: Config, names: Names) -> Client {
    Client::new(config, Arc::new(names)).expect("a good configuration")
}

pub(crate) fn reference(text: &str) -> Reference {
    Reference::parse(text).expect(text)
}

pub(crate) fn repository(text: &str) -> Repository {
    Repository::parse(text).expect(text)
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::Sha256(sha2::Sha256::digest(bytes).into())
}

/// Bytes that repeat nowhere near.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect()
}

pub(crate) fn layer_of(bytes: &[u8]) -> Descriptor {
    let kind = MediaType::layer(Family::Oci, Compression::Gzip);
    Descriptor::new(kind, digest_of(bytes), bytes.len() as u64)
}

/// An image's manifest whose blobs are in the registry.
pub(crate) fn add_image(content: &mut Content, platform: &Platform, layers: &[&[u8]]) -> Manifest {
    let config = dhow_spec::image::ImageConfig::new(platform).to_json();
    content.add_blob(config.as_bytes());
    let kind = MediaType::Config(Family::Oci);
    let config = Descriptor::new(kind, digest_of(config.as_bytes()), config.len() as u64);
    for layer in layers {
        content.add_blob(layer);
    }
    Manifest::new(config, layers.iter().map(|layer| layer_of(layer)).collect())
}

/// An index of such images; entries say their platforms unless they shall not.
pub(crate) fn add_index(
    content: &mut Content,
    repository: &str,
    tag: &str,
    platforms: &[(&str, bool)],
) -> Index {
    let entries = platforms.iter().map(|(name, told)| {
        let platform = platform(name);
        let manifest = add_image(content, &platform, &[name.as_bytes()]).to_json();
        let digest = content.add_manifest(repository, name, OCI_MANIFEST, manifest.as_bytes());
        let kind = MediaType::Manifest(Family::Oci);
        let mut entry = Descriptor::new(kind, digest, manifest.len() as u64);
        entry.platform = told.then_some(platform);
        entry
    });
    let index = Index::new(entries.collect());
    content.add_manifest(repository, tag, OCI_INDEX, index.to_json().as_bytes());
    index
}

pub(crate) fn platform(text: &str) -> Platform {
    Platform::parse(text, &Platform::new("linux", "amd64", "")).expect(text)
}

pub(crate) fn matcher(text: &str) -> PlatformMatcher {
    PlatformMatcher::compatible(&platform(text))
}

/// Keeps what it is given, and knows what was asked of it.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    pub(crate) written: usize,
    pub(crate) rewinds: usize,
    pub(crate) is_finished: bool,
}

impl Kept {
    /// With the first part of something already.
    pub(crate) fn with(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), ..Self::default() }
    }
}

impl Sink for Kept {
    async fn begin(&mut self, verifier: &mut Verifier) -> io::Result<()> {
        verifier.update(&self.bytes).map_err(io::Error::other)
    }

    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.written += bytes.len();
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn rewind(&mut self) -> io::Result<()> {
        self.rewinds += 1;
        self.bytes.clear();
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.is_finished = true;
        Ok(())
    }
}

/// Gives small pieces, so that uploads can break off in the middle.
pub(crate) struct Pieces {
    pub(crate) bytes: Vec<u8>,
    pub(crate) at: usize,
    pub(crate) read: usize,
    /// Fails when it comes here.
    pub(crate) rotten_from: usize,
}

impl Pieces {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), at: 0, read: 0, rotten_from: usize::MAX }
    }
}

impl Source for Pieces {
    async fn open(&mut self, offset: u64) -> io::Result<()> {
        self.at = usize::try_from(offset).expect("small");
        Ok(())
    }

    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        if self.at >= self.rotten_from {
            return Err(io::Error::other("the disk is rotten"));
        }
        let end = self.bytes.len().min(self.at + 1000);
        let piece = Bytes::copy_from_slice(&self.bytes[self.at..end]);
        self.read += piece.len();
        self.at = end;
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }
}

/// Writes down what happens.
#[derive(Default)]
pub(crate) struct Diary(Mutex<Vec<String>>);

impl Diary {
    /// Those lines that begin so.
    pub(crate) fn lines(&self, start: &str) -> Vec<String> {
        let lines = self.0.lock().expect("nobody panics here");
        lines.iter().filter(|line| line.starts_with(start)).cloned().collect()
    }
}

impl Observer for Diary {
    fn event(&self, event: &Event<'_>) {
        let line = match event {
            Event::Started { done, size, .. } => format!("started at {done} of {size}"),
            Event::Progress { done, size, .. } => format!("progress {done} of {size}"),
            Event::Finished { .. } => "finished".to_owned(),
            Event::Exists { .. } => "exists".to_owned(),
            Event::Mounted { from, .. } => format!("mounted from {from}"),
            Event::Retrying { wait, why, .. } => {
                format!("retrying in {} ms: {why}", wait.as_millis())
            }
            Event::PassedOver { mirror, why } => format!("passed over {mirror}: {why}"),
            Event::Warning { text, .. } => format!("warning {text}"),
            other => format!("{other:?}"),
        };
        self.0.lock().expect("nobody panics here").push(line);
    }
}
