//! The journal of systemd, by its own datagrams.
//!
//! A datagram is one entry: fields `NAME=value` and a line end each; a value with line ends in it as its name, a
//! line end, its length as eight bytes (little-endian), its bytes, a line end.

use std::path::PathBuf;

use super::connection::Address;
use super::options::Options;
use super::{About, Message};
use crate::clock::rfc3339;
use crate::plan::PlanError;

const SOCKET: &str = "/run/systemd/journal/socket";
/// syslog's numbers for errors and for information.
const ERROR: &[u8] = b"3";
const INFORMATION: &[u8] = b"6";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journald {
    pub(super) address: Address,
}

impl Journald {
    pub(super) fn parse(options: &Options<'_>) -> Result<Self, PlanError> {
        options.know(&[])?;
        Ok(Self { address: Address::Datagrams(PathBuf::from(SOCKET)) })
    }
}

pub(super) fn packet(about: &About, message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.text.len() + 512);
    field("MESSAGE", &message.text, &mut out);
    field("PRIORITY", if message.stderr { ERROR } else { INFORMATION }, &mut out);
    for (name, value) in [
        ("CONTAINER_ID", about.short_id()),
        ("CONTAINER_ID_FULL", &about.id),
        ("CONTAINER_NAME", &about.name),
        ("CONTAINER_TAG", &about.tag),
        ("IMAGE_NAME", &about.image),
        ("SYSLOG_IDENTIFIER", &about.tag),
        ("SYSLOG_TIMESTAMP", &rfc3339(message.time_ns)),
    ] {
        field(name, value.as_bytes(), &mut out);
    }
    if let Some(part) = &message.part {
        field("CONTAINER_PARTIAL_ID", part.id.as_bytes(), &mut out);
        field("CONTAINER_PARTIAL_ORDINAL", part.ordinal.to_string().as_bytes(), &mut out);
        field("CONTAINER_PARTIAL_LAST", part.last.to_string().as_bytes(), &mut out);
        if !part.last {
            field("CONTAINER_PARTIAL_MESSAGE", b"true", &mut out);
        }
    }
    for (name, value) in &about.attributes {
        field(name, value.as_bytes(), &mut out);
    }
    out
}

fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The journal's names are capital letters, digits and underscores, and begin with a letter.
pub(super) fn key(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    let words = upper.replace(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit(), "_");
    words.trim_start_matches(['_', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry() {
        let about = About::named(&"ab".repeat(32), "web", "nginx", "");
        let message =
            Message { time_ns: 1_500_000_000, stderr: true, text: b"a\nb".to_vec(), part: None };
        let packet = packet(&about, &message);
        let text = String::from_utf8(packet).expect("text");
        assert!(text.starts_with("MESSAGE\n\u{3}\0\0\0\0\0\0\0a\nb\nPRIORITY=3\n"), "{text:?}");
        assert!(text.contains("\nCONTAINER_NAME=web\n"), "{text:?}");
        assert!(text.ends_with("SYSLOG_TIMESTAMP=1970-01-01T00:00:01.5Z\n"), "{text:?}");
        assert_eq!(key("_com.example-x1"), "COM_EXAMPLE_X1");
    }
}
