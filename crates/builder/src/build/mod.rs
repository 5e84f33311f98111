//! A build: the stages that the target needs, side by side.
//!
//! A stage is a thread. It walks its instructions in order, and waits for another stage where it stands on it or
//! reads from it, and not before. Invariants: a stage that nothing needs is not begun; what failed first is what is
//! told; no thread outlives the build.

mod graph;
mod key;
mod remote;
mod run;
mod scope;
mod shared;
mod source;
mod state;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use dhow_spec::Platform;
use dhow_spec::image::ImageConfig;

use crate::context::Context;
use crate::dockerfile::Dockerfile;
use crate::error::{BuildError, Fault};
use crate::observer::{Event, Observer};
use crate::worker::{Layer, Worker};
use graph::Graph;
pub(crate) use scope::is_proxy;
use shared::Shared;

/// What a name stands for beside stages and images.
#[derive(Debug)]
pub enum Named {
    /// Another image.
    Image(String),
    /// Files.
    Files(Context),
}

/// What is to be built, and how.
pub struct Ask<'a> {
    /// The file.
    pub file: &'a Dockerfile,
    /// The files that were sent.
    pub context: &'a Context,
    /// Other contexts by name.
    pub contexts: &'a BTreeMap<String, Named>,
    /// Which stage; the last one where absent.
    pub target: Option<String>,
    /// What the user says that variables are.
    pub args: BTreeMap<String, String>,
    /// Notes that the image gets at the end.
    pub labels: Vec<(String, String)>,
    /// For which platform.
    pub platform: Platform,
    /// On which platform.
    pub build_platform: Platform,
    /// Nothing that was done before counts.
    pub no_cache: bool,
    /// The same for these stages.
    pub no_cache_stages: BTreeSet<String>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Agents for ssh that there are, by their ids.
    pub agents: BTreeSet<String>,
    /// Commands may have all rights (`--security=insecure`).
    pub insecure: bool,
    /// Commands may have the host's network where the file says so.
    pub host_network: bool,
    /// Who carries it out.
    pub worker: &'a dyn Worker,
    /// Who is told.
    pub observer: &'a dyn Observer,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The configuration, layers and history included.
    pub config: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

/// Builds.
pub fn build(ask: &Ask<'_>) -> Result<Built, BuildError> {
    let graph = Graph::new(ask)?;
    let shared = Shared::new(ask, graph);
    ask.observer.event(&Event::Begin { stages: &shared.graph.needed });
    std::thread::scope(|scope| {
        for stage in shared.graph.needed.iter().copied() {
            let shared = &shared;
            scope.spawn(move || {
                walk::stage(shared, stage);
                ask.observer.event(&Event::End { stage });
            });
        }
    });
    if let Some(error) = shared.take_error() {
        return Err(error);
    }
    let state = shared.wait(shared.graph.target).map_err(|fault| BuildError {
        line: None,
        text: String::new(),
        fault,
    })?;
    tell_of_unused(ask, &shared);
    Ok(state.built())
}

/// Variables that the user set and nobody asked for.
fn tell_of_unused(ask: &Ask<'_>, shared: &Shared<'_>) {
    let used = shared.used_args();
    let unused: Vec<&str> = ask
        .args
        .keys()
        .map(String::as_str)
        .filter(|name| !used.contains(*name) && !scope::is_predefined(name))
        .collect();
    if !unused.is_empty() {
        let text =
            format!("[Warning] One or more build-args [{}] were not consumed\n", unused.join(" "));
        ask.observer.event(&Event::Warning { stage: shared.graph.target, text: &text });
    }
}

impl From<Fault> for BuildError {
    fn from(fault: Fault) -> Self {
        let line = match &fault {
            Fault::Parse(error) if error.line > 0 => Some(error.line),
            _ => None,
        };
        Self { line, text: String::new(), fault }
    }
}
