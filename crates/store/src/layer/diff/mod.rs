//! What is otherwise in one tree than in another, as the changes of a layer.
//!
//! One way for all drivers: both trees are views, directories that are made of the same directories are the
//! same and not looked into, and everything else is compared. The result says what the difference is, not
//! how it came about, so it does not depend on the driver: a directory that was removed and made again
//! is told by what is in it.
//! Invariants: directories come before what is in them, removals first, names in the order of their bytes;
//! the directories on the way to a change are told, too, so that a layer unpacks well without the one below.
//! Absent on purpose: sockets, which archives do not have; names of owners.

mod body;
mod compare;
mod sink;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Read;

use dhow_archive::layer::{Change, LayerError, LayerPath, LinkTarget, Node};
use dhow_archive::tar::{Device, Metadata};
use rustix::fs::{FileType, Stat, Timespec};
use rustix::io::Errno;

pub(crate) use self::body::Body;
pub use self::sink::{ChangeKind, DiffError, DiffOptions, DiffSink, LayerWriter};
use super::error::ApplyFault;
use super::metadata::{self, Target};
use super::trail::FileId;
use super::tree::{TreeError, join};
use super::view::{Child, Dir, View, Walk};

/// Tells `sink` what is otherwise in `new` than in `old`. Files of `new` whose inode was last changed
/// before `unchanged_before` are as they were when the tree was a copy of `old`.
pub(crate) fn diff(
    old: &View,
    new: &View,
    unchanged_before: Option<Timespec>,
    options: &DiffOptions<'_>,
    sink: &mut dyn DiffSink,
) -> Result<(), DiffError> {
    let open = |errno| TreeError::at(b"", b"")(ApplyFault::kernel("open a tree")(errno));
    let Some(new_root) = new.root().map_err(open)? else { return Ok(()) };
    let old_root = old.root().map_err(open)?;
    let mut differ = Differ {
        old,
        new,
        unchanged_before,
        options,
        sink,
        old_walk: old_root.clone().map(|root| Walk::new(old, root)),
        new_walk: Walk::new(new, new_root.clone()),
        frames: Vec::new(),
        path: Vec::new(),
        links: HashMap::new(),
        twins: RefCell::default(),
    };
    differ.root(&new_root, old_root.as_ref())?;
    while differ.step()? {}
    Ok(())
}

struct Differ<'a> {
    old: &'a View,
    new: &'a View,
    unchanged_before: Option<Timespec>,
    options: &'a DiffOptions<'a>,
    sink: &'a mut dyn DiffSink,
    /// There only while the old tree has the directory that we are in, too.
    old_walk: Option<Walk<'a>>,
    new_walk: Walk<'a>,
    frames: Vec<Frame>,
    /// Where we are.
    path: Vec<u8>,
    /// The first name of files that have several.
    links: HashMap<FileId, LayerPath>,
    /// Which file of the old tree such a one was.
    twins: RefCell<HashMap<FileId, FileId>>,
}

/// A directory that we are in.
struct Frame {
    /// What is still to come, the next one last.
    pairs: Vec<Pair>,
    /// What to say of the directory itself, as soon as there is something in it to say.
    untold: Option<Change>,
    /// Length of the path up to here.
    end: usize,
    has_old: bool,
}

/// One name in both trees, or in the new one alone.
struct Pair {
    new: Child,
    old: Option<Child>,
}

impl Differ<'_> {
    /// The root is told only if it is otherwise by itself: every layer has one anyway.
    fn root(&mut self, new: &Dir, old: Option<&Dir>) -> Result<(), DiffError> {
        let stat = self.ok(b"", rustix::fs::fstat(new.top()))?;
        let metadata = self.metadata(b"", &stat, Target::Open(new.top()))?;
        let change = put(b"", Node::Directory, metadata)?;
        let differs = match old {
            Some(old) => self.directory_differs(b"", new, &stat, old)?,
            None => true,
        };
        if differs {
            self.tell(ChangeKind::Modified, change, None)?;
        }
        self.open(new, old, None)
    }

    /// Takes the next name; false if there is none.
    fn step(&mut self) -> Result<bool, DiffError> {
        let Some(frame) = self.frames.last_mut() else { return Ok(false) };
        match frame.pairs.pop() {
            Some(Pair { new, old }) if new.kind == FileType::Directory => {
                self.directory(&new, old.as_ref())?;
            }
            Some(Pair { new, old }) => self.file(&new, old.as_ref())?,
            None => self.close()?,
        }
        Ok(true)
    }

    /// Goes into a directory: finds out what is in it, and tells at once what is not any more.
    fn open(
        &mut self,
        new: &Dir,
        old: Option<&Dir>,
        untold: Option<Change>,
    ) -> Result<(), DiffError> {
        let old_children = match old {
            Some(old) => self.children(self.old, old)?,
            None => Vec::new(),
        };
        let new_children = self.children(self.new, new)?;
        let (pairs, gone) = pair(new_children, old_children);
        let has_old = old.is_some();
        self.frames.push(Frame { pairs, untold, end: self.path.len(), has_old });
        let frame = &self.frames[self.frames.len() - 1];
        let kept = frame.pairs.iter().any(|pair| pair.old.is_some());
        // At the root, a mark means little to overlay.
        let all_at_once = self.options.opaque && !kept && gone.len() > 1 && !self.path.is_empty();
        if all_at_once {
            let path = parse(&self.path)?;
            return self.tell(ChangeKind::Deleted, Change::Opaque { path }, None);
        }
        for name in gone {
            let path = parse(&join(&self.path, &name))?;
            self.tell(ChangeKind::Deleted, Change::Whiteout { path }, None)?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), DiffError> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        if let Some(above) = self.frames.last() {
            let up = self.new_walk.up();
            self.ok(b"", up)?;
            if frame.has_old
                && let Some(walk) = &mut self.old_walk
            {
                let up = walk.up();
                self.ok(b"", up)?;
            }
            self.path.truncate(above.end);
        }
        Ok(())
    }

    fn children(&self, view: &View, dir: &Dir) -> Result<Vec<Child>, DiffError> {
        let mut children = self.ok(b"", view.list(dir))?;
        children.retain(|child| child.kind != FileType::Socket);
        Ok(children)
    }

    fn directory(&mut self, child: &Child, old: Option<&Child>) -> Result<(), DiffError> {
        let name = &child.name;
        let entered = self.new.enter(self.new_walk.here(), name);
        let new = self.ok(name, entered.and_then(|dir| dir.ok_or(Errno::STALE)))?;
        let below = match (&self.old_walk, old) {
            (Some(walk), Some(old)) if old.kind == FileType::Directory => {
                self.ok(name, self.old.enter(walk.here(), name))?
            }
            _ => None,
        };
        if let Some(below) = &below
            && self.ok(name, new.ids())? == self.ok(name, below.ids())?
        {
            return Ok(());
        }
        let stat = self.ok(name, rustix::fs::fstat(new.top()))?;
        let metadata = self.metadata(name, &stat, Target::Open(new.top()))?;
        let change = put(&join(&self.path, name), Node::Directory, metadata)?;
        let told = match &below {
            Some(below) => self.directory_differs(name, &new, &stat, below)?,
            None => true,
        };
        let untold = if told {
            let kind = if old.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
            self.tell(kind, change, None)?;
            None
        } else {
            Some(change)
        };
        self.path = join(&self.path, name);
        self.new_walk.down(name, new.clone());
        if let (Some(walk), Some(below)) = (&mut self.old_walk, &below) {
            walk.down(name, below.clone());
        }
        self.open(&new, below.as_ref(), untold)
    }

    fn file(&mut self, child: &Child, old: Option<&Child>) -> Result<(), DiffError> {
        let name = &child.name;
        let dir = self.new_walk.here().clone();
        let stat = self.ok(name, dir.stat(child))?;
        if let Some(old) = old
            && self.is_same(&dir, child, &stat, old)?
        {
            return Ok(());
        }
        let kind = if old.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        let (_, holder) = dir.holder(child);
        let target = Target::Named(holder, name);
        let metadata = self.metadata(name, &stat, target)?;
        let path = parse(&join(&self.path, name))?;
        if stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&id) {
                let target = LinkTarget::Path(first.clone());
                return self.tell(kind, Change::Link { path, target, metadata }, None);
            }
            self.links.insert(id, path.clone());
        }
        if child.kind == FileType::RegularFile {
            let opened = self.new.open_data(&dir, child);
            let file = self.ok(name, opened)?;
            let full = join(&self.path, name);
            let mut body = Body::new(file, &stat, full).map_err(DiffError::Tree)?;
            let node = Node::File(body.content());
            let result = self.tell(kind, Change::Put { path, node, metadata }, Some(&mut body));
            // The body knows better than the sink why it could not be read.
            return body.failure().map_or(result, |error| Err(DiffError::Tree(error)));
        }
        let node = self.node(&dir, child, &stat)?;
        self.tell(kind, Change::Put { path, node, metadata }, None)
    }

    fn node(&self, dir: &Dir, child: &Child, stat: &Stat) -> Result<Node, DiffError> {
        let device = Device {
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
        };
        Ok(match child.kind {
            FileType::CharacterDevice => Node::CharDevice(device),
            FileType::BlockDevice => Node::BlockDevice(device),
            FileType::Fifo => Node::Fifo,
            _ => {
                let name = child.name.as_slice();
                let target = rustix::fs::readlinkat(dir.holder(child).1, name, Vec::new());
                Node::Symlink { target: self.ok(name, target)?.into_bytes() }
            }
        })
    }

    /// Tells the directories on the way that were not told yet.
    fn tell_way(&mut self) -> Result<(), DiffError> {
        for frame in &mut self.frames {
            if let Some(change) = frame.untold.take() {
                self.sink.change(ChangeKind::Modified, change, None)?;
            }
        }
        Ok(())
    }

    fn tell(
        &mut self,
        kind: ChangeKind,
        change: Change,
        body: Option<&mut dyn Read>,
    ) -> Result<(), DiffError> {
        self.tell_way()?;
        self.sink.change(kind, change, body)
    }

    fn metadata(
        &self,
        name: &[u8],
        stat: &Stat,
        target: Target<'_>,
    ) -> Result<Metadata, DiffError> {
        metadata::read(stat, target, self.new.form(), self.options.owners)
            .map_err(|fault| TreeError::at(&self.path, name)(fault).into())
    }

    fn ok<T>(&self, name: &[u8], result: Result<T, Errno>) -> Result<T, DiffError> {
        result.map_err(|errno| {
            TreeError::at(&self.path, name)(ApplyFault::kernel("read a tree")(errno)).into()
        })
    }
}

/// Names that are in both or in the new one, the first one last; and those that are gone, in order.
fn pair(new: Vec<Child>, old: Vec<Child>) -> (Vec<Pair>, Vec<Vec<u8>>) {
    let mut old = old.into_iter().peekable();
    let mut gone = Vec::new();
    let mut pairs = Vec::with_capacity(new.len());
    for new in new {
        while let Some(before) = old.next_if(|old| old.name < new.name) {
            gone.push(before.name);
        }
        let old = old.next_if(|old| old.name == new.name);
        pairs.push(Pair { new, old });
    }
    gone.extend(old.map(|child| child.name));
    pairs.reverse();
    (pairs, gone)
}

fn put(path: &[u8], node: Node, metadata: Metadata) -> Result<Change, DiffError> {
    Ok(Change::Put { path: parse(path)?, node, metadata })
}

fn parse(path: &[u8]) -> Result<LayerPath, DiffError> {
    LayerPath::parse(path)
        .map_err(|fault| DiffError::Layer(LayerError { path: path.to_vec(), target: None, fault }))
}
