//! Repositories as addresses: which, what of it, and in which state.
//!
//! Two forms are read: `REPOSITORY#REF:DIRECTORY`, and a query (`?ref=…&subdir=…`). Invariant: nothing of it can be
//! taken for an option by the program that it is given to, and a directory leads nowhere else.

use crate::files::clean;

/// A repository, and what of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// Where it is, as git takes it.
    pub repository: String,
    /// A branch, tag, commit or full reference; the remote's own choice where absent.
    pub reference: Option<String>,
    /// The directory in it, without slashes at its ends; empty for all of it.
    pub directory: String,
    /// What the commit's name must begin with.
    pub checksum: Option<String>,
    /// Whether `.git` comes along, where the address says so.
    pub keep_git_dir: Option<bool>,
    /// Whether the repositories in it are fetched too.
    pub submodules: bool,
}

/// An address that is meant as a repository and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSourceError {
    /// The part that makes no sense.
    pub part: String,
}

impl GitSource {
    /// Reads an address; `None` if it is not a repository's.
    pub fn parse(text: &str) -> Result<Option<Self>, GitSourceError> {
        let (whole, fragment) = match text.split_once('#') {
            Some((whole, fragment)) => (whole, fragment),
            None => (text, ""),
        };
        let (place, query) = match whole.split_once('?') {
            Some((place, query)) => (place, query),
            None => (whole, ""),
        };
        let Some(repository) = repository(place) else { return Ok(None) };
        let mut source = Self {
            repository,
            reference: None,
            directory: String::new(),
            checksum: None,
            keep_git_dir: None,
            submodules: true,
        };
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        if !reference.is_empty() {
            source.reference = Some(reference.to_owned());
        }
        directory.clone_into(&mut source.directory);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
            let value = unescape(value);
            match name {
                "ref" => source.reference = Some(value),
                "branch" => source.reference = Some(format!("refs/heads/{value}")),
                "tag" => source.reference = Some(format!("refs/tags/{value}")),
                "commit" => source.checksum = Some(value),
                "checksum" => source.checksum = Some(value),
                "subdir" => source.directory = value,
                "keep-git-dir" => source.keep_git_dir = Some(is_true(&value)),
                "submodules" => source.submodules = is_true(&value),
                other => return Err(GitSourceError { part: other.to_owned() }),
            }
        }
        source.check()
    }

    fn check(mut self) -> Result<Option<Self>, GitSourceError> {
        let bad = |part: &str| Err(GitSourceError { part: part.to_owned() });
        if let Some(reference) = &self.reference {
            let good = |c: char| c.is_ascii_alphanumeric() || "/._-+@{}^~".contains(c);
            if reference.is_empty() || reference.starts_with('-') || !reference.chars().all(good) {
                return bad(reference);
            }
        }
        if let Some(checksum) = &self.checksum
            && (checksum.len() < 7 || !checksum.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return bad(checksum);
        }
        if self.directory.split('/').any(|name| name == "..") {
            return bad(&self.directory);
        }
        self.directory = String::from_utf8_lossy(&clean(self.directory.as_bytes())).into_owned();
        Ok(Some(self))
    }
}

/// The repository's address as git takes it, if it is one.
fn repository(place: &str) -> Option<String> {
    if place.starts_with('-') || place.contains(char::is_whitespace) {
        return None;
    }
    if place.starts_with("git://") || place.starts_with("ssh://") {
        return Some(place.to_owned());
    }
    if place.starts_with("http://") || place.starts_with("https://") {
        return place.ends_with(".git").then(|| place.to_owned());
    }
    // user@host:path, as ssh has it.
    let (user, rest) = place.split_once('@')?;
    let word = |text: &str| !text.is_empty() && !text.contains('/');
    let (host, path) = rest.split_once(':')?;
    (word(user) && word(host) && !path.is_empty()).then(|| place.to_owned())
}

fn is_true(value: &str) -> bool {
    matches!(value, "" | "1" | "true")
}

/// `%2F` and its like; what is none stays.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl std::fmt::Display for GitSourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid git address: {:?} makes no sense in it", self.part)
    }
}

impl std::error::Error for GitSourceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let read = |text: &str| {
            let source = GitSource::parse(text).expect(text)?;
            Some((source.repository, source.reference.unwrap_or_default(), source.directory))
        };
        let three = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        for (text, expected) in [
            ("https://h/a.git", three("https://h/a.git", "", "")),
            ("https://h/a.git#v1:/sub/dir/", three("https://h/a.git", "v1", "sub/dir")),
            ("https://h/a.git#:x", three("https://h/a.git", "", "x")),
            ("git@h:o/a.git#main", three("git@h:o/a.git", "main", "")),
            ("ssh://git@h/a#b", three("ssh://git@h/a", "b", "")),
            (
                "https://h/a.git?tag=v1&subdir=a%2Fb",
                three("https://h/a.git", "refs/tags/v1", "a/b"),
            ),
            ("https://h/a.tgz", None),
            ("src@dir/file:x", None),
            ("plain/path", None),
            ("--upload-pack=x.git", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        for bad in [
            "https://h/a.git#--upload-pack=x",
            "https://h/a.git#v1:../..",
            "https://h/a.git?bogus=1",
            "https://h/a.git#a b",
            "https://h/a.git?commit=zz",
        ] {
            GitSource::parse(bad).expect_err(bad);
        }
    }
}
