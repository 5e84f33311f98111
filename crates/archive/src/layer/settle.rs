//! Several entries of one layer on one name.
//!
//! A layer is unpacked apart from the layers below, so what counts is what this layer itself has
//! put there before. The later entry wins, as with Docker and containerd, and what comes out is
//! what unpacking in order over the layers below would give: a directory that takes the place of
//! a file or of a whiteout hides what is below, so it must be opaque.

/// What this layer has put on a name so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// Nothing.
    Nothing,
    /// A directory, said or made for something in it.
    Directory,
    /// Anything else but a whiteout.
    Other,
    /// A whiteout.
    Whiteout,
}

/// What comes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming {
    /// A directory, said or needed for something in it.
    Directory,
    /// Anything else but a whiteout.
    Other,
    /// A whiteout.
    Whiteout,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Make it.
    Create,
    /// It is there: give it what the entry says of owner and times, if it was said.
    Merge,
    /// Remove what is there, with all in it, and make it.
    Replace,
    /// Remove what is there, and make a directory that hides what is below.
    ReplaceOpaque,
    /// Nothing: it is there.
    Keep,
    /// Refuse the layer: Docker would remove what this layer has put there, containerd fails, and
    /// the specification says that whiteouts are of layers below only.
    Refuse,
}

/// What to do where an entry meets what its own layer has put there.
pub const fn settle(present: Present, incoming: Incoming) -> Settlement {
    match (present, incoming) {
        (Present::Nothing, _) => Settlement::Create,
        (Present::Directory, Incoming::Directory) => Settlement::Merge,
        (Present::Whiteout, Incoming::Whiteout) => Settlement::Keep,
        (Present::Directory | Present::Other, Incoming::Whiteout) => Settlement::Refuse,
        (Present::Other | Present::Whiteout, Incoming::Directory) => Settlement::ReplaceOpaque,
        (_, Incoming::Other) => Settlement::Replace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_one_wins() {
        use Settlement::{Create, Keep, Merge, Refuse, Replace, ReplaceOpaque};
        let incoming = [Incoming::Directory, Incoming::Other, Incoming::Whiteout];
        let expected = [
            (Present::Nothing, [Create, Create, Create]),
            (Present::Directory, [Merge, Replace, Refuse]),
            (Present::Other, [ReplaceOpaque, Replace, Refuse]),
            (Present::Whiteout, [ReplaceOpaque, Replace, Keep]),
        ];
        for (present, expected) in expected {
            assert_eq!(incoming.map(|incoming| settle(present, incoming)), expected, "{present:?}");
        }
    }
}
