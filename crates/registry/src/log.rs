//! Where lines for the operator go: whoever starts a registry says.

use std::fmt;
use std::sync::Arc;

/// Takes lines; cloned freely.
#[derive(Clone)]
pub struct Log(Arc<dyn Fn(&str) + Send + Sync>);

impl Log {
    /// Lines go to `take`, one at a time, without their end.
    pub fn new(take: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Lines go nowhere.
    pub fn nowhere() -> Self {
        Self::new(|_| {})
    }

    pub(crate) fn say(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}
