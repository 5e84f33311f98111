//! Unpacks a layer, apart from the layers below it, into a directory that is empty.
//!
//! Invariants: every name is made in a directory that was opened by its own name in the one before it, so
//! no symbolic link leads anywhere; what the layer says of a directory's times is set when the last thing
//! was put in it; memory does not grow with the layer, but for hard links to layers below.
//! A file costs an `open`, its writes, its times and a `close`; owner and mode only where they differ from
//! what a new file has. Nothing is synced: that is one call for all, at the commit.
//! Absent on purpose: the layers below, so that all layers of an image can be unpacked side by side. What
//! needs them is left in [`Pending`].

mod finish;
mod level;
mod links;
mod make;
mod options;

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::sync::atomic::Ordering;

use dhow_archive::layer::{Change, Incoming, Item, LayerPath, Node, Present, Settlement, settle};
use dhow_archive::tar::{End, Metadata, Options, Reader, TarError, Time};
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use self::finish::{Finish, Others, Stopped};
use self::level::Level;
pub(crate) use self::make::write;
pub use self::options::{Applied, ApplyOptions, Unmakeable};
use super::error::{ApplyError, ApplyFault};
use super::form::{Form, Mark};
use super::metadata::{self, Target};
use super::pending::Pending;
use super::remove::remove_tree;
use super::trail::{Trail, open_dir};

/// Unpacks the layer that `source` gives into `root`, with marks as `form` has them. `work` is a directory
/// on the same file system for what has to lie aside meanwhile.
pub(crate) fn apply<R: Read>(
    source: R,
    root: OwnedFd,
    work: BorrowedFd<'_>,
    form: Form,
    options: &ApplyOptions<'_>,
) -> Result<(Applied, Pending), ApplyError> {
    let finish = Finish::new(form, options);
    let (others, small) = Others::new();
    std::thread::scope(|scope| {
        let finishing = scope.spawn(|| finish.run(small));
        let mut applied = Applier::new(source, root, work, &finish, others)
            .map_err(|fault| ApplyError::Finish { path: Vec::new(), fault })
            .and_then(Applier::run);
        // A file that could not be finished is why the rest stopped.
        let skipped = finishing.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        if let Ok((applied, _)) = &mut applied {
            applied.skipped += skipped;
        }
        applied
    })
}

/// Why an entry was not applied: `At` is what the caller makes of it.
enum Stop {
    Fault(ApplyFault),
    Tar(TarError),
    Cancelled,
}

impl From<Stopped> for Stop {
    fn from(_: Stopped) -> Self {
        Self::Cancelled
    }
}

impl From<ApplyFault> for Stop {
    fn from(fault: ApplyFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<TarError> for Stop {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

struct Applier<'a, R> {
    reader: Reader<R>,
    root: OwnedFd,
    work: BorrowedFd<'a>,
    finish: &'a Finish<'a>,
    others: Others,
    trail: Trail<Level>,
    index: u64,
    bytes: u64,
    skipped: u64,
    /// Whether any directory of this layer has permissions that its entries would inherit.
    acls: bool,
    pending: Pending,
    links: links::Links,
}

impl<'a, R: Read> Applier<'a, R> {
    fn new(
        source: R,
        root: OwnedFd,
        work: BorrowedFd<'a>,
        finish: &'a Finish<'a>,
        others: Others,
    ) -> Result<Self, ApplyFault> {
        let level = Level::of(root.as_fd(), false)?;
        let again = root.try_clone().map_err(|_| ApplyFault::Kernel {
            doing: "duplicate a descriptor",
            errno: Errno::MFILE,
        })?;
        let mut applier = Self {
            reader: Reader::new(source, Options::LAYER),
            root: again,
            work,
            finish,
            others,
            trail: Trail::new(root, level),
            index: 0,
            bytes: 0,
            skipped: 0,
            acls: false,
            pending: Pending::default(),
            links: links::Links::default(),
        };
        // Most layers do not speak of their root.
        applier.imply(Time::default())?;
        Ok(applier)
    }

    fn run(mut self) -> Result<(Applied, Pending), ApplyError> {
        while self.step()? {}
        self.finish()
    }

    /// One entry; false when there are no more.
    fn step(&mut self) -> Result<bool, ApplyError> {
        let Some(entry) = self.reader.next_entry().map_err(ApplyError::Tar)? else {
            return Ok(false);
        };
        self.index += 1;
        let index = self.index;
        if self.is_cancelled() {
            return Err(ApplyError::Cancelled);
        }
        let entries_max = self.finish.options.entries_max;
        let item = Item::of(entry).map_err(|error| ApplyError::Layer { index, error })?;
        let path = match &item {
            Item::Change(change) => change.path().as_bytes().to_vec(),
            Item::Aside { name, .. } => name.clone(),
            Item::Skip => return Ok(true),
        };
        let result = match item {
            _ if index > entries_max => Err(ApplyFault::Entries { max: entries_max }.into()),
            Item::Change(change) => self.change(change),
            Item::Aside { name, content, metadata } => self.aside(&name, &content, &metadata),
            Item::Skip => Ok(()),
        };
        match result {
            Ok(()) => Ok(true),
            Err(Stop::Fault(fault)) => Err(ApplyError::Entry { index, path, fault }),
            Err(Stop::Tar(error)) => Err(ApplyError::Tar(error)),
            Err(Stop::Cancelled) => Err(ApplyError::Cancelled),
        }
    }

    fn is_cancelled(&self) -> bool {
        self.finish.options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }

    fn change(&mut self, change: Change) -> Result<(), Stop> {
        match change {
            Change::Put { path, node: Node::Directory, metadata } => {
                self.directory(&path, &metadata).map_err(Stop::Fault)
            }
            Change::Put { path, node, metadata } => {
                let name = self.goto_parent(&path, metadata.modified)?;
                match node {
                    Node::File(content) => self.file(&path, name, &content, metadata),
                    node => Ok(self.put(name, &node, &metadata)?),
                }
            }
            Change::Link { path, target, metadata } => {
                let name = self.goto_parent(&path, metadata.modified)?;
                self.link(name, &path, target).map_err(Stop::Fault)
            }
            Change::Whiteout { path } => {
                let name = self.goto_parent(&path, Time::default())?;
                self.whiteout(name).map_err(Stop::Fault)
            }
            Change::Opaque { path } => {
                self.goto(path.as_bytes(), Time::default())?;
                self.mark_opaque(self.trail.here()).map_err(Stop::Fault)?;
                self.pending.marks = true;
                Ok(())
            }
        }
    }

    /// Goes where `path` is to be; its name there.
    fn goto_parent<'p>(&mut self, path: &'p LayerPath, time: Time) -> Result<&'p [u8], ApplyFault> {
        let bytes = path.as_bytes();
        let slash = bytes.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match slash {
            Some(slash) => (&bytes[..slash], &bytes[slash + 1..]),
            None => (&b""[..], bytes),
        };
        self.goto(parent, time)?;
        Ok(name)
    }

    /// Goes to a directory; those that the layer did not speak of are made.
    fn goto(&mut self, path: &[u8], time: Time) -> Result<(), ApplyFault> {
        let (depth, rest) = self.trail.common(path);
        while self.trail.depth() > depth {
            self.leave()?;
        }
        for name in rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            self.enter(name, time)?;
        }
        Ok(())
    }

    /// Goes into a directory for something in it.
    fn enter(&mut self, name: &[u8], time: Time) -> Result<(), ApplyFault> {
        match open_dir(self.trail.here(), name) {
            Ok(fd) => {
                let level = Level::of(fd.as_fd(), self.acls)?;
                return self.down(name, fd, level);
            }
            Err(Errno::NOENT) => self.new_directory(name, false)?,
            Err(Errno::NOTDIR | Errno::LOOP) => match self.present(name)? {
                Present::Whiteout => self.new_directory(name, true)?,
                _ => return Err(ApplyFault::Through),
            },
            Err(errno) => return Err(ApplyFault::kernel("open a directory")(errno)),
        }
        self.imply(time)
    }

    fn down(&mut self, name: &[u8], fd: OwnedFd, level: Level) -> Result<(), ApplyFault> {
        self.trail.down(name, fd, level).map_err(ApplyFault::kernel("look at a directory"))
    }

    /// Makes the directory `name` and goes into it; in place of something, it hides what is below.
    fn new_directory(&mut self, name: &[u8], replaces: bool) -> Result<(), ApplyFault> {
        let here = self.trail.here();
        if replaces {
            remove_tree(here, name).map_err(ApplyFault::kernel("remove what was there"))?;
        }
        rustix::fs::mkdirat(here, name, Mode::RWXU)
            .map_err(ApplyFault::kernel("make a directory"))?;
        let fd = open_dir(here, name).map_err(ApplyFault::kernel("open a directory"))?;
        if replaces {
            self.mark_opaque(fd.as_fd())?;
            self.pending.marks = true;
        }
        self.touch();
        self.down(name, fd, Level::new())
    }

    /// Gives the directory we are in what it needs as long as nobody has spoken of it.
    fn imply(&mut self, time: Time) -> Result<(), ApplyFault> {
        self.say(&metadata::implied(time))?;
        // The root's is looked for anyway.
        self.pending.implied |= self.trail.depth() > 0;
        let name = self.finish.form.mark(Mark::Implied).to_bytes();
        let target = Target::Open(self.trail.here());
        target
            .set_xattr(name, b"y")
            .map_err(|errno| ApplyFault::Xattr { name: name.to_vec(), errno })
    }

    fn mark_opaque(&self, dir: BorrowedFd<'_>) -> Result<(), ApplyFault> {
        let name = self.finish.form.mark(Mark::Opaque).to_bytes();
        let result = Target::Open(dir).set_xattr(name, b"y");
        result.map_err(|errno| ApplyFault::Xattr { name: name.to_vec(), errno })
    }

    /// A directory that the layer speaks of. We stay in it: what follows is mostly in there.
    fn directory(&mut self, path: &LayerPath, metadata: &Metadata) -> Result<(), ApplyFault> {
        if path.is_root() || self.trail.path() == path.as_bytes() {
            self.goto(path.as_bytes(), metadata.modified)?;
            return self.speak(metadata);
        }
        let name = self.goto_parent(path, metadata.modified)?;
        match rustix::fs::mkdirat(self.trail.here(), name, Mode::RWXU) {
            Ok(()) => {
                let fd = open_dir(self.trail.here(), name)
                    .map_err(ApplyFault::kernel("open a directory"))?;
                self.touch();
                self.down(name, fd, Level::new())?;
                return self.say(metadata);
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(ApplyFault::kernel("make a directory")(errno)),
        }
        match settle(self.present(name)?, Incoming::Directory) {
            Settlement::Merge => {
                self.enter(name, metadata.modified)?;
                self.speak(metadata)
            }
            _ => {
                self.new_directory(name, true)?;
                self.say(metadata)
            }
        }
    }

    /// What the layer says of a directory that is there, perhaps only because something is in it.
    fn speak(&mut self, metadata: &Metadata) -> Result<(), ApplyFault> {
        if self.pending.implied || self.trail.depth() == 0 {
            let name = self.finish.form.mark(Mark::Implied).to_bytes();
            Target::Open(self.trail.here())
                .remove_xattr(name)
                .map_err(ApplyFault::kernel("remove a mark"))?;
        }
        self.say(metadata)
    }

    /// What this layer has under a name here.
    fn present(&self, name: &[u8]) -> Result<Present, ApplyFault> {
        match rustix::fs::statat(self.trail.here(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Present::Directory,
                FileType::CharacterDevice if stat.st_rdev == 0 => Present::Whiteout,
                _ => Present::Other,
            }),
            Err(Errno::NOENT) => Ok(Present::Nothing),
            Err(errno) => Err(ApplyFault::kernel("look up a name")(errno)),
        }
    }

    fn whiteout(&mut self, name: &[u8]) -> Result<(), ApplyFault> {
        let device = FileType::CharacterDevice;
        match rustix::fs::mknodat(self.trail.here(), name, device, Mode::empty(), 0) {
            Ok(()) => {
                self.pending.marks = true;
                self.touch();
                Ok(())
            }
            Err(Errno::EXIST) => match settle(self.present(name)?, Incoming::Whiteout) {
                Settlement::Keep => Ok(()),
                _ => Err(ApplyFault::OwnWhiteout),
            },
            Err(errno) => Err(ApplyFault::kernel("make a whiteout")(errno)),
        }
    }

    /// What is in the directory we are in has changed, and with it its times.
    fn touch(&mut self) {
        self.trail.value().touched = true;
    }

    /// Leaves a directory: it gets the times that it is to have.
    fn leave(&mut self) -> Result<(), ApplyFault> {
        self.settle_level()?;
        self.trail.up().map_err(ApplyFault::kernel("go back to a directory"))?;
        Ok(())
    }

    fn settle_level(&self) -> Result<(), ApplyFault> {
        self.trail.peek().settle(self.trail.here())
    }

    /// Everything is there.
    fn finish(mut self) -> Result<(Applied, Pending), ApplyError> {
        self.others.flush().map_err(|Stopped| ApplyError::Cancelled)?;
        let done = self.close();
        let path = self.trail.path().to_vec();
        done.map_err(|fault| ApplyError::Finish { path, fault })?;
        let applied = Applied {
            entries: self.index,
            bytes: self.bytes,
            skipped: self.skipped,
            end: self.reader.end().unwrap_or(End::Unmarked),
        };
        Ok((applied, self.pending))
    }

    fn close(&mut self) -> Result<(), ApplyFault> {
        while self.trail.depth() > 0 {
            self.leave()?;
        }
        self.settle_level()?;
        self.drop_aside()
    }
}

#[cfg(test)]
mod tests;
