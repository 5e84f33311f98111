//! The image that needs no registry: our own program, which says hello.
//!
//! Invariant: the same program gives the same image, byte for byte; its times are 1970.
//! Absent on purpose: what is said.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use dhow_archive::compress::Limits;
use dhow_archive::tar::{Content, Entry, Kind, Metadata, TarError, Writer};
use dhow_spec::image::{History, ImageConfig, RunConfig};
use dhow_spec::{Platform, Reference};
use dhow_store::{Image, Import, LoadError, LoadLimits, StoreImageError};

use super::error::PullError;
use super::options::ImageEngine;
use super::pull::blocking;

/// The name of the built-in image, as users type it.
pub const HELLO: &str = "hello";

/// A built-in image that could not be made.
#[derive(Debug)]
pub enum HelloError {
    /// Our own program could not be read.
    Program {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Its layer could not be written.
    Layer(TarError),
    /// The store did not take it.
    Load(LoadError),
    /// The store does not find it.
    Image(StoreImageError),
    /// The work around it.
    Work(PullError),
}

impl ImageEngine {
    /// Makes the image [`HELLO`] of the program at `path`, under that name.
    pub async fn make_hello(&self, path: &Path) -> Result<Image, HelloError> {
        let (store, path) = (self.store.clone(), path.to_owned());
        let lease = self.begin_lease().await?;
        let name = Reference::parse(HELLO).expect("a valid name");
        let ours = lease.clone();
        let made = blocking(move || {
            let layer = layer(&path)?;
            let import = Import { name: Some(name), config: config(), step: step() };
            let limits = LoadLimits { bytes_max: 1 << 30, compression: Limits::NONE };
            let loaded = store.import(&ours, &*layer, import, limits)?;
            let image = store.images().by_digest(&loaded.target.digest)?;
            image.ok_or(HelloError::Work(PullError::Ended))
        });
        let made = made.await;
        self.done_with(&lease).await?;
        made?
    }
}

/// The tar: one file, the program.
fn layer(path: &Path) -> Result<Vec<u8>, HelloError> {
    let wrong = |error| HelloError::Program { path: path.to_owned(), error };
    let mut program = Vec::new();
    File::open(path).and_then(|mut file| file.read_to_end(&mut program)).map_err(wrong)?;
    let entry = Entry {
        path: b"dhow".to_vec(),
        kind: Kind::File(Content { size: program.len() as u64, map: None }),
        metadata: Metadata { mode: 0o755, ..Metadata::default() },
    };
    let mut writer = Writer::new(Vec::new());
    writer.append(&entry, &*program).map_err(HelloError::Layer)?;
    writer.finish().map_err(HelloError::Layer)
}

fn config() -> ImageConfig {
    let mut config = ImageConfig::new(&Platform::of_build());
    config.config = Some(RunConfig {
        entrypoint: vec!["/dhow".into()],
        cmd: vec!["hello".into()],
        ..RunConfig::default()
    });
    config
}

fn step() -> History {
    History { created_by: Some("built into dhow".into()), ..History::default() }
}

impl From<PullError> for HelloError {
    fn from(error: PullError) -> Self {
        Self::Work(error)
    }
}

impl From<LoadError> for HelloError {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl From<StoreImageError> for HelloError {
    fn from(error: StoreImageError) -> Self {
        Self::Image(error)
    }
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("make the built-in image hello: ")?;
        match self {
            Self::Program { path, error } => {
                write!(f, "read our own program {}: {error}", path.display())
            }
            Self::Layer(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
            Self::Image(error) => error.fmt(f),
            Self::Work(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HelloError {}
