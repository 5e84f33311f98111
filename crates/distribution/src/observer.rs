//! What happens meanwhile, told to whoever shows it.
//!
//! Absent on purpose: words for people; this crate never prints or logs.

use std::time::Duration;

use dhow_spec::Digest;

use crate::error::Fault;

/// Something that happened on the way.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A blob is about to travel; `done` bytes of it are already where they should be.
    Started {
        /// Which.
        digest: Digest,
        /// Bytes that need not travel.
        done: u64,
        /// All its bytes.
        size: u64,
    },
    /// More of a blob has travelled. The number may go back after a failure.
    Progress {
        /// Which.
        digest: Digest,
        /// Bytes so far.
        done: u64,
        /// All its bytes.
        size: u64,
    },
    /// A blob is where it should be, verified.
    Finished {
        /// Which.
        digest: Digest,
    },
    /// The registry has the blob already.
    Exists {
        /// Which.
        digest: Digest,
    },
    /// The registry took the blob over from another of its repositories.
    Mounted {
        /// Which.
        digest: Digest,
        /// The other repository's path.
        from: &'a str,
    },
    /// Something failed that may work later.
    Retrying {
        /// Who failed.
        host: &'a str,
        /// How long we wait.
        wait: Duration,
        /// What happened.
        why: &'a Fault,
    },
    /// A mirror was of no help; the next is asked.
    PassedOver {
        /// The mirror.
        mirror: &'a str,
        /// Why.
        why: &'a Fault,
    },
    /// A registry wants its users to know.
    Warning {
        /// The registry.
        host: &'a str,
        /// What.
        text: &'a str,
    },
}

/// Hears of everything, in order, from whichever thread it happens on; must not wait.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}

/// Nobody looks.
impl Observer for () {
    fn event(&self, _: &Event<'_>) {}
}
