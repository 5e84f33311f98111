//! The driver `overlay2`: every layer a directory of its own, stacked by the kernel.
//!
//! ```text
//! <number>/diff      what this snapshot adds
//! <number>/work      overlay's; there as long as the snapshot is active
//! <number>/bottom    there if nothing below `diff` is ever seen: its root is opaque
//! <number>/flat      all of the chain in one directory, where it would be too long for the kernel
//! <number>/pending   between unpacking and commit
//! empty              a directory for overlays that would have one layer alone
//! ```
//!
//! Invariant: a committed snapshot's `diff` and `flat` never change. A chain that the kernel is asked for
//! has at most [`LOWERS_MAX`] layers, fewer where few files may be open: where one more would be too many, the
//! commit makes `flat` from hard links.
//! Absent on purpose: `redirect_dir` and `metacopy`. We ask for neither; a `diff` that has them is read
//! as what it means.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::contract::{PrepareOptions, Snapshotter};
use super::directory::{Directory, subdirectory};
use super::error::SnapshotError;
use super::mounts::{Mounts, Upper, View};
use super::quota;
use crate::db::{SnapshotNumber, SnapshotUsage};
use crate::layer::{
    self, Applied, ApplyOptions, DiffOptions, DiffSink, Form, How, Mark, Pending, Target,
};

const DIFF: &str = "diff";
const WORK: &str = "work";
const BOTTOM: &str = "bottom";
const FLAT: &str = "flat";
const EMPTY: &str = "empty";
const PROBE: &str = "probe";

/// Somewhat below the kernel's 500.
const LOWERS_MAX: usize = 480;
/// Comparing two chains that have one directory everywhere takes this many descriptors for each layer.
const DESCRIPTORS_PER_LOWER: u64 = 10;
const LOWERS_MIN: usize = 16;

/// How long a chain may be, so that this process can look at all of it.
fn lowers_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let fits = limit.map_or(LOWERS_MAX as u64, |limit| limit / DESCRIPTORS_PER_LOWER);
    usize::try_from(fits).unwrap_or(LOWERS_MAX).clamp(LOWERS_MIN, LOWERS_MAX)
}

/// The driver.
#[derive(Debug)]
pub struct Overlay2 {
    directory: Directory,
    form: Form,
    lowers_max: usize,
}

impl Overlay2 {
    /// The driver on its directory, `snapshots/overlay2`, which is made if it is not there. With
    /// `user_xattrs` marks are attributes that need no rights: for stores of users.
    pub fn open(path: &Path, user_xattrs: bool) -> Result<Self, SnapshotError> {
        let directory = Directory::open(path)?;
        subdirectory(directory.fd(), EMPTY, 0o755).map_err(SnapshotError::io("make", path))?;
        let form = if user_xattrs { Form::OverlayUser } else { Form::Overlay };
        let driver = Self { directory, form, lowers_max: lowers_max() };
        driver.probe()?;
        Ok(driver)
    }

    /// Marks that cannot be made here are better known before an image is half unpacked.
    fn probe(&self) -> Result<(), SnapshotError> {
        let path = self.directory.path().join(EMPTY);
        let fd = layer::open_dir_path(&path).map_err(SnapshotError::io("open", &path))?;
        let mark = self.form.mark(Mark::Implied).to_bytes();
        let target = Target::Open(fd.as_fd());
        let needs = "extended attributes";
        target
            .set_xattr(mark, b"y")
            .and_then(|()| target.remove_xattr(mark))
            .map_err(|_| SnapshotError::Unusable { driver: "overlay2", path, needs })?;
        let (path, needs) =
            (self.directory.path().to_owned(), "whiteouts, which overlay itself has none of");
        let device = rustix::fs::FileType::CharacterDevice;
        let dir = self.directory.fd();
        match rustix::fs::mknodat(dir, PROBE, device, Mode::empty(), 0) {
            // A probe before this one was ended by a crash.
            Ok(()) | Err(Errno::EXIST) => layer::remove_tree(dir.as_fd(), PROBE.as_bytes())
                .map_err(SnapshotError::io("remove a probe in", &path)),
            Err(_) => Err(SnapshotError::Unusable { driver: "overlay2", path, needs }),
        }
    }

    fn sub(&self, number: SnapshotNumber, name: &str) -> PathBuf {
        self.directory.path_of(number).join(name)
    }

    fn open_sub(&self, number: SnapshotNumber, name: &str) -> Result<OwnedFd, SnapshotError> {
        match layer::open_dir(self.directory.snapshot(number)?.as_fd(), name.as_bytes()) {
            Err(Errno::NOENT) => Err(SnapshotError::NotFound { number }),
            other => other.map_err(SnapshotError::io("open", &self.sub(number, name))),
        }
    }

    fn has(&self, number: SnapshotNumber, name: &str) -> Result<bool, SnapshotError> {
        let path = format!("{number}/{name}");
        match rustix::fs::statat(self.directory.fd(), path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(SnapshotError::io("look at", &self.sub(number, name))(errno)),
        }
    }

    /// The directories that a chain is made of, the topmost first.
    fn chain(
        &self,
        parents: &[SnapshotNumber],
    ) -> Result<Vec<(SnapshotNumber, &'static str)>, SnapshotError> {
        let mut chain = Vec::with_capacity(parents.len());
        for parent in parents {
            if self.has(*parent, FLAT)? {
                chain.push((*parent, FLAT));
                break;
            }
            if !self.has(*parent, DIFF)? {
                return Err(SnapshotError::NotFound { number: *parent });
            }
            chain.push((*parent, DIFF));
            if self.has(*parent, BOTTOM)? {
                break;
            }
        }
        Ok(chain)
    }

    fn open_chain(&self, parents: &[SnapshotNumber]) -> Result<Vec<OwnedFd>, SnapshotError> {
        self.chain(parents)?.into_iter().map(|(number, name)| self.open_sub(number, name)).collect()
    }

    fn view(&self, layers: Vec<OwnedFd>) -> layer::View {
        layer::View::new(layers, self.form)
    }

    /// The root of an active snapshot is what one sees of the whole tree's root.
    fn copy_root(&self, diff: &OwnedFd, parents: &[SnapshotNumber]) -> Result<(), SnapshotError> {
        let Some((number, name)) = self.chain(parents)?.into_iter().next() else { return Ok(()) };
        let below = self.open_sub(number, name)?;
        let path = self.sub(number, name);
        let stat = rustix::fs::fstat(&below).map_err(SnapshotError::io("look at", &path))?;
        let (from, to) = (Target::Open(below.as_fd()), Target::Open(diff.as_fd()));
        layer::copy_metadata(from, &stat, self.form, to, self.form).map_err(|fault| {
            SnapshotError::Tree { number, error: layer::TreeError { path: Vec::new(), fault } }
        })
    }

    fn make(
        &self,
        number: SnapshotNumber,
        dir: &OwnedFd,
        parents: &[SnapshotNumber],
        options: &PrepareOptions,
    ) -> Result<(), SnapshotError> {
        let path = self.directory.path_of(number);
        if let Some(size) = options.size_bytes_max {
            quota::limit(dir.as_fd(), &path, number, size, "overlay2")?;
        }
        let make = || SnapshotError::io("make directories in", &path);
        let diff = subdirectory(dir, DIFF, 0o755).map_err(make())?;
        subdirectory(dir, WORK, 0o700).map_err(make())?;
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::fchmod(&diff, mode).map_err(SnapshotError::io("change mode of", &path))?;
        self.copy_root(&diff, parents)
    }

    /// What an unpacked layer needs from the layers below.
    fn settle(
        &self,
        number: SnapshotNumber,
        diff: &OwnedFd,
        pending: &Pending,
        parents: &[SnapshotNumber],
    ) -> Result<(), SnapshotError> {
        let mut chain = self.chain(parents)?;
        if !pending.implied && pending.links.is_empty() {
            // The root alone, perhaps, and that is the topmost one's.
            chain.truncate(1);
        }
        let open = |(number, name)| self.open_sub(number, name);
        let lowers = chain.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        layer::settle(diff.as_fd(), lowers, self.form, pending).map_err(SnapshotError::tree(number))
    }

    /// Opaque roots mean nothing to the kernel: what is below is left out of the chain instead.
    fn note_bottom(
        &self,
        number: SnapshotNumber,
        dir: &OwnedFd,
        diff: &OwnedFd,
    ) -> Result<(), SnapshotError> {
        let path = self.sub(number, DIFF);
        let mark = self.form.mark(Mark::Opaque).to_bytes();
        let value = Target::Open(diff.as_fd()).xattr(mark);
        if value.map_err(SnapshotError::io("read a mark of", &path))?.is_some() {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
            rustix::fs::openat(dir, BOTTOM, flags, Mode::RUSR | Mode::WUSR)
                .map_err(SnapshotError::io("make a mark in", &self.directory.path_of(number)))?;
        }
        Ok(())
    }

    /// What a snapshot shows, itself and what is below.
    fn shown(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
    ) -> Result<layer::View, SnapshotError> {
        let mut all = vec![self.open_sub(number, DIFF)?];
        if !self.has(number, BOTTOM)? {
            all.extend(self.open_chain(parents)?);
        }
        Ok(self.view(all))
    }

    /// One directory for the whole chain, if the next layer would be one too many.
    fn flatten(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
    ) -> Result<(), SnapshotError> {
        let mut chain = vec![number];
        chain.extend(parents);
        if self.chain(&chain)?.len() < self.lowers_max {
            return Ok(());
        }
        // Made under another name: a crash leaves nothing that looks finished.
        const MAKING: &str = "flat.making";
        let dir = self.directory.snapshot(number)?;
        let path = self.sub(number, MAKING);
        layer::remove_tree(dir.as_fd(), MAKING.as_bytes())
            .map_err(SnapshotError::io("remove", &path))?;
        let flat = subdirectory(&dir, MAKING, 0o755).map_err(SnapshotError::io("make", &path))?;
        let view = self.view(self.open_chain(&chain)?);
        layer::copy_tree(&view, flat, How::Link).map_err(SnapshotError::tree(number))?;
        rustix::fs::renameat(&dir, MAKING, &dir, FLAT).map_err(SnapshotError::io("rename", &path))
    }
}

impl Snapshotter for Overlay2 {
    fn name(&self) -> &'static str {
        "overlay2"
    }

    fn rebases(&self) -> bool {
        true
    }

    fn prepare(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        options: &PrepareOptions,
    ) -> Result<(), SnapshotError> {
        let dir = self.directory.create(number)?;
        self.make(number, &dir, parents, options).inspect_err(|_| {
            // What the first error says matters; whatever is left here is found by `walk`.
            let _ = self.directory.remove(number);
        })
    }

    fn apply(
        &self,
        number: SnapshotNumber,
        source: &mut dyn Read,
        options: &ApplyOptions<'_>,
    ) -> Result<Applied, SnapshotError> {
        let dir = self.directory.snapshot(number)?;
        if !self.has(number, WORK)? {
            return Err(SnapshotError::Committed { number });
        }
        let diff = self.open_sub(number, DIFF)?;
        let (applied, pending) = layer::apply(source, diff, dir.as_fd(), self.form, options)?;
        let path = self.directory.path_of(number);
        pending.write(dir.as_fd()).map_err(SnapshotError::io("write to", &path))?;
        Ok(applied)
    }

    fn commit(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
    ) -> Result<(), SnapshotError> {
        let path = self.directory.path_of(number);
        let dir = self.directory.snapshot(number)?;
        let diff = self.open_sub(number, DIFF)?;
        let read = Pending::read(dir.as_fd()).map_err(SnapshotError::io("read in", &path))?;
        if let Some(pending) = read {
            self.settle(number, &diff, &pending, parents)?;
            self.note_bottom(number, &dir, &diff)?;
        }
        self.flatten(number, parents)?;
        layer::remove_tree(dir.as_fd(), WORK.as_bytes())
            .map_err(SnapshotError::io("remove", &path))?;
        Pending::remove(dir.as_fd()).map_err(SnapshotError::io("remove a file in", &path))?;
        rustix::fs::syncfs(&dir).map_err(SnapshotError::io("sync", &path))
    }

    fn mounts(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        view: &View,
    ) -> Result<Mounts, SnapshotError> {
        let mut seen = Vec::new();
        let mut upper = None;
        if !view.readonly {
            if !self.has(number, WORK)? {
                let known = self.has(number, DIFF)?;
                let error = if known {
                    SnapshotError::Committed { number }
                } else {
                    SnapshotError::NotFound { number }
                };
                return Err(error);
            }
            upper = Some(Upper { upper: self.sub(number, DIFF), work: self.sub(number, WORK) });
        } else {
            seen.push(number);
        }
        seen.extend(parents);
        let chain = self.chain(&seen)?.into_iter().map(|(number, name)| self.sub(number, name));
        let mut lowers: Vec<_> = chain.collect();
        // An overlay has two layers at least; a lone directory would show its marks.
        if lowers.len() + usize::from(upper.is_some()) < 2 {
            lowers.push(self.directory.path().join(EMPTY));
        }
        let user_xattrs = self.form == Form::OverlayUser;
        Ok(Mounts::Overlay { lowers, upper, user_xattrs, idmap: view.idmap.clone() })
    }

    fn diff(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        options: &DiffOptions<'_>,
        sink: &mut dyn DiffSink,
    ) -> Result<(), SnapshotError> {
        let old = self.view(self.open_chain(parents)?);
        layer::diff(&old, &self.shown(number, parents)?, None, options, sink)
            .map_err(|error| SnapshotError::Diff { number, error: Box::new(error) })
    }

    fn export(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        options: &DiffOptions<'_>,
        sink: &mut dyn DiffSink,
    ) -> Result<(), SnapshotError> {
        let nothing = self.view(Vec::new());
        layer::diff(&nothing, &self.shown(number, parents)?, None, options, sink)
            .map_err(|error| SnapshotError::Diff { number, error: Box::new(error) })
    }

    fn usage(
        &self,
        number: SnapshotNumber,
        _: &[SnapshotNumber],
    ) -> Result<SnapshotUsage, SnapshotError> {
        layer::usage(self.open_sub(number, DIFF)?).map_err(SnapshotError::tree(number))
    }

    /// Nothing is ever made ready beforehand.
    fn release(&self, _: SnapshotNumber) -> Result<(), SnapshotError> {
        Ok(())
    }

    fn remove(&self, number: SnapshotNumber) -> Result<(), SnapshotError> {
        quota::forget(self.directory.fd().as_fd(), number);
        self.directory.remove(number)
    }

    fn walk(&self) -> Result<Vec<SnapshotNumber>, SnapshotError> {
        self.directory.walk()
    }
}
