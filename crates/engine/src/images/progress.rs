//! What happens on the way of an image, told to whoever shows it.
//!
//! Absent on purpose: words and bars.

use std::sync::Arc;

use dhow_distribution::{Event, Observer};
use dhow_spec::Digest;
use dhow_spec::image::Descriptor;

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// The registry has said what the image is.
    Resolved {
        /// What the reference points to.
        target: &'a Descriptor,
        /// Its layers for the wanted platform, lowest first.
        layers: &'a [&'a Descriptor],
    },
    /// A layer has got further.
    Layer {
        /// The layer's blob.
        digest: Digest,
        /// How far.
        step: Step,
    },
    /// A transfer's own word.
    Transfer(&'a Event<'a>),
}

/// How far a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It waits for its turn.
    Waiting,
    /// It is here and unpacked already.
    Exists,
    /// Its bytes are here.
    Downloaded,
    /// It is being unpacked: so many of its bytes have been looked at.
    Unpacking {
        /// Bytes of the blob.
        done: u64,
        /// All of them.
        size: u64,
    },
    /// It is unpacked and on disk.
    Done,
}

/// Hears of everything, from whichever thread it happens on; must not wait.
pub trait Watcher: Send + Sync {
    /// Something happened.
    fn progress(&self, progress: &Progress<'_>);
}

/// Nobody looks.
impl Watcher for () {
    fn progress(&self, _: &Progress<'_>) {}
}

/// Passes on what transfers say.
#[derive(Clone)]
pub(crate) struct Transfers(pub(crate) Arc<dyn Watcher>);

impl Transfers {
    pub(crate) fn progress(&self, progress: &Progress<'_>) {
        self.0.progress(progress);
    }
}

impl Observer for Transfers {
    fn event(&self, event: &Event<'_>) {
        self.progress(&Progress::Transfer(event));
    }
}
