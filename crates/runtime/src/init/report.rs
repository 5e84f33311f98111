//! What the child tells: fixed records of 16 bytes, written without allocation, worded by the parent.

use std::os::fd::BorrowedFd;

use dhow_sys::Errno;

/// Which part of a step failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum At {
    /// The step's one call.
    Itself,
    /// Opening the mount's target, or the directory that a node goes to.
    Target,
    /// Making a target that was not there.
    MakeTarget,
    /// Opening the source.
    Source,
    /// Setting mount attributes.
    Attributes,
    /// Putting a prepared mount in its place.
    Attach,
    /// Setting propagation.
    Propagation,
    /// Filling a file system from what it covers.
    CopyUp,
    /// Making a node or link.
    Make,
    /// Setting owner or mode.
    Owner,
    /// Something else is already there.
    Occupied,
    /// Setting supplementary groups.
    Groups,
    /// Setting the group id.
    Group,
    /// Setting the user id.
    User,
    /// Raising ambient capabilities.
    Ambient,
    /// The working directory lies outside the container's root.
    Outside,
    /// Talking to the console socket.
    Console,
    /// Mapping the ids of a mount.
    IdMap,
    /// The target is there and no directory of its own.
    Symlink,
}

impl At {
    const ALL: [Self; 19] = [
        Self::Itself,
        Self::Target,
        Self::MakeTarget,
        Self::Source,
        Self::Attributes,
        Self::Attach,
        Self::Propagation,
        Self::CopyUp,
        Self::Make,
        Self::Owner,
        Self::Occupied,
        Self::Groups,
        Self::Group,
        Self::User,
        Self::Ambient,
        Self::Outside,
        Self::Console,
        Self::IdMap,
        Self::Symlink,
    ];

    /// The words between the step's own and the errno's; empty for the step itself.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Itself => "",
            Self::Target => "open target",
            Self::MakeTarget => "make target",
            Self::Source => "open source",
            Self::Attributes => "set attributes",
            Self::Attach => "attach",
            Self::Propagation => "set propagation",
            Self::CopyUp => "copy up",
            Self::Make => "make",
            Self::Owner => "set owner or mode",
            Self::Occupied => "something else is there",
            Self::Groups => "set groups",
            Self::Group => "set gid",
            Self::User => "set uid",
            Self::Ambient => "raise ambient capabilities",
            Self::Outside => "it is outside of the container's root",
            Self::Console => "console socket",
            Self::IdMap => "map ids",
            // The words of runc.
            Self::Symlink => "must be mounted on ordinary directory",
        }
    }
}

/// Why a step failed: where in it, and what the kernel said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) at: At,
    pub(crate) errno: Errno,
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self { at: At::Itself, errno }
    }
}

/// Says where in a step a call stands.
pub(crate) trait InStep<T> {
    fn at(self, at: At) -> Result<T, Fault>;
}

impl<T> InStep<T> for Result<T, Errno> {
    fn at(self, at: At) -> Result<T, Fault> {
        self.map_err(|errno| Fault { at, errno })
    }
}

/// Where the child stops until the parent says go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum SyncPoint {
    /// New namespaces are there: the parent writes id mappings, moves devices in, sets what only it may.
    Namespaces,
    /// The process cannot write its own line as the host sees it: the parent puts it on record.
    Record,
    /// Mounts are made, the root is not yet changed: the parent runs hooks.
    Mounts,
    /// All but the exec is done: the parent puts the pid on record.
    Ready,
    /// A seccomp listener waits to be fetched; its descriptor's number is the record's value.
    Listener,
}

impl SyncPoint {
    const ALL: [Self; 5] =
        [Self::Namespaces, Self::Record, Self::Mounts, Self::Ready, Self::Listener];
}

/// One record from the child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Report {
    /// The child waits at a point; the number is a descriptor for `Listener`, otherwise 0.
    Reached(SyncPoint, i32),
    /// The child cloned itself anew; the container is the process of this pid.
    Replaced(i32),
    /// The child may not open the source of mount step number `step`, and waits for its descriptor.
    Wants { step: usize },
    /// Step number `step` failed and the child has gone.
    Failed { step: usize, fault: Fault },
}

const REACHED: u32 = 1;
const REPLACED: u32 = 2;
const FAILED: u32 = 3;
const WANTS: u32 = 4;
const RECORD_BYTES: usize = 16;

impl Report {
    fn encode(self) -> [u8; RECORD_BYTES] {
        let (tag, a, b, c) = match self {
            Self::Reached(point, value) => (REACHED, point as u32, value as u32, 0),
            Self::Replaced(pid) => (REPLACED, pid as u32, 0, 0),
            Self::Wants { step } => (WANTS, step as u32, 0, 0),
            Self::Failed { step, fault } => {
                (FAILED, step as u32, fault.at as u32, fault.errno.raw_os_error() as u32)
            }
        };
        let mut record = [0; RECORD_BYTES];
        for (at, word) in [tag, a, b, c].into_iter().enumerate() {
            record[at * 4..at * 4 + 4].copy_from_slice(&word.to_ne_bytes());
        }
        record
    }

    fn decode(record: &[u8; RECORD_BYTES]) -> Option<Self> {
        let word = |at: usize| {
            record[at * 4..at * 4 + 4].try_into().map(u32::from_ne_bytes).unwrap_or_default()
        };
        match word(0) {
            REACHED => {
                let point = *SyncPoint::ALL.get(word(1) as usize)?;
                Some(Self::Reached(point, word(2) as i32))
            }
            REPLACED => Some(Self::Replaced(word(1) as i32)),
            WANTS => Some(Self::Wants { step: word(1) as usize }),
            FAILED => Some(Self::Failed {
                step: word(1) as usize,
                fault: Fault {
                    at: *At::ALL.get(word(2) as usize)?,
                    errno: Errno::from_raw_os_error(word(3) as i32),
                },
            }),
            _ => None,
        }
    }

    /// Writes the record. May run between clone and exec.
    pub(crate) fn send(self, to: BorrowedFd<'_>) -> Result<(), Errno> {
        rustix::io::retry_on_intr(|| rustix::io::write(to, &self.encode())).map(drop)
    }

    /// Reads the next record; `None` once the child has executed its program or gone.
    pub(crate) fn receive(from: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        let mut record = [0; RECORD_BYTES];
        let count = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut record))?;
        match count {
            0 => Ok(None),
            RECORD_BYTES => Self::decode(&record).map(Some).ok_or(Errno::BADMSG),
            _ => Err(Errno::BADMSG),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_comes_back_as_it_was() {
        for at in At::ALL {
            let failed = Report::Failed { step: 300, fault: Fault { at, errno: Errno::ACCESS } };
            assert_eq!(Report::decode(&failed.encode()), Some(failed));
        }
        for point in SyncPoint::ALL {
            let reached = Report::Reached(point, 7);
            assert_eq!(Report::decode(&reached.encode()), Some(reached));
        }
        let replaced = Report::Replaced(4_000_000);
        assert_eq!(Report::decode(&replaced.encode()), Some(replaced));
        let wants = Report::Wants { step: 70_000 };
        assert_eq!(Report::decode(&wants.encode()), Some(wants));
    }
}
