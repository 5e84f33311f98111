//! What is pushed and pulled, and by how many.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::link::Link;
use crate::task::{At, TaskError, read};

/// At once.
const CLIENTS: usize = 64;
const SMALL_BYTES: usize = 4096;
const MIDDLE_BYTES: usize = 8_000_000;
const NAME: &str = "bench/blobs";

/// Blobs that no registry has yet.
pub(super) struct Material {
    large: Blob,
    small: Vec<Blob>,
    middle: Vec<Blob>,
}

/// A blob.
pub(super) struct Blob {
    digest: String,
    bytes: Vec<u8>,
    pub(super) file: PathBuf,
}

/// Which blobs go which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Action {
    name: &'static str,
    size: Size,
    push: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Large,
    Middle,
    Small,
}

/// All that is measured, in its order.
pub(super) const ACTIONS: [Action; 6] = [
    Action { name: "push large, 1 client", size: Size::Large, push: true },
    Action { name: "pull large, 1 client", size: Size::Large, push: false },
    Action { name: "push small, 64 clients", size: Size::Small, push: true },
    Action { name: "pull small, 64 clients", size: Size::Small, push: false },
    Action { name: "push 8 MB, 64 clients", size: Size::Middle, push: true },
    Action { name: "pull 8 MB, 64 clients", size: Size::Middle, push: false },
];

impl Material {
    /// Makes them up; they lie in `folder` too.
    pub(super) fn make(large_mb: usize, small: usize, folder: &Path) -> Result<Self, TaskError> {
        std::fs::create_dir_all(folder).at("create", folder)?;
        let mut state = 0x9E37_79B9_7F4A_7C15;
        let mut make = |name: String, length: usize| -> Result<Blob, TaskError> {
            let bytes: Vec<u8> = std::iter::repeat_with(|| next(&mut state).to_le_bytes())
                .take(length.div_ceil(8))
                .flatten()
                .take(length)
                .collect();
            let file = folder.join(name);
            std::fs::write(&file, &bytes).at("write", &file)?;
            Ok(Blob { digest: String::new(), bytes, file })
        };
        let large = make("large".to_owned(), large_mb * 1_000_000)?;
        let small = (0..small).map(|number| make(format!("small-{number}"), SMALL_BYTES));
        let small = small.collect::<Result<Vec<_>, _>>()?;
        let middle = (0..CLIENTS).map(|number| make(format!("middle-{number}"), MIDDLE_BYTES));
        let middle = middle.collect::<Result<Vec<_>, _>>()?;
        let mut made = Self { large, small, middle };
        made.hash()?;
        Ok(made)
    }

    fn hash(&mut self) -> Result<(), TaskError> {
        let blobs = std::iter::once(&mut self.large).chain(&mut self.small).chain(&mut self.middle);
        let mut blobs: Vec<_> = blobs.collect();
        let lines = read(Command::new("sha256sum").args(blobs.iter().map(|blob| &blob.file)))?;
        for (blob, line) in blobs.iter_mut().zip(lines.lines()) {
            let hex = line.split_whitespace().next().unwrap_or_default();
            blob.digest = format!("sha256:{hex}");
        }
        Ok(())
    }

    pub(super) fn large(&self) -> &Blob {
        &self.large
    }
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

impl Action {
    pub(super) const fn name(self) -> &'static str {
        self.name
    }

    pub(super) fn is_large(self) -> bool {
        self.size == Size::Large
    }

    fn blobs(self, material: &Material) -> &[Blob] {
        match self.size {
            Size::Large => std::slice::from_ref(&material.large),
            Size::Middle => &material.middle,
            Size::Small => &material.small,
        }
    }

    /// How many blobs, and how many bytes.
    pub(super) fn amount(self, material: &Material) -> (usize, usize) {
        let blobs = self.blobs(material);
        (blobs.len(), blobs.iter().map(|blob| blob.bytes.len()).sum())
    }

    /// Does it, and says how long that took.
    pub(super) fn run(self, address: SocketAddr, material: &Material) -> io::Result<Duration> {
        let (blobs, taken) = (self.blobs(material), AtomicUsize::new(0));
        let clients = blobs.len().min(CLIENTS);
        let links: io::Result<Vec<_>> = (0..clients).map(|_| Link::open(address)).collect();
        let links = links?;
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let threads: Vec<_> = links
                .into_iter()
                .map(|link| scope.spawn(|| self.work(link, blobs, &taken)))
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
            })
        })?;
        Ok(begun.elapsed())
    }

    /// One client, which takes the next blob until there is none.
    fn work(self, mut link: Link, blobs: &[Blob], taken: &AtomicUsize) -> io::Result<()> {
        while let Some(blob) = blobs.get(taken.fetch_add(1, Ordering::Relaxed)) {
            match self.push {
                true => link.push(NAME, &blob.digest, &blob.bytes)?,
                false => link.pull(NAME, &blob.digest, blob.bytes.len())?,
            }
        }
        Ok(())
    }
}
