//! What the stages of a build have in common: each other's results, and the first thing that went wrong.
//!
//! Invariant: whoever waits for a stage is told when it has ended, however it has.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Ask;
use super::graph::Graph;
use super::state::State;
use crate::error::{BuildError, Fault};
use crate::worker::WorkError;

/// What the stages of a build have in common.
pub(super) struct Shared<'a> {
    pub(super) ask: &'a Ask<'a>,
    pub(super) graph: Graph,
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    /// What came of each stage; absent while nobody knows, `None` where nothing did.
    ends: Vec<Option<Option<Arc<State>>>>,
    error: Option<BuildError>,
    used: BTreeSet<String>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(ask: &'a Ask<'a>, graph: Graph) -> Self {
        let used = graph.globals.args.keys().cloned().collect();
        let ends = vec![None; ask.file.stages.len()];
        let inner = Mutex::new(Inner { ends, error: None, used });
        Self { ask, graph, inner, changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what came of a stage.
    pub(super) fn end(&self, stage: usize, end: Result<State, BuildError>) {
        let mut inner = self.lock();
        match end {
            Ok(state) => inner.ends[stage] = Some(Some(Arc::new(state))),
            Err(error) => {
                inner.ends[stage] = Some(None);
                // What ends because of another's failure has nothing to tell.
                let first = match &inner.error {
                    None => true,
                    Some(known) => known.fault.is_cancelled() && !error.fault.is_cancelled(),
                };
                if first {
                    inner.error = Some(error);
                }
                self.ask.worker.stop();
            }
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits for a stage.
    pub(super) fn wait(&self, stage: usize) -> Result<Arc<State>, Fault> {
        let mut inner = self.lock();
        loop {
            match &inner.ends[stage] {
                Some(Some(state)) => return Ok(state.clone()),
                Some(None) => return Err(Fault::Work(WorkError::Cancelled)),
                None => {
                    inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    pub(super) fn take_error(&self) -> Option<BuildError> {
        self.lock().error.take()
    }

    /// Notes that the file asked for a variable.
    pub(super) fn use_arg(&self, name: &str) {
        self.lock().used.insert(name.to_owned());
    }

    pub(super) fn used_args(&self) -> BTreeSet<String> {
        self.lock().used.clone()
    }
}
