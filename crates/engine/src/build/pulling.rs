//! A base on its way from its registry, in lines for whoever looks at the build.
//!
//! Invariant: there are a few lines for each layer, and one a second for bytes, however many pieces come.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dhow_distribution::Event;
use dhow_spec::Digest;
use tokio::sync::mpsc::UnboundedSender;

use crate::images::{Progress, Step, Watcher};

/// Between lines that only say how many bytes have come.
const PAUSE: Duration = Duration::from_secs(1);

/// Says what happens.
pub(super) struct Lines {
    sender: UnboundedSender<String>,
    state: Mutex<State>,
}

struct State {
    /// Layers, their sizes, and how much of each has come.
    layers: BTreeMap<Digest, (u64, u64)>,
    /// Layers that are unpacked.
    ready: usize,
    said: Instant,
}

impl Lines {
    pub(super) fn new(sender: UnboundedSender<String>) -> Self {
        let state = State { layers: BTreeMap::new(), ready: 0, said: Instant::now() };
        Self { sender, state: Mutex::new(state) }
    }
}

impl Watcher for Lines {
    fn progress(&self, progress: &Progress<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = state.take(progress, Instant::now()) {
            // Nobody looks any more: the build is being ended.
            let _ = self.sender.send(line);
        }
    }
}

impl State {
    fn take(&mut self, progress: &Progress<'_>, now: Instant) -> Option<String> {
        match progress {
            Progress::Resolved { target, layers } => {
                self.layers = layers.iter().map(|layer| (layer.digest, (layer.size, 0))).collect();
                let size = megabytes(self.sum().1);
                Some(format!("{}: {} layers, {size}\n", target.digest, layers.len()))
            }
            Progress::Layer { digest, step: step @ (Step::Exists | Step::Done) } => {
                let (size, _) = *self.layers.get(digest)?;
                self.layers.insert(*digest, (size, size));
                self.ready += 1;
                let word = if *step == Step::Exists { "is here" } else { "unpacked" };
                let (ready, all) = (self.ready, self.layers.len());
                Some(format!("{digest} {} {word} ({ready}/{all})\n", megabytes(size)))
            }
            Progress::Transfer(
                Event::Progress { digest, done, .. } | Event::Started { digest, done, .. },
            ) => {
                self.layers.get_mut(digest)?.1 = *done;
                if now.duration_since(self.said) < PAUSE {
                    return None;
                }
                self.said = now;
                let (done, all) = self.sum();
                Some(format!("{} of {}\n", megabytes(done), megabytes(all)))
            }
            Progress::Transfer(Event::Retrying { host, .. }) => {
                Some(format!("{host} failed; trying again\n"))
            }
            _ => None,
        }
    }

    /// Bytes that have come, and all.
    fn sum(&self) -> (u64, u64) {
        let sizes = self.layers.values();
        sizes.fold((0, 0), |(sum, all), (size, done)| (sum + done.min(size), all + size))
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use dhow_spec::image::{Descriptor, Family, MediaType};

    use super::*;

    #[test]
    fn lines_are_few() {
        let begun = Instant::now();
        let mut state = State { layers: BTreeMap::new(), ready: 0, said: begun };
        let digest = Digest::Sha256([7; 32]);
        let layer = Descriptor::new(MediaType::Manifest(Family::Oci), digest, 2_500_000);
        let mut take = |progress: &Progress<'_>, ms| {
            state.take(progress, begun + Duration::from_millis(ms)).unwrap_or_default()
        };
        let resolved = Progress::Resolved { target: &layer, layers: &[&layer] };
        assert_eq!(take(&resolved, 0), format!("{digest}: 1 layers, 2.5MB\n"));
        let part = Event::Progress { digest, done: 1_000_000, size: 2_500_000 };
        assert_eq!(take(&Progress::Transfer(&part), 10), "");
        assert_eq!(take(&Progress::Transfer(&part), 1500), "1.0MB of 2.5MB\n");
        assert_eq!(take(&Progress::Transfer(&part), 1600), "");
        let done = Progress::Layer { digest, step: Step::Done };
        assert_eq!(take(&done, 1700), format!("{digest} 2.5MB unpacked (1/1)\n"));
        // The configuration is no layer.
        let other = Event::Progress { digest: Digest::Sha256([8; 32]), done: 1, size: 1 };
        assert_eq!(take(&Progress::Transfer(&other), 9000), "");
    }
}
