//! A line for each change: who, from where, what, in which repository.
//!
//! Invariant: a line is one JSON object; what a caller chose is quoted. A line that cannot be written goes to
//! the log, where somebody sees that.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use dhow_spec::{Digest, RepositoryPath};
use serde_json::json;

use crate::access::Caller;
use crate::log::Log;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    BlobPushed,
    BlobMounted,
    BlobRemoved,
    ManifestPushed,
    ManifestRemoved,
    TagRemoved,
}

impl Change {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::BlobPushed => "blob-push",
            Self::BlobMounted => "blob-mount",
            Self::BlobRemoved => "blob-delete",
            Self::ManifestPushed => "manifest-push",
            Self::ManifestRemoved => "manifest-delete",
            Self::TagRemoved => "tag-delete",
        }
    }
}

/// Where the lines go.
#[derive(Debug)]
pub(crate) struct Audit(Option<File>);

impl Audit {
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        path.map(|path| File::options().append(true).create(true).open(path)).transpose().map(Self)
    }

    #[expect(clippy::too_many_arguments, reason = "they are what a line consists of")]
    pub(crate) fn write(
        &self,
        log: &Log,
        now_ms: i64,
        caller: &Caller,
        change: Change,
        name: &RepositoryPath,
        digest: &Digest,
        tag: Option<&str>,
    ) {
        let mut line = json!({
            "time-ms": now_ms,
            "event": change.as_str(),
            "repository": name.as_str(),
            "digest": digest.to_string(),
            "user": caller.user.as_deref().unwrap_or("anonymous"),
            "from": caller.peer.address.to_string(),
        });
        if let Some(tag) = tag {
            line["tag"] = tag.into();
        }
        let Some(mut file) = self.0.as_ref() else {
            return log.say(&format!("audit {line}"));
        };
        // One write, so that lines of several threads do not mix.
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
            log.say(&format!("audit {line} (not written down: {error})"));
        }
    }
}
