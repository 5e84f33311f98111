//! GELF, Graylog's format: one JSON object for each line, in compressed datagrams or over TCP.
//!
//! Invariant: a datagram is no longer than what passes any network; longer messages are cut as the format says.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Map, Value};

use super::connection::Address;
use super::options::Options;
use super::{About, Message, Patience};
use crate::clock::rfc3339;
use crate::plan::PlanError;

const PORT: u16 = 12201;
const OWN: &[&str] = &[
    "gelf-address",
    "gelf-compression-level",
    "gelf-compression-type",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
];
/// A chunk's content.
const CHUNK_BYTES: usize = 1420 - 12;
/// No message has more chunks.
const CHUNKS_MAX: usize = 128;
const MAGIC: [u8; 2] = [0x1e, 0x0f];
const ERROR: i64 = 3;
const INFORMATION: i64 = 6;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gelf {
    pub(super) address: Address,
    pub(super) patience: Patience,
    kind: Kind,
    level: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gzip,
    Zlib,
    Plain,
}

impl Gelf {
    pub(super) fn parse(options: &Options<'_>) -> Result<Self, PlanError> {
        options.know(OWN)?;
        let wrong = |name| options.wrong(name);
        let address = Address::parse(options.text("gelf-address"), PORT);
        let address = address.filter(|found| matches!(found, Address::Udp(_) | Address::Tcp(_)));
        let address = address.ok_or_else(|| wrong("gelf-address"))?;
        let over_tcp = matches!(address, Address::Tcp(_));
        let misplaced =
            |name: &str, for_tcp: bool| !options.text(name).is_empty() && over_tcp != for_tcp;
        if let Some(name) = OWN.iter().find(|name| {
            name.starts_with("gelf-compression") && misplaced(name, false)
                || name.starts_with("gelf-tcp") && misplaced(name, true)
        }) {
            return Err(wrong(name));
        }
        let kind = match options.text("gelf-compression-type") {
            "none" => Kind::Plain,
            "zlib" => Kind::Zlib,
            "" | "gzip" => Kind::Gzip,
            _ => return Err(wrong("gelf-compression-type")),
        };
        // -1 is zlib's own choice.
        let level: i64 = options.parsed("gelf-compression-level")?.unwrap_or(1);
        let level = match level {
            -1 => 6,
            level => u32::try_from(level)
                .ok()
                .filter(|level| *level <= 9)
                .ok_or_else(|| wrong("gelf-compression-level"))?,
        };
        let attempts: u32 = options.parsed("gelf-tcp-max-reconnect")?.unwrap_or(3);
        let delay_s: u64 = options.parsed("gelf-tcp-reconnect-delay")?.unwrap_or(1);
        let patience = Patience {
            first_pause: Duration::from_secs(delay_s),
            grows: false,
            attempts_max: Some(attempts.saturating_add(1)),
        };
        Ok(Self { address, patience, kind, level })
    }

    pub(super) fn packets(&self, about: &About, message: &Message) -> Vec<Vec<u8>> {
        let mut json = document(about, message).to_string().into_bytes();
        if matches!(self.address, Address::Tcp(_)) {
            json.push(0);
            return vec![json];
        }
        let level = Compression::new(self.level);
        let packed = match self.kind {
            Kind::Plain => Ok(json),
            Kind::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(&json).and_then(|()| encoder.finish())
            }
            Kind::Zlib => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(&json).and_then(|()| encoder.finish())
            }
        };
        chunks(packed.expect("memory takes everything"), message.time_ns)
    }
}

fn document(about: &About, message: &Message) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    put("version", "1.1".into());
    put("host", about.host.as_str().into());
    put("short_message", String::from_utf8_lossy(&message.text).into_owned().into());
    let milliseconds = message.time_ns.div_euclid(1_000_000);
    put("timestamp", (milliseconds as f64 / 1000.0).into());
    put("level", if message.stderr { ERROR } else { INFORMATION }.into());
    put("_command", about.command.as_str().into());
    put("_container_id", about.id.as_str().into());
    put("_container_name", about.name.as_str().into());
    put("_created", rfc3339(about.created_s.saturating_mul(1_000_000_000)).into());
    put("_image_id", about.image_id.as_str().into());
    put("_image_name", about.image.as_str().into());
    put("_tag", about.tag.as_str().into());
    for (name, value) in &about.attributes {
        put(name, value.as_str().into());
    }
    Value::Object(map)
}

/// In one piece if it fits; what would need too many pieces goes nowhere, as no server would take it.
fn chunks(packed: Vec<u8>, time_ns: i64) -> Vec<Vec<u8>> {
    if packed.len() <= CHUNK_BYTES + 12 {
        return vec![packed];
    }
    let count = packed.len().div_ceil(CHUNK_BYTES);
    let Some(total) = u8::try_from(count).ok().filter(|_| count <= CHUNKS_MAX) else {
        return Vec::new();
    };
    let pieces = packed.chunks(CHUNK_BYTES).zip(0_u8..);
    let piece = |(bytes, number): (&[u8], u8)| {
        [&MAGIC[..], &time_ns.to_be_bytes(), &[number, total], bytes].concat()
    };
    pieces.map(piece).collect()
}

/// Names of one's own begin with an underscore.
pub(super) fn key(name: &str) -> String {
    if name.starts_with('_') { name.to_owned() } else { format!("_{name}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<Gelf, PlanError> {
        let map: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Gelf::parse(&Options::new("gelf", &map))
    }

    #[test]
    fn a_long_message_is_cut_and_a_short_one_is_not() {
        let about = About::named("abc", "web", "nginx", "");
        let udp = ("gelf-address", "udp://127.0.0.1:1");
        let plain = parsed(&[udp, ("gelf-compression-type", "none")]).expect("options");
        let of = |length| Message {
            time_ns: 1_500_000_000,
            stderr: true,
            text: vec![b'x'; length],
            part: None,
        };
        let one = plain.packets(&about, &of(10));
        let value: Value = serde_json::from_slice(&one[0]).expect("JSON");
        assert_eq!((one.len(), &value["timestamp"], &value["level"]), (1, &1.5.into(), &3.into()));
        let many = plain.packets(&about, &of(5000));
        assert_eq!((many.len(), many[1][10], many[1][11]), (4, 1, 4));
        let whole: Vec<u8> = many.iter().flat_map(|piece| piece[12..].to_vec()).collect();
        serde_json::from_slice::<Value>(&whole).expect("JSON");
        let packed = parsed(&[udp]).expect("options").packets(&about, &of(10));
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[0][..]).read_to_string(&mut text).expect("gzip");
        assert!(text.contains("\"_container_name\":\"web\""), "{text}");
    }

    #[test]
    fn refusals_name_the_option() {
        let check = |pairs: &[(&str, &str)], name: &str| {
            let said = parsed(pairs).expect_err("a refusal").to_string();
            assert!(said.contains(name), "{said}");
        };
        check(&[], "gelf-address");
        check(&[("gelf-address", "unix:///x")], "gelf-address");
        let tcp = ("gelf-address", "tcp://h");
        check(&[tcp, ("gelf-compression-type", "gzip")], "gelf-compression-type");
        check(&[("gelf-address", "udp://h"), ("gelf-tcp-max-reconnect", "1")], "gelf-tcp");
    }
}
