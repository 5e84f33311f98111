//! A tar of a root file system, made an image.

use std::io::Read;

use dhow_archive::compress::Limits;
use dhow_spec::image::{History, ImageConfig, RunConfig, Timestamp};
use dhow_spec::{Platform, Reference};
use dhow_store::{Import, LoadLimits};

use super::error::ImagesError;
use super::instructions::{InstructionError, apply_instruction};
use super::options::ImageEngine;

/// An image to be made of a tar.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// What it is to be called, if anything.
    pub name: Option<Reference>,
    /// What it is made for; this machine where absent.
    pub platform: Option<Platform>,
    /// Why.
    pub message: String,
    /// What its configuration is to be, as a Dockerfile's instructions.
    pub changes: Vec<String>,
}

impl ImportRequest {
    /// The configuration that the changes come to.
    fn config(&self) -> Result<RunConfig, InstructionError> {
        let mut config = RunConfig::default();
        for line in self.changes.iter().flat_map(|text| text.lines()) {
            apply_instruction(&mut config, line)?;
        }
        Ok(config)
    }
}

/// Now, as images say it.
pub(crate) fn now() -> Option<Timestamp> {
    let now_ns = crate::clock::now_ns();
    let nanoseconds = now_ns.rem_euclid(1_000_000_000) as u32;
    Timestamp::from_unix(now_ns.div_euclid(1_000_000_000), nanoseconds)
}

impl ImageEngine {
    /// Makes an image of a tar, compressed or not; gives its id.
    pub async fn import(
        &self,
        request: ImportRequest,
        source: impl Read + Send + 'static,
    ) -> Result<String, ImagesError> {
        let run = request.config().map_err(ImagesError::Instruction)?;
        let platform = request.platform.unwrap_or_else(Platform::of_build);
        let created = now();
        let config = ImageConfig {
            created: created.clone(),
            config: Some(run),
            ..ImageConfig::new(&platform)
        };
        let step = History {
            created,
            comment: Some(request.message).filter(|message| !message.is_empty()),
            ..History::default()
        };
        let import = Import { name: request.name, config, step };
        let lease = self.begin_lease().await.map_err(|error| ImagesError::Pull(Box::new(error)))?;
        let engine = self.clone();
        self.wait(move || {
            let limits = LoadLimits { bytes_max: u64::MAX, compression: Limits::NONE };
            let made = engine.store.import(&lease, source, import, limits);
            engine.store.end_lease(&lease)?;
            Ok(made.map_err(ImagesError::Load)?.target.digest.to_string())
        })
        .await
    }
}
