//! Ports of a container, and the host's ports that lead to them.
//!
//! Invariant: numbers are in range; a range on the host has its ends in order.
//! Absent on purpose: whether a port of the host is free.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Field, RequestError};
use super::text::as_text;

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// One port of the container (`80/tcp`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// One way from the host to a port of the container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PortBinding {
    /// Address of the host; every one where absent.
    pub host_ip: Option<IpAddr>,
    /// Port of the host, or the range that it comes from; any free one where absent.
    pub host_port: Option<(u16, u16)>,
}

impl Protocol {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Port {
    /// The ports of a text such as `80`, `80/udp` or `8000-8010/tcp`.
    pub fn parse_range(text: &str) -> Result<Vec<Self>, RequestError> {
        let fault = || RequestError::word(Field::Port, text);
        let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return Err(fault()),
        };
        let (first, last) = range(numbers).ok_or_else(fault)?;
        Ok((first..=last).map(|number| Self { number, protocol }).collect())
    }
}

impl FromStr for Port {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        match Self::parse_range(text)?[..] {
            [port] => Ok(port),
            _ => Err(RequestError::word(Field::Port, text)),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

as_text!(Port);

impl PortBinding {
    /// From the two texts of the API; both may be empty.
    pub fn parse(host_ip: &str, host_port: &str) -> Result<Self, RequestError> {
        let address = match host_ip {
            "" => None,
            text => Some(text.parse().map_err(|_| RequestError::word(Field::Port, text))?),
        };
        let port = match host_port {
            "" | "0" => None,
            text => Some(range(text).ok_or_else(|| RequestError::word(Field::Port, text))?),
        };
        Ok(Self { host_ip: address, host_port: port })
    }

    /// The address as the API tells it: empty for every one.
    pub fn host_ip_text(&self) -> String {
        self.host_ip.map(|address| address.to_string()).unwrap_or_default()
    }

    /// The port as the API tells it: empty for any.
    pub fn host_port_text(&self) -> String {
        match self.host_port {
            None => String::new(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        }
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|number| *number > 0);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_bindings() {
        let port: Port = "53/UDP".parse().expect("a port");
        assert_eq!(port.to_string(), "53/udp");
        assert_eq!("80".parse::<Port>().expect("a port").to_string(), "80/tcp");
        assert_eq!(Port::parse_range("8000-8002/tcp").expect("a range").len(), 3);
        for text in ["", "0", "65536", "80/icmp", "9-8", "80/tcp/udp", "a"] {
            let refusal = text.parse::<Port>().expect_err(text).to_string();
            assert_eq!(refusal, format!("invalid port specification: {text:?}"));
        }
        let binding = PortBinding::parse("127.0.0.1", "8000-8010").expect("a binding");
        assert_eq!(
            (binding.host_ip_text(), binding.host_port_text()),
            ("127.0.0.1".to_owned(), "8000-8010".to_owned())
        );
        assert_eq!(PortBinding::parse("", "").expect("any"), PortBinding::default());
        assert!(PortBinding::parse("localhost", "80").is_err());
    }
}
