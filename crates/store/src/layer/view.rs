//! Layers seen as one tree, as overlay would show them, without mounting anything.
//!
//! Whiteouts hide, opaque directories end the search, `redirect` leads to where a directory or a file was
//! before it was renamed, `metacopy` means that a file's data is further down. A single plain tree is a view
//! of one layer in which nothing is a mark.
//! Invariant: nothing is reached through a symbolic link, and nothing outside of the layers.
//! Absent on purpose: overlay's other attributes (`origin`, `impure`, `nlink`, `upper`), which only make
//! the kernel's own work faster, and verity digests.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::form::{Form, Mark};
use super::list::Listing;
use super::metadata::Target;
use super::trail::{FileId, file_id, open_dir};

/// Layers, the topmost first.
#[derive(Debug)]
pub(crate) struct View {
    layers: Vec<Rc<OwnedFd>>,
    form: Form,
    /// Where in the layers its root is; the layers' own roots where empty.
    base: Vec<u8>,
}

/// A directory of a view: of every layer that takes part in it, the topmost first.
#[derive(Clone, Debug)]
pub(crate) struct Dir {
    sources: Vec<Source>,
}

#[derive(Clone, Debug)]
struct Source {
    layer: usize,
    fd: Rc<OwnedFd>,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: FileType,
    /// Which of the directory's sources has it.
    source: usize,
}

impl View {
    /// A view of these layers' roots, the topmost first.
    pub(crate) fn new(layers: Vec<OwnedFd>, form: Form) -> Self {
        Self { layers: layers.into_iter().map(Rc::new).collect(), form, base: Vec::new() }
    }

    /// The same layers from a directory on; there are no links on the way to it.
    pub(crate) fn below(&self, path: &[u8]) -> Self {
        Self { layers: self.layers.clone(), form: self.form, base: path.to_vec() }
    }

    /// How marks look in it.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// The root; `None` if there are no layers.
    pub(crate) fn root(&self) -> Result<Option<Dir>, Errno> {
        self.find_dir(0, &self.base)
    }

    /// The root of the layers from `first` on.
    fn root_below(&self, first: usize) -> Result<Option<Dir>, Errno> {
        let mut sources = Vec::new();
        for (layer, fd) in self.layers.iter().enumerate().skip(first) {
            sources.push(Source { layer, fd: Rc::clone(fd) });
            if self.is_opaque(fd.as_fd())? {
                break;
            }
        }
        Ok((!sources.is_empty()).then_some(Dir { sources }))
    }

    /// What is visible in a directory, in order.
    pub(crate) fn list(&self, dir: &Dir) -> Result<Vec<Child>, Errno> {
        let mut names: BTreeMap<Vec<u8>, Option<(usize, FileType)>> = BTreeMap::new();
        for (source, found) in dir.sources.iter().enumerate() {
            for (name, kind) in Listing::read(found.fd.as_fd())?.into_sorted() {
                if names.contains_key(&name) {
                    continue;
                }
                let hidden = kind == FileType::CharacterDevice
                    && self.form != Form::Plain
                    && is_whiteout(&stat(found.fd.as_fd(), &name)?);
                names.insert(name, (!hidden).then_some((source, kind)));
            }
        }
        let child = |(name, found): (Vec<u8>, Option<(usize, FileType)>)| {
            found.map(|(source, kind)| Child { name, kind, source })
        };
        Ok(names.into_iter().filter_map(child).collect())
    }

    /// The directory called `name` in `dir`; `None` if there is none.
    pub(crate) fn enter(&self, dir: &Dir, name: &[u8]) -> Result<Option<Dir>, Errno> {
        let mut sources = Vec::new();
        let mut name = name.to_vec();
        for source in &dir.sources {
            let fd = match open_dir(source.fd.as_fd(), &name) {
                Ok(fd) => Rc::new(fd),
                Err(Errno::NOENT) => continue,
                // A file, a link or a whiteout hides what lies below it.
                Err(Errno::NOTDIR | Errno::LOOP) => break,
                Err(errno) => return Err(errno),
            };
            sources.push(Source { layer: source.layer, fd: Rc::clone(&fd) });
            if self.is_opaque(fd.as_fd())? {
                break;
            }
            match self.redirect(Target::Open(fd.as_fd()))? {
                None => {}
                Some(path) if path.starts_with(b"/") => {
                    if let Some(below) = self.find_dir(source.layer + 1, &path)? {
                        sources.extend(below.sources);
                    }
                    break;
                }
                Some(sibling) => name = sibling,
            }
        }
        Ok((!sources.is_empty()).then_some(Dir { sources }))
    }

    /// The directory at `path` in the layers from `first` on.
    pub(crate) fn find_dir(&self, first: usize, path: &[u8]) -> Result<Option<Dir>, Errno> {
        let Some(mut dir) = self.root_below(first)? else { return Ok(None) };
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            match self.enter(&dir, name)? {
                Some(next) => dir = next,
                None => return Ok(None),
            }
        }
        Ok(Some(dir))
    }

    /// What is called `name` in `dir`.
    pub(crate) fn find(&self, dir: &Dir, name: &[u8]) -> Result<Option<Child>, Errno> {
        for (source, found) in dir.sources.iter().enumerate() {
            match stat(found.fd.as_fd(), name) {
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
                Ok(stat) if self.form != Form::Plain && is_whiteout(&stat) => return Ok(None),
                Ok(stat) => {
                    let kind = FileType::from_raw_mode(stat.st_mode);
                    return Ok(Some(Child { name: name.to_vec(), kind, source }));
                }
            }
        }
        Ok(None)
    }

    /// Opens a file's data, wherever it is.
    pub(crate) fn open_data(&self, dir: &Dir, child: &Child) -> Result<OwnedFd, Errno> {
        let Source { layer, fd } = &dir.sources[child.source];
        let file = open_file(fd.as_fd(), &child.name)?;
        let Some(metacopy) = self.form.word("metacopy") else { return Ok(file) };
        let target = Target::Open(file.as_fd());
        if target.xattr(metacopy.to_bytes())?.is_none() {
            return Ok(file);
        }
        let redirect = self.redirect(target)?;
        let (below, name) = match redirect {
            Some(path) if path.starts_with(b"/") => {
                let (parent, name) = split(&path);
                (self.find_dir(layer + 1, parent)?, name.to_vec())
            }
            sibling => {
                let sources = dir.sources[child.source + 1..].to_vec();
                (Some(Dir { sources }), sibling.unwrap_or_else(|| child.name.clone()))
            }
        };
        let below = below.ok_or(Errno::STALE)?;
        let found = self.find(&below, &name)?.filter(|found| found.kind == FileType::RegularFile);
        // Each step goes at least one layer down.
        self.open_data(&below, &found.ok_or(Errno::STALE)?)
    }

    fn is_opaque(&self, dir: BorrowedFd<'_>) -> Result<bool, Errno> {
        if self.form == Form::Plain {
            return Ok(false);
        }
        let value = Target::Open(dir).xattr(self.form.mark(Mark::Opaque).to_bytes())?;
        // Overlay writes `x` where a directory has other kinds of whiteouts, and is not opaque.
        Ok(value.is_some_and(|value| value == b"y"))
    }

    fn redirect(&self, target: Target<'_>) -> Result<Option<Vec<u8>>, Errno> {
        let Some(word) = self.form.word("redirect") else { return Ok(None) };
        let value = target.xattr(word.to_bytes())?;
        let fits = |value: &Vec<u8>| {
            let mut names = value.split(|byte| *byte == b'/');
            let is_absolute = value.starts_with(b"/");
            !value.is_empty()
                && !names.clone().any(|name| matches!(name, b"." | b".."))
                && (is_absolute || names.nth(1).is_none())
        };
        Ok(value.filter(fits))
    }
}

impl Dir {
    /// The directory itself, as it is seen: the topmost one.
    pub(crate) fn top(&self) -> BorrowedFd<'_> {
        self.sources[0].fd.as_fd()
    }

    /// The directory that really has a child, and in which layer.
    pub(crate) fn holder(&self, child: &Child) -> (usize, BorrowedFd<'_>) {
        let source = &self.sources[child.source];
        (source.layer, source.fd.as_fd())
    }

    /// What a child is.
    pub(crate) fn stat(&self, child: &Child) -> Result<Stat, Errno> {
        stat(self.holder(child).1, &child.name)
    }

    /// Which directories it is made of.
    pub(crate) fn ids(&self) -> Result<Vec<FileId>, Errno> {
        self.sources.iter().map(|source| file_id(source.fd.as_fd())).collect()
    }

    /// How many descriptors it holds.
    fn weight(&self) -> usize {
        self.sources.len()
    }
}

fn stat(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Stat, Errno> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Opens a regular file; what else has taken its place meanwhile is not waited for.
pub(crate) fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// A path's directory and its last name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Where we are in a view. However deep, only so many directories are open; those above are looked up
/// again when the way leads back.
#[derive(Debug)]
pub(crate) struct Walk<'v> {
    view: &'v View,
    levels: Vec<Option<Dir>>,
    names: Vec<Vec<u8>>,
    /// Descriptors that the levels hold.
    weight: usize,
    /// The first level that is open.
    first: usize,
}

const LEVELS_MAX: usize = 32;
const WEIGHT_MAX: usize = 256;

impl<'v> Walk<'v> {
    pub(crate) fn new(view: &'v View, root: Dir) -> Self {
        let weight = root.weight();
        Self { view, levels: vec![Some(root)], names: Vec::new(), weight, first: 0 }
    }

    /// How many directories below the root we are.
    pub(crate) fn depth(&self) -> usize {
        self.names.len()
    }

    /// The directory that we are in.
    pub(crate) fn here(&self) -> &Dir {
        match self.levels.last() {
            Some(Some(dir)) => dir,
            _ => unreachable!("the last directory of a walk is open"),
        }
    }

    pub(crate) fn down(&mut self, name: &[u8], dir: Dir) {
        self.weight += dir.weight();
        self.levels.push(Some(dir));
        self.names.push(name.to_vec());
        let last = self.levels.len() - 1;
        while self.first < last && (last - self.first >= LEVELS_MAX || self.weight > WEIGHT_MAX) {
            if let Some(dir) = self.levels[self.first].take() {
                self.weight -= dir.weight();
            }
            self.first += 1;
        }
    }

    /// Goes back by one directory.
    pub(crate) fn up(&mut self) -> Result<(), Errno> {
        if let Some(Some(left)) = self.levels.pop() {
            self.weight -= left.weight();
        }
        self.names.pop();
        let last = self.levels.len() - 1;
        if self.levels[last].is_none() {
            self.reopen()?;
        }
        Ok(())
    }

    /// Opens the last levels again, from the root on.
    fn reopen(&mut self) -> Result<(), Errno> {
        let last = self.levels.len() - 1;
        let keep = last.saturating_sub(LEVELS_MAX / 2);
        let mut dir = self.view.root()?.ok_or(Errno::STALE)?;
        for depth in 0..=last {
            if depth > 0 {
                dir = self.view.enter(&dir, &self.names[depth - 1])?.ok_or(Errno::STALE)?;
            }
            let is_light = self.weight + dir.weight() <= WEIGHT_MAX;
            if depth == last || (depth >= keep && is_light) {
                self.weight += dir.weight();
                self.levels[depth] = Some(dir.clone());
                self.first = self.first.min(depth);
            }
        }
        Ok(())
    }
}
