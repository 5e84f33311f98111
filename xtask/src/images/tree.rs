//! Two trees of files held against each other: names, kinds, owners, modes, times, contents, attributes,
//! and which names are one file.
//!
//! Absent on purpose: access and change times, which nobody keeps, and where the holes of sparse files are.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::task::{At, TaskError};

/// No more differences than these are told of one pair.
const TOLD_MAX: usize = 12;

/// How close two trees have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closeness {
    /// Times to the nanosecond, links everywhere.
    Exact,
    /// Times to the second, up or down, and links that may have become files of their own: what a writer of
    /// archives makes of a tree that keeps no more.
    Loose,
    /// Times and links do not count: the trees were made at different moments, in different ways.
    Timeless,
}

/// What two trees came to.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Names that both have.
    pub(crate) entries: usize,
    /// What is otherwise, a line each.
    pub(crate) faults: Vec<String>,
}

/// One name of a tree.
#[derive(Debug)]
struct Node {
    metadata: Metadata,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

type Nodes = BTreeMap<PathBuf, Node>;

/// Compares what lies below two folders; of the folders themselves, owner, mode and attributes.
pub(crate) fn compare(
    wanted: &Path,
    found: &Path,
    closeness: Closeness,
) -> Result<Compared, TaskError> {
    let (left, right) = (read(wanted)?, read(found)?);
    let mut compared = Compared::default();
    for path in left.keys().filter(|path| !right.contains_key(*path)) {
        compared.say(path, "is missing");
    }
    for path in right.keys().filter(|path| !left.contains_key(*path)) {
        compared.say(path, "is too many");
    }
    let (left_links, right_links) = (first_names(&left), first_names(&right));
    for (path, node) in &left {
        let Some(other) = right.get(path) else { continue };
        compared.entries += 1;
        for fault in differences(path, node, other, closeness) {
            compared.say(path, &fault);
        }
        let linked = left_links.get(path.as_path()) == right_links.get(path.as_path());
        if closeness == Closeness::Exact && !linked {
            compared.say(path, "is another file's link, or none");
        }
        let is_file = node.metadata.is_file() && other.metadata.is_file();
        if is_file && !same_bytes(&wanted.join(path), &found.join(path))? {
            compared.say(path, "has other contents");
        }
        if node.metadata.is_symlink() && other.metadata.is_symlink() {
            let target = |root: &Path| fs::read_link(root.join(path)).at("read", root.join(path));
            if target(wanted)? != target(found)? {
                compared.say(path, "points elsewhere");
            }
        }
    }
    Ok(compared)
}

impl Compared {
    fn say(&mut self, path: &Path, what: &str) {
        match self.faults.len() {
            0..TOLD_MAX => self.faults.push(format!("{} {what}", path.display())),
            TOLD_MAX => self.faults.push("and more".to_owned()),
            _ => {}
        }
    }
}

/// Everything below `root`, itself included, by its path from there.
fn read(root: &Path) -> Result<Nodes, TaskError> {
    let mut nodes = Nodes::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&path) };
        let metadata = fs::symlink_metadata(&full).at("look at", &full)?;
        if metadata.is_dir() {
            for entry in fs::read_dir(&full).at("read", &full)? {
                waiting.push(path.join(entry.at("read", &full)?.file_name()));
            }
        }
        let xattrs = xattrs(&full).at("read attributes of", &full)?;
        nodes.insert(path, Node { metadata, xattrs });
    }
    Ok(nodes)
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names[..])?;
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..])?;
        value.truncate(length);
        found.insert(name.to_owned(), value);
    }
    Ok(found)
}

/// For each name of a file that has several: the first of them.
fn first_names(nodes: &Nodes) -> BTreeMap<&Path, &Path> {
    let mut first: BTreeMap<(u64, u64), &Path> = BTreeMap::new();
    let mut names = BTreeMap::new();
    let several = |node: &Node| !node.metadata.is_dir() && node.metadata.nlink() > 1;
    for (path, node) in nodes.iter().filter(|(_, node)| several(node)) {
        let id = (node.metadata.dev(), node.metadata.ino());
        let known = *first.entry(id).or_insert(path);
        if known != path {
            names.insert(path.as_path(), known);
        }
    }
    names
}

fn differences(path: &Path, node: &Node, other: &Node, closeness: Closeness) -> Vec<String> {
    let mut faults = Vec::new();
    let (left, right) = (&node.metadata, &other.metadata);
    let mut check = |what: &str, left: &dyn ToString, right: &dyn ToString| {
        let (left, right) = (left.to_string(), right.to_string());
        if left != right {
            faults.push(format!("has {what} {right} in place of {left}"));
        }
    };
    check("mode", &format!("{:o}", left.mode()), &format!("{:o}", right.mode()));
    check("user", &left.uid(), &right.uid());
    check("group", &left.gid(), &right.gid());
    let kind = left.file_type();
    if kind.is_char_device() || kind.is_block_device() {
        check("device", &left.rdev(), &right.rdev());
    }
    if left.is_file() {
        check("size", &left.len(), &right.len());
    }
    // The root's time is that of whoever made the folder.
    if !path.as_os_str().is_empty() && !same_time(left, right, closeness) {
        let text =
            |metadata: &Metadata| format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec());
        check("time", &text(left), &text(right));
    }
    if node.xattrs != other.xattrs {
        faults.push(format!("has attributes {} in place of {}", words(other), words(node)));
    }
    faults
}

fn same_time(left: &Metadata, right: &Metadata, closeness: Closeness) -> bool {
    let nanoseconds = |metadata: &Metadata| {
        i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
    };
    let apart = nanoseconds(left).abs_diff(nanoseconds(right));
    match closeness {
        Closeness::Exact => apart == 0,
        Closeness::Loose => apart < 1_000_000_000,
        Closeness::Timeless => true,
    }
}

fn words(node: &Node) -> String {
    let words = node
        .xattrs
        .iter()
        .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()));
    format!("[{}]", words.collect::<Vec<_>>().join(" "))
}

fn same_bytes(left: &Path, right: &Path) -> Result<bool, TaskError> {
    let mut files = [File::open(left).at("open", left)?, File::open(right).at("open", right)?];
    let mut buffers = [vec![0; 256 << 10], vec![0; 256 << 10]];
    loop {
        let mut counts = [0; 2];
        for ((file, buffer), count) in files.iter_mut().zip(&mut buffers).zip(&mut counts) {
            *count = fill(file, buffer).at("read", left)?;
        }
        let [left, right] = counts;
        if buffers[0][..left] != buffers[1][..right] {
            return Ok(false);
        }
        if left == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two folders with one file each, changed by `change`; what is told of them.
    fn told(change: impl FnOnce(&Path)) -> Vec<String> {
        let name = format!("dhow-xtask-tree-{}-{:p}", std::process::id(), &change);
        let dir = std::env::temp_dir().join(name);
        for side in ["left", "right"] {
            fs::create_dir_all(dir.join(side)).unwrap();
            let path = dir.join(side).join("file");
            let file = File::create(&path).unwrap();
            fs::write(&path, "text").unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        change(&dir.join("right"));
        let compared = compare(&dir.join("left"), &dir.join("right"), Closeness::Exact).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        compared.faults
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        assert_eq!(told(|_| ()), [""; 0]);
        let set = |path: &Path| {
            let file = File::options().write(true).open(path.join("file")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(5)).unwrap();
        };
        assert_eq!(told(set), ["file has time 0.000000005 in place of 0.000000000"]);
        let other = |path: &Path| {
            fs::write(path.join("file"), "texx").unwrap();
            let file = File::options().write(true).open(path.join("file")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        };
        assert_eq!(told(other), ["file has other contents"]);
        let moved = |path: &Path| fs::rename(path.join("file"), path.join("other")).unwrap();
        assert_eq!(told(moved), ["file is missing", "other is too many"]);
    }
}
