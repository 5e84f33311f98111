//! What an earlier engine left: every container found again, what was half done finished or undone.
//!
//! Invariant: nothing that runs is ended; nothing that has no record stays.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dhow_network::SandboxId;
use dhow_store::ContainerRow;

use super::create::undo;
use super::document::Document;
use super::state::{Standing, State};
use super::task::{Task, remove_tree};
use crate::engine::Shared;
use crate::error::Error;

/// A container that was found on record.
pub(crate) struct Found {
    row: ContainerRow,
    document: Document,
    standing: Standing,
}

impl Found {
    /// Brings what it is called back into the tables of its networks.
    pub(crate) fn restore_names(&self, shared: &Shared) -> Result<(), Error> {
        if !self.document.request.host.links.is_empty() {
            shared.names.any_links.store(true, Ordering::Relaxed);
        }
        shared.names.set(&self.row.id, &self.standing.endpoints)
    }

    /// The sandbox that it may have.
    pub(crate) fn sandbox(&self) -> Option<SandboxId> {
        self.row.id.parse().ok()
    }
}

/// Reads the records; undoes what was half made, and removes what belongs to nobody. Waits for the disk.
pub(crate) fn find(shared: &Shared) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    for row in shared.store.db().containers()? {
        match Document::read(&row) {
            Ok((_, Standing { state: State::Making, .. })) => undo(shared, &row.id)?,
            Ok((document, standing)) => {
                known.insert(row.id.clone());
                found.push(Found { row, document, standing });
            }
            Err(unreadable) => {
                return Err(Error::Record { id: row.id, reason: unreadable.reason });
            }
        }
    }
    remove_strangers(&shared.data_root.join("containers"), &known)?;
    remove_strangers(&shared.exec_root, &known)?;
    shared.snapshots.remove_unknown(|key| known.contains(key.as_str()) || !is_id(key.as_str()))?;
    Ok(found)
}

/// Gives each its task, which looks for what is left of the container by itself.
pub(crate) fn resume(shared: &Arc<Shared>, found: Vec<Found>) {
    for Found { row, document, standing } in found {
        let name = row.name.clone();
        let entry = Task::spawn(shared, row, document, standing, true);
        shared.table.insert(entry, &name);
    }
}

/// Directories that are named like a container's, and are no container's.
fn remove_strangers(directory: &Path, known: &BTreeSet<String>) -> Result<(), Error> {
    let failed = |error| Error::io("read", directory, error);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| is_id(name) && !known.contains(name)) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
