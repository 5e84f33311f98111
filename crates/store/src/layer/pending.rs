//! What a layer that was unpacked apart still needs from the layers below.
//!
//! The file `pending` in a snapshot's directory: a first line with the format's version, then records that
//! end in a nul each: `implied`, `marks`, or `link` with a path and a target behind it. It is there from the end
//! of the unpacking until the commit, and says what to look for, so that most commits look for nothing.

use std::io::{Read, Write};
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags};

const NAME: &str = "pending";
const HEAD: &[u8] = b"dhow layer 1\n";

/// Something that has to wait for the layers below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    /// There are directories whose owner, mode and times the layer did not say.
    pub(crate) implied: bool,
    /// There are whiteouts or opaque directories.
    pub(crate) marks: bool,
    /// Hard links to files of the layers below: path and target, in the order of the layer.
    pub(crate) links: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pending {
    /// Leaves it in the snapshot's directory.
    pub(crate) fn write(&self, dir: BorrowedFd<'_>) -> std::io::Result<()> {
        let mut bytes = HEAD.to_vec();
        let mut record = |text: &[u8]| {
            bytes.extend_from_slice(text);
            bytes.push(0);
        };
        if self.implied {
            record(b"implied");
        }
        if self.marks {
            record(b"marks");
        }
        for (path, target) in &self.links {
            record(b"link");
            record(path);
            record(target);
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(dir, NAME, flags, Mode::from_raw_mode(0o600))?;
        std::fs::File::from(fd).write_all(&bytes)
    }

    /// Reads it; `None` where no layer was unpacked.
    pub(crate) fn read(dir: BorrowedFd<'_>) -> std::io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = match rustix::fs::openat(dir, NAME, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let mut bytes = Vec::new();
        std::fs::File::from(fd).read_to_end(&mut bytes)?;
        match Self::parse(&bytes) {
            Some(pending) => Ok(Some(pending)),
            None => Err(std::io::ErrorKind::InvalidData.into()),
        }
    }

    /// Forgets it.
    pub(crate) fn remove(dir: BorrowedFd<'_>) -> Result<(), rustix::io::Errno> {
        match rustix::fs::unlinkat(dir, NAME, rustix::fs::AtFlags::empty()) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(HEAD)?;
        let mut pending = Self::default();
        // Behind the last nul there is nothing: a file that was cut is none of ours.
        let Some(rest) = rest.strip_suffix(b"\0") else {
            return rest.is_empty().then_some(pending);
        };
        let mut records = rest.split(|byte| *byte == 0);
        while let Some(record) = records.next() {
            match record {
                b"implied" => pending.implied = true,
                b"marks" => pending.marks = true,
                b"link" => {
                    pending.links.push((records.next()?.to_vec(), records.next()?.to_vec()));
                }
                _ => return None,
            }
        }
        Some(pending)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn it_comes_back_and_goes() {
        let scratch = Scratch::new();
        let dir = scratch.open();
        assert_eq!(Pending::read(dir.as_fd()).expect("nothing"), None);
        let links = vec![(b"a\xff".to_vec(), b"b".to_vec())];
        for pending in [Pending::default(), Pending { implied: true, marks: true, links }] {
            pending.write(dir.as_fd()).expect("written");
            assert_eq!(Pending::read(dir.as_fd()).expect("read"), Some(pending));
        }
        Pending::remove(dir.as_fd()).expect("removed");
        assert_eq!(Pending::read(dir.as_fd()).expect("nothing"), None);
    }

    #[test]
    fn half_a_file_is_refused() {
        for bytes in [&b"dhow layer 2\n"[..], b"dhow layer 1\nmarks", b"dhow layer 1\nlink\0a\0"] {
            assert_eq!(Pending::parse(bytes), None);
        }
    }
}
