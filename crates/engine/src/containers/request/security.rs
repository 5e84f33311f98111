//! Security options, capabilities, hosts, device rules: small texts with a meaning.
//!
//! Invariant: a capability is told in its long form, `CAP_…` or `ALL`; everything else as written.
//! Absent on purpose: reading seccomp profiles from files, which the command line does; parsing the
//! profile, which planning does.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use dhow_spec::CAPABILITY_NAMES;

use super::error::{Field, RequestError};
use super::text::{as_text, go_bool};

/// One of `SecurityOpt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityOption {
    text: String,
    /// What it says.
    pub meaning: SecurityMeaning,
}

/// What a security option says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecurityMeaning {
    /// Whether set-uid programs gain nothing.
    NoNewPrivileges(bool),
    /// An option of SELinux (`disable`, `type:…`, `level:…`).
    Label(String),
    /// A profile of AppArmor.
    AppArmor(String),
    /// `unconfined`, `builtin`, or a profile as JSON.
    Seccomp(String),
    /// Whether the cgroup can be written to.
    WritableCgroups(bool),
}

/// One of `CapAdd` or `CapDrop`, in its long form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability(String);

/// One of `ExtraHosts`: `name:address`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraHost {
    text: String,
    /// The name.
    pub name: String,
    /// The address; absent for `host-gateway`.
    pub address: Option<IpAddr>,
}

/// One of `DeviceCgroupRules`: `c 13:* rwm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRuleText {
    text: String,
    /// `a`, `b` or `c`.
    pub kind: char,
    /// Major number; every one where absent.
    pub major: Option<i64>,
    /// Minor number; every one where absent.
    pub minor: Option<i64>,
    /// Of the letters `r`, `w` and `m`.
    pub access: String,
}

impl FromStr for SecurityOption {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let fault = || RequestError::word(Field::SecurityOpt, text);
        let switch = |word: &str| go_bool(word).ok_or_else(fault);
        let pair = text.split_once(if text.contains('=') { '=' } else { ':' });
        let meaning = match (text, pair) {
            ("no-new-privileges", _) => SecurityMeaning::NoNewPrivileges(true),
            ("disable", _) => SecurityMeaning::Label("disable".to_owned()),
            (_, None) => return Err(RequestError::word(Field::SecurityOptForm, text)),
            (_, Some((name, value))) => match name {
                "label" => SecurityMeaning::Label(value.to_owned()),
                "apparmor" => SecurityMeaning::AppArmor(value.to_owned()),
                "seccomp" => SecurityMeaning::Seccomp(value.to_owned()),
                "no-new-privileges" => SecurityMeaning::NoNewPrivileges(switch(value)?),
                "writable-cgroups" => SecurityMeaning::WritableCgroups(switch(value)?),
                _ => return Err(fault()),
            },
        };
        Ok(Self { text: text.to_owned(), meaning })
    }
}

impl fmt::Display for SecurityOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Capability {
    /// One of `CapAdd`.
    pub fn parse_add(text: &str) -> Result<Self, RequestError> {
        Self::parse(text, Field::CapAdd)
    }

    /// One of `CapDrop`.
    pub fn parse_drop(text: &str) -> Result<Self, RequestError> {
        Self::parse(text, Field::CapDrop)
    }

    fn parse(text: &str, field: Field) -> Result<Self, RequestError> {
        let upper = text.trim().to_ascii_uppercase();
        if upper == "ALL" {
            return Ok(Self(upper));
        }
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if CAPABILITY_NAMES.contains(&name) {
            return Ok(Self(format!("CAP_{name}")));
        }
        // Docker names what it was looking for, not what was written.
        Err(RequestError::word(field, &format!("CAP_{name}")))
    }

    /// The name in its long form, or `ALL`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every capability is meant.
    pub fn is_all(&self) -> bool {
        self.0 == "ALL"
    }
}

impl FromStr for Capability {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        Self::parse_add(text)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ExtraHost {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let pair = text.split_once(':').filter(|(name, _)| !name.is_empty());
        let (name, address) = pair.ok_or_else(|| RequestError::word(Field::ExtraHost, text))?;
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = match bare.unwrap_or(address) {
            "host-gateway" => None,
            word => {
                Some(word.parse().map_err(|_| RequestError::word(Field::ExtraHostAddress, word))?)
            }
        };
        Ok(Self { text: text.to_owned(), name: name.to_owned(), address })
    }
}

impl fmt::Display for ExtraHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for DeviceRuleText {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let parse = || {
            let [kind, numbers, access] = text.split(' ').collect::<Vec<_>>()[..] else {
                return None;
            };
            let (major, minor) = numbers.split_once(':')?;
            let letters = access.bytes().all(|letter| b"rwm".contains(&letter));
            Some(Self {
                text: text.to_owned(),
                kind: ["a", "b", "c"].contains(&kind).then(|| kind.chars().next())??,
                major: device_number(major)?,
                minor: device_number(minor)?,
                access: (letters && (1..=3).contains(&access.len())).then(|| access.to_owned())?,
            })
        };
        parse().ok_or_else(|| RequestError::word(Field::DeviceCgroupRule, text))
    }
}

impl fmt::Display for DeviceRuleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

as_text!(SecurityOption, Capability, ExtraHost, DeviceRuleText);

/// A number, or nothing for `*`; no value where it is neither.
fn device_number(text: &str) -> Option<Option<i64>> {
    if text == "*" {
        return Some(None);
    }
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse::<u32>().ok().map(i64::from)).flatten().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_texts_and_their_refusals() {
        let option: SecurityOption = "no-new-privileges:true".parse().expect("an option");
        assert_eq!(option.meaning, SecurityMeaning::NoNewPrivileges(true));
        let profile: SecurityOption = "seccomp={\"a\":\"b=c\"}".parse().expect("a profile");
        assert_eq!(profile.meaning, SecurityMeaning::Seccomp("{\"a\":\"b=c\"}".to_owned()));
        let refusal = |text: &str| text.parse::<SecurityOption>().expect_err(text).to_string();
        assert_eq!(refusal("fly"), "invalid --security-opt 1: \"fly\"");
        assert_eq!(refusal("fly=high"), "invalid --security-opt 2: \"fly=high\"");
        assert_eq!(
            refusal("no-new-privileges=maybe"),
            "invalid --security-opt 2: \"no-new-privileges=maybe\""
        );
        let capability = Capability::parse_add("net_admin").expect("a capability");
        assert_eq!(capability.as_str(), "CAP_NET_ADMIN");
        assert!(Capability::parse_drop("all").expect("all").is_all());
        assert_eq!(
            Capability::parse_drop("fly").expect_err("none").to_string(),
            "invalid CapDrop: unknown capability: \"CAP_FLY\""
        );
    }

    #[test]
    fn hosts_and_rules() {
        let host: ExtraHost = "db:[::1]".parse().expect("a host");
        assert_eq!((host.name.as_str(), host.address), ("db", Some("::1".parse().expect("one"))));
        assert_eq!("h:host-gateway".parse::<ExtraHost>().expect("a host").address, None);
        let refusal = |text: &str| text.parse::<ExtraHost>().expect_err(text).to_string();
        assert_eq!(refusal("db"), "bad format for add-host: \"db\"");
        assert_eq!(refusal("db:1.2.3"), "invalid IP address in add-host: \"1.2.3\"");
        let rule: DeviceRuleText = "c 13:* rwm".parse().expect("a rule");
        assert_eq!((rule.kind, rule.major, rule.minor), ('c', Some(13), None));
        for text in ["c 13 rwm", "d 1:1 r", "c 1:1 x", "c 1:-1 r", "c 1:1 rwmr", "c 1:1  r"] {
            let refusal = text.parse::<DeviceRuleText>().expect_err(text).to_string();
            assert_eq!(refusal, format!("invalid device cgroup rule format: '{text}'"));
        }
    }
}
