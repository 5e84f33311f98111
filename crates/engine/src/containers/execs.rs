//! Execs as files: what an exec was asked to be and how it stands, for the next engine.
//!
//! They lie with the container's bundle, below the exec root: an exec outlives an engine and no reboot. One file
//! each, written when it changes. Invariant: a file is whole or not there.
//! Absent on purpose: who they are told to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::asks::ExecDetails;
use super::document::Places;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(flatten)]
    exec: ExecDetails,
}

fn directory(places: &Places) -> PathBuf {
    places.run.join("execs")
}

/// Writes down how an exec stands. Where that fails, the next engine does not know it, as it was before.
pub(super) fn keep(places: &Places, exec: &ExecDetails) {
    let directory = directory(places);
    let document = Document { version: VERSION, exec: exec.clone() };
    let Ok(json) = serde_json::to_vec(&document) else { return };
    let (path, aside) = (directory.join(&exec.id), directory.join(format!("{}.new", exec.id)));
    let write = |aside: &Path| std::fs::write(aside, &json);
    let written = write(&aside).or_else(|_| {
        // The container's first exec.
        std::fs::create_dir_all(&directory)?;
        write(&aside)
    });
    let _ = written.and_then(|()| std::fs::rename(&aside, &path));
}

/// Lets go of one.
pub(super) fn forget(places: &Places, id: &str) {
    let _ = std::fs::remove_file(directory(places).join(id));
}

/// All that an earlier engine has left.
pub(super) fn read(places: &Places) -> BTreeMap<String, ExecDetails> {
    let entries = std::fs::read_dir(directory(places)).into_iter().flatten();
    let read = |path: PathBuf| {
        let document: Document = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        (document.version <= VERSION).then_some((document.exec.id.clone(), document.exec))
    };
    entries.filter_map(|entry| read(entry.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::asks::ExecRequest;
    use crate::testing::Scratch;

    #[test]
    fn an_exec_is_read_as_it_was_kept() {
        let scratch = Scratch::new();
        let places = Places::of(scratch.path(), scratch.path(), "c");
        assert!(read(&places).is_empty());
        let request = ExecRequest { command: vec!["true".to_owned()], ..ExecRequest::default() };
        let mut exec = ExecDetails {
            id: "e".to_owned(),
            container: "c".to_owned(),
            request,
            starting: false,
            running: true,
            pid: 7,
            exit_code: None,
        };
        keep(&places, &exec);
        exec.running = false;
        exec.exit_code = Some(3);
        keep(&places, &exec);
        assert_eq!(read(&places).into_values().collect::<Vec<_>>(), [exec]);
        forget(&places, "e");
        assert!(read(&places).is_empty());
    }
}
