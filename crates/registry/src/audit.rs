//! A line for each change: who, from where, what, in which repository.
//!
//! Invariant: a line is one JSON object; what a caller chose is quoted. A line that cannot be written goes to
//! the log, where somebody sees that.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use crate::access::Caller;
use crate::app::Subject;
use crate::config::HookEvent;
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

    /// What it is to a webhook.
    pub(crate) const fn kind(self) -> HookEvent {
        match self {
            Self::BlobPushed => HookEvent::BlobPush,
            Self::BlobMounted => HookEvent::BlobMount,
            Self::BlobRemoved => HookEvent::BlobDelete,
            Self::ManifestPushed => HookEvent::Push,
            Self::ManifestRemoved | Self::TagRemoved => HookEvent::Delete,
        }
    }

    /// The same in fewer words, whatever it happened to.
    pub(crate) const fn action(self) -> &'static str {
        match self {
            Self::BlobPushed | Self::ManifestPushed => "push",
            Self::BlobMounted => "mount",
            Self::BlobRemoved | Self::ManifestRemoved | Self::TagRemoved => "delete",
        }
    }

    /// Below which word of the protocol lies what it happened to.
    pub(crate) const fn kind_of_content(self) -> &'static str {
        match self {
            Self::BlobPushed | Self::BlobMounted | Self::BlobRemoved => "blobs",
            Self::ManifestPushed | Self::ManifestRemoved | Self::TagRemoved => "manifests",
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

    pub(crate) fn write(
        &self,
        log: &Log,
        now_ms: i64,
        caller: &Caller,
        change: Change,
        subject: &Subject<'_>,
    ) {
        let mut line = json!({
            "time-ms": now_ms,
            "event": change.as_str(),
            "repository": subject.name.as_str(),
            "digest": subject.digest.to_string(),
            "user": caller.user.as_deref().unwrap_or("anonymous"),
            "from": caller.peer.address.to_string(),
        });
        if let Some(tag) = subject.tag {
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
