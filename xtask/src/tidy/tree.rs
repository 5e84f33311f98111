//! The files of the repository, as git knows them.
//!
//! Files that are new and not yet added count, ignored ones do not. Texts are read once.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Faults;
use crate::task::{At, TaskError, read};

const SIZE_BYTES_MAX: u64 = 512 * 1024;

/// One file.
pub(super) struct Entry {
    /// Its path from the root of the repository.
    pub(super) path: String,
    pub(super) size_bytes: u64,
    /// Its content; `None` for one that is not UTF-8.
    pub(super) text: Option<String>,
}

/// All of them, sorted by path.
pub(super) struct Tree {
    pub(super) entries: Vec<Entry>,
}

impl Tree {
    /// Reads the repository whose root is `root`.
    pub(super) fn of(root: &Path) -> Result<Tree, TaskError> {
        let mut git = Command::new("git");
        // The checkout may belong to another user than the one who runs this.
        git.args(["-c", "safe.directory=*", "ls-files", "-z"]);
        git.args(["--cached", "--others", "--exclude-standard"]).current_dir(root);
        let mut entries = Vec::new();
        for path in read(&mut git)?.split_terminator('\0') {
            let file = root.join(path);
            // Git still knows what was removed a moment ago.
            if !fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_file()) {
                continue;
            }
            let bytes = fs::read(&file).at("read", &file)?;
            let size_bytes = bytes.len() as u64;
            let text = String::from_utf8(bytes).ok();
            entries.push(Entry { path: path.to_owned(), size_bytes, text });
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree { entries })
    }

    /// The text of the file at `path`.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.path == path)?.text.as_deref()
    }

    /// The text files whose name ends like this.
    pub(super) fn ending(&self, suffix: &str) -> impl Iterator<Item = (&str, &str)> {
        let texts = self.entries.iter().filter_map(|e| Some((e.path.as_str(), e.text.as_deref()?)));
        texts.filter(move |(path, _)| path.ends_with(suffix))
    }

    /// Whether there is a file or a folder of this name.
    pub(super) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let within = |entry: &&Entry| {
            entry
                .path
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        path.is_empty() || self.entries.iter().any(|entry| within(&entry))
    }
}

/// A repository is cloned by everybody, for ever.
pub(super) fn sizes(tree: &Tree) -> Faults {
    let large = tree.entries.iter().filter(|entry| entry.size_bytes > SIZE_BYTES_MAX);
    large.map(|entry| format!("{}: {} KiB", entry.path, entry.size_bytes / 1024)).collect()
}

#[cfg(test)]
pub(super) fn of_texts(texts: &[(&str, &str)]) -> Tree {
    let entry = |(path, text): &(&str, &str)| Entry {
        path: (*path).to_owned(),
        size_bytes: text.len() as u64,
        text: Some((*text).to_owned()),
    };
    Tree { entries: texts.iter().map(entry).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_there_as_far_as_files_are() {
        let tree = of_texts(&[("docs/a.md", ""), ("LICENSE", "")]);
        for path in ["docs", "docs/", "docs/a.md", "LICENSE"] {
            assert!(tree.has(path), "{path}");
        }
        for path in ["doc", "docs/a", "docs/b.md", "LICENSE/x"] {
            assert!(!tree.has(path), "{path}");
        }
    }

    #[test]
    fn large_files_are_found() {
        let large = "x".repeat(SIZE_BYTES_MAX as usize + 1);
        assert_eq!(sizes(&of_texts(&[("a", &large), ("b", "x")])), ["a: 512 KiB"]);
    }
}
