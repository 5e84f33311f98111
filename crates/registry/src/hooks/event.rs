//! What a hook is told, in the words of distribution's notifications, so that whoever listens to those can listen
//! to us.
//!
//! Invariant: what a caller chose is quoted; an event names nothing that the change itself does not.

use bytes::Bytes;
use dhow_spec::image::Timestamp;
use serde_json::{Value, json};

use crate::app::Subject;
use crate::audit::Change;
use crate::http::call::Call;

/// What kind of document it is.
pub(super) const MEDIA_TYPE: &str = "application/vnd.docker.distribution.events.v1+json";
/// A header that is longer is cut.
const AGENT_MAX: usize = 256;

/// A change, as hooks hear of it.
pub(crate) struct Event<'a> {
    pub(crate) id: String,
    pub(crate) now_ms: i64,
    pub(crate) change: Change,
    pub(crate) subject: &'a Subject<'a>,
    pub(crate) call: &'a Call,
}

impl Event<'_> {
    /// As a document.
    pub(super) fn envelope(&self) -> Bytes {
        let seconds = self.now_ms.div_euclid(1000);
        let nanoseconds = u32::try_from(self.now_ms.rem_euclid(1000) * 1_000_000).unwrap_or(0);
        let time = Timestamp::from_unix(seconds, nanoseconds);
        let event = json!({
            "id": self.id,
            "timestamp": time.as_ref().map(Timestamp::as_str),
            "action": self.change.action(),
            "target": self.target(),
            "request": self.request(),
            "actor": self.actor(),
            "source": { "addr": self.call.caller.host() },
        });
        json!({ "events": [event] }).to_string().into()
    }

    fn target(&self) -> Value {
        let Subject { name, digest, tag, media_type, size } = self.subject;
        let mut target = json!({ "repository": name.as_str(), "digest": digest.to_string() });
        if let Some(tag) = tag {
            target["tag"] = (*tag).into();
        }
        if let Some(media_type) = media_type {
            target["mediaType"] = media_type.as_str().into();
        }
        if let Some(size) = size {
            (target["size"], target["length"]) = ((*size).into(), (*size).into());
        }
        if let Some(host) = self.call.caller.host() {
            let scheme = if self.call.caller.peer.tls { "https" } else { "http" };
            let kind = self.change.kind_of_content();
            target["url"] = format!("{scheme}://{host}/v2/{name}/{kind}/{digest}").into();
        }
        target
    }

    fn request(&self) -> Value {
        let agent = self.call.header(&hyper::header::USER_AGENT).unwrap_or_default();
        json!({
            "id": self.id,
            "addr": self.call.caller.peer.address.to_string(),
            "host": self.call.caller.host(),
            "method": self.call.method.as_str(),
            "useragent": agent.chars().take(AGENT_MAX).collect::<String>(),
        })
    }

    fn actor(&self) -> Value {
        match &self.call.caller.user {
            Some(user) => json!({ "name": user }),
            None => json!({}),
        }
    }
}
