//! Files and contexts that are elsewhere: at an address, in a repository.
//!
//! Invariant: what comes is kept in a file without a name until it is used; whoever gives the build up ends the
//! download.

use std::fs::File;
use std::io::Read;

use dhow_builder::{Context, ContextError, Fetched, GitSource, WorkError};
use dhow_distribution::PageFault;
use tokio::runtime::Handle;

use super::cancel::Cancel;
use super::fault::BuildFault;
use super::layers::failed;
use super::options::BuildOptions;
use super::{CONTEXT_LIMITS, git};
use crate::engine::Engine;

/// Most bytes of a download.
const DOWNLOAD_BYTES_MAX: u64 = 64 << 30;

impl Engine {
    /// Gets what an address has.
    pub(super) fn fetch(
        &self,
        runtime: &Handle,
        url: &str,
        cancel: &Cancel,
    ) -> Result<Fetched, WorkError> {
        let file = self.scratch_file().map_err(failed)?;
        let mut size = 0;
        let mut sink = &file;
        let page = self.shared.images.page(url, |bytes| {
            size += bytes.len() as u64;
            if size > DOWNLOAD_BYTES_MAX {
                return Err(std::io::ErrorKind::FileTooLarge.into());
            }
            std::io::Write::write_all(&mut sink, &bytes)
        });
        let page = runtime.block_on(async {
            tokio::select! {
                page = page => Some(page),
                () = cancel.said() => None,
            }
        });
        match page.ok_or(WorkError::Cancelled)? {
            Ok(page) => Ok(Fetched {
                name: page.name,
                modified_s: page.modified_s,
                media_type: page.media_type,
                file,
            }),
            Err(error) if error.is_not_found() => {
                Err(WorkError::NotFound { message: error.to_string() })
            }
            Err(error) if matches!(error.fault, PageFault::Fault(_)) => {
                Err(WorkError::Failed(Box::new(error)))
            }
            Err(error) => Err(WorkError::Invalid { message: error.to_string() }),
        }
    }
}

/// What a Dockerfile that is no part of an archive is called.
pub(super) const ALONE: &str = "Dockerfile";

/// A context from where it is; tells whether it is a Dockerfile alone.
pub(super) fn context_from(
    engine: &Engine,
    runtime: &Handle,
    remote: &str,
    options: &BuildOptions,
    cancel: &Cancel,
) -> Result<(Context, bool), BuildFault> {
    let bad = |error: WorkError| BuildFault::Remote { remote: remote.to_owned(), error };
    let invalid = |message: String| bad(WorkError::Invalid { message });
    let data = engine.scratch_file().map_err(BuildFault::Engine)?;
    let whole = spelled_out(remote);
    let source = GitSource::parse(&whole).map_err(|error| invalid(error.to_string()))?;
    if let Some(source) = source {
        let keep = source.keep_git_dir.unwrap_or_else(|| {
            let said = options.args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
            said.is_some_and(|said| matches!(said.as_str(), "1" | "true"))
        });
        let root = &engine.shared.data_root;
        let checkout = git::checkout(root, options, cancel, &source, keep).map_err(bad)?;
        if let Some(expected) = &source.checksum
            && !checkout.commit.starts_with(&expected.to_lowercase())
        {
            return Err(invalid(format!("digest mismatch {}: {expected}", checkout.commit)));
        }
        let directory = source.directory.as_bytes();
        let context = Context::of(&*checkout.files, directory, data, CONTEXT_LIMITS);
        return Ok((context.map_err(BuildFault::Context)?, false));
    }
    if !remote.starts_with("http://") && !remote.starts_with("https://") {
        return Err(invalid("neither a repository nor an address of HTTP".to_owned()));
    }
    let mut file = engine.fetch(runtime, remote, cancel).map_err(bad)?.file;
    let io = |error| BuildFault::Context(ContextError::Io(error));
    let head = head(&file).map_err(io)?;
    std::io::Seek::rewind(&mut file).map_err(io)?;
    if is_archive(&head) {
        let context = Context::read(file, data, CONTEXT_LIMITS).map_err(BuildFault::Context)?;
        return Ok((context, false));
    }
    let mut dockerfile = Vec::new();
    file.read_to_end(&mut dockerfile).map_err(io)?;
    let mut context = Context::empty(data).map_err(io)?;
    context.put(ALONE, &dockerfile).map_err(BuildFault::Context)?;
    Ok((context, true))
}

/// `github.com/user/repository` as an address.
fn spelled_out(remote: &str) -> String {
    let Some(rest) = remote.strip_prefix("github.com/") else { return remote.to_owned() };
    let (place, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let place = place.strip_suffix(".git").unwrap_or(place);
    let hash = if fragment.is_empty() { "" } else { "#" };
    format!("https://github.com/{place}.git{hash}{fragment}")
}

fn head(file: &File) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; 512];
    let count = std::os::unix::fs::FileExt::read_at(file, &mut bytes, 0)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// What is no archive is a Dockerfile.
fn is_archive(head: &[u8]) -> bool {
    use dhow_archive::compress::{Format, detect};
    use dhow_spec::image::Compression;
    head.get(257..262) == Some(&b"ustar"[..]) || detect(head) != Format::Readable(Compression::None)
}
