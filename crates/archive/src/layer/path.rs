//! Paths below the root of a layer.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::error::LayerFault;

/// The longest name of a file on Linux.
const NAME_BYTES_MAX: usize = 255;

/// A path below a layer's root; the root itself is the empty one.
///
/// Ordered as a tree is walked: a directory, all that is in it, then its next sibling.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct LayerPath(Vec<u8>);

impl LayerPath {
    /// Reads a name as archives have it: leading slashes, empty components and `.` mean nothing.
    pub fn parse(name: &[u8]) -> Result<Self, LayerFault> {
        let mut path = Vec::with_capacity(name.len());
        for component in name.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(LayerFault::Parent),
                _ if component.contains(&0) => return Err(LayerFault::Nul),
                _ if component.len() > NAME_BYTES_MAX => return Err(LayerFault::LongName),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
        }
        Ok(Self(path))
    }

    /// The root.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its bytes, without a slash at either end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For calls that take a relative path; empty for the root.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The names on the way, from the top.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
    }

    /// The directory that it is in, and its name there; `None` for the root.
    pub fn split(&self) -> Option<(Self, &[u8])> {
        if self.is_root() {
            return None;
        }
        let slash = self.0.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match slash {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&b""[..], &self.0[..]),
        };
        Some((Self(parent.to_vec()), name))
    }

    /// What is called `name` in it; `name` is one component.
    pub(super) fn join(&self, name: &[u8]) -> Self {
        match self.is_root() {
            true => Self(name.to_vec()),
            false => Self([&self.0, &b"/"[..], name].concat()),
        }
    }
}

impl Ord for LayerPath {
    /// A slash before every other byte: names cannot hold what would come before it.
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl PartialOrd for LayerPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(name: &str) -> LayerPath {
        LayerPath::parse(name.as_bytes()).expect(name)
    }

    #[test]
    fn many_spellings_of_one_path() {
        for name in ["a/b", "/a/b", "./a/b/", "//a/./b//", "a//b/."] {
            assert_eq!(path(name).as_bytes(), b"a/b", "{name}");
        }
        for name in ["", "/", ".", "./", "//./"] {
            assert!(path(name).is_root(), "{name}");
        }
        assert_eq!(path("..."), LayerPath(b"...".to_vec()));
        assert_eq!(path("a/b").components().collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(path("a/b").split(), Some((path("a"), &b"b"[..])));
        assert_eq!(path("a").split(), Some((LayerPath::root(), &b"a"[..])));
        assert_eq!(LayerPath::root().split(), None);
        assert_eq!(LayerPath::root().components().count(), 0);
    }

    #[test]
    fn paths_that_lead_out() {
        let check = |name: &[u8], expected: LayerFault| {
            assert_eq!(LayerPath::parse(name), Err(expected));
        };
        for name in [&b".."[..], b"../a", b"a/../b", b"/..", b"a/.."] {
            check(name, LayerFault::Parent);
        }
        check(b"a\0b", LayerFault::Nul);
        check(&[b'x'; 256], LayerFault::LongName);
        assert!(LayerPath::parse(&[b'x'; 255]).is_ok());
    }

    #[test]
    fn the_order_of_a_walk() {
        let names = ["", "a", "a/b", "a/b/c", "a/c", "a b", "a!", "a-", "a.b", "b"];
        let mut paths: Vec<_> = names.iter().rev().map(|name| path(name)).collect();
        paths.sort();
        let sorted: Vec<_> =
            paths.iter().map(|path| path.as_bytes().escape_ascii().to_string()).collect();
        assert_eq!(sorted, ["", "a", "a/b", "a/b/c", "a/c", "a b", "a!", "a-", "a.b", "b"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn paths_are_normal(name in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), any::<u8>()], 0..30)) {
            if let Ok(path) = LayerPath::parse(&name) {
                prop_assert_eq!(LayerPath::parse(path.as_bytes()), Ok(path.clone()));
                prop_assert!(path.components().all(|component| !matches!(component, b"" | b"." | b"..")));
                let rebuilt = path.components().fold(LayerPath::root(), |path, name| path.join(name));
                prop_assert_eq!(rebuilt, path);
            }
        }

        #[test]
        fn ordered_by_components(one in "[ab/ !]{0,8}", other in "[ab/ !]{0,8}") {
            let (one, other) = (path(&one), path(&other));
            let by_components = one.components().cmp(other.components());
            prop_assert_eq!(one.cmp(&other), by_components);
        }
    }
}
