//! What a build gives away, inside the stream of its progress.
//!
//! An output is announced by a line, `{"aux":{"Output":"root"}}`; then come its pieces, each behind its length as
//! four bytes, the highest first; a length of zero is the end, and lines follow again. Invariant: who reads a length
//! of zero has all of it.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};

use dhow_engine::{Outlet, OutputKind};
use serde_json::json;

use crate::http::body::Pieces;
use crate::routes::build_lines::Line;

/// A client that takes outputs.
pub(super) struct Framed {
    pieces: Pieces,
    lines: SyncSender<Line>,
}

impl Framed {
    pub(super) fn new(pieces: Pieces, lines: SyncSender<Line>) -> Self {
        Self { pieces, lines }
    }

    /// Waits until what was said before is with the client.
    fn settle(&self) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let (sender, said) = sync_channel(1);
        self.lines.send(Line::Said(sender)).map_err(|_| gone())?;
        said.recv().map_err(|_| gone())
    }

    fn send(&self, bytes: Vec<u8>) -> io::Result<()> {
        self.pieces.send_blocking(bytes).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// What an output is called.
fn word(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Root => "root",
        OutputKind::Archive => "archive",
        OutputKind::Cache => "cache",
    }
}

impl Outlet for Framed {
    fn begin(&mut self, kind: OutputKind, platform: Option<&str>) -> io::Result<()> {
        self.settle()?;
        let line = json!({ "aux": { "Output": word(kind), "Platform": platform } });
        self.send(format!("{line}\r\n").into_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(1 << 20) {
            let length = u32::try_from(piece.len()).expect("a piece is short");
            let mut framed = length.to_be_bytes().to_vec();
            framed.extend_from_slice(piece);
            self.send(framed)?;
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.send(0_u32.to_be_bytes().to_vec())
    }
}
