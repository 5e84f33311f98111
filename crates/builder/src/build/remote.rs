//! `ADD` from elsewhere: downloads and repositories.
//!
//! Invariant: a key holds what came, never its address, so it is fetched every time and nothing is done again that
//! came out the same. What was promised by a checksum is checked before anything of it is used.

use std::rc::Rc;

use dhow_archive::hash::Hasher;
use dhow_archive::ignore::Patterns;
use dhow_archive::tar::{Metadata, Time};
use dhow_spec::Digest;

use super::walk::Walker;
use crate::copy::{Kept, Picked, Picking, pick};
use crate::dockerfile::Copy;
use crate::error::Fault;
use crate::files::Files;
use crate::git::GitSource;

/// What a download gets as its mode.
const MODE: u16 = 0o600;

impl Walker<'_> {
    /// What an address of `ADD` means; `None` for a path.
    pub(super) fn remote(
        &self,
        copy: &Copy,
        text: &str,
        exclude: &Patterns,
    ) -> Result<Option<Vec<Picked>>, Fault> {
        let source = GitSource::parse(text)
            .map_err(|error| Fault::Value { what: "git address", value: error.part })?;
        if let Some(source) = source {
            return self.repository(copy, &source, exclude).map(Some);
        }
        if copy.keep_git_dir {
            let what = "flag keep-git-dir, for this is no repository";
            return Err(Fault::Value { what, value: text.to_owned() });
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Some(vec![self.download(copy, text)?]));
        }
        match &copy.checksum {
            None => Ok(None),
            Some(_) => {
                let what = "checksum, for this is a file of the context";
                Err(Fault::Value { what, value: text.to_owned() })
            }
        }
    }

    fn download(&self, copy: &Copy, url: &str) -> Result<Picked, Fault> {
        let expected = match &copy.checksum {
            None => None,
            Some(word) => {
                let text = self.expand(word)?;
                let bad = |_| Fault::Value { what: "checksum", value: text.clone() };
                Some(Digest::parse(&text).map_err(bad)?)
            }
        };
        let fetched = self.ask.worker.fetch(url)?;
        if let Some(expected) = expected {
            let mut hasher = Hasher::new(expected.algorithm());
            std::io::copy(&mut Kept::new(&fetched.file), &mut Hashing(&mut hasher))?;
            let actual = hasher.finish().digest;
            if actual != expected {
                let (expected, actual) = (expected.to_string(), actual.to_string());
                return Err(Fault::Checksum { expected, actual });
            }
        }
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let own = path.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        let own = own.and_then(|(_, path)| path.rsplit('/').next()).unwrap_or_default();
        let name = fetched.name.clone().unwrap_or_else(|| own.to_owned());
        let name = match name.as_str() {
            "" | "." | ".." if copy.to.ends_with('/') => {
                let what = "address, for no file name can be determined from it";
                return Err(Fault::Value { what, value: url.to_owned() });
            }
            "" | "." | ".." => "download",
            name => name,
        };
        let modified = fetched.modified_s.map(|seconds| Time { seconds, nanoseconds: 0 });
        let modified = modified.unwrap_or_default();
        let metadata = Metadata { mode: MODE, modified, ..Metadata::default() };
        // Downloads stay as they are unless it is said otherwise.
        let unpack = copy.unpack == Some(true);
        Ok(Picked::kept(name, fetched.file, metadata, unpack)?)
    }

    fn repository(
        &self,
        copy: &Copy,
        source: &GitSource,
        exclude: &Patterns,
    ) -> Result<Vec<Picked>, Fault> {
        let keep = source.keep_git_dir.unwrap_or(false) || copy.keep_git_dir;
        let expected = match &copy.checksum {
            None => source.checksum.clone(),
            Some(word) => Some(self.expand(word)?),
        };
        let checkout = self.ask.worker.git(source, keep)?;
        if let Some(expected) = expected.filter(|expected| {
            expected.is_empty() || !checkout.commit.starts_with(&expected.to_lowercase())
        }) {
            return Err(Fault::Checksum { expected, actual: checkout.commit });
        }
        let tree: Rc<dyn Files> = Rc::from(checkout.files);
        let picking =
            Picking { files: &*tree, parents: false, exclude, unpack: false, owners: false };
        let mut picked = pick(&picking, &super::run::literal(source.directory.as_bytes()))?;
        for one in &mut picked {
            one.tree = Some(tree.clone());
        }
        Ok(picked)
    }
}

/// Hashes what is written to it.
struct Hashing<'a>(&'a mut Hasher);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
