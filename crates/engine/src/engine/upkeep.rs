//! What the host's networks need from time to time: rules that somebody took away come back, and what of others
//! is in the way is told.
//!
//! Absent on purpose: a clock, and words; whoever runs an engine has both.

use tokio::task::spawn_blocking;

use super::{Engine, Shared};

/// What a look at the host's rules found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Upkeep {
    /// Rules of ours were gone, and are back.
    pub repaired: bool,
    /// What of others keeps containers from the world, with what would let them pass.
    pub obstacles: Vec<String>,
    /// Why nothing could be looked at, or brought back.
    pub failure: Option<String>,
}

impl Shared {
    fn upkeep(&self) -> Upkeep {
        let mut upkeep = Upkeep::default();
        match self.network.repair() {
            Ok(repaired) => upkeep.repaired = repaired,
            Err(error) => upkeep.failure = Some(error.to_string()),
        }
        match self.network.obstacles() {
            Ok(found) => upkeep.obstacles = found.iter().map(ToString::to_string).collect(),
            Err(error) => upkeep.failure = Some(error.to_string()),
        }
        upkeep
    }
}

impl Engine {
    /// Looks at the host's rules, and brings ours back. For a slow clock.
    pub async fn upkeep(&self) -> Upkeep {
        let shared = self.shared.clone();
        let looked = spawn_blocking(move || shared.upkeep()).await;
        looked.unwrap_or_else(|error| Upkeep {
            failure: Some(error.to_string()),
            ..Upkeep::default()
        })
    }
}
