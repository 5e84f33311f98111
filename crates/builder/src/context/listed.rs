//! A context that was told of before it was sent: what is known is not sent again, and what no step reads never.
//!
//! Invariant: a file's bytes are those that its digest says, or they are not here; a build begins only when all that
//! it may read is here.

use std::io::{BufRead, Read};
use std::sync::Arc;

use dhow_archive::listing::{self, Listed, ListedKind, Stamp};
use dhow_archive::tar::{Kind, Metadata, Options, Reader};

use super::data::Data;
use super::known::{Known, KnownFile};
use super::{Bytes, Context, ContextError, ContextLimits, Item, name_error};
use crate::files::{FileInfo, FileKind, clean};
use crate::reads::Reads;

impl Context {
    /// Reads a listing; the bytes of files that are known are those in `data`.
    pub fn listed(
        source: &mut impl BufRead,
        data: Arc<Data>,
        known: &Known,
        limits: ContextLimits,
    ) -> Result<Self, ContextError> {
        listing::read_head(source).map_err(ContextError::Listing)?;
        let mut context = Self::on(data);
        let mut number = 0;
        while let Some(listed) = listing::read(source).map_err(ContextError::Listing)? {
            if context.entries.len() >= limits.entries_max {
                return Err(ContextError::TooLarge { what: "entries" });
            }
            context.take_listed(listed, number, known)?;
            number += 1;
        }
        Ok(context)
    }

    fn take_listed(
        &mut self,
        listed: Listed,
        number: u32,
        known: &Known,
    ) -> Result<(), ContextError> {
        let metadata =
            Metadata { mode: listed.mode, modified: listed.modified, ..Metadata::default() };
        let info = FileInfo { kind: FileKind::Directory, metadata, digest: None };
        let mut item = Item { info, bytes: Bytes::None, stamp: None };
        match listed.kind {
            ListedKind::Directory => {}
            ListedKind::Fifo => item.info.kind = FileKind::Fifo,
            ListedKind::Symlink(target) => item.info.kind = FileKind::Symlink(target),
            ListedKind::Body(body) => item.hold(&body),
            ListedKind::File { size: 0, .. } => item.hold(b""),
            ListedKind::File { size, stamp } => {
                item.info.kind = FileKind::File(size);
                item.stamp = stamp;
                item.bytes = Bytes::Told(number);
                if let Some(file) = known.find(&clean(&listed.path), size, stamp) {
                    item.bytes = Bytes::At(file.offset);
                    item.info.digest = Some(file.digest);
                }
            }
        }
        self.insert(&listed.path, item)
    }

    /// Takes the bytes of files that were told of, as an archive.
    pub fn fill(&mut self, source: impl Read) -> Result<(), ContextError> {
        let data = self.data.clone();
        let mut reader = Reader::new(source, Options::GENERAL);
        while let Some(entry) = reader.next_entry().map_err(ContextError::Tar)? {
            let told = self.entries.get_mut(&clean(&entry.path));
            let (Some(item), Kind::File(content)) = (told, entry.kind) else {
                return Err(name_error(&entry.path));
            };
            if !matches!(item.bytes, Bytes::Told(_)) {
                // Another build of the same directory brought it meanwhile.
                continue;
            }
            // It may have grown or shrunk since it was told of; then it has another stamp by now.
            let place = data.keep(&mut reader.body(), content.size).map_err(ContextError::Io)?;
            item.info.kind = FileKind::File(place.size);
            item.info.digest = Some(place.digest);
            item.bytes = Bytes::At(place.offset);
        }
        Ok(())
    }

    /// Files that may be read and are not here: their numbers in the listing, in order.
    pub fn absent(&self, reads: &Reads) -> Vec<u32> {
        let told = |(path, item): (&Vec<u8>, &Item)| match item.bytes {
            Bytes::Told(number) if reads.has(path) => Some(number),
            _ => None,
        };
        let mut numbers: Vec<u32> = self.entries.iter().filter_map(told).collect();
        numbers.sort_unstable();
        numbers
    }

    /// What need not be sent the next time.
    pub fn known(&self) -> Known {
        let mut known = Known::default();
        for (path, item) in &self.entries {
            if let Some(file) = item.known() {
                known.put(path.clone(), file);
            }
        }
        known
    }
}

impl Item {
    fn known(&self) -> Option<KnownFile> {
        let (stamp, digest): (Stamp, _) = (self.stamp?, self.info.digest?);
        match (&self.info.kind, &self.bytes) {
            (FileKind::File(size), Bytes::At(offset)) => {
                Some(KnownFile { stamp, size: *size, offset: *offset, digest })
            }
            _ => None,
        }
    }
}
