//! A container's root, read without mounting it.
//!
//! Invariant: paths are followed as the container would follow them, links included, and never out of its
//! layers; files are read to a bound.
//! Absent on purpose: writing to it; volumes that the container sees over it.

use std::os::fd::OwnedFd;

use dhow_archive::tar::{Device, Metadata};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::copy::{How, copy_tree};
use super::error::ApplyFault;
use super::form::Form;
use super::metadata::{self, Target};
use super::owners::Owners;
use super::tree::{TreeError, join};
use super::view::{Child, Dir, View, split};
use super::walk::open_dir_path;
use crate::snapshot::Mounts;

/// As many links as the kernel follows.
const LINKS_MAX: usize = 40;

/// What the mounts of a snapshot would show.
#[derive(Debug)]
pub struct RootView {
    view: View,
}

/// What stands at a path.
enum Found {
    Nothing,
    /// A directory, and its path without links.
    Directory(Vec<u8>),
    /// Something else, and what it is in.
    Other(Dir, Child),
}

/// What became of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopiedUp {
    /// All of the directory is there.
    Whole,
    /// There was nothing to copy.
    Nothing,
    /// There is something, and it is no directory.
    NoDirectory,
}

/// Something in a root, not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootEntry {
    /// What it is.
    pub kind: FileType,
    /// Its size in bytes.
    pub size: u64,
    /// Its owner, mode, times and attributes.
    pub metadata: Metadata,
    /// What a symbolic link says; empty for all others.
    pub target: Vec<u8>,
    /// Which device a node stands for.
    pub device: Device,
}

impl RootView {
    /// Of what the mounts describe; they need not be made.
    pub fn open(mounts: &Mounts) -> Result<Self, TreeError> {
        let (paths, form) = match mounts {
            Mounts::Bind { source, .. } => (vec![source], Form::Plain),
            Mounts::Overlay { lowers, upper, user_xattrs, .. } => {
                let upper = upper.iter().map(|upper| &upper.upper);
                let form = if *user_xattrs { Form::OverlayUser } else { Form::Overlay };
                (upper.chain(lowers).collect(), form)
            }
        };
        let open = |path: &std::path::PathBuf| {
            let fault = ApplyFault::kernel("open a layer");
            open_dir_path(path).map_err(|errno| {
                TreeError::at(path.to_string_lossy().as_bytes(), b"")(fault(errno))
            })
        };
        let layers: Result<Vec<OwnedFd>, TreeError> = paths.into_iter().map(open).collect();
        Ok(Self { view: View::new(layers?, form) })
    }

    /// Of a directory that shows all of it: a root that is mounted somewhere.
    pub fn of_directory(root: OwnedFd) -> Self {
        Self { view: View::new(vec![root], Form::Plain) }
    }

    /// A file's first `bytes_max` bytes; nothing if there is no file at that path.
    pub fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, TreeError> {
        let at = |doing| {
            let path = path.as_bytes();
            move |errno| TreeError::at(path, b"")(ApplyFault::kernel(doing)(errno))
        };
        let found = self.find(path.as_bytes()).map_err(at("look for a file"))?;
        let Found::Other(dir, child) = found else { return Ok(None) };
        if child.kind != FileType::RegularFile {
            return Ok(None);
        }
        let file = self.view.open_data(&dir, &child).map_err(at("open a file"))?;
        let mut bytes = Vec::new();
        let mut buffer = [0; 8192];
        while bytes.len() < bytes_max {
            let part = buffer.len().min(bytes_max - bytes.len());
            match rustix::io::read(&file, &mut buffer[..part]).map_err(at("read a file"))? {
                0 => break,
                count => bytes.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(Some(bytes))
    }

    /// What is at a path; no link on the way is followed, nor one at its end.
    pub fn look(&self, path: &[u8]) -> Result<Option<RootEntry>, TreeError> {
        let at = |errno| TreeError::at(path, b"")(ApplyFault::kernel("look for a file")(errno));
        let (above, name) = split(path);
        let Some(dir) = self.view.find_dir(0, above).map_err(at)? else { return Ok(None) };
        if name.is_empty() {
            let stat = rustix::fs::fstat(dir.top()).map_err(at)?;
            return self.entry(
                path,
                FileType::Directory,
                &stat,
                Target::Open(dir.top()),
                Vec::new(),
            );
        }
        let Some(child) = self.view.find(&dir, name).map_err(at)? else { return Ok(None) };
        if child.kind == FileType::Directory {
            let Some(dir) = self.view.enter(&dir, name).map_err(at)? else { return Ok(None) };
            let stat = rustix::fs::fstat(dir.top()).map_err(at)?;
            return self.entry(path, child.kind, &stat, Target::Open(dir.top()), Vec::new());
        }
        let stat = dir.stat(&child).map_err(at)?;
        let (_, holder) = dir.holder(&child);
        let target = match child.kind {
            FileType::Symlink => {
                rustix::fs::readlinkat(holder, name, Vec::new()).map_err(at)?.into_bytes()
            }
            _ => Vec::new(),
        };
        self.entry(path, child.kind, &stat, Target::Named(holder, name), target)
    }

    fn entry(
        &self,
        path: &[u8],
        kind: FileType,
        stat: &Stat,
        of: Target<'_>,
        target: Vec<u8>,
    ) -> Result<Option<RootEntry>, TreeError> {
        let metadata = metadata::read(stat, of, self.view.form(), &Owners::SAME)
            .map_err(TreeError::at(path, b""))?;
        let device = Device {
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
        };
        Ok(Some(RootEntry { kind, size: stat.st_size as u64, metadata, target, device }))
    }

    /// The names in a directory, in the order of their bytes; none if it is no directory. No link is followed.
    pub fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
        let at = |errno| TreeError::at(path, b"")(ApplyFault::kernel("list a directory")(errno));
        let Some(dir) = self.view.find_dir(0, path).map_err(at)? else { return Ok(Vec::new()) };
        let children = self.view.list(&dir).map_err(at)?;
        Ok(children.into_iter().map(|child| child.name).collect())
    }

    /// Opens a file's data; nothing if there is no file at that path. No link is followed.
    pub fn open_file(&self, path: &[u8]) -> Result<Option<OwnedFd>, TreeError> {
        let at = |errno| TreeError::at(path, b"")(ApplyFault::kernel("open a file")(errno));
        let (above, name) = split(path);
        let Some(dir) = self.view.find_dir(0, above).map_err(at)? else { return Ok(None) };
        match self.view.find(&dir, name).map_err(at)? {
            Some(child) if child.kind == FileType::RegularFile => {
                self.view.open_data(&dir, &child).map(Some).map_err(at)
            }
            _ => Ok(None),
        }
    }

    /// Copies what the directory at `path` has, with its owner, mode and attributes, into `to`, which is
    /// empty.
    pub fn copy_directory(&self, path: &str, to: OwnedFd) -> Result<CopiedUp, TreeError> {
        let found = self.find(path.as_bytes()).map_err(|errno| {
            TreeError::at(path.as_bytes(), b"")(ApplyFault::kernel("look for a directory")(errno))
        })?;
        match found {
            Found::Nothing => Ok(CopiedUp::Nothing),
            Found::Other(..) => Ok(CopiedUp::NoDirectory),
            Found::Directory(path) => {
                copy_tree(&self.view.below(&path), to, How::Copy)?;
                Ok(CopiedUp::Whole)
            }
        }
    }

    /// Follows a path as a process in the container would.
    fn find(&self, path: &[u8]) -> Result<Found, Errno> {
        let Some(root) = self.view.root()? else { return Ok(Found::Nothing) };
        let mut way: Vec<(Vec<u8>, Dir)> = Vec::new();
        let mut todo = names(path);
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                // Above the root is the root.
                way.pop();
                continue;
            }
            let here = way.last().map_or(&root, |(_, dir)| dir).clone();
            let Some(child) = self.view.find(&here, &name)? else { return Ok(Found::Nothing) };
            match child.kind {
                FileType::Directory => match self.view.enter(&here, &name)? {
                    Some(dir) => way.push((name, dir)),
                    None => return Ok(Found::Nothing),
                },
                FileType::Symlink => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP);
                    }
                    let (_, holder) = here.holder(&child);
                    let target = rustix::fs::readlinkat(holder, &*name, Vec::new())?;
                    if target.as_bytes().starts_with(b"/") {
                        way.clear();
                    }
                    todo.extend(names(target.as_bytes()));
                }
                _ if todo.is_empty() => return Ok(Found::Other(here, child)),
                _ => return Ok(Found::Nothing),
            }
        }
        let path = way.iter().fold(Vec::new(), |path, (name, _)| join(&path, name));
        Ok(Found::Directory(path))
    }
}

/// The names of a path, the first one last.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/');
    let names = names.filter(|name| !name.is_empty() && *name != b".");
    names.rev().map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::snapshot::Upper;
    use crate::testing::Scratch;

    /// Two layers: below `data/a` and `data/gone`, above one that hides `gone` and adds `b`.
    fn layers(scratch: &Scratch) -> Mounts {
        let path = |name: &str| scratch.path().join(name);
        fs::create_dir_all(path("low/data")).expect("a directory");
        fs::create_dir_all(path("low/etc")).expect("a directory");
        fs::create_dir_all(path("up/data/sub")).expect("a directory");
        fs::write(path("low/data/a"), "a").expect("a file");
        fs::hard_link(path("low/data/a"), path("low/data/again")).expect("a link");
        fs::write(path("low/data/gone"), "gone").expect("a file");
        fs::write(path("low/etc/real"), "users").expect("a file");
        symlink("../../../etc/real", path("low/etc/passwd")).expect("a link");
        symlink("/data", path("low/link")).expect("a link");
        symlink("loop", path("low/loop")).expect("a link");
        symlink("/etc/shadow", path("up/data/out")).expect("a link");
        fs::write(path("up/data/sub/b"), "b").expect("a file");
        fs::set_permissions(path("up/data"), fs::Permissions::from_mode(0o2750)).expect("a mode");
        let mode = rustix::fs::Mode::empty();
        let kind = FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, path("up/data/gone"), kind, mode, 0)
            .expect("a whiteout");
        Mounts::Overlay {
            lowers: vec![path("low")],
            upper: Some(Upper { upper: path("up"), work: path("work") }),
            user_xattrs: false,
            idmap: None,
        }
    }

    #[test]
    fn files_are_read_as_the_container_sees_them() {
        let scratch = Scratch::new();
        let root = RootView::open(&layers(&scratch)).expect("a root");
        let read = |path: &str| root.read(path, 3).expect(path);
        assert_eq!(read("/etc/passwd"), Some(b"use".to_vec()));
        assert_eq!(read("link/sub/../a"), Some(b"a".to_vec()));
        assert_eq!(read("/data/gone"), None);
        assert_eq!(read("/data/out"), None);
        assert_eq!(read("/data"), None);
        assert!(root.read("/loop", 3).is_err());
    }

    #[test]
    fn a_directory_is_copied_with_all_that_belongs_to_it() {
        let scratch = Scratch::new();
        let root = RootView::open(&layers(&scratch)).expect("a root");
        let to = scratch.path().join("volume");
        fs::create_dir(&to).expect("a directory");
        let open = || open_dir_path(&to).expect("the volume");
        assert_eq!(root.copy_directory("/none", open()), Ok(CopiedUp::Nothing));
        assert_eq!(root.copy_directory("/data/a", open()), Ok(CopiedUp::NoDirectory));
        assert_eq!(root.copy_directory("/link/", open()), Ok(CopiedUp::Whole));
        assert_eq!(fs::read(to.join("sub/b")).expect("a file"), b"b");
        assert!(!to.join("gone").exists());
        assert_eq!(
            fs::read_link(to.join("out")).expect("a link"),
            std::path::Path::new("/etc/shadow")
        );
        let inode = |name: &str| fs::metadata(to.join(name)).expect(name).ino();
        assert_eq!(inode("a"), inode("again"));
        let mode = fs::metadata(&to).expect("the volume").mode();
        assert_eq!(mode & 0o7777, 0o2750);
    }
}
