//! Paths as users write them.
//!
//! Invariant: cleaned as text first, as Docker does: `a/../b` is `b` whatever `a` is.

use rustix::io::Errno;

use super::error::FilesError;

/// What a path ends in: it says whether a directory must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trailing {
    /// Neither of both.
    Nothing,
    /// `/`
    Slash,
    /// `/.`: what is in the directory.
    Dot,
}

/// A path in a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// As written.
    written: String,
    names: Vec<Vec<u8>>,
    pub(super) trailing: Trailing,
}

impl Wanted {
    pub(super) fn parse(path: &str) -> Self {
        let trailing = match path {
            _ if path.ends_with('/') => Trailing::Slash,
            _ if path == "." || path.ends_with("/.") => Trailing::Dot,
            _ => Trailing::Nothing,
        };
        let mut kept: Vec<Vec<u8>> = Vec::new();
        for name in names(path.as_bytes()) {
            match name {
                b".." => drop(kept.pop()),
                name => kept.push(name.to_vec()),
            }
        }
        Self { written: path.to_owned(), names: kept, trailing }
    }

    /// The path below the root; empty for the root.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.names.join(&b'/')
    }

    /// What it is in.
    pub(super) fn parent(&self) -> Vec<u8> {
        let count = self.names.len().saturating_sub(1);
        self.names[..count].join(&b'/')
    }

    /// The last name; `/` for the root.
    pub(super) fn base(&self) -> Vec<u8> {
        self.names.last().cloned().unwrap_or_else(|| b"/".to_vec())
    }

    /// What an archive of it calls a directory itself; `/` for the root.
    pub(super) fn top(&self) -> Vec<u8> {
        match self.trailing {
            Trailing::Dot => b".".to_vec(),
            _ => self.base(),
        }
    }

    /// What the kernel said about it.
    pub(super) fn fault(&self) -> impl Fn(Errno) -> FilesError {
        let path = self.written.clone();
        move |errno| match errno {
            Errno::NOENT => FilesError::NotFound { path: path.clone() },
            Errno::NOTDIR => FilesError::NotDirectory { path: path.clone() },
            errno => FilesError::Kernel { doing: "look up", path: path.as_bytes().to_vec(), errno },
        }
    }
}

/// The names of a path.
pub(super) fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_text() {
        let check = |path: &str, bytes: &str, top: &str| {
            let wanted = Wanted::parse(path);
            assert_eq!(wanted.bytes(), bytes.as_bytes(), "{path}");
            assert_eq!(wanted.top(), top.as_bytes(), "{path}");
        };
        check("/a/./b/../c", "a/c", "c");
        check("a/", "a", "a");
        check("/a/.", "a", ".");
        check("/", "", "/");
        check("../../x", "x", "x");
        check(".", "", ".");
    }
}
