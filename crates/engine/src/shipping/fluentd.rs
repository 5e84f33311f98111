//! fluentd's forward protocol: `[tag, time, record, options]` in MessagePack, over a connection.
//!
//! Invariant: with `fluentd-request-ack`, a line has arrived when the server says so, and not before.

use std::time::Duration;

use super::connection::Address;
use super::options::Options;
use super::{About, Message, Patience};
use crate::plan::PlanError;

const PORT: u16 = 24224;
const OWN: &[&str] = &[
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-connect",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-read-timeout",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fluentd {
    pub(super) address: Address,
    pub(super) patience: Patience,
    /// Whether a container starts without a server.
    pub(super) is_async: bool,
    pub(super) buffer_bytes: Option<usize>,
    pub(super) reconnect_interval: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
    pub(super) read_timeout: Option<Duration>,
    request_ack: bool,
    sub_second: bool,
}

impl Fluentd {
    pub(super) fn parse(options: &Options<'_>) -> Result<Self, PlanError> {
        options.know(OWN)?;
        let wrong = |name| options.wrong(name);
        let address = match options.text("fluentd-address") {
            "" => Address::Tcp(format!("127.0.0.1:{PORT}")),
            text => {
                let scheme = if text.contains("://") { "" } else { "tcp://" };
                let address = Address::parse(&format!("{scheme}{text}"), PORT);
                address
                    .filter(|found| !matches!(found, Address::Udp(_) | Address::Datagrams(_)))
                    .ok_or_else(|| wrong("fluentd-address"))?
            }
        };
        let interval = options.span("fluentd-async-reconnect-interval")?;
        let bounds = Duration::from_millis(100)..=Duration::from_secs(10);
        if interval.is_some_and(|interval| !bounds.contains(&interval)) {
            return Err(wrong("fluentd-async-reconnect-interval"));
        }
        let patience = Patience {
            first_pause: options.span("fluentd-retry-wait")?.unwrap_or(Duration::from_secs(1)),
            grows: true,
            attempts_max: options.parsed::<u32>("fluentd-max-retries")?,
        };
        Ok(Self {
            address,
            patience,
            is_async: options.flag("fluentd-async")? || options.flag("fluentd-async-connect")?,
            buffer_bytes: options.bytes("fluentd-buffer-limit")?,
            reconnect_interval: interval,
            write_timeout: options.span("fluentd-write-timeout")?,
            read_timeout: options.span("fluentd-read-timeout")?,
            request_ack: options.flag("fluentd-request-ack")?,
            sub_second: options.flag("fluentd-sub-second-precision")?,
        })
    }

    pub(super) fn packet(&self, about: &About, message: &Message) -> Vec<u8> {
        let mut out = vec![0x94];
        text(about.tag.as_bytes(), &mut out);
        self.time(message.time_ns, &mut out);
        let source: &[u8] = if message.stderr { b"stderr" } else { b"stdout" };
        let mut record: Vec<(&str, &[u8])> = vec![
            ("container_id", about.id.as_bytes()),
            ("container_name", about.name.as_bytes()),
            ("source", source),
            ("log", &message.text),
        ];
        let ordinal = message.part.as_ref().map(|part| part.ordinal.to_string());
        if let (Some(part), Some(ordinal)) = (&message.part, &ordinal) {
            let last: &[u8] = if part.last { b"true" } else { b"false" };
            record.push(("partial_message", b"true"));
            record.push(("partial_id", part.id.as_bytes()));
            record.push(("partial_ordinal", ordinal.as_bytes()));
            record.push(("partial_last", last));
        }
        for (name, value) in &about.attributes {
            record.push((name, value.as_bytes()));
        }
        map_of(record.len(), &mut out);
        for (name, value) in record {
            text(name.as_bytes(), &mut out);
            text(value, &mut out);
        }
        match self.receipt(message) {
            None => map_of(0, &mut out),
            Some(receipt) => {
                map_of(1, &mut out);
                text(b"chunk", &mut out);
                text(&receipt, &mut out);
            }
        }
        out
    }

    /// What the server says of a line that it has: the name that the line was sent under.
    pub(super) fn receipt(&self, message: &Message) -> Option<Vec<u8>> {
        let name = || format!("{:016x}{}", message.time_ns, u8::from(message.stderr));
        self.request_ack.then(|| dhow_spec::base64::encode(name().as_bytes()).into_bytes())
    }

    fn time(&self, time_ns: i64, out: &mut Vec<u8>) {
        let seconds = u32::try_from(time_ns.div_euclid(1_000_000_000)).unwrap_or(u32::MAX);
        if self.sub_second {
            let rest = u32::try_from(time_ns.rem_euclid(1_000_000_000)).unwrap_or_default();
            // An extension of eight bytes, of type 0: fluentd's own time.
            out.extend_from_slice(&[0xd7, 0x00]);
            out.extend_from_slice(&seconds.to_be_bytes());
            out.extend_from_slice(&rest.to_be_bytes());
        } else {
            out.push(0xce);
            out.extend_from_slice(&seconds.to_be_bytes());
        }
    }
}

/// A text in MessagePack; its bytes are what the container wrote.
fn text(bytes: &[u8], out: &mut Vec<u8>) {
    match bytes.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..256 => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 256..65536 => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

fn map_of(count: usize, out: &mut Vec<u8>) {
    match count {
        0..16 => out.push(0x80 | count as u8),
        _ => {
            out.push(0xde);
            out.extend_from_slice(&(count as u16).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<Fluentd, PlanError> {
        let map: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Fluentd::parse(&Options::new("fluentd", &map))
    }

    #[test]
    fn messages_are_message_pack() {
        let about = About { tag: "t".to_owned(), id: "i".to_owned(), ..About::default() };
        let message =
            Message { time_ns: 2_000_000_003, stderr: false, text: b"x".to_vec(), part: None };
        let packet = parsed(&[]).expect("options").packet(&about, &message);
        let expected = b"\x94\xa1t\xce\0\0\0\x02\x84\xaccontainer_id\xa1i\xaecontainer_name\xa0\
            \xa6source\xa6stdout\xa3log\xa1x\x80";
        assert_eq!(packet, expected);
        let precise = [("fluentd-sub-second-precision", "true"), ("fluentd-request-ack", "true")];
        let driver = parsed(&precise).expect("options");
        let packet = driver.packet(&about, &message);
        assert_eq!(packet[3..13], [0xd7, 0, 0, 0, 0, 2, 0, 0, 0, 3]);
        let receipt = driver.receipt(&message).expect("a receipt");
        assert!(packet.ends_with(&receipt));
    }

    #[test]
    fn addresses_and_refusals() {
        let address = |text| parsed(&[("fluentd-address", text)]).map(|driver| driver.address);
        assert_eq!(address("host").expect("one"), Address::Tcp("host:24224".to_owned()));
        assert_eq!(address("unix:///s").expect("one"), Address::Unix("/s".into()));
        address("udp://host").expect_err("no stream");
        parsed(&[("fluentd-async-reconnect-interval", "1m")]).expect_err("too long");
        parsed(&[("fluentd-bird", "1")]).expect_err("a bird");
    }
}
