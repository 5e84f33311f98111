//! OCI image layouts: a repository written into a directory, and read from one.
//!
//! Invariant: a layout is written content first, `index.json` last; nothing of one is believed before it was
//! hashed, and no name of a file comes from a document but digests.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use dhow_spec::image::{
    Descriptor, Document, Index, LayerType, MANIFEST_BYTES_MAX, MediaType, annotation,
};
use dhow_spec::{Digest, RepositoryPath, Tag};
use dhow_store::PushRules;

use crate::app::App;
use crate::http::error::ApiError;
use crate::routes::store_manifest;

const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const BUFFER: usize = 256 << 10;
/// Indexes within indexes.
const DEPTH_MAX: usize = 8;
const TAGS: usize = 1000;

/// What went over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Tags.
    pub tags: u64,
    /// Manifests and indexes.
    pub manifests: u64,
    /// Blobs.
    pub blobs: u64,
}

/// A layout being written or read.
struct Walk<'a> {
    app: &'a App,
    name: &'a RepositoryPath,
    folder: PathBuf,
    seen: BTreeSet<Digest>,
    moved: Moved,
}

/// Writes all tags of a repository, and what they lead to. Waits for the disk.
pub(crate) fn export(app: &App, name: &RepositoryPath, folder: &Path) -> io::Result<Moved> {
    let mut walk = Walk::new(app, name, folder);
    std::fs::create_dir_all(folder)?;
    let (mut entries, mut after) = (Vec::new(), String::new());
    loop {
        let tags = app.repositories.tags(name, &after, TAGS).map_err(io::Error::other)?;
        let Some(last) = tags.last() else { break };
        last.name.as_str().clone_into(&mut after);
        for tag in &tags {
            let found = app.repositories.manifest(name, &tag.digest).map_err(io::Error::other)?;
            let Some(found) = found else { continue };
            walk.write_manifest(&tag.digest, 0)?;
            let mut entry = Descriptor::new(found.media_type, tag.digest, found.size);
            entry.annotations.insert(annotation::REF_NAME.to_owned(), tag.name.to_string());
            entries.push(entry);
            walk.moved.tags += 1;
        }
    }
    std::fs::write(folder.join("oci-layout"), LAYOUT)?;
    let part = folder.join("index.json.part");
    std::fs::write(&part, Index::new(entries).to_json())?;
    std::fs::rename(part, folder.join("index.json"))?;
    Ok(walk.moved)
}

/// Reads a layout into a repository; entries that say a tag get it. Waits for the disk.
pub(crate) fn import(app: &App, name: &RepositoryPath, folder: &Path) -> io::Result<Moved> {
    let mut walk = Walk::new(app, name, folder);
    let text = read_small(&folder.join("index.json"))?;
    let index = Index::parse(&text).map_err(|error| invalid(&"index.json", &error))?;
    for entry in &index.manifests {
        let tag = entry.annotations.get(annotation::REF_NAME).map(String::as_str);
        // A whole reference stands there too, as some write it.
        let tag = tag.map(|text| text.rsplit_once(':').map_or(text, |(_, tag)| tag));
        let tag = tag.and_then(Tag::parse);
        walk.moved.tags += u64::from(tag.is_some());
        walk.read_manifest(entry, tag, 0)?;
    }
    Ok(walk.moved)
}

impl<'a> Walk<'a> {
    fn new(app: &'a App, name: &'a RepositoryPath, folder: &Path) -> Self {
        let (seen, moved) = (BTreeSet::new(), Moved::default());
        Self { app, name, folder: folder.to_owned(), seen, moved }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    fn write_manifest(&mut self, digest: &Digest, depth: usize) -> io::Result<()> {
        if !self.seen.insert(*digest) {
            return Ok(());
        }
        let bytes = self.app.store.content().read(digest, MANIFEST_BYTES_MAX as u64);
        let document = Document::parse(&bytes.map_err(io::Error::other)?, None);
        let document = document.map_err(|error| invalid(digest, &error))?;
        match document {
            Document::Manifest(manifest) => {
                for entry in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    self.write_blob(&entry.digest)?;
                }
            }
            Document::Index(index) if depth < DEPTH_MAX => {
                for entry in &index.manifests {
                    let here = self.app.repositories.manifest(self.name, &entry.digest);
                    // An index may name what nobody pushed.
                    if here.map_err(io::Error::other)?.is_some() {
                        self.write_manifest(&entry.digest, depth + 1)?;
                    }
                }
            }
            Document::Index(_) => return Err(invalid(digest, &"indexes too deep")),
        }
        self.copy_out(digest)?;
        self.moved.manifests += 1;
        Ok(())
    }

    fn write_blob(&mut self, digest: &Digest) -> io::Result<()> {
        let here = self.app.repositories.blob(self.name, digest).map_err(io::Error::other)?;
        if here.is_some() && self.seen.insert(*digest) {
            self.copy_out(digest)?;
            self.moved.blobs += 1;
        }
        Ok(())
    }

    fn copy_out(&self, digest: &Digest) -> io::Result<()> {
        let blob = self.app.store.content().open_blob(digest).map_err(io::Error::other)?;
        let path = self.path(digest);
        std::fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        let mut file = File::create(path)?;
        io::copy(&mut blob.reader(), &mut file)?;
        file.flush()
    }

    fn read_manifest(
        &mut self,
        entry: &Descriptor,
        tag: Option<Tag>,
        depth: usize,
    ) -> io::Result<()> {
        let bytes = read_small(&self.path(&entry.digest))?;
        let document = Document::parse(&bytes, Some(&entry.media_type));
        match document.map_err(|error| invalid(&entry.digest, &error))? {
            Document::Manifest(manifest) => {
                let kept = |layer: &&Descriptor| match &layer.media_type {
                    MediaType::Layer(LayerType { distributable, .. }) => *distributable,
                    _ => true,
                };
                let layers = manifest.layers.iter().filter(kept);
                for blob in std::iter::once(&manifest.config).chain(layers) {
                    self.read_blob(&blob.digest)?;
                }
            }
            Document::Index(index) if depth < DEPTH_MAX => {
                for child in &index.manifests {
                    if self.path(&child.digest).exists() {
                        self.read_manifest(child, None, depth + 1)?;
                    }
                }
            }
            Document::Index(_) => return Err(invalid(&entry.digest, &"indexes too deep")),
        }
        let rules = self.app.config.rules_of(self.name);
        let rules = PushRules {
            bytes_max: rules.quota,
            immutable: rules.immutable_tags,
            sparse: rules.sparse,
        };
        let (kind, digest) = (Some(entry.media_type.clone()), entry.digest);
        let (algorithm, tags) = (digest.algorithm(), tag.as_slice());
        store_manifest(self.app, self.name, &bytes, kind, algorithm, Some(digest), tags, rules)
            .map_err(|error| refused(&digest, &error))?;
        self.moved.manifests += 1;
        Ok(())
    }

    fn read_blob(&mut self, digest: &Digest) -> io::Result<()> {
        if !self.seen.insert(*digest) {
            return Ok(());
        }
        let mut file = File::open(self.path(digest)).map_err(|error| invalid(digest, &error))?;
        let (_, mut ingest) =
            self.app.uploads.begin(self.name).map_err(|error| refused(digest, &error))?;
        let mut buffer = vec![0; BUFFER];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => dhow_store::Ingest::write(&mut ingest, &buffer[..count])
                    .map_err(io::Error::other)?,
            }
        }
        let quota = self.app.config.rules_of(self.name).quota;
        ingest.commit_to(self.name, digest, quota).map_err(io::Error::other)?;
        self.moved.blobs += 1;
        Ok(())
    }
}

/// A document, which is small.
fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let about = |error: io::Error| invalid(&path.display(), &error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(about)?;
    file.take(MANIFEST_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn invalid(object: &dyn std::fmt::Display, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{object}: {why}"))
}

fn refused(digest: &Digest, error: &ApiError) -> io::Error {
    invalid(digest, &error.said())
}
