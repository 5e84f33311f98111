//! syslog, on this machine or another: `<priority>time tag[pid]: text`, or one of its standards.
//!
//! Invariant: one line is one message; the time is the line's own, in UTC.

use std::path::PathBuf;

use super::connection::{Address, TlsFiles};
use super::options::Options;
use super::{About, Message};
use crate::clock::rfc3339;
use crate::plan::PlanError;

const PORT: u16 = 514;
const OWN: &[&str] = &[
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
];

/// In the order of their numbers; those without a name are the system's own.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];
const DAEMON: u8 = 3;
const ERROR: u8 = 3;
const INFORMATION: u8 = 6;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Syslog {
    pub(super) address: Address,
    pub(super) tls: TlsFiles,
    facility: u8,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// As the C library writes to the machine's own syslog.
    Unix,
    Rfc3164,
    Rfc5424 {
        /// With microseconds.
        micro: bool,
        /// Each message with its length in front, as RFC 5425 wants it over TLS.
        counted: bool,
    },
}

impl Syslog {
    pub(super) fn parse(options: &Options<'_>) -> Result<Self, PlanError> {
        options.know(OWN)?;
        let wrong = |name| options.wrong(name);
        let address = match options.text("syslog-address") {
            "" => Address::LocalSyslog,
            text => Address::parse(text, PORT).ok_or_else(|| wrong("syslog-address"))?,
        };
        let counted = matches!(address, Address::Tls(_));
        let format = match options.text("syslog-format") {
            "" => Format::Unix,
            "rfc3164" => Format::Rfc3164,
            "rfc5424" => Format::Rfc5424 { micro: false, counted },
            "rfc5424micro" => Format::Rfc5424 { micro: true, counted },
            _ => return Err(wrong("syslog-format")),
        };
        let path =
            |name| Some(options.text(name)).filter(|text| !text.is_empty()).map(PathBuf::from);
        let tls = TlsFiles {
            ca: path("syslog-tls-ca-cert"),
            certificate: path("syslog-tls-cert"),
            key: path("syslog-tls-key"),
            skip_verify: options.flag("syslog-tls-skip-verify")?,
        };
        let facility = match options.text("syslog-facility") {
            "" => DAEMON,
            text => facility(text).ok_or_else(|| wrong("syslog-facility"))?,
        };
        Ok(Self { address, tls, facility, format })
    }

    pub(super) fn packet(&self, about: &About, message: &Message) -> Vec<u8> {
        let priority = self.facility * 8 + if message.stderr { ERROR } else { INFORMATION };
        let (pid, tag, host) = (std::process::id(), &about.tag, &about.host);
        let head = match self.format {
            Format::Unix => format!("<{priority}>{} {tag}[{pid}]: ", stamp(message.time_ns)),
            Format::Rfc3164 => {
                format!("<{priority}>{} {host} {tag}[{pid}]: ", stamp(message.time_ns))
            }
            Format::Rfc5424 { micro, .. } => {
                let time = precise(message.time_ns, micro);
                format!("<{priority}>1 {time} {host} {tag} {pid} {tag} - ")
            }
        };
        let body = [head.as_bytes(), &message.text, b"\n"].concat();
        match self.format {
            Format::Rfc5424 { counted: true, .. } => {
                [format!("{} ", body.len()).as_bytes(), &body].concat()
            }
            _ => body,
        }
    }
}

/// By name or by number.
fn facility(text: &str) -> Option<u8> {
    let found = match text.parse::<usize>() {
        Ok(number) => Some(number).filter(|number| *number < FACILITIES.len()),
        Err(_) => FACILITIES.iter().position(|name| *name == text && !name.is_empty()),
    };
    found.and_then(|found| u8::try_from(found).ok())
}

/// `Jan  2 15:04:05`.
fn stamp(time_ns: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = rfc3339(time_ns);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or("0");
    let month =
        part(5, 7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.checked_sub(1)?));
    let day: u8 = part(8, 10).parse().unwrap_or(1);
    format!("{} {day:2} {}", month.unwrap_or(&"Jan"), part(11, 19))
}

fn precise(time_ns: i64, micro: bool) -> String {
    let whole = rfc3339(time_ns - time_ns.rem_euclid(1_000_000_000));
    match micro {
        false => whole,
        true => format!(
            "{}.{:06}Z",
            whole.trim_end_matches('Z'),
            time_ns.rem_euclid(1_000_000_000) / 1000
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<Syslog, PlanError> {
        let map: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Syslog::parse(&Options::new("syslog", &map))
    }

    fn written(pairs: &[(&str, &str)]) -> String {
        let about = About { tag: "web".to_owned(), host: "box".to_owned(), ..About::default() };
        let time_ns = 1_136_214_245_123_456_789;
        let message = Message { time_ns, stderr: false, text: b"x y".to_vec(), part: None };
        let packet = parsed(pairs).expect("options").packet(&about, &message);
        let text = String::from_utf8(packet).expect("text");
        text.replace(&std::process::id().to_string(), "PID")
    }

    #[test]
    fn formats() {
        let tcp = ("syslog-address", "tcp://127.0.0.1:1");
        assert_eq!(written(&[]), "<30>Jan  2 15:04:05 web[PID]: x y\n");
        assert_eq!(
            written(&[tcp, ("syslog-format", "rfc3164"), ("syslog-facility", "local7")]),
            "<190>Jan  2 15:04:05 box web[PID]: x y\n"
        );
        assert_eq!(
            written(&[tcp, ("syslog-format", "rfc5424micro")]),
            "<30>1 2006-01-02T15:04:05.123456Z box web PID web - x y\n"
        );
        let tls = [("syslog-address", "tcp+tls://h:1"), ("syslog-format", "rfc5424")];
        let counted = written(&tls);
        assert!(
            counted.ends_with(" <30>1 2006-01-02T15:04:05Z box web PID web - x y\n"),
            "{counted}"
        );
    }

    #[test]
    fn refusals_name_the_option() {
        let check = |name, value| {
            let said = parsed(&[(name, value)]).expect_err("a refusal").to_string();
            assert!(said.contains(name), "{said}");
        };
        check("syslog-address", "smoke://hill");
        check("syslog-format", "poem");
        check("syslog-facility", "24");
        check("syslog-bird", "1");
        assert_eq!(facility("cron"), Some(9));
    }
}
