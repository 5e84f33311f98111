//! The stream of a build: events, outputs between them, and what came of it.
//!
//! Invariant: an output that was announced is taken to its end, or the build has failed.

use std::io::{self, BufRead, BufReader, Read};

use super::output::Outputs;
use super::view::View;
use crate::client::Body;
use crate::failure::Failure;
use crate::json::Json;
use dhow_spec::base64;

/// What came of a build.
pub(crate) struct Built {
    /// The image's id.
    pub(crate) id: String,
    /// All that the engine says of it.
    pub(crate) said: Json,
}

/// Where the Dockerfile was found wanting.
#[derive(Default)]
pub(crate) struct Place {
    pub(crate) dockerfile: String,
    pub(crate) line: usize,
    pub(crate) source: String,
}

/// Shows events, hands outputs over, and gives what came of it.
pub(crate) fn follow(body: Body, view: &mut View, outputs: &mut Outputs) -> Result<Built, Failure> {
    let mut reader = BufReader::with_capacity(64 << 10, body);
    let mut line = Vec::new();
    let mut built = Built { id: String::new(), said: Json::default() };
    let mut place = None;
    loop {
        line.clear();
        let count = reader.read_until(b'\n', &mut line);
        if count.map_err(Failure::io("read", "the engine's progress"))? == 0 {
            return match built.id.is_empty() {
                false => Ok(built),
                true => {
                    let message = "the engine went away before the build ended".to_owned();
                    Err(Failure::Stream { message, code: 1 })
                }
            };
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let message = Json::parse(&line).map_err(|source| Failure::Answer { source })?;
        let detail = message.get("errorDetail").text("message");
        let text = if detail.is_empty() { message.text("error") } else { detail };
        if !text.is_empty() {
            view.fail(place.as_ref());
            return Err(Failure::Stream { message: text.to_owned(), code: 1 });
        }
        let aux = message.get("aux");
        if !aux.text("Output").is_empty() {
            let mut frames = Frames { source: &mut reader, left: 0, ended: false };
            outputs.take(aux.text("Output"), aux.text("Platform"), &mut frames)?;
            // What nobody wanted to read is read all the same.
            io::copy(&mut frames, &mut io::sink()).map_err(Failure::io("read", "an output"))?;
        } else if !aux.text("ID").is_empty() {
            built = Built { id: aux.text("ID").to_owned(), said: aux.clone() };
        } else if let Some(failed) = aux.find("Failed") {
            let source = base64::decode(failed.text("Source")).unwrap_or_default();
            place = Some(Place {
                dockerfile: failed.text("Dockerfile").to_owned(),
                line: usize::try_from(failed.int("Line")).unwrap_or(0),
                source: String::from_utf8_lossy(&source).into_owned(),
            });
        } else {
            view.event(&message, &line)?;
        }
    }
}

/// An output's pieces, each behind its length.
struct Frames<'a, R> {
    source: &'a mut R,
    left: usize,
    ended: bool,
}

impl<R: Read> Read for Frames<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            let mut length = [0; 4];
            self.source.read_exact(&mut length)?;
            self.left = u32::from_be_bytes(length) as usize;
            self.ended = self.left == 0;
        }
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let most = buffer.len().min(self.left);
        let count = self.source.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_end_where_they_say() {
        let mut bytes = &b"\0\0\0\x03abc\0\0\0\x01d\0\0\0\0rest"[..];
        let mut text = String::new();
        let mut frames = Frames { source: &mut bytes, left: 0, ended: false };
        frames.read_to_string(&mut text).expect("two pieces");
        assert_eq!((text.as_str(), bytes), ("abcd", &b"rest"[..]));
        let mut bytes = &b"\0\0\0\x03ab"[..];
        let mut frames = Frames { source: &mut bytes, left: 0, ended: false };
        frames.read_to_string(&mut text).expect_err("cut off");
    }
}
