//! All patterns of a build, and the verdict over a path.

use std::fmt;

use super::file;
use super::glob::Glob;
use crate::tar::Quoted;

/// The patterns of a build, in their order.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: Vec<u8>,
    exception: bool,
    glob: Glob,
}

/// What was found on the way down to a directory: give it on to [`Patterns::check`] for what is
/// in it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which patterns matched the directory or one above it.
    matched: Vec<bool>,
}

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    /// The pattern.
    pub pattern: Vec<u8>,
    /// What is wrong.
    pub fault: PatternFault,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternFault {
    /// An exception from nothing.
    Exception,
    /// Brackets that are not closed or hold nothing sensible, or a backslash at the end.
    Syntax,
}

impl Patterns {
    /// Reads a `.dockerignore`.
    pub fn parse(file: &[u8]) -> Result<Self, PatternError> {
        Self::new(file::lines(file))
    }

    /// Takes patterns one by one, as `COPY --exclude` gives them; empty ones mean nothing.
    pub fn new(patterns: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Self, PatternError> {
        let mut compiled = Vec::new();
        for pattern in patterns {
            let trimmed = file::trim(pattern.as_ref());
            if !trimmed.is_empty() {
                compiled.push(Pattern::parse(trimmed)?);
            }
        }
        Ok(Self { patterns: compiled })
    }

    /// Whether there is nothing to ignore.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a path is ignored, by itself or with a directory above it.
    pub fn matches(&self, path: &[u8]) -> bool {
        let mut seen = self.start();
        let mut ignored = false;
        for end in (0..path.len()).filter(|place| path[*place] == b'/').chain([path.len()]) {
            (ignored, seen) = self.check(&path[..end], &seen);
        }
        ignored
    }

    /// Before the first directory.
    pub fn start(&self) -> Seen {
        Seen { matched: vec![false; self.patterns.len()] }
    }

    /// Whether a path is ignored, given what was seen of its parent; and what is seen now.
    ///
    /// Paths are relative to the context, clean, without a slash at either end.
    pub fn check(&self, path: &[u8], parent: &Seen) -> (bool, Seen) {
        let mut ignored = false;
        let matched = self.patterns.iter().zip(&parent.matched).map(|(pattern, above)| {
            let matched = *above || pattern.glob.matches(path);
            if matched {
                ignored = !pattern.exception;
            }
            matched
        });
        let matched = matched.collect();
        (ignored, Seen { matched })
    }

    /// Whether an exception may be for something in a directory; if not, and the directory is
    /// ignored, nobody needs to look into it.
    pub fn may_except_below(&self, directory: &[u8]) -> bool {
        let exceptions = self.patterns.iter().filter(|pattern| pattern.exception);
        exceptions.into_iter().any(|pattern| may_lead_below(&pattern.text, directory))
    }
}

/// Only plain text can be ruled out, name by name.
fn may_lead_below(pattern: &[u8], directory: &[u8]) -> bool {
    let is_plain = |name: &[u8]| !name.iter().any(|byte| b"*?[\\".contains(byte));
    let names = pattern.split(|byte| *byte == b'/').zip(directory.split(|byte| *byte == b'/'));
    for (pattern, name) in names {
        if pattern.windows(2).any(|pair| pair == b"**") {
            return true;
        }
        if is_plain(pattern) && pattern != name {
            return false;
        }
    }
    true
}

impl Pattern {
    fn parse(trimmed: &[u8]) -> Result<Self, PatternError> {
        let cleaned = file::clean(trimmed);
        let (exception, text) = match &cleaned[..] {
            [b'!', text @ ..] => (true, text),
            text => (false, text),
        };
        let error = |fault| PatternError { pattern: cleaned.clone(), fault };
        if text.is_empty() {
            return Err(error(PatternFault::Exception));
        }
        let glob = Glob::parse(text).map_err(error)?;
        Ok(Self { text: text.to_vec(), exception, glob })
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            PatternFault::Exception => "illegal exclusion pattern",
            PatternFault::Syntax => "syntax error in pattern",
        };
        write!(f, "{fault}: {}", Quoted(&self.pattern))
    }
}

impl std::error::Error for PatternError {}
