//! What a stage has come to: configuration, layers, history.
//!
//! Invariant: the configuration has as many layers as there are, and a line of history for every instruction.

use dhow_spec::Platform;
use dhow_spec::image::{History, ImageConfig, RootFs, RunConfig, Timestamp};

use super::Built;
use super::key::Key;
use crate::worker::{Base, Layer, Record};

/// What commands find where nobody said otherwise.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What tools look for in the history.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// A stage so far.
#[derive(Debug, Clone)]
pub(super) struct State {
    config: ImageConfig,
    pub(super) run: RunConfig,
    pub(super) layers: Vec<Layer>,
    pub(super) platform: Platform,
    /// This stage has said what a container runs.
    pub(super) has_cmd: bool,
}

impl State {
    /// Nothing at all.
    pub(super) fn scratch(platform: &Platform) -> Self {
        let run = RunConfig {
            env: vec![format!("PATH={PATH}")],
            working_dir: Some("/".to_owned()),
            ..RunConfig::default()
        };
        Self {
            config: ImageConfig::new(platform),
            run,
            layers: Vec::new(),
            platform: platform.clone(),
            has_cmd: false,
        }
    }

    /// An image.
    pub(super) fn of(base: Base) -> Self {
        let Base { mut config, layers, .. } = base;
        let mut run = config.config.take().unwrap_or_default();
        if super::scope::env_value(&run.env, "PATH").is_none() {
            run.env.push(format!("PATH={PATH}"));
        }
        run.args_escaped = false;
        let platform = config.platform();
        Self { config, run, layers, platform, has_cmd: false }
    }

    /// Another stage, for one that stands on it.
    pub(super) fn next(&self) -> Self {
        Self { has_cmd: false, ..self.clone() }
    }

    pub(super) fn set_author(&mut self, author: String) {
        self.config.author = Some(author);
    }

    /// Adds what a step came to.
    pub(super) fn add(&mut self, record: &Record, created_by: String, epoch: Option<&Timestamp>) {
        let created = epoch.unwrap_or(&record.created).clone();
        self.config.created = Some(created.clone());
        self.layers.extend(record.layer.clone());
        self.config.history.push(History {
            created: Some(created),
            created_by: Some(created_by),
            author: self.config.author.clone(),
            comment: Some(COMMENT.to_owned()),
            empty_layer: record.layer.is_none(),
        });
    }

    /// The whole.
    pub(super) fn built(&self) -> Built {
        let mut config = self.config.clone();
        config.config = Some(self.run.clone());
        config.rootfs = RootFs::new(self.layers.iter().map(|layer| layer.diff_id).collect());
        Built { config, layers: self.layers.clone() }
    }

    /// The whole with one more layer, which no line of history tells of.
    pub(super) fn with(&self, created: Timestamp, layer: Layer) -> Built {
        let mut next = self.clone();
        next.config.created = Some(created);
        next.layers.push(layer);
        next.built()
    }

    /// A name of 12 digits for what there is so far.
    pub(super) fn short_id(&self) -> String {
        let digest = Key::new("state").text(&self.built().config.to_json()).finish();
        digest.hex()[..12].to_owned()
    }

    /// Its configuration as text, for keys of what changes it.
    pub(super) fn to_json(&self) -> String {
        self.built().config.to_json()
    }

    /// What runs commands that are one text.
    pub(super) fn shell(&self) -> Vec<String> {
        match self.run.shell.is_empty() {
            true => vec!["/bin/sh".to_owned(), "-c".to_owned()],
            false => self.run.shell.clone(),
        }
    }

    pub(super) fn working_dir(&self) -> &str {
        match self.run.working_dir.as_deref() {
            None | Some("") => "/",
            Some(directory) => directory,
        }
    }

    /// A path of an instruction, from the working directory on.
    pub(super) fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') {
            return path.to_owned();
        }
        format!("{}/{path}", self.working_dir().trim_end_matches('/'))
    }
}
