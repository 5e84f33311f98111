//! HTTP/1.1 as a client needs it here: one request, one answer, the connection kept for the next.
//!
//! A request leaves in one write where its body is at hand. Sizes of heads are bounded. Absent on
//! purpose: redirects, proxies, compression, pipelining.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use super::stream::Stream;

/// No head of an answer is longer.
const HEAD_MAX: usize = 64 << 10;

/// A connection and what was read of it beyond the last answer.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    /// Read, but not yet asked for.
    pub(crate) ahead: Vec<u8>,
}

/// What goes with a request.
pub(crate) enum Payload<'a> {
    Empty,
    /// A document, sent with its length.
    Json(Vec<u8>),
    /// Bytes of unknown length, sent in chunks.
    Stream(&'a mut dyn Read),
}

/// One request. The path has its query already.
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) payload: Payload<'a>,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value; names are compared without case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What was to be sent could not be read; nothing is wrong with the connection.
#[derive(Debug)]
pub(crate) struct SourceFailed(io::Error);

impl SourceFailed {
    /// The error, if that is what happened.
    pub(crate) fn of(error: &io::Error) -> Option<io::Error> {
        let failed = error.get_ref()?.downcast_ref::<Self>()?;
        Some(io::Error::new(failed.0.kind(), failed.0.to_string()))
    }
}

impl std::fmt::Display for SourceFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SourceFailed {}

/// A place for the connection that is free again.
pub(crate) type Idle = Rc<RefCell<Option<Connection>>>;

/// How the end of a body is known.
enum Length {
    Left(u64),
    /// Bytes left of the present chunk; none before the first.
    Chunked(Option<u64>),
    UntilClose,
}

/// A body being read. At its end the connection goes back to where idle ones wait.
pub(crate) struct Body {
    connection: Option<Connection>,
    length: Length,
    idle: Option<Idle>,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Connection {
        Connection { stream, ahead: Vec::new() }
    }

    /// Sends a request. With `hijack`, asks for the connection itself.
    pub(crate) fn send(&mut self, request: Request<'_>, hijack: bool) -> io::Result<()> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", request.method, request.path);
        head.push_str(concat!("User-Agent: dhow/", env!("CARGO_PKG_VERSION"), "\r\n"));
        if hijack {
            head.push_str("Connection: Upgrade\r\nUpgrade: tcp\r\n");
        }
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match request.payload {
            Payload::Empty if request.method == "POST" => head.push_str("Content-Length: 0\r\n"),
            Payload::Empty => {}
            Payload::Json(ref body) => {
                head.push_str("Content-Type: application/json\r\n");
                head.push_str(&format!("Content-Length: {}\r\n", body.len()));
            }
            Payload::Stream(_) => {
                head.push_str("Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n");
            }
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        match request.payload {
            Payload::Empty => self.stream.write_all(&bytes)?,
            Payload::Json(body) => {
                bytes.extend_from_slice(&body);
                self.stream.write_all(&bytes)?;
            }
            Payload::Stream(source) => {
                self.stream.write_all(&bytes)?;
                self.send_chunks(source)?;
            }
        }
        self.stream.flush()
    }

    fn send_chunks(&mut self, source: &mut dyn Read) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = read_source(source, &mut buffer)?;
            let mut chunk = format!("{count:x}\r\n").into_bytes();
            chunk.extend_from_slice(&buffer[..count]);
            chunk.extend_from_slice(b"\r\n");
            self.stream.write_all(&chunk)?;
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Waits for the head of the answer; informational ones but "switching protocols" are skipped.
    pub(crate) fn receive(&mut self) -> io::Result<Head> {
        loop {
            let end = loop {
                if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                    break end;
                }
                if self.ahead.len() > HEAD_MAX {
                    return Err(malformed("the head of the answer is too long"));
                }
                self.fill()?;
            };
            let head = parse_head(&self.ahead[..end])?;
            self.ahead.drain(..end + 4);
            if !(100..200).contains(&head.status) || head.status == 101 {
                return Ok(head);
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        match read(&mut self.stream, &mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.ahead.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }

    /// Bytes of the body, first those that came with the head.
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            return read(&mut self.stream, buffer);
        }
        let count = buffer.len().min(self.ahead.len());
        buffer[..count].copy_from_slice(&self.ahead[..count]);
        self.ahead.drain(..count);
        Ok(count)
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n") {
                let line = String::from_utf8_lossy(&self.ahead[..end]).into_owned();
                self.ahead.drain(..end + 2);
                return Ok(line);
            }
            if self.ahead.len() > HEAD_MAX {
                return Err(malformed("a line of the answer is too long"));
            }
            self.fill()?;
        }
    }
}

fn read_source(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map_err(|error| io::Error::other(SourceFailed(error))),
        }
    }
}

fn read(stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn parse_head(bytes: &[u8]) -> io::Result<Head> {
    let wrong = || malformed("the answer is no HTTP");
    let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().splitn(3, ' ');
    if !first.next().is_some_and(|version| version.starts_with("HTTP/1.")) {
        return Err(wrong());
    }
    let status = first.next().and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
    let pair = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    let headers = lines.map(pair).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    Ok(Head { status, headers })
}

impl Body {
    /// The body behind `head` on `connection`.
    pub(crate) fn of(head: &Head, method: &str, connection: Connection, idle: Idle) -> Body {
        let chunked = head
            .header("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
        let bodiless = method == "HEAD" || matches!(head.status, 204 | 304);
        let length = match head.header("content-length").and_then(|value| value.parse().ok()) {
            _ if bodiless => Length::Left(0),
            _ if chunked => Length::Chunked(None),
            Some(length) => Length::Left(length),
            None => Length::UntilClose,
        };
        let closes = matches!(length, Length::UntilClose)
            || head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let mut body =
            Body { connection: Some(connection), length, idle: Some(idle).filter(|_| !closes) };
        if matches!(body.length, Length::Left(0)) {
            body.finish();
        }
        body
    }

    /// All of it, up to `max` bytes.
    pub(crate) fn read_all(mut self, max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.by_ref().take(max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The connection below, to wait for on a descriptor; `None` at the end.
    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    fn finish(&mut self) {
        if let (Some(connection), Some(idle)) = (self.connection.take(), self.idle.take()) {
            *idle.borrow_mut() = Some(connection);
        }
    }

    fn next_chunk(connection: &mut Connection, first: bool) -> io::Result<u64> {
        if !first {
            connection.line()?;
        }
        let line = connection.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_| malformed("a wrong chunk"))?;
        if size == 0 {
            while !connection.line()?.is_empty() {}
        }
        Ok(size)
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(connection) = &mut self.connection else { return Ok(0) };
        if buffer.is_empty() {
            return Ok(0);
        }
        let left = match &mut self.length {
            Length::UntilClose => u64::MAX,
            Length::Left(left) => *left,
            Length::Chunked(left @ (None | Some(0))) => {
                let size = Body::next_chunk(connection, left.is_none())?;
                *left = Some(size);
                size
            }
            Length::Chunked(Some(left)) => *left,
        };
        if left == 0 {
            self.finish();
            return Ok(0);
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = connection.take(&mut buffer[..wanted])?;
        match &mut self.length {
            Length::UntilClose => {}
            _ if count == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Length::Left(left) | Length::Chunked(Some(left)) => *left -= count as u64,
            Length::Chunked(None) => {}
        }
        // A body whose length was known is over with its last byte.
        if matches!(self.length, Length::Left(0)) {
            self.finish();
        }
        Ok(count)
    }
}

/// A query string from pairs, escaped; empty if there are none.
pub(crate) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut out = String::new();
    for (key, value) in pairs {
        out.push(if out.is_empty() { '?' } else { '&' });
        out.push_str(key);
        out.push('=');
        out.push_str(&escape(&value));
    }
    out
}

/// One segment of a path or one value of a query.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn answer(bytes: &[u8]) -> (Head, Body, Idle) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        drop(theirs);
        let mut connection = Connection::new(Stream::Unix(ours));
        let head = connection.receive().unwrap();
        let idle = Idle::default();
        let body = Body::of(&head, "GET", connection, idle.clone());
        (head, body, idle)
    }

    #[test]
    fn a_body_of_known_length_frees_the_connection() {
        let (head, body, idle) =
            answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello");
        assert_eq!((head.status, head.header("x")), (200, Some("y")));
        assert_eq!(body.read_all(1 << 20).unwrap(), b"hello");
        assert!(idle.borrow().is_some());
    }

    #[test]
    fn chunks_are_put_together() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n";
        let (_, body, idle) = answer(bytes);
        assert_eq!(body.read_all(1 << 20).unwrap(), b"hello!");
        assert!(idle.borrow().is_some());
    }

    #[test]
    fn a_torn_body_is_an_error() {
        let (_, body, idle) = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello");
        assert!(body.read_all(1 << 20).is_err());
        assert!(idle.borrow().is_none());
        let (_, body, _) = answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
        assert!(body.read_all(1 << 20).is_err());
    }

    #[test]
    fn a_body_until_the_end_uses_the_connection_up() {
        let (_, body, idle) = answer(b"HTTP/1.0 200 OK\r\n\r\nall of it");
        assert_eq!(body.read_all(1 << 20).unwrap(), b"all of it");
        assert!(idle.borrow().is_none());
    }

    #[test]
    fn no_body_frees_at_once() {
        let (head, _, idle) =
            answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(head.status, 204);
        assert!(idle.borrow().is_some());
    }

    #[test]
    fn requests_go_out_whole() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(Stream::Unix(ours));
        let mut source: &[u8] = b"tar";
        let request = Request {
            method: "POST",
            path: "/x".to_owned() + &query([("q", "a b&c".to_owned())]),
            headers: vec![("A", "b".to_owned())],
            payload: Payload::Stream(&mut source),
        };
        connection.send(request, false).unwrap();
        drop(connection);
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("POST /x?q=a%20b%26c HTTP/1.1\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n3\r\ntar\r\n0\r\n\r\n"), "{text}");
    }
}
