//! One pass over an archive: blobs into the store, lists into memory.
//!
//! Invariant: every path is there once and stays within the archive; what is held of it is its
//! name and what became of it.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dhow_archive::compress::{Format, detect};
use dhow_archive::tar::{Entry, Kind, Options, Piece, Reader};
use dhow_spec::Digest;
use dhow_spec::image::{Layout, MANIFEST_BYTES_MAX};

use super::error::{EntryFault, LoadError};
use super::load::LoadLimits;
use super::{INDEX, MANIFEST};
use crate::content::{Begun, Content, ContentError, Expected, Ingest, IngestId, Stored};
use crate::db::LeaseId;

/// Names of entries are all that is held of them; so many fit into some dozens of megabytes.
const ENTRIES_MAX: usize = 100_000;
/// Links from one entry to the next; Docker writes one.
const LINKS_MAX: usize = 8;
/// So many blobs are synced and recorded together.
const GROUP: usize = 32;
/// Whoever else writes a blob of the archive is waited for.
const PATIENCE: Duration = Duration::from_secs(600);
const BY: &str = "loading an archive";

/// What an archive holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    entries: HashMap<String, Found>,
    pub(super) index: Option<Vec<u8>>,
    pub(super) manifest: Option<Vec<u8>>,
}

/// What became of an entry.
#[derive(Debug)]
enum Found {
    /// It is in memory, or was left out.
    Seen,
    /// It is a blob now, compressed so by its first bytes.
    Blob(Stored, Format),
    /// It stands for another entry.
    Link(String),
}

/// The pass.
struct Pass<'a, R> {
    content: &'a Content,
    lease: &'a LeaseId,
    reader: Reader<R>,
    contents: Contents,
    /// Blobs that are whole and wait for their group.
    whole: Vec<(String, Format, Ingest)>,
    bytes_left: u64,
    bytes_max: u64,
}

type Result<T> = std::result::Result<T, LoadError>;

/// Reads all of an archive.
pub(super) fn read<R: Read>(
    content: &Content,
    lease: &LeaseId,
    source: R,
    limits: LoadLimits,
) -> Result<Contents> {
    let (reader, contents) = (Reader::new(source, Options::GENERAL), Contents::default());
    let (bytes_left, bytes_max) = (limits.bytes_max, limits.bytes_max);
    let mut pass =
        Pass { content, lease, reader, contents, whole: Vec::new(), bytes_left, bytes_max };
    while let Some(entry) = pass.reader.next_entry()? {
        pass.entry(&entry)?;
    }
    pass.record()?;
    Ok(pass.contents)
}

impl Contents {
    /// The blob that an entry's path leads to, and how it is compressed.
    pub(super) fn blob(&self, path: &str) -> Option<(Stored, Format)> {
        let mut path = resolve("", path)?;
        for _ in 0..=LINKS_MAX {
            match self.entries.get(&path)? {
                Found::Blob(stored, format) => return Some((*stored, *format)),
                Found::Link(target) => path.clone_from(target),
                Found::Seen => return None,
            }
        }
        None
    }
}

impl<R: Read> Pass<'_, R> {
    fn entry(&mut self, entry: &Entry) -> Result<()> {
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        let refuse = |fault| LoadError::entry(shown.clone(), fault);
        let text = std::str::from_utf8(&entry.path).map_err(|_| refuse(EntryFault::Path))?;
        let path = resolve("", text).ok_or_else(|| refuse(EntryFault::Path))?;
        if matches!(entry.kind, Kind::Directory) {
            return Ok(());
        }
        if self.contents.entries.len() >= ENTRIES_MAX {
            return Err(refuse(EntryFault::TooMany { max: ENTRIES_MAX }));
        }
        if self.contents.entries.insert(path.clone(), Found::Seen).is_some() {
            return Err(refuse(EntryFault::Twice));
        }
        match &entry.kind {
            Kind::File(file) => {
                self.bytes_left = (self.bytes_left.checked_sub(file.size))
                    .ok_or_else(|| refuse(EntryFault::TooLarge { max: self.bytes_max }))?;
                self.file(path, file.size)
            }
            Kind::Symlink { target } => self.link(&path, target, parent(&path)),
            Kind::HardLink { target } => self.link(&path, target, ""),
            _ => Err(refuse(EntryFault::Kind)),
        }
    }

    fn link(&mut self, path: &str, target: &[u8], from: &str) -> Result<()> {
        let text = std::str::from_utf8(target).ok();
        let Some(target) = text.and_then(|text| resolve(from, text)) else {
            return Err(LoadError::entry(path.to_owned(), EntryFault::Path));
        };
        self.contents.entries.insert(path.to_owned(), Found::Link(target));
        Ok(())
    }

    fn file(&mut self, path: String, size: u64) -> Result<()> {
        match path.as_str() {
            INDEX => self.contents.index = Some(self.document(&path, size)?),
            MANIFEST => self.contents.manifest = Some(self.document(&path, size)?),
            Layout::FILE => {
                let bytes = self.document(&path, size)?;
                Layout::parse(&bytes)
                    .map_err(|error| LoadError::entry(path, EntryFault::Document(error)))?;
            }
            "repositories" => {}
            // Docker's images from before 1.10 stand beside their layers so.
            _ if path.ends_with("/VERSION") || path.ends_with("/json") => {}
            _ => self.blob(path, size)?,
        }
        Ok(())
    }

    fn document(&mut self, path: &str, size: u64) -> Result<Vec<u8>> {
        if size > MANIFEST_BYTES_MAX as u64 {
            let fault = EntryFault::TooLarge { max: MANIFEST_BYTES_MAX as u64 };
            return Err(LoadError::entry(path, fault));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = self.reader.body().piece()? {
            match piece {
                Piece::Data { bytes: data, .. } => bytes.extend_from_slice(data),
                Piece::Hole { length, .. } => bytes.resize(bytes.len() + length as usize, 0),
            }
        }
        Ok(bytes)
    }

    fn blob(&mut self, path: String, size: u64) -> Result<()> {
        let refuse = |error| LoadError::entry(path.clone(), EntryFault::Content(error));
        let digest = digest_of(&path);
        let expected = Expected { id: ingest_id(digest), size: Some(size), size_max: size };
        let begin = |patience| self.content.begin(self.lease, expected.clone(), BY, patience);
        let begun = match begin(Duration::ZERO) {
            Err(ContentError::Busy { .. }) => {
                // Nobody waits while others may be waiting for what we have.
                self.record()?;
                self.content.begin(self.lease, expected, BY, PATIENCE)
            }
            begun => begun,
        };
        match begun.map_err(refuse)? {
            Begun::Exists(stored) => {
                let format = self.format_of(&stored.digest).map_err(refuse)?;
                self.contents.entries.insert(path, Found::Blob(stored, format));
            }
            Begun::Ingest(mut ingest) => {
                let format = self.write(&mut ingest, &path)?;
                self.whole.push((path, format, *ingest));
                if self.whole.len() >= GROUP {
                    self.record()?;
                }
            }
        }
        Ok(())
    }

    /// Writes an entry's bytes; tells how they are compressed by the first of them.
    fn write(&mut self, ingest: &mut Ingest, path: &str) -> Result<Format> {
        let refuse = |error| LoadError::entry(path.to_owned(), EntryFault::Content(error));
        // What an earlier attempt left is not worth a seek that a stream cannot do.
        ingest.restart().map_err(refuse)?;
        let mut beginning = Vec::with_capacity(BEGINNING);
        while let Some(piece) = self.reader.body().piece()? {
            match piece {
                Piece::Data { bytes, .. } => {
                    let wanted = BEGINNING.saturating_sub(beginning.len()).min(bytes.len());
                    beginning.extend_from_slice(&bytes[..wanted]);
                    ingest.write(bytes).map_err(refuse)?;
                }
                Piece::Hole { mut length, .. } => {
                    let zeros = [0; 4096];
                    while length > 0 {
                        let part = length.min(4096);
                        ingest.write(&zeros[..part as usize]).map_err(refuse)?;
                        length -= part;
                    }
                }
            }
        }
        Ok(detect(&beginning))
    }

    fn format_of(&self, digest: &Digest) -> std::result::Result<Format, ContentError> {
        let blob = self.content.open_blob(digest)?;
        let mut beginning = [0; BEGINNING];
        let count = blob.read_at(&mut beginning, 0).unwrap_or_default();
        Ok(detect(&beginning[..count]))
    }

    /// Syncs and records the blobs that are whole.
    fn record(&mut self) -> Result<()> {
        let (mut names, mut ingests) = (Vec::new(), Vec::new());
        for (path, format, ingest) in self.whole.drain(..) {
            names.push((path, format));
            ingests.push(ingest);
        }
        let stored = self.content.commit_all(ingests).map_err(|error| {
            let named = |(path, _): &&(String, Format)| match &error {
                ContentError::Corrupt { expected, .. } => digest_of(path) == Some(**expected),
                _ => false,
            };
            let entry = names.iter().find(named).or(names.first());
            let entry = entry.map(|(path, _)| path.clone()).unwrap_or_default();
            LoadError::entry(entry, EntryFault::Content(error))
        })?;
        for ((path, format), stored) in names.into_iter().zip(stored) {
            self.contents.entries.insert(path, Found::Blob(stored, format));
        }
        Ok(())
    }
}

/// What [`detect`] wants to see.
const BEGINNING: usize = 6;

/// The digest that a path in an OCI layout promises.
fn digest_of(path: &str) -> Option<Digest> {
    let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
    Digest::parse(&format!("{algorithm}:{hex}")).ok()
}

/// A name that nobody else in this process has, where the digest is not known.
pub(super) fn ingest_id(digest: Option<Digest>) -> IngestId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    digest.map(IngestId::of).unwrap_or_else(|| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        IngestId::named(&format!("load-{number}")).expect("letters and digits")
    })
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A path seen from a directory, without dots; `None` if it is absolute or leads out.
fn resolve(from: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_within() {
        let check = |from: &str, path: &str, expected: Option<&str>| {
            assert_eq!(resolve(from, path).as_deref(), expected, "{from} {path}");
        };
        check("", "./blobs//sha256/", Some("blobs/sha256"));
        check("a", "../b/layer.tar", Some("b/layer.tar"));
        check("a", "../../b", None);
        check("", "/etc/passwd", None);
        check("", "..", None);
        check("a/b", "./c", Some("a/b/c"));
    }
}
