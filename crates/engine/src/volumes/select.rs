//! Lists of volumes, narrowed; and removing all that nobody has.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Volume, VolumeError, Volumes};
use crate::error::Error;
use crate::filters::Filters;

/// Which containers have which volumes, by name; stopped ones count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VolumeUsers(BTreeMap<String, Vec<String>>);

/// What became of removing all that nobody has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// The volumes that are gone.
    pub volumes: Vec<Volume>,
    /// Bytes that they had on disk.
    pub reclaimed_bytes: u64,
}

impl VolumeUsers {
    /// Adds a container that has a volume.
    pub fn add(&mut self, volume: &str, container: &str) {
        self.0.entry(volume.to_owned()).or_default().push(container.to_owned());
    }

    /// The containers that have a volume.
    pub fn of(&self, volume: &str) -> &[String] {
        self.0.get(volume).map_or(&[], Vec::as_slice)
    }
}

impl Volumes {
    /// The volumes that fit, in the order of their names.
    ///
    /// Filters: `dangling`, `driver`, `label`, `name` (a part of it).
    pub fn list(&self, filters: &Filters, users: &VolumeUsers) -> Result<Vec<Volume>, Error> {
        filters.check(&["dangling", "driver", "label", "name"])?;
        let dangling = filters.flag("dangling")?;
        let mut volumes = self.all()?;
        volumes.retain(|volume| {
            dangling.is_none_or(|wanted| users.of(&volume.name).is_empty() == wanted)
                && filters.fits("driver", |driver| driver == volume.driver())
                && filters.fits("name", |part| volume.name.contains(part))
                && filters.fits_labels(&volume.labels)
        });
        Ok(volumes)
    }

    /// Removes the volumes that no container has: those that nobody named, or with `all=true` every one.
    ///
    /// Filters: `all`, `label`, `label!`.
    pub fn prune(&self, filters: &Filters, users: &VolumeUsers) -> Result<Pruned, Error> {
        filters.check(&["all", "label", "label!"])?;
        let all = filters.flag("all")?.unwrap_or_default();
        let mut pruned = Pruned::default();
        for volume in self.all()? {
            let fits = (all || volume.is_anonymous())
                && filters.fits_labels(&volume.labels)
                && !fits_any(filters, &volume.labels);
            if !fits || !users.of(&volume.name).is_empty() {
                continue;
            }
            let bytes = self.size_bytes(&volume);
            match self.remove(&volume.name, users, true) {
                Ok(Some(volume)) => {
                    pruned.volumes.push(volume);
                    pruned.reclaimed_bytes += bytes;
                }
                // Somebody else was faster.
                Ok(None) | Err(VolumeError::InUse { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(pruned)
    }
}

/// Whether one of `label!`'s values is among the labels.
fn fits_any(filters: &Filters, labels: &BTreeMap<String, String>) -> bool {
    filters.values("label!").any(|wanted| match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    })
}

/// Bytes that a tree has on disk; a file of several names counts once, what cannot be read does not.
pub(super) fn usage(path: &Path) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let (mut todo, mut seen, mut bytes): (Vec<PathBuf>, _, u64) =
        (vec![path.to_owned()], HashSet::new(), 0);
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                todo.push(entry.path());
            }
            let first = metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino()));
            if first || metadata.is_dir() {
                bytes += metadata.blocks() * BLOCK_BYTES;
            }
        }
    }
    bytes
}
