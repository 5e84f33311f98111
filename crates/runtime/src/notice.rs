//! Things that went otherwise than asked without being failures: a clamped limit, a late hook's exit.
//!
//! The runtime has no log of its own. Whoever embeds it says once where notices go; until then they are
//! dropped.

use std::sync::OnceLock;

static SINK: OnceLock<fn(&str)> = OnceLock::new();
static DETAILS: OnceLock<fn(&str)> = OnceLock::new();

/// Has every later notice given to `sink`, one line each. The first caller wins.
pub fn on_notice(sink: fn(&str)) {
    let _ = SINK.set(sink);
}

/// The same for what only somebody who looks for a fault wants to know.
pub(crate) fn on_detail(sink: fn(&str)) {
    let _ = DETAILS.set(sink);
}

pub(crate) fn detail(text: impl FnOnce() -> String) {
    if let Some(sink) = DETAILS.get() {
        sink(&text());
    }
}

pub(crate) fn notice(text: &str) {
    if let Some(sink) = SINK.get() {
        sink(text);
    }
}
