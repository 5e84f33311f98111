//! Archives between clients and threads that may wait.
//!
//! Invariant: a slow client holds up its own transfer alone, and memory does not grow with either side.

use std::io::{self, BufWriter, Read, Write};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;

use crate::http::body::Pieces;

/// Bytes that go out in one piece.
const PIECE_BYTES: usize = 256 << 10;

/// An archive on its way to a client, in large pieces.
pub(crate) fn archive_sink(pieces: Pieces) -> BufWriter<PieceWriter> {
    BufWriter::with_capacity(PIECE_BYTES, PieceWriter(pieces))
}

/// Waits for the client that reads.
pub(crate) struct PieceWriter(Pieces);

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::ErrorKind::BrokenPipe;
        self.0.send_blocking(bytes.to_vec()).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A request's body as a file; waits for it, so that it is to be read where that is allowed.
pub(crate) struct BodyReader {
    body: Incoming,
    runtime: Handle,
    piece: Bytes,
}

impl BodyReader {
    /// To be made where the runtime is.
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, runtime: Handle::current(), piece: Bytes::new() }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.body.frame()) {
                None => return Ok(0),
                Some(frame) => {
                    let frame = frame.map_err(io::Error::other)?;
                    self.piece = frame.into_data().unwrap_or_default();
                }
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
