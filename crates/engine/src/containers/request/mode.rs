//! Whose namespaces a container lives in.
//!
//! Invariant: a mode that exists is one that Docker knows; `container:` always names a container.
//! Absent on purpose: looking that container up.

use std::fmt;
use std::str::FromStr;

use super::error::{Field, RequestError};
use super::text::as_text;

/// Where the network comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NetworkMode {
    /// The engine's default network, as the client wrote it (``, `default` or `bridge`).
    #[default]
    Default,
    /// The default bridge, by name.
    Bridge,
    /// A network namespace with nothing in it but its loopback.
    None,
    /// The host's.
    Host,
    /// Another container's, by name or id.
    Container(String),
    /// A network that somebody made.
    Named(String),
}

/// Where shared memory and message queues come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IpcMode {
    /// The engine's choice, which is `private`.
    #[default]
    Default,
    /// A namespace that nobody else may join, without `/dev/shm`.
    None,
    /// A namespace that nobody else may join.
    Private,
    /// A namespace that others may join.
    Shareable,
    /// The host's.
    Host,
    /// Another container's, by name or id.
    Container(String),
}

/// Where processes are seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PidMode {
    /// A namespace of its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// Another container's, by name or id.
    Container(String),
}

/// Where the host name lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UtsMode {
    /// A namespace of its own.
    #[default]
    Private,
    /// The host's.
    Host,
}

/// How much of the cgroup tree is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupnsMode {
    /// Private on cgroup v2, the host's on v1, as in Docker.
    #[default]
    Default,
    /// Only the container's own.
    Private,
    /// All of it.
    Host,
}

/// Whose user ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UsernsMode {
    /// The engine's choice.
    #[default]
    Default,
    /// The host's.
    Host,
}

impl NetworkMode {
    /// Whether the default network is meant.
    pub fn is_default(&self) -> bool {
        matches!(self, Self::Default | Self::Bridge)
    }

    /// Whether the namespace is one that the engine makes.
    pub fn is_private(&self) -> bool {
        !matches!(self, Self::Host | Self::Container(_))
    }
}

impl FromStr for NetworkMode {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        if let Some(container) = other(text, Field::NetworkMode)? {
            return Ok(Self::Container(container));
        }
        Ok(match text {
            "" | "default" => Self::Default,
            "bridge" => Self::Bridge,
            "none" => Self::None,
            "host" => Self::Host,
            name if name.contains(':') => {
                return Err(RequestError::word(Field::NetworkMode, name));
            }
            name => Self::Named(name.to_owned()),
        })
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Bridge => f.write_str("bridge"),
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Container(container) => write!(f, "container:{container}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl FromStr for IpcMode {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        if let Some(container) = other(text, Field::IpcMode)? {
            return Ok(Self::Container(container));
        }
        match text {
            "" => Ok(Self::Default),
            "none" => Ok(Self::None),
            "private" => Ok(Self::Private),
            "shareable" => Ok(Self::Shareable),
            "host" => Ok(Self::Host),
            _ => Err(RequestError::word(Field::IpcMode, text)),
        }
    }
}

impl fmt::Display for IpcMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => Ok(()),
            Self::None => f.write_str("none"),
            Self::Private => f.write_str("private"),
            Self::Shareable => f.write_str("shareable"),
            Self::Host => f.write_str("host"),
            Self::Container(container) => write!(f, "container:{container}"),
        }
    }
}

impl FromStr for PidMode {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        if let Some(container) = other(text, Field::PidMode)? {
            return Ok(Self::Container(container));
        }
        match text {
            "" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            _ => Err(RequestError::word(Field::PidMode, text)),
        }
    }
}

impl fmt::Display for PidMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => Ok(()),
            Self::Host => f.write_str("host"),
            Self::Container(container) => write!(f, "container:{container}"),
        }
    }
}

impl FromStr for UtsMode {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        match text {
            "" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            _ => Err(RequestError::word(Field::UtsMode, text)),
        }
    }
}

impl fmt::Display for UtsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Host { "host" } else { "" })
    }
}

impl FromStr for CgroupnsMode {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        match text {
            "" => Ok(Self::Default),
            "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            _ => Err(RequestError::word(Field::CgroupnsMode, text)),
        }
    }
}

impl fmt::Display for CgroupnsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "",
            Self::Private => "private",
            Self::Host => "host",
        })
    }
}

impl FromStr for UsernsMode {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        match text {
            "" => Ok(Self::Default),
            "host" => Ok(Self::Host),
            _ => Err(RequestError::word(Field::UsernsMode, text)),
        }
    }
}

impl fmt::Display for UsernsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Host { "host" } else { "" })
    }
}

as_text!(NetworkMode, IpcMode, PidMode, UtsMode, CgroupnsMode, UsernsMode);

/// The container of a `container:NAME`, or nothing where the text is another word.
fn other(text: &str, field: Field) -> Result<Option<String>, RequestError> {
    match text.strip_prefix("container:") {
        Some("") => Err(RequestError::NoContainer { field }),
        None if text == "container" => Err(RequestError::NoContainer { field }),
        container => Ok(container.map(str::to_owned)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_told_as_they_were_written() {
        for text in ["bridge", "none", "host", "container:abc", "mine"] {
            assert_eq!(text.parse::<NetworkMode>().expect(text).to_string(), text);
        }
        for text in ["", "none", "private", "shareable", "host", "container:abc"] {
            assert_eq!(text.parse::<IpcMode>().expect(text).to_string(), text);
        }
        let refusal = |text: &str| text.parse::<NetworkMode>().expect_err(text).to_string();
        assert_eq!(refusal("container:"), "invalid container format container:<name|id>");
        assert_eq!(
            "global".parse::<PidMode>().expect_err("no such").to_string(),
            "invalid PID mode: global"
        );
        assert_eq!(
            "container:".parse::<IpcMode>().expect_err("no such").to_string(),
            "invalid IPC mode: container:"
        );
    }
}
