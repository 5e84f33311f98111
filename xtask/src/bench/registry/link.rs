//! A client's connection: requests and answers of HTTP/1.1 with a length, and nothing that takes time of its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Bytes that are read at once: few enough to stay in the processor's cache.
const BUFFER: usize = 128 << 10;

/// A connection that stays for many requests.
pub(super) struct Link {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
    buffer: Vec<u8>,
}

/// An answer's head; its body has been read and thrown away.
pub(super) struct Answer {
    status: u16,
    location: String,
    length: u64,
}

impl Link {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), address, buffer: vec![0; BUFFER] })
    }

    /// Pushes a blob as docker does.
    pub(super) fn push(&mut self, name: &str, digest: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[])?.expect(202)?;
        let place = self.send("PATCH", &place, bytes)?.expect(202)?;
        let mark = if place.contains('?') { '&' } else { '?' };
        self.send("PUT", &format!("{place}{mark}digest={digest}"), &[])?.expect(201)?;
        Ok(())
    }

    /// Pulls a blob.
    pub(super) fn pull(&mut self, name: &str, digest: &str, size: usize) -> io::Result<()> {
        let answer = self.send("GET", &format!("/v2/{name}/blobs/{digest}"), &[])?;
        if answer.length != size as u64 {
            return Err(io::Error::other(format!("{} bytes of {size}", answer.length)));
        }
        answer.expect(200).map(drop)
    }

    fn send(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/octet-stream\r\n\
             content-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let mut stream = self.stream.get_ref();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let answer = self.head()?;
        let mut left = answer.length;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            match self.stream.read(&mut self.buffer[..most])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => left -= count as u64,
            }
        }
        Ok(answer)
    }

    fn head(&mut self) -> io::Result<Answer> {
        let mut answer = Answer { status: 0, location: String::new(), length: 0 };
        let mut line = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end();
            if answer.status == 0 {
                let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
                answer.status = status.ok_or(io::ErrorKind::InvalidData)?;
                continue;
            }
            match text.split_once(": ") {
                None => return Ok(answer),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    answer.length = value.parse().map_err(io::Error::other)?;
                }
                Some((name, value)) if name.eq_ignore_ascii_case("location") => {
                    value.clone_into(&mut answer.location);
                }
                Some(_) => {}
            }
        }
    }
}

impl Answer {
    /// Where it says to go on, if it is what was to be expected.
    fn expect(self, status: u16) -> io::Result<String> {
        if self.status != status {
            return Err(io::Error::other(format!("status {} in place of {status}", self.status)));
        }
        let path = self.location.split_once("://").map(|(_, rest)| rest);
        let path = path.and_then(|rest| Some(&rest[rest.find('/')?..]));
        Ok(path.map_or(self.location.clone(), str::to_owned))
    }
}
