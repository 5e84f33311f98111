//! Web sockets (RFC 6455), as far as an attached client needs them: bytes both ways in binary messages.
//!
//! Invariant: memory does not grow with a message; a client's frames that break the rules end its connection.
//! Absent on purpose: extensions, subprotocols, and the difference between text and bytes.

use bytes::Bytes;
use hyper::header::HeaderMap;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::http::error::ApiError;
use dhow_spec::base64;

/// Every server of web sockets answers with a hash over this.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const CHUNK_BYTES: usize = 16 << 10;
/// A control frame's content has no more.
const CONTROL_BYTES_MAX: u64 = 125;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The head of an answer that makes a connection a web socket.
pub(crate) fn answer(headers: &HeaderMap) -> Result<String, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let upgrades = text("upgrade").eq_ignore_ascii_case("websocket")
        && text("connection").to_ascii_lowercase().contains("upgrade")
        && text("sec-websocket-version") == "13";
    let key = text("sec-websocket-key");
    if !upgrades || key.is_empty() {
        return Err(ApiError::invalid("bad request: not a websocket's first message"));
    }
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes());
    let accept = base64::encode(hash.as_ref());
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

/// Carries bytes between a client's frames and a plain socket, until either ends.
pub(crate) async fn relay(
    client: OwnedFd,
    read_ahead: Vec<u8>,
    plain: UnixStream,
) -> io::Result<()> {
    let (from_client, to_client) = UnixStream::from_std(client.into())?.into_split();
    let (from_plain, to_plain) = plain.into_split();
    let (reply, replies) = mpsc::channel(4);
    tokio::select! {
        read = read_frames(from_client, read_ahead, to_plain, reply) => read,
        written = write_frames(from_plain, to_client, replies) => written,
    }
}

async fn read_frames(
    mut from: OwnedReadHalf,
    read_ahead: Vec<u8>,
    mut to: OwnedWriteHalf,
    reply: mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    let mut frames = Frames { buffer: read_ahead, current: None };
    loop {
        while let Some(piece) = frames.next()? {
            match piece {
                Piece::Data(bytes) => to.write_all(&bytes).await?,
                Piece::Reply(frame) => {
                    // Whoever writes has gone: so will we.
                    let _ = reply.send(frame).await;
                }
                Piece::End(frame) => {
                    let _ = reply.send(frame).await;
                    // The writer sends this as the last thing, and ends both.
                    return std::future::pending().await;
                }
            }
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        frames.buffer.extend_from_slice(&chunk[..count]);
    }
}

async fn write_frames(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut replies: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        tokio::select! {
            read = from.read(&mut chunk) => match read? {
                0 => return to.write_all(&frame(CLOSE, &1000_u16.to_be_bytes())).await,
                count => to.write_all(&frame(BINARY, &chunk[..count])).await?,
            },
            Some(reply) = replies.recv() => {
                to.write_all(&reply).await?;
                if reply[0] & 0x0f == CLOSE {
                    return Ok(());
                }
            }
        }
    }
}

/// A whole message of the server's, which is not masked.
fn frame(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | kind];
    match bytes.len() {
        length @ 0..126 => out.push(length as u8),
        length @ 126..65536 => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
    out
}

/// What a client's bytes are.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Data(Bytes),
    /// To be answered with this frame.
    Reply(Vec<u8>),
    /// The client goes, and gets this frame.
    End(Vec<u8>),
}

/// A client's frames as they come in.
struct Frames {
    buffer: Vec<u8>,
    current: Option<Current>,
}

/// The data frame that is under way.
struct Current {
    left: u64,
    mask: [u8; 4],
    position: usize,
}

impl Frames {
    fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            if let Some(current) = &mut self.current {
                if current.left == 0 {
                    self.current = None;
                    continue;
                }
                let count =
                    usize::try_from(current.left).unwrap_or(usize::MAX).min(self.buffer.len());
                if count == 0 {
                    return Ok(None);
                }
                let mut bytes: Vec<u8> = self.buffer.drain(..count).collect();
                unmask(&mut bytes, current.mask, current.position);
                current.left -= count as u64;
                current.position += count;
                return Ok(Some(Piece::Data(bytes.into())));
            }
            let Some((head, length)) = Head::read(&self.buffer)? else { return Ok(None) };
            let Head { kind, size, mask } = head;
            match kind {
                CONTINUATION | TEXT | BINARY => {
                    self.buffer.drain(..length);
                    self.current = Some(Current { left: size, mask, position: 0 });
                }
                CLOSE | PING | PONG if size <= CONTROL_BYTES_MAX => {
                    let whole = length + size as usize;
                    if self.buffer.len() < whole {
                        return Ok(None);
                    }
                    let mut bytes: Vec<u8> = self.buffer.drain(..whole).skip(length).collect();
                    unmask(&mut bytes, mask, 0);
                    match kind {
                        CLOSE => return Ok(Some(Piece::End(frame(CLOSE, &bytes)))),
                        PING => return Ok(Some(Piece::Reply(frame(PONG, &bytes)))),
                        _ => {}
                    }
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
}

struct Head {
    kind: u8,
    size: u64,
    mask: [u8; 4],
}

impl Head {
    /// The head at the beginning of some bytes, and its length; nothing if it is not whole.
    fn read(bytes: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        // Extensions were not agreed on, and clients must mask.
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let more = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if rest.len() < more + 4 {
            return Ok(None);
        }
        let number = rest[..more].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let size = if more == 0 { u64::from(second & 0x7f) } else { number };
        let mask = [rest[more], rest[more + 1], rest[more + 2], rest[more + 3]];
        Ok(Some((Self { kind: first & 0x0f, size, mask }, 2 + more + 4)))
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4], position: usize) {
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte ^= mask[(position + at) % 4];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(kind: u8, bytes: &[u8]) -> Vec<u8> {
        let mut frame = frame(kind, bytes);
        let head = frame.len() - bytes.len();
        frame[1] |= 0x80;
        unmask(&mut frame[head..], [1, 2, 3, 4], 0);
        frame.splice(head..head, [1, 2, 3, 4]);
        frame
    }

    #[test]
    fn the_answer_of_the_standard() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let head = answer(&headers).unwrap();
        assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        headers.remove("upgrade");
        assert!(answer(&headers).is_err());
    }

    #[test]
    fn frames_may_come_in_any_pieces() {
        let long = vec![b'x'; 300];
        let input = [
            masked(BINARY, b"ab"),
            masked(PING, b"p"),
            masked(TEXT, &long),
            masked(CLOSE, &1000_u16.to_be_bytes()),
        ]
        .concat();
        for step in [1, 7, input.len()] {
            let mut frames = Frames { buffer: Vec::new(), current: None };
            let (mut data, mut others) = (Vec::new(), Vec::new());
            for piece in input.chunks(step) {
                frames.buffer.extend_from_slice(piece);
                while let Some(piece) = frames.next().unwrap() {
                    match piece {
                        Piece::Data(bytes) => data.extend_from_slice(&bytes),
                        other => others.push(other),
                    }
                }
            }
            assert_eq!(data, [b"ab", &long[..]].concat());
            let end = frame(CLOSE, &1000_u16.to_be_bytes());
            assert_eq!(others, [Piece::Reply(frame(PONG, b"p")), Piece::End(end)]);
        }
        let mut bare = Frames { buffer: frame(BINARY, b"x"), current: None };
        bare.next().unwrap_err();
    }
}
