//! Lines of a build's stream on their way to the client, in order, from whichever thread they come.
//!
//! Invariant: who has waited for what was said before may write to the client himself.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use dhow_wire::JsonMessage;
use serde_json::Value;

use crate::http::body::Pieces;

/// Lines under way before whoever builds waits for the client.
const LINES_MAX: usize = 256;

/// One line.
#[derive(Debug)]
pub(super) enum Line {
    /// The classic builder's.
    Message(Box<JsonMessage>),
    /// An event.
    Event(Value),
    /// Nothing to say: tells whoever sent it that everything before it is with the client.
    Said(SyncSender<()>),
}

/// A way for lines.
pub(super) fn lines() -> (SyncSender<Line>, Receiver<Line>) {
    sync_channel(LINES_MAX)
}

/// Sends lines on until there are no more, or nobody to read them. Waits for the client.
pub(super) fn pass_on(lines: Receiver<Line>, pieces: &Pieces) {
    for line in lines {
        let text = match line {
            Line::Message(message) => serde_json::to_string(&*message).unwrap_or_default(),
            Line::Event(value) => value.to_string(),
            Line::Said(sender) => {
                // Whoever waits no more needs no answer.
                let _ = sender.send(());
                continue;
            }
        };
        if pieces.send_blocking(text + "\r\n").is_err() {
            return;
        }
    }
}
