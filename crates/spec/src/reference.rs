//! References: what a user types to name an image, in Docker's grammar and normalisation.
//!
//! Invariant: a [`Reference`] is complete — registry, path, and a tag or a digest or both — and
//! printing it gives the canonical text (`docker.io/library/ubuntu:latest`).
//! Absent on purpose: which host serves a registry, and short ids (see [`Query`](crate::Query)).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, DigestError, excerpt};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const PATH_BYTES_MAX: usize = 255;
/// What DNS allows, brackets and a port; Docker has no limit, and no use for longer ones.
const DOMAIN_BYTES_MAX: usize = 263;

/// A repository: a registry's domain and a path there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    domain: String,
    path: String,
}

/// A tag: a word character and up to 127 more of them, dots and dashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// A repository's name within a registry: a path of words in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryPath(String);

/// A repository with a tag, a digest, or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    repository: Repository,
    // At least one of the two is there.
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// A text that names no image; worded as Docker words it, since clients look for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferenceError {
    /// Outside the grammar.
    Format {
        /// The beginning of the text.
        text: String,
    },
    /// A path with capital letters.
    Uppercase {
        /// The path.
        path: String,
    },
    /// 64 hexadecimal digits are an id, never a name.
    Identifier {
        /// The id.
        id: String,
    },
    /// A path that is too long.
    TooLong,
    /// The part behind `@` is no digest that we know.
    Digest(DigestError),
    /// A tag or a digest where a repository alone is asked for.
    NotBare {
        /// The beginning of the text.
        text: String,
    },
}

impl Reference {
    /// Reads what a user typed; neither tag nor digest means `latest`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let (repository, tag, digest) = Self::split(text)?;
        let tag = tag.or_else(|| digest.is_none().then(Tag::latest));
        Ok(Self { repository, tag, digest })
    }

    /// Reads what a user typed and adds no tag, for those who treat a bare repository differently.
    pub fn split(text: &str) -> Result<(Repository, Option<Tag>, Option<Digest>), ReferenceError> {
        let format = || ReferenceError::Format { text: excerpt(text) };
        if is_identifier(text) {
            return Err(ReferenceError::Identifier { id: text.to_owned() });
        }
        let (domain, rest) = split_domain(text);
        refuse_uppercase(&rest)?;
        let (named, digest) = match rest.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (rest.as_str(), None),
        };
        let (path, tag) = match named.split_once(':') {
            Some((path, tag)) => (path, Some(Tag::parse(tag).ok_or_else(format)?)),
            None => (named, None),
        };
        // Docker lets `a_b.io/x` through, as a repository of no registry at all; nothing can be
        // done with one.
        if !is_domain(domain) || !is_path(path) || !digest.is_none_or(is_digest_like) {
            return Err(format());
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(ReferenceError::TooLong);
        }
        let digest = digest.map(Digest::parse).transpose().map_err(ReferenceError::Digest)?;
        Ok((Repository { domain: domain.to_owned(), path: path.to_owned() }, tag, digest))
    }

    /// The repository under a tag.
    pub fn tagged(repository: Repository, tag: Tag) -> Self {
        Self { repository, tag: Some(tag), digest: None }
    }

    /// Exactly this content of the repository.
    pub fn pinned(repository: Repository, digest: Digest) -> Self {
        Self { repository, tag: None, digest: Some(digest) }
    }

    /// Without tag and digest.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, if one is there.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, if one is there; where there is also a tag, it decides.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// As users like to read it: without what normalisation would add again (but with the tag).
    pub fn familiar(&self) -> String {
        let mut text = self.repository.familiar_in(true).into_owned();
        self.write_suffix(&mut text).expect("a string takes any text");
        text
    }

    fn write_suffix(&self, out: &mut impl fmt::Write) -> fmt::Result {
        if let Some(tag) = &self.tag {
            write!(out, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(out, "@{digest}")?;
        }
        Ok(())
    }
}

impl Repository {
    /// Reads a repository that a user typed; a tag or digest is refused.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        match Reference::split(text)? {
            (repository, None, None) => Ok(repository),
            _ => Err(ReferenceError::NotBare { text: excerpt(text) }),
        }
    }

    /// The registry: a host name or address, perhaps with a port.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The path within the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// As users like to read it: without what normalisation would add again.
    pub fn familiar(&self) -> String {
        self.familiar_in(false).into_owned()
    }

    /// The shortest text that is read as this repository again; `suffixed` if a tag or digest
    /// follows.
    fn familiar_in(&self, suffixed: bool) -> std::borrow::Cow<'_, str> {
        let short = match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(name) if !name.contains('/') => name,
            _ => &self.path,
        };
        // A short form that would be read as another registry or as an id is none.
        let same = (suffixed || !is_identifier(short)) && {
            let (domain, rest) = split_domain(short);
            domain == self.domain && rest == self.path
        };
        if same { short.into() } else { self.to_string().into() }
    }
}

impl RepositoryPath {
    /// Reads a path; `None` outside the grammar, and for more than 255 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= PATH_BYTES_MAX && is_path(text)).then(|| Self(text.to_owned()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// Reads a tag; `None` outside the grammar.
    pub fn parse(text: &str) -> Option<Self> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let first = text.bytes().next().is_some_and(word);
        let rest = text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-');
        (first && rest && text.len() <= 128).then(|| Self(text.to_owned()))
    }

    /// The tag that is meant when none is given.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where the registry ends: Docker takes the first component for one if it cannot be anything else.
fn split_domain(text: &str) -> (&str, String) {
    let (domain, rest) = match text.split_once('/') {
        None => (DEFAULT_DOMAIN, text),
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest)) if is_domain_like(first) => (first, rest),
        Some(_) => (DEFAULT_DOMAIN, text),
    };
    if domain == DEFAULT_DOMAIN && !rest.contains('/') {
        return (domain, format!("{OFFICIAL_PREFIX}{rest}"));
    }
    (domain, rest.to_owned())
}

fn is_domain_like(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.chars().any(char::is_uppercase)
}

/// Docker names the path up to the first colon, so that is what we look at and name.
fn refuse_uppercase(rest: &str) -> Result<(), ReferenceError> {
    let path = rest.split(':').next().unwrap_or_default();
    if path.chars().any(char::is_uppercase) {
        return Err(ReferenceError::Uppercase { path: excerpt(path) });
    }
    Ok(())
}

/// What the grammar of references takes for a digest, so that a typing error in a short one is no
/// word about algorithms.
fn is_digest_like(text: &str) -> bool {
    let is_component = |component: &str| {
        component.starts_with(|first: char| first.is_ascii_alphabetic())
            && component.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.split(['-', '_', '+', '.']).all(is_component)
            && hex.len() >= 32
            && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// 64 hexadecimal digits.
pub(crate) fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if is_ipv6(address) => ("", port),
            _ => return false,
        },
        None => domain.split_at(domain.find(':').unwrap_or(domain.len())),
    };
    let port = port.is_empty() || port.strip_prefix(':').is_some_and(is_digits);
    let host = domain.starts_with('[') || host.split('.').all(is_host_label);
    domain.len() <= DOMAIN_BYTES_MAX && host && port
}

fn is_ipv6(address: &str) -> bool {
    !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_host_label(label: &str) -> bool {
    let known = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    known && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_component)
}

/// Lower-case letters and digits, held together by one dot, one or two underscores, or any number
/// of dashes.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let separators = || bytes.split(alphanumeric).filter(|run| !run.is_empty());
    let is_separator =
        |run: &[u8]| matches!(run, b"." | b"_" | b"__") || run.iter().all(|&byte| byte == b'-');
    alphanumeric(first) && alphanumeric(last) && separators().all(is_separator)
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)
    }
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        self.write_suffix(f)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, printer: S) -> Result<S::Ok, S::Error> {
        printer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(reader)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format { .. } => f.write_str("invalid reference format"),
            Self::Uppercase { path } => {
                write!(f, "invalid reference format: repository name ({path}) must be lowercase")
            }
            Self::Identifier { id } => write!(
                f,
                "invalid repository name ({id}), cannot specify 64-byte hexadecimal strings"
            ),
            Self::TooLong => {
                write!(f, "repository name must not be more than {PATH_BYTES_MAX} characters")
            }
            Self::Digest(error) => error.fmt(f),
            Self::NotBare { text } => write!(f, "{text:?} has a tag or a digest"),
        }
    }
}

impl std::error::Error for ReferenceError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(typed: &str, canonical: &str, familiar: &str) {
        let reference = Reference::parse(typed).expect(typed);
        assert_eq!(reference.to_string(), canonical, "{typed}");
        assert_eq!(reference.familiar(), familiar, "{typed}");
        assert_eq!(Reference::parse(canonical), Ok(reference), "{typed}");
    }

    #[test]
    fn normalisation() {
        check("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest");
        check("ubuntu:22.04", "docker.io/library/ubuntu:22.04", "ubuntu:22.04");
        check("docker.io/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest");
        check("index.docker.io/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest");
        check("library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest");
        check("a/b", "docker.io/a/b:latest", "a/b:latest");
        check("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest");
        check("localhost", "docker.io/library/localhost:latest", "localhost:latest");
        check("localhost/x", "localhost/x:latest", "localhost/x:latest");
        check("localhost:5000/x:1", "localhost:5000/x:1", "localhost:5000/x:1");
        check("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000/a/b:latest");
        check("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest");
        check("Host/x", "Host/x:latest", "Host/x:latest");
        check("example.com/x:TAG", "example.com/x:TAG", "example.com/x:TAG");
        check("example.com:5000", "docker.io/library/example.com:5000", "example.com:5000");
        check("a--b__c.d_e", "docker.io/library/a--b__c.d_e:latest", "a--b__c.d_e:latest");
    }

    #[test]
    fn digests() {
        let pin = format!("@sha256:{HEX}");
        let check = |typed: String, canonical: String, familiar: String| {
            check(&typed, &canonical, &familiar);
        };
        check(
            format!("ubuntu{pin}"),
            format!("docker.io/library/ubuntu{pin}"),
            format!("ubuntu{pin}"),
        );
        check(format!("h.io:1/x:t{pin}"), format!("h.io:1/x:t{pin}"), format!("h.io:1/x:t{pin}"));
    }

    #[test]
    fn a_short_form_is_never_another_name() {
        let dotted = "docker.io/foo.bar/x:latest";
        check(dotted, dotted, dotted);
        check(
            "docker.io/localhost/x",
            "docker.io/localhost/x:latest",
            "docker.io/localhost/x:latest",
        );
        let repository = Repository::parse(&format!("docker.io/{HEX}")).expect("a repository");
        assert_eq!(repository.familiar(), format!("docker.io/library/{HEX}"));
        assert_eq!(Repository::parse("docker.io/library/x").expect("x").familiar(), "x");
    }

    #[test]
    fn refusals_in_dockers_words() {
        let check = |text: &str, expected: &str| {
            let error = Reference::parse(text).expect_err(text);
            assert_eq!(error.to_string(), expected, "{text}");
        };
        check(
            "Ubuntu",
            "invalid reference format: repository name (library/Ubuntu) must be lowercase",
        );
        check(
            "h.io/Some/App:1",
            "invalid reference format: repository name (Some/App) must be lowercase",
        );
        check(
            HEX,
            &format!("invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"),
        );
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ":",
            "a:",
            ":a",
            "a:-b",
            "a b",
            "a:b:c",
            "a:b/c",
            "-a",
            "a-",
            "a._b",
            "a___b",
            "a..b",
            "é",
            "a@",
            "a@sha256:00",
            "a@b@c",
            "::1/x",
            "[::g]/x",
            "[::1/x",
            "my_registry.io/x",
            "-h.io/x",
            "h.io:/x",
            "h.io:80a/x",
            "a.b/",
            "http://h.io/x",
            &format!("a:{}", "t".repeat(129)),
            &format!("{}.io/x", "h".repeat(300)),
        ] {
            check(text, "invalid reference format");
        }
        check(&"a".repeat(248), "repository name must not be more than 255 characters");
        check(
            &format!("a@sha256:{}", &HEX[..40]),
            "invalid checksum digest length: 40 digits for sha256",
        );
        check(&format!("a@md5:{}", &HEX[..32]), r#"unsupported digest algorithm: "md5""#);
        let error = Repository::parse("a:1").expect_err("a tag");
        assert_eq!(error.to_string(), r#""a:1" has a tag or a digest"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_grammar_comes_back(
            domain in "(([a-z]{1,5}\\.){0,2}[a-zA-Z0-9]{1,4}(:[0-9]{1,5})?/|\\[[a-f0-9]{0,4}::[a-f0-9:]{0,4}\\](:[0-9]{1,5})?/)?",
            // A dot in the first component would make that a registry.
            path in "[a-z0-9]{1,4}((_|__|-{1,3})[a-z0-9]{1,3}){0,2}(/[a-z0-9]{1,4}([._][a-z]){0,1}){0,2}",
            tag in "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,9})?",
            digest in "(@sha256:[a-f0-9]{64})?",
        ) {
            let text = format!("{domain}{path}{tag}{digest}");
            let reference = Reference::parse(&text).expect(&text);
            prop_assert_eq!(&Reference::parse(&reference.to_string()).expect("canonical"), &reference);
            prop_assert_eq!(&Reference::parse(&reference.familiar()).expect("familiar"), &reference);
            let bare = reference.repository();
            prop_assert_eq!(&Repository::parse(&bare.familiar()).expect("familiar"), bare);
            prop_assert!(tag.is_empty() || reference.tag().is_some_and(|t| t.as_str() == &tag[1..]));
            prop_assert_eq!(digest.is_empty(), reference.digest().is_none());
        }

        #[test]
        fn any_text_is_refused_or_comes_back(text in "[a-zA-Z0-9./:@_\\-\\[\\]é ]{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(Reference::parse(&reference.to_string()), Ok(reference));
            }
        }
    }
}
