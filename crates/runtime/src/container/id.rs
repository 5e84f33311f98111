//! A container's name, which is also the name of its state directory.

use std::fmt;

use crate::error::Error;

const LENGTH_MAX: usize = 1024;

/// A name that passed [`ContainerId::parse`]: never a path, never empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ContainerId(String);

impl ContainerId {
    /// Takes what runc takes: letters, digits, `_`, `+`, `-` and `.`, but not `.` or `..`.
    pub fn parse(id: &str) -> Result<Self, Error> {
        let fits = !id.is_empty()
            && id.len() <= LENGTH_MAX
            && id != "."
            && id != ".."
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte));
        if fits { Ok(Self(id.to_owned())) } else { Err(Error::InvalidId { id: id.to_owned() }) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for id in ["", ".", "..", "a/b", "/a", "a b", "a\0", "ä"] {
            assert!(ContainerId::parse(id).is_err(), "{id:?}");
        }
        for id in ["a", "a.b", "A_1+2-3", "...", "0"] {
            assert_eq!(ContainerId::parse(id).unwrap().as_str(), id);
        }
    }
}
