//! The points between two effects on the host, at which tests fail or kill.
//!
//! Invariant: every change of links, rules, mounts or files that recovery must be able to meet half
//! done stands between two of them. Nothing happens there unless somebody asked for it.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::error::NetworkError;

type Hook = dyn Fn(&'static str) -> io::Result<()> + Send + Sync;

/// Called at each step with its name; cloned freely.
#[derive(Clone)]
pub struct Steps(Option<Arc<Hook>>);

impl Steps {
    /// What everybody but a test wants.
    pub const fn unwatched() -> Self {
        Self(None)
    }

    /// Calls `hook`, whose error becomes that of the step; one that never returns is a crash.
    pub fn watched(hook: impl Fn(&'static str) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    /// The point before the step `name`.
    pub(crate) fn at(&self, name: &'static str) -> Result<(), NetworkError> {
        self.0.as_ref().map_or(Ok(()), |hook| hook(name)).map_err(NetworkError::io("step", name))
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Steps").field(&self.0.is_some()).finish()
    }
}
