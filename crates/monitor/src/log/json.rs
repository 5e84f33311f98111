//! Docker's `json-file` format, byte for byte: one object per line, its members in one order.
//!
//! `{"log":"text\n","stream":"stdout","attrs":{…},"time":"2006-01-02T15:04:05.999999999Z"}`
//!
//! Part of a long line has no `\n` in its text. Bytes that are no UTF-8 are lost to U+FFFD, as in Docker.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::entry::{Entry, Line, LogStream};
use crate::clock;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends one line.
pub(super) fn encode(entry: &Entry<'_>, attributes: &str, out: &mut Vec<u8>) {
    out.push(b'{');
    let ends = entry.partial.is_none_or(|part| part.last);
    if !entry.bytes.is_empty() || ends {
        out.extend_from_slice(b"\"log\":");
        text(&[entry.bytes, if ends { b"\n" } else { b"" }], out);
        out.push(b',');
    }
    out.extend_from_slice(b"\"stream\":\"");
    out.extend_from_slice(entry.stream.as_str().as_bytes());
    out.push(b'"');
    if !attributes.is_empty() {
        out.extend_from_slice(b",\"attrs\":");
        out.extend_from_slice(attributes.as_bytes());
    }
    out.extend_from_slice(b",\"time\":\"");
    out.extend_from_slice(clock::format(entry.time_ns).as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// The labels and variables of every line as Go prints a map: keys sorted, characters of HTML escaped.
pub(super) fn attributes(map: &BTreeMap<String, String>) -> String {
    if map.is_empty() {
        return String::new();
    }
    let mut out = Vec::new();
    for (key, value) in map {
        out.push(if out.is_empty() { b'{' } else { b',' });
        text(&[key.as_bytes()], &mut out);
        out.push(b':');
        text(&[value.as_bytes()], &mut out);
    }
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}

/// A JSON text as Docker escapes it.
fn text(parts: &[&[u8]], out: &mut Vec<u8>) {
    out.push(b'"');
    for part in parts {
        for chunk in part.utf8_chunks() {
            chunk.valid().chars().for_each(|one| character(one, out));
            // One for each byte, as Go's decoder counts them.
            for _ in chunk.invalid() {
                out.extend_from_slice(b"\\ufffd");
            }
        }
    }
    out.push(b'"');
}

fn character(one: char, out: &mut Vec<u8>) {
    match one {
        '"' | '\\' => out.extend([b'\\', one as u8]),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\0'..='\x1f' | '<' | '>' | '&' => {
            let byte = one as u8;
            out.extend_from_slice(b"\\u00");
            out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        '\u{2028}' => out.extend_from_slice(b"\\u2028"),
        '\u{2029}' => out.extend_from_slice(b"\\u2029"),
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    #[serde(default, borrow)]
    attrs: Option<&'a serde_json::value::RawValue>,
    #[serde(default)]
    time: String,
}

/// Reads one line, without its line end; nothing if it is none.
pub(super) fn decode(line: &[u8]) -> Option<Line> {
    let object: Object<'_> = serde_json::from_slice(line).ok()?;
    let bytes = object.log.into_bytes();
    Some(Line {
        time_ns: clock::parse(object.time.as_bytes())?,
        stream: LogStream::parse(object.stream.as_bytes()).unwrap_or(LogStream::Stdout),
        partial: bytes.last() != Some(&b'\n'),
        bytes,
        attributes: object.attrs.map(|raw| raw.get().to_owned()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::entry::Part;
    use super::*;

    fn line(bytes: &[u8], partial: Option<Part>, attributes: &str) -> String {
        let entry =
            Entry { time_ns: 1_700_000_000_120_000_000, stream: LogStream::Stderr, bytes, partial };
        let mut out = Vec::new();
        encode(&entry, attributes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_docker_s_byte_for_byte() {
        let time = "\"time\":\"2023-11-14T22:13:20.12Z\"}\n";
        let check = |bytes: &[u8], text: &str| {
            let expected = format!("{{\"log\":\"{text}\\n\",\"stream\":\"stderr\",{time}");
            assert_eq!(line(bytes, None, ""), expected);
        };
        check(b"plain", "plain");
        check(b"", "");
        check(
            b"\"q\" \\ <a>&\tb\r\x1b[0m\x7f",
            "\\\"q\\\" \\\\ \\u003ca\\u003e\\u0026\\u0009b\\r\\u001b[0m\x7f",
        );
        check("ä ☃ \u{2028}".as_bytes(), "ä ☃ \\u2028");
        check(b"\xff\xfea\xe2\x98", "\\ufffd\\ufffda\\ufffd\\ufffd");
        let part = Part { id: 1, ordinal: 1, last: false };
        let expected = format!("{{\"log\":\"half\",\"stream\":\"stderr\",{time}");
        assert_eq!(line(b"half", Some(part), ""), expected);
        let map = [("b", "2"), ("a", "<1>")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let attributes = attributes(&map.into());
        assert_eq!(attributes, r#"{"a":"\u003c1\u003e","b":"2"}"#);
        assert!(line(b"x", None, &attributes).contains(r#""stream":"stderr","attrs":{"a":"#));
    }

    #[test]
    fn what_was_written_is_read() {
        for bytes in [&b"some \"text\" <&>\t"[..], "☃".as_bytes(), b""] {
            let written = line(bytes, None, "{\"a\":\"b\"}");
            let read = decode(written.trim_end().as_bytes()).unwrap();
            assert_eq!(read.bytes, [bytes, b"\n"].concat());
            assert_eq!((read.stream, read.partial), (LogStream::Stderr, false));
            assert_eq!(read.time_ns, 1_700_000_000_120_000_000);
            assert_eq!(read.attributes, "{\"a\":\"b\"}");
        }
        let part = Part { id: 1, ordinal: 1, last: false };
        assert!(decode(line(b"half", Some(part), "").trim_end().as_bytes()).unwrap().partial);
        assert_eq!(decode(b"{\"log\":\"torn"), None);
        assert_eq!(decode(b""), None);
    }
}
