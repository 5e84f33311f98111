//! Changes: what one entry of a layer does to the layers below it.

use std::cmp::Ordering;

use super::error::{LayerError, LayerFault};
use super::path::LayerPath;
use super::settle::Incoming;
use crate::tar::{Content, Device, Entry, Kind, Metadata};

/// What a name begins with that removes another.
const WHITEOUT: &[u8] = b".wh.";
/// Removes all that the layers below have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Aufs's own files, which old layers brought along; they remove nothing.
const BOOKKEEPING: &[u8] = b".wh..wh.";
/// Where aufs kept the files that hard links of a layer point to.
const LINKS: &[u8] = b".wh..wh.plnk";

/// What one entry of a layer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A change to the layers below.
    Change(Change),
    /// A file to keep aside until the layer is done: hard links of this layer point to it.
    Aside {
        /// What links call it.
        name: Vec<u8>,
        /// Its body, that follows.
        content: Content,
        /// Its owner and times.
        metadata: Metadata,
    },
    /// Aufs's bookkeeping, of no meaning any more.
    Skip,
}

/// One change to the layers below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Puts something there, in place of what there was; a directory joins one below.
    Put {
        /// Where; the root only as a directory.
        path: LayerPath,
        /// What.
        node: Node,
        /// Its owner and times.
        metadata: Metadata,
    },
    /// Gives a file of this layer another name.
    Link {
        /// Where.
        path: LayerPath,
        /// Which file.
        target: LinkTarget,
        /// Its owner and times, again.
        metadata: Metadata,
    },
    /// Removes what the layers below have there.
    Whiteout {
        /// Where; never the root.
        path: LayerPath,
    },
    /// Removes all that the layers below have in a directory, not the directory.
    Opaque {
        /// Which directory.
        path: LayerPath,
    },
}

/// Something that a layer can put somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file, whose body follows.
    File(Content),
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// What it says; anything.
        target: Vec<u8>,
    },
    /// A character device, never 0:0.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// What a hard link of a layer points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkTarget {
    /// A file of this layer or, for old builders, of one below.
    Path(LayerPath),
    /// A file that was kept aside.
    Aside(Vec<u8>),
}

impl Item {
    /// Reads what an entry means.
    pub fn of(entry: Entry) -> Result<Self, LayerError> {
        let Entry { path: stored, kind, metadata } = entry;
        let fault = |fault| LayerError { path: stored.clone(), target: None, fault };
        let path = LayerPath::parse(&stored).map_err(fault)?;
        if let Some(word) = Word::of(&path).map_err(fault)? {
            return word.item(kind, metadata).map_err(fault);
        }
        let node = match kind {
            Kind::HardLink { target } => {
                let fault = |fault| LayerError {
                    target: Some(target.clone()),
                    path: stored.clone(),
                    fault,
                };
                let target = link_target(&target, &path).map_err(fault)?;
                return Ok(Self::Change(Change::Link { path, target, metadata }));
            }
            Kind::CharDevice(Device { major: 0, minor: 0 }) => {
                return Err(fault(LayerFault::OverlayWhiteout));
            }
            Kind::File(content) => Node::File(content),
            Kind::Directory => Node::Directory,
            Kind::Symlink { target } => Node::Symlink { target },
            Kind::CharDevice(device) => Node::CharDevice(device),
            Kind::BlockDevice(device) => Node::BlockDevice(device),
            Kind::Fifo => Node::Fifo,
        };
        if path.is_root() && node != Node::Directory {
            return Err(fault(LayerFault::Root));
        }
        Ok(Self::Change(Change::Put { path, node, metadata }))
    }
}

/// A name that is a word.
enum Word {
    Whiteout(LayerPath),
    Opaque(LayerPath),
    Link(Vec<u8>),
    Bookkeeping,
}

impl Word {
    fn of(path: &LayerPath) -> Result<Option<Self>, LayerFault> {
        let Some((parent, name)) = path.split() else { return Ok(None) };
        if parent.as_bytes() == LINKS {
            return Ok(Some(Self::Link(name.to_vec())));
        }
        if let Some(above) = parent.components().find(|above| above.starts_with(WHITEOUT)) {
            let bookkeeping = above.starts_with(BOOKKEEPING) && above != OPAQUE;
            return if bookkeeping {
                Ok(Some(Self::Bookkeeping))
            } else {
                Err(LayerFault::Reserved)
            };
        }
        if name == OPAQUE {
            return Ok(Some(Self::Opaque(parent)));
        }
        if name.starts_with(BOOKKEEPING) {
            return Ok(Some(Self::Bookkeeping));
        }
        match name.strip_prefix(WHITEOUT) {
            None => Ok(None),
            Some(b"" | b"." | b"..") => Err(LayerFault::Whiteout),
            Some(hidden) => Ok(Some(Self::Whiteout(parent.join(hidden)))),
        }
    }

    fn item(self, kind: Kind, metadata: Metadata) -> Result<Item, LayerFault> {
        // Aufs made its whiteouts hard links of each other.
        let is_mark = matches!(kind, Kind::File(_) | Kind::HardLink { .. });
        match (self, kind) {
            (Self::Whiteout(path), _) if is_mark => Ok(Item::Change(Change::Whiteout { path })),
            (Self::Opaque(path), _) if is_mark => Ok(Item::Change(Change::Opaque { path })),
            (Self::Whiteout(_) | Self::Opaque(_), _) => Err(LayerFault::Whiteout),
            (Self::Link(name), Kind::File(content)) => Ok(Item::Aside { name, content, metadata }),
            (Self::Link(_) | Self::Bookkeeping, _) => Ok(Item::Skip),
        }
    }
}

fn link_target(stored: &[u8], path: &LayerPath) -> Result<LinkTarget, LayerFault> {
    let target = LayerPath::parse(stored)?;
    match target.split() {
        None => Err(LayerFault::Link),
        Some((parent, name)) if parent.as_bytes() == LINKS => Ok(LinkTarget::Aside(name.to_vec())),
        Some(_) if is_reserved(&target) => Err(LayerFault::Reserved),
        Some(_) if target == *path => Err(LayerFault::Link),
        Some(_) => Ok(LinkTarget::Path(target)),
    }
}

fn is_reserved(path: &LayerPath) -> bool {
    path.components().any(|component| component.starts_with(WHITEOUT))
}

impl Change {
    /// Where it happens.
    pub fn path(&self) -> &LayerPath {
        match self {
            Self::Put { path, .. }
            | Self::Link { path, .. }
            | Self::Whiteout { path }
            | Self::Opaque { path } => path,
        }
    }

    /// What it is to [`settle`](super::settle); an opaque mark is one more of its directory.
    pub fn incoming(&self) -> Incoming {
        match self {
            Self::Put { node: Node::Directory, .. } | Self::Opaque { .. } => Incoming::Directory,
            Self::Put { .. } | Self::Link { .. } => Incoming::Other,
            Self::Whiteout { .. } => Incoming::Whiteout,
        }
    }

    /// The order of a layer that we make: as a tree is walked, in each directory first what it
    /// removes. Who applies it from front to back never removes what it has just put there.
    pub fn order(&self, other: &Self) -> Ordering {
        self.order_key().cmp(other.order_key())
    }

    fn order_key(&self) -> impl Iterator<Item = (Rank, &[u8])> {
        let last = match self {
            Self::Whiteout { .. } => Rank::Whiteout,
            Self::Put { .. } | Self::Link { .. } | Self::Opaque { .. } => Rank::Name,
        };
        let mut components = self.path().components();
        let name = components.next_back().map(|name| (last, name));
        let mark = matches!(self, Self::Opaque { .. }).then_some((Rank::Opaque, &b""[..]));
        components.map(|name| (Rank::Name, name)).chain(name).chain(mark)
    }

    /// The entry that says so.
    pub fn into_entry(self) -> Result<Entry, LayerError> {
        let path = self.path().clone();
        let fault = |fault| Err(LayerError { path: path.as_bytes().to_vec(), target: None, fault });
        if is_reserved(&path) {
            return fault(LayerFault::Reserved);
        }
        let (path, kind, metadata) = match self {
            Self::Put { node: Node::CharDevice(Device { major: 0, minor: 0 }), .. } => {
                return fault(LayerFault::OverlayWhiteout);
            }
            Self::Put { path, node: Node::Directory, metadata } if path.is_root() => {
                (b"./".to_vec(), Kind::Directory, metadata)
            }
            Self::Put { .. } | Self::Link { .. } if path.is_root() => {
                return fault(LayerFault::Root);
            }
            Self::Put { path, node, metadata } => (path.as_bytes().to_vec(), node.into(), metadata),
            Self::Link { path, target, metadata } => {
                (path.as_bytes().to_vec(), Kind::HardLink { target: target.stored() }, metadata)
            }
            Self::Opaque { path } => mark(&path, OPAQUE),
            Self::Whiteout { path } => match path.split() {
                Some((parent, name)) => mark(&parent, &[WHITEOUT, name].concat()),
                None => return fault(LayerFault::Whiteout),
            },
        };
        Ok(Entry { path, kind, metadata })
    }
}

/// What comes first among the things in one directory.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Opaque,
    Whiteout,
    Name,
}

/// An empty file of nobody and no time: the same one whenever it is made.
fn mark(parent: &LayerPath, name: &[u8]) -> (Vec<u8>, Kind, Metadata) {
    let path = parent.join(name).as_bytes().to_vec();
    (path, Kind::File(Content::plain(0)), Metadata::default())
}

impl LinkTarget {
    fn stored(&self) -> Vec<u8> {
        match self {
            Self::Path(target) => target.as_bytes().to_vec(),
            Self::Aside(name) => [LINKS, b"/", name].concat(),
        }
    }
}

impl From<Node> for Kind {
    fn from(node: Node) -> Self {
        match node {
            Node::File(content) => Self::File(content),
            Node::Directory => Self::Directory,
            Node::Symlink { target } => Self::Symlink { target },
            Node::CharDevice(device) => Self::CharDevice(device),
            Node::BlockDevice(device) => Self::BlockDevice(device),
            Node::Fifo => Self::Fifo,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file() -> Kind {
        Kind::File(Content::plain(0))
    }

    fn read(path: &str, kind: Kind) -> Result<Item, LayerError> {
        Item::of(Entry { path: path.into(), kind, metadata: Metadata::default() })
    }

    fn path(name: &str) -> LayerPath {
        LayerPath::parse(name.as_bytes()).expect(name)
    }

    fn whiteout(name: &str) -> Change {
        Change::Whiteout { path: path(name) }
    }

    fn opaque(name: &str) -> Change {
        Change::Opaque { path: path(name) }
    }

    fn put(name: &str) -> Change {
        Change::Put { path: path(name), node: Node::Fifo, metadata: Metadata::default() }
    }

    #[test]
    fn names_that_are_words() {
        let link = || Kind::HardLink { target: b".wh..wh.aufs".to_vec() };
        let check = |name: &str, kind, expected: Change| {
            assert_eq!(read(name, kind), Ok(Item::Change(expected)), "{name}");
        };
        check(".wh.a", file(), whiteout("a"));
        check("./d/.wh.a b", link(), whiteout("d/a b"));
        check("/d/.wh...x", file(), whiteout("d/..x"));
        check(".wh..wh..opq", file(), opaque(""));
        check("d/e/.wh..wh..opq", link(), opaque("d/e"));
    }

    #[test]
    fn what_aufs_left() {
        let skipped =
            [".wh..wh.aufs", ".wh..wh.orph/", ".wh..wh.orph/x", "d/.wh..wh.tmp", ".wh..wh.plnk/"];
        for name in skipped {
            let kind = if name.ends_with('/') { Kind::Directory } else { file() };
            assert_eq!(read(name, kind), Ok(Item::Skip), "{name}");
        }
        let aside = read(".wh..wh.plnk/12.34", file());
        assert!(matches!(aside, Ok(Item::Aside { name, .. }) if name == b"12.34"));
        let link = read("f", Kind::HardLink { target: b"./.wh..wh.plnk/12.34".to_vec() });
        let Ok(Item::Change(Change::Link { target, .. })) = link else { panic!("{link:?}") };
        assert_eq!(target, LinkTarget::Aside(b"12.34".to_vec()));
    }

    #[test]
    fn entries_that_no_layer_has() {
        let check = |name: &str, kind, expected: &str| {
            assert_eq!(read(name, kind).expect_err(name).to_string(), expected);
        };
        let hard = |target: &str| Kind::HardLink { target: target.into() };
        check("../x", file(), r#"layer entry "../x": a path with "..""#);
        check("./", file(), r#"layer entry "./": the root is not a directory"#);
        let target = |target: &str, fault: &str| {
            format!("layer entry \"a\": its link target {target:?}: {fault}")
        };
        check("a", hard("../x"), &target("../x", "a path with \"..\""));
        check("a", hard("/"), &target("/", "a hard link to the root or to itself"));
        check("a", hard("./a"), &target("./a", "a hard link to the root or to itself"));
        let words = "names that begin with \".wh.\" are reserved for whiteouts";
        check("a", hard(".wh.x"), &target(".wh.x", words));
        let invalid = |name: &str| format!("layer entry {name:?}: an invalid whiteout");
        for name in [".wh.", "d/.wh..", "d/.wh..."] {
            check(name, file(), &invalid(name));
        }
        check(".wh.d/", Kind::Directory, &invalid(".wh.d/"));
        check(
            "d/.wh..wh..opq",
            Kind::Symlink { target: b"x".to_vec() },
            &invalid("d/.wh..wh..opq"),
        );
        let reserved = |name: &str| {
            format!(
                "layer entry {name:?}: names that begin with \".wh.\" are reserved for whiteouts"
            )
        };
        check(".wh.d/f", file(), &reserved(".wh.d/f"));
        check(".wh..wh..opq/f", file(), &reserved(".wh..wh..opq/f"));
        let device = Kind::CharDevice(Device { major: 0, minor: 0 });
        check("f", device, r#"layer entry "f": a character device 0:0"#);
    }

    #[test]
    fn changes_that_cannot_be_written() {
        let check = |change: Change, expected: LayerFault| {
            assert_eq!(change.into_entry().expect_err("a fault").fault, expected);
        };
        check(put("a/.wh.b"), LayerFault::Reserved);
        check(put(""), LayerFault::Root);
        check(whiteout(""), LayerFault::Whiteout);
        check(opaque("a/.wh.b/c"), LayerFault::Reserved);
    }

    #[test]
    fn removals_come_first_in_their_directory() {
        let ordered = [
            opaque(""),
            whiteout("zz"),
            put("a"),
            opaque("a"),
            whiteout("a/x"),
            whiteout("a/y"),
            put("a/b"),
            put("a/b/c"),
            put("a/x y"),
            put("a!"),
            put("b"),
        ];
        let mut changes: Vec<_> = ordered.iter().rev().cloned().collect();
        changes.sort_by(Change::order);
        assert_eq!(changes, ordered);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read(name in "[a./wh]{0,12}", which in 0..5) {
            let Ok(path) = LayerPath::parse(name.as_bytes()) else { return Ok(()) };
            let metadata = Metadata::default();
            let change = match which {
                0 => Change::Whiteout { path },
                1 => Change::Opaque { path },
                2 => Change::Put { path, node: Node::Directory, metadata },
                3 => Change::Put { path, node: Node::File(Content::plain(3)), metadata },
                _ => Change::Link { path, target: LinkTarget::Path(LayerPath::parse(b"t").expect("a path")), metadata },
            };
            if let Ok(entry) = change.clone().into_entry() {
                prop_assert_eq!(Item::of(entry), Ok(Item::Change(change)));
            }
        }
    }
}
