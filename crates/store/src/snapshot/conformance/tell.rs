//! A mounted tree as text: everything that must be the same whoever keeps it.

use std::collections::HashMap;
use std::fmt::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::layer::{Form, Target};

/// One line for each name, in the order of their bytes, the root first.
pub(super) fn tell(root: &Path) -> String {
    let mut teller = Teller { text: String::new(), seen: HashMap::new() };
    teller.one(root, b".");
    teller.text
}

/// The same without times, for trees of which some were made just now.
pub(super) fn tell_timeless(root: &Path) -> String {
    let text = tell(root);
    let line = |line: &str| {
        let words: Vec<_> = line.split(' ').filter(|word| !word.starts_with("t=")).collect();
        words.join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

struct Teller {
    text: String,
    /// The first name of files that have several.
    seen: HashMap<(u64, u64), String>,
}

impl Teller {
    fn one(&mut self, path: &Path, name: &[u8]) {
        let found = std::fs::symlink_metadata(path).expect("a file");
        let name = name.escape_ascii().to_string();
        let kind = found.file_type();
        let mut line = name.clone();
        let mut add = |text: String| write!(line, " {text}").expect("text");
        if !found.is_dir() && found.nlink() > 1 {
            let id = (found.dev(), found.ino());
            if let Some(first) = self.seen.get(&id) {
                add(format!("= {first}"));
                self.text += &format!("{line}\n");
                return;
            }
            self.seen.insert(id, name.clone());
        }
        add(format!("{:o} {}:{}", found.mode(), found.uid(), found.gid()));
        add(format!("t={}.{:09}", found.mtime(), found.mtime_nsec()));
        if kind.is_symlink() {
            add(format!("-> {}", std::fs::read_link(path).expect("a link").display()));
        } else if kind.is_char_device() || kind.is_block_device() {
            add(format!("{:x}", found.rdev()));
        } else if kind.is_file() {
            add(format!("{} bytes {}", found.len(), sum(path, found.len())));
        }
        for (name, value) in attributes(path) {
            add(format!("{}={}", name.escape_ascii(), value.escape_ascii()));
        }
        self.text += &format!("{line}\n");
        if kind.is_dir() {
            let mut names: Vec<_> = std::fs::read_dir(path)
                .expect("a directory")
                .map(|entry| entry.expect("a name").file_name())
                .collect();
            names.sort();
            for child in names {
                let full = [name.as_bytes(), b"/", child.as_bytes()].concat();
                // Names are escaped once, when they are told.
                let full = if name == "." { child.as_bytes().to_vec() } else { full };
                self.one(&path.join(&child), &full);
            }
        }
    }
}

/// Something that differs where data does; of large files the beginning only.
fn sum(path: &Path, size: u64) -> u64 {
    use std::hash::Hasher;
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).expect("a file");
    file.take(size.min(4 << 20)).read_to_end(&mut bytes).expect("its data");
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(&bytes);
    hasher.finish() & 0xffff
}

fn attributes(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let parent = path.parent().expect("not the root of all");
    let dir = crate::layer::open_dir_path(parent).expect("a directory");
    let name = path.file_name().expect("a name").as_bytes();
    let xattrs = Target::Named(dir.as_fd(), name).xattrs(Form::Plain).expect("attributes");
    xattrs.into_iter().collect()
}
