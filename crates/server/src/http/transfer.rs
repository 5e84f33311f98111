//! Archives between clients and threads that may wait.
//!
//! Invariant: a slow client holds up its own transfer alone, and memory does not grow with either side. A client
//! that is refused while it sends is read on for a moment: else it would hear of a broken pipe, and not why.

use std::io::{self, BufWriter, Read, Write};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;

use crate::http::body::Pieces;

/// Bytes that go out in one piece.
const PIECE_BYTES: usize = 256 << 10;
/// What a client that was refused may still send.
const DRAIN_BYTES_MAX: usize = 4 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// Nothing once it has come to its end, or broken.
    body: Option<Incoming>,
    runtime: Handle,
    piece: Bytes,
}

impl BodyReader {
    /// To be made where the runtime is.
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body: Some(body), runtime: Handle::current(), piece: Bytes::new() }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let Some(body) = &mut self.body else { return Ok(0) };
            match self.runtime.block_on(body.frame()) {
                None => self.body = None,
                Some(Ok(frame)) => self.piece = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    self.body = None;
                    return Err(io::Error::other(error));
                }
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            // The clock is the runtime's: there is none in the thread that drops this.
            self.runtime.spawn(async { tokio::time::timeout(DRAIN_TIMEOUT, drain(body)).await });
        }
    }
}

/// Reads on what nobody wants, to a bound.
async fn drain(mut body: Incoming) {
    let mut left = DRAIN_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
