//! What is known of each sandbox, one file each, in the memory of the run directory.
//!
//! Invariant: a record is written when the sandbox is whole and removed before anything of it is taken
//! away; files appear and vanish as a whole. So a sandbox without a record is garbage, at any moment
//! that an engine can be killed.
//! Written as JSON with a version; unknown fields are skipped, newer versions refused. Nothing here needs
//! to survive the power: namespaces do not either.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::NetworkError;
use crate::pins::names;
use crate::sandbox::{Sandbox, SandboxId};

const VERSION: u32 = 1;
const SUFFIX: &str = ".json";

/// The directory of all records.
#[derive(Debug)]
pub(crate) struct Records {
    dir: PathBuf,
}

/// A file's contents.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    sandbox: Sandbox,
}

/// What every version begins with.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Records {
    /// Those in `dir`, which need not exist.
    pub(crate) fn of(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Writes a sandbox down.
    pub(crate) fn put(&self, sandbox: &Sandbox) -> Result<(), NetworkError> {
        let path = self.path(&sandbox.id);
        let fresh = self.dir.join(format!("{}.new", sandbox.id));
        let record = Record { version: VERSION, sandbox: sandbox.clone() };
        let write = || {
            let bytes = serde_json::to_vec(&record)?;
            match fs::write(&fresh, &bytes) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(&self.dir)?;
                    fs::write(&fresh, &bytes)?;
                }
                written => written?,
            }
            fs::rename(&fresh, &path)
        };
        write().map_err(NetworkError::io("write", &path))
    }

    /// Forgets a sandbox, known or not.
    pub(crate) fn remove(&self, id: &SandboxId) -> Result<(), NetworkError> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(NetworkError::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes down that a sandbox that is whole is being changed, by way of this device.
    pub(crate) fn put_mark(&self, id: &SandboxId, interface: &str) -> Result<(), NetworkError> {
        let path = self.marks().join(id.as_str());
        let write = || {
            fs::create_dir_all(self.marks())?;
            fs::write(&path, interface)
        };
        write().map_err(NetworkError::io("write", &path))
    }

    /// The device by way of which a sandbox was being changed, if it was.
    pub(crate) fn mark(&self, id: &SandboxId) -> Result<Option<String>, NetworkError> {
        let path = self.marks().join(id.as_str());
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(NetworkError::io("read", path)),
        }
    }

    /// The change is over, or never was.
    pub(crate) fn remove_mark(&self, id: &SandboxId) -> Result<(), NetworkError> {
        let path = self.marks().join(id.as_str());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(NetworkError::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Forgets changes of sandboxes that are no longer there.
    pub(crate) fn remove_marks_but(&self, known: &HashSet<SandboxId>) -> Result<(), NetworkError> {
        for name in names(&self.marks()).map_err(NetworkError::io("read", self.marks()))? {
            if let Ok(id) = name.parse::<SandboxId>()
                && !known.contains(&id)
            {
                self.remove_mark(&id)?;
            }
        }
        Ok(())
    }

    fn marks(&self) -> PathBuf {
        self.dir.with_file_name("changing")
    }

    /// All sandboxes. A file that cannot be understood is removed, and its sandbox is garbage.
    pub(crate) fn load(&self) -> Result<Vec<Sandbox>, NetworkError> {
        let mut sandboxes = Vec::new();
        for name in names(&self.dir).map_err(NetworkError::io("read", &self.dir))? {
            let path = self.dir.join(&name);
            let read = || fs::read(&path).map_err(NetworkError::io("read", &path));
            let parsed = match name.ends_with(SUFFIX) {
                true => parse(&read()?).map_err(NetworkError::io("read", &path))?,
                false => None,
            };
            match parsed {
                Some(sandbox) if self.path(&sandbox.id) == path => sandboxes.push(sandbox),
                _ => fs::remove_file(&path).map_err(NetworkError::io("remove", &path))?,
            }
        }
        Ok(sandboxes)
    }

    fn path(&self, id: &SandboxId) -> PathBuf {
        self.dir.join(format!("{id}{SUFFIX}"))
    }
}

fn parse(bytes: &[u8]) -> io::Result<Option<Sandbox>> {
    match serde_json::from_slice::<Version>(bytes) {
        Ok(Version { version }) if version > VERSION => {
            let words = format!("written by a newer version ({version}, not {VERSION})");
            Err(io::Error::new(io::ErrorKind::InvalidData, words))
        }
        _ => Ok(serde_json::from_slice::<Record>(bytes).ok().map(|record| record.sandbox)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_looked_at_first() {
        assert!(parse(br#"{"version":2,"other":[]}"#).is_err());
        assert!(parse(br#"{"version":1"#).unwrap().is_none());
        let record =
            br#"{"version":1,"more":0,"sandbox":{"id":"a","path":"/p","endpoints":[],"x":1}}"#;
        assert_eq!(parse(record).unwrap().unwrap().id.as_str(), "a");
    }
}
