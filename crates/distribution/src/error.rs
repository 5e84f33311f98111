//! Every failure, and its words.
//!
//! Invariant: an [`Error`] is one line that names registry and repository, says what the registry
//! said, and what can be done; where scripts look for Docker's words, those are used.
//! Absent on purpose: exit codes and HTTP statuses, which follow from [`Class`] elsewhere.

use std::fmt::{self, Display as _};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use dhow_spec::image::ImageError;
use dhow_spec::{Digest, Reference, Repository};

use crate::net::ConnectFault;
use crate::said::{RateLimit, Said};
use crate::verifier::Mismatch;

/// What failed, at what, for what reason.
#[derive(Debug)]
pub struct Error {
    /// What was being done.
    pub action: Action,
    /// With what.
    pub subject: Subject,
    /// Why it failed.
    pub fault: Fault,
}

/// What is done with a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Asking who one is.
    Login,
    /// Reading content.
    Pull,
    /// Writing content.
    Push,
    /// Reading names.
    List,
    /// Removing content or names.
    Delete,
}

/// What something is done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A registry as a whole.
    Registry(String),
    /// One of its repositories.
    Repository(Repository),
    /// An image.
    Reference(Reference),
    /// A blob of a repository.
    Blob(Repository, Digest),
}

/// Why something failed.
#[derive(Debug)]
pub enum Fault {
    /// It is not there.
    NotFound {
        /// What the registry said.
        said: Said,
    },
    /// Nobody, or nobody that the registry knows.
    Unauthorized {
        /// What the registry said.
        said: Said,
    },
    /// Known, but not allowed; many registries also say it of what is not there.
    Denied {
        /// What the registry said.
        said: Said,
    },
    /// Too many requests.
    RateLimited {
        /// What the registry said.
        said: Said,
        /// How many it grants, if it says so.
        limit: Option<RateLimit>,
        /// How long it wants us to wait.
        retry_after: Option<Duration>,
    },
    /// The registry is in trouble.
    Unavailable {
        /// Who.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        said: Said,
        /// How long it wants us to wait.
        retry_after: Option<Duration>,
    },
    /// The registry does not want the request.
    Refused {
        /// Who.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        said: Said,
    },
    /// The registry has no such function, or it is switched off.
    Unsupported {
        /// What the registry said.
        said: Said,
    },
    /// No connection.
    Unreachable {
        /// To whom.
        host: String,
        /// Why.
        why: Arc<ConnectFault>,
    },
    /// A connection broke.
    Interrupted {
        /// To whom.
        host: String,
        /// How.
        why: String,
    },
    /// Nothing moved for too long.
    Stalled {
        /// Who kept us waiting.
        host: String,
        /// How long.
        after: Duration,
    },
    /// Bytes are not what they should be.
    Corrupt(Mismatch),
    /// A manifest, index or configuration that is none.
    Document(ImageError),
    /// No image for the platform in an index.
    NoPlatform {
        /// The platform.
        wanted: String,
    },
    /// The registry breaks the protocol.
    Protocol {
        /// Who.
        host: String,
        /// How.
        fault: ProtocolFault,
    },
    /// The caller's sink failed.
    Sink(io::Error),
    /// The caller's source failed.
    Source(io::Error),
}

/// How a registry breaks the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProtocolFault {
    /// No address to go on with, or one that cannot be used.
    Location {
        /// The address.
        text: String,
    },
    /// Too many redirects.
    Redirects,
    /// A redirect from TLS to plain HTTP, where nothing would prove the content.
    Downgrade {
        /// Where to.
        text: String,
    },
    /// An answer without an end.
    TooLarge {
        /// How much was read.
        max: usize,
    },
    /// Uploads that it forgets again and again.
    LostUploads,
    /// A part of a blob that was not asked for.
    Range {
        /// The header.
        text: String,
    },
    /// No token where one was promised.
    Token,
    /// A token server without TLS, which must not see credentials.
    PlainRealm {
        /// Its address.
        text: String,
    },
    /// A list that is none.
    List,
    /// Pages of a list that never end.
    Pages,
}

/// What a failure means for whoever decides what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It is not there.
    NotFound,
    /// It can never work.
    Invalid,
    /// Not without (other) credentials.
    Unauthorized,
    /// Not with these.
    Forbidden,
    /// Later, perhaps.
    Unavailable,
    /// Not with this registry.
    Unsupported,
    /// Our own side.
    Internal,
}

impl Error {
    /// What it means.
    pub fn class(&self) -> Class {
        match &self.fault {
            Fault::NotFound { .. } | Fault::NoPlatform { .. } => Class::NotFound,
            Fault::Unauthorized { .. } => Class::Unauthorized,
            Fault::Denied { .. } => Class::Forbidden,
            Fault::RateLimited { .. }
            | Fault::Unavailable { .. }
            | Fault::Unreachable { .. }
            | Fault::Interrupted { .. }
            | Fault::Stalled { .. } => Class::Unavailable,
            Fault::Unsupported { .. } => Class::Unsupported,
            Fault::Refused { .. }
            | Fault::Corrupt(_)
            | Fault::Document(_)
            | Fault::Protocol { .. } => Class::Invalid,
            Fault::Sink(_) | Fault::Source(_) => Class::Internal,
        }
    }
}

impl Fault {
    /// Whether the same may work a moment later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Interrupted { .. }
            | Self::Stalled { .. } => true,
            Self::Unreachable { why, .. } => why.may_pass(),
            _ => false,
        }
    }

    /// Whether waiting long for it is hardly worth it: nobody is there.
    pub(crate) fn seems_dead(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether somebody else who serves the same may do better.
    pub(crate) fn is_of_the_server(&self) -> bool {
        !matches!(self, Self::Sink(_) | Self::Source(_) | Self::NoPlatform { .. })
    }

    /// Whether a mirror that fails so should be left alone for a while: just not having something,
    /// or not for us, is nothing against it.
    pub(crate) fn discredits(&self) -> bool {
        let has_not =
            matches!(self, Self::NotFound { .. } | Self::Denied { .. } | Self::Unauthorized { .. });
        self.is_of_the_server() && !has_not
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }

    pub(crate) fn protocol(host: &str, fault: ProtocolFault) -> Self {
        Self::Protocol { host: host.to_owned(), fault }
    }

    pub(crate) fn at(self, action: Action, subject: Subject) -> Error {
        Error { action, subject, fault: self }
    }
}

impl From<Mismatch> for Fault {
    fn from(mismatch: Mismatch) -> Self {
        Self::Corrupt(mismatch)
    }
}

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Self {
        Self::Document(error)
    }
}

impl Subject {
    fn registry(&self) -> &str {
        match self {
            Self::Registry(registry) => registry,
            Self::Repository(repository) | Self::Blob(repository, _) => repository.domain(),
            Self::Reference(reference) => reference.repository().domain(),
        }
    }

    /// Without tag and digest.
    fn place(&self) -> String {
        match self {
            Self::Registry(registry) => registry.clone(),
            Self::Repository(repository) | Self::Blob(repository, _) => repository.familiar(),
            Self::Reference(reference) => reference.repository().familiar(),
        }
    }

    /// What to type to log in; Docker's own registry goes without saying.
    fn login(&self) -> String {
        match self.registry() {
            "docker.io" => "dhow login".to_owned(),
            registry => format!("dhow login {registry}"),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(_) | Self::Repository(_) => f.write_str(&self.place()),
            Self::Reference(reference) => f.write_str(&reference.familiar()),
            Self::Blob(repository, digest) => write!(f, "{}@{digest}", repository.familiar()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = &self.subject;
        match &self.fault {
            Fault::NotFound { said } => self.not_found(f, said),
            Fault::Denied { said } => {
                match self.action {
                    Action::Push => write!(f, "push access denied for {}", subject.place())?,
                    Action::Delete => write!(f, "delete access denied for {}", subject.place())?,
                    _ => write!(f, "pull access denied for {}", subject.place())?,
                }
                let login = subject.login();
                write!(f, ", repository does not exist or may require '{login}': ")?;
                or(f, said, "denied: requested access to the resource is denied")
            }
            Fault::Unauthorized { said } => {
                match said.errors.first() {
                    Some(error) if !error.code.eq_ignore_ascii_case("unauthorized") => {
                        f.write_str("unauthorized: ")?;
                    }
                    _ => {}
                }
                or(f, said, "unauthorized: authentication required")?;
                if self.action == Action::Login {
                    return write!(f, " ({subject})");
                }
                write!(f, " ({subject}: run '{}')", subject.login())
            }
            Fault::RateLimited { .. } => {
                self.fault.fmt(f)?;
                write!(f, " ({subject}; '{}' may raise the limit)", subject.login())
            }
            Fault::Sink(_) | Fault::Source(_) => write!(f, "{subject}: {}", self.fault),
            Fault::NoPlatform { .. } => write!(f, "{}: {subject}", self.fault),
            fault => write!(f, "{subject}: {fault}"),
        }
    }
}

impl Error {
    /// As Docker words it; scripts look for `manifest unknown`.
    fn not_found(&self, f: &mut fmt::Formatter<'_>, said: &Said) -> fmt::Result {
        match &self.subject {
            subject if said.has("NAME_UNKNOWN") => {
                write!(f, "repository {} not found: {said}", subject.place())
            }
            Subject::Reference(reference) => {
                write!(f, "manifest for {} not found: ", reference.familiar())?;
                if !said.is_empty() && !said.has("MANIFEST_UNKNOWN") {
                    f.write_str("manifest unknown: ")?;
                }
                or(f, said, "manifest unknown")
            }
            Subject::Blob(..) => {
                write!(f, "{} not found: ", self.subject)?;
                or(f, said, "blob unknown")
            }
            subject => {
                write!(f, "{subject} not found: ")?;
                or(f, said, "name unknown")
            }
        }
    }
}

/// What was said, or what it means where nothing was said.
fn or(f: &mut fmt::Formatter<'_>, said: &Said, otherwise: &str) -> fmt::Result {
    if said.is_empty() { f.write_str(otherwise) } else { said.fmt(f) }
}

fn reason(status: u16) -> &'static str {
    let status = hyper::StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or_default()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { said } => or(f, said, "not found"),
            Self::Unauthorized { said } => or(f, said, "unauthorized: authentication required"),
            Self::Denied { said } => {
                or(f, said, "denied: requested access to the resource is denied")
            }
            Self::RateLimited { said, limit, retry_after } => {
                if !said.has("TOOMANYREQUESTS") {
                    f.write_str(if said.is_empty() {
                        "toomanyrequests"
                    } else {
                        "toomanyrequests: "
                    })?;
                }
                said.fmt(f)?;
                if let Some(limit) = limit {
                    write!(f, ", {limit}")?;
                }
                match retry_after {
                    Some(wait) => write!(f, ", try again in {} s", wait.as_secs()),
                    None => Ok(()),
                }
            }
            Self::Unavailable { host, status, said, .. } | Self::Refused { host, status, said } => {
                write!(
                    f,
                    "received unexpected HTTP status: {status} {} from {host}",
                    reason(*status)
                )?;
                if said.is_empty() { Ok(()) } else { write!(f, ": {said}") }
            }
            Self::Unsupported { said } => or(f, said, "unsupported: The operation is unsupported."),
            Self::Unreachable { host, why } => {
                write!(f, "cannot reach {host}: {why}")?;
                why.remedy(host).map_or(Ok(()), |remedy| write!(f, " ({remedy})"))
            }
            Self::Interrupted { host, why } => write!(f, "connection to {host} broke: {why}"),
            Self::Stalled { host, after } => {
                write!(f, "{host} sent nothing for {} s", after.as_secs_f64().ceil())
            }
            Self::Corrupt(mismatch) => mismatch.fmt(f),
            Self::Document(error) => error.fmt(f),
            Self::NoPlatform { wanted } => {
                write!(f, "no matching manifest for {wanted} in the manifest list entries")
            }
            Self::Protocol { host, fault } => write!(f, "{host} {fault}"),
            Self::Sink(error) => write!(f, "write: {error}"),
            Self::Source(error) => write!(f, "read: {error}"),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { expected, actual } => {
                write!(f, "size mismatch: expected {expected} bytes, got {actual}")
            }
            Self::Digest { expected, actual } => {
                write!(f, "verification failed for digest {expected}: the content is {actual}")
            }
        }
    }
}

impl fmt::Display for ProtocolFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Location { text } if text.is_empty() => f.write_str("did not say where to go on"),
            Self::Location { text } => write!(f, "sends us to {text:?}, which is no address"),
            Self::Redirects => f.write_str("redirects us too often"),
            Self::Downgrade { text } => {
                write!(f, "redirects to {text:?}, where nothing protects the answer")
            }
            Self::TooLarge { max } => write!(f, "answers with more than {max} bytes"),
            Self::Range { text } => write!(f, "answers with the wrong part of a blob ({text:?})"),
            Self::LostUploads => f.write_str("forgets every upload that is begun"),
            Self::Token => f.write_str("gave no usable token"),
            Self::PlainRealm { text } => {
                write!(f, "wants credentials without TLS, at {text:?}")
            }
            Self::List => f.write_str("answers with a list that is none"),
            Self::Pages => f.write_str("answers with a list that never ends"),
        }
    }
}

impl std::error::Error for Error {}
impl std::error::Error for Mismatch {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::said::ApiError;

    fn said(code: &str, message: &str) -> Said {
        Said { errors: vec![ApiError { code: code.to_owned(), message: message.to_owned() }] }
    }

    fn check(action: Action, name: &str, fault: Fault, expected: &str) {
        let reference = Reference::parse(name).expect(name);
        assert_eq!(fault.at(action, Subject::Reference(reference)).to_string(), expected);
    }

    #[test]
    fn dockers_words() {
        use Action::{Pull, Push};
        check(
            Pull,
            "alpine:nope",
            Fault::NotFound { said: said("MANIFEST_UNKNOWN", "manifest unknown") },
            "manifest for alpine:nope not found: manifest unknown: manifest unknown",
        );
        check(
            Pull,
            "h:1/x",
            Fault::NotFound { said: Said::default() },
            "manifest for h:1/x:latest not found: manifest unknown",
        );
        check(
            Pull,
            "h:1/x",
            Fault::NotFound { said: said("NAME_UNKNOWN", "no such repository") },
            "repository h:1/x not found: name unknown: no such repository",
        );
        check(
            Pull,
            "nobody/nothing",
            Fault::Denied { said: Said::default() },
            "pull access denied for nobody/nothing, repository does not exist or may require \
             'dhow login': denied: requested access to the resource is denied",
        );
        check(
            Push,
            "h.io/x",
            Fault::Denied { said: said("DENIED", "read only") },
            "push access denied for h.io/x, repository does not exist or may require \
             'dhow login h.io': denied: read only",
        );
        check(
            Pull,
            "h.io/x",
            Fault::Unauthorized { said: said("UNAUTHORIZED", "authentication required") },
            "unauthorized: authentication required (h.io/x:latest: run 'dhow login h.io')",
        );
        check(
            Pull,
            "h.io/x",
            Fault::Unauthorized { said: said("", "incorrect username or password") },
            "unauthorized: incorrect username or password (h.io/x:latest: run 'dhow login h.io')",
        );
        let limit = RateLimit { limit: Some(100), remaining: Some(0), window_s: Some(21600) };
        check(
            Pull,
            "x",
            Fault::RateLimited {
                said: said("TOOMANYREQUESTS", "You have reached your pull rate limit."),
                limit: Some(limit),
                retry_after: Some(Duration::from_secs(300)),
            },
            "toomanyrequests: You have reached your pull rate limit., 0 of 100 requests left per \
             21600 s, try again in 300 s (x:latest; 'dhow login' may raise the limit)",
        );
        check(
            Pull,
            "x",
            Fault::Unavailable {
                host: "h".into(),
                status: 503,
                said: Said::default(),
                retry_after: None,
            },
            "x:latest: received unexpected HTTP status: 503 Service Unavailable from h",
        );
        check(
            Pull,
            "x",
            Fault::NoPlatform { wanted: "linux/s390x".to_owned() },
            "no matching manifest for linux/s390x in the manifest list entries: x:latest",
        );
    }
}
