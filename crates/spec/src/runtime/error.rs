//! Why a document of the runtime specification was refused.
//!
//! Invariant: every error names the JSON path of the value at fault, in one syntax
//! (`linux.namespaces[2].path`), whether the reader or a rule of the specification refused it.

use std::fmt;

use crate::json::JsonError;

/// A document that was refused; says where and why in one line.
#[derive(Debug)]
pub enum SpecError {
    /// Not JSON, or a value of the wrong type, an unknown word, or a missing field.
    Json {
        /// Path of the value (of the enclosing object for a missing field); empty at the top.
        path: String,
        /// What the reader met, with line and column.
        source: serde_json::Error,
    },
    /// Well-formed, but against a rule of the specification.
    Invalid {
        /// Path of the value.
        path: String,
        /// The rule it breaks.
        fault: Fault,
    },
}

/// The rules that types alone cannot express.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Must not be empty.
    Empty,
    /// Must be an absolute path.
    Relative {
        /// The path as given.
        path: String,
    },
    /// May be there once only.
    Duplicate {
        /// The word that came twice.
        word: String,
    },
    /// Not a word of its closed list.
    Word {
        /// The word as given.
        word: String,
    },
    /// Not of the form that the specification asks for.
    Form {
        /// The text as given.
        text: String,
        /// The form, in words.
        expected: &'static str,
    },
    /// A number outside its range.
    Range {
        /// The number as given.
        value: i64,
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// Only makes sense together with another field, which is missing.
    Without {
        /// The field that is missing.
        field: &'static str,
    },
}

impl SpecError {
    pub(crate) fn invalid(path: impl Into<String>, fault: Fault) -> Self {
        Self::Invalid { path: path.into(), fault }
    }

    /// The same error, seen from the object that holds the value under `parent`.
    pub(crate) fn under(mut self, parent: &str) -> Self {
        let (Self::Json { path, .. } | Self::Invalid { path, .. }) = &mut self;
        if path.is_empty() {
            parent.clone_into(path);
        } else if path.starts_with('[') {
            path.insert_str(0, parent);
        } else {
            path.insert(0, '.');
            path.insert_str(0, parent);
        }
        self
    }

    /// The JSON path of the value at fault; empty when the document as a whole is.
    pub fn path(&self) -> &str {
        let (Self::Json { path, .. } | Self::Invalid { path, .. }) = self;
        path
    }

    /// Line and column where the reader stopped; a broken rule has none.
    pub fn position(&self) -> Option<(usize, usize)> {
        match self {
            Self::Json { source, .. } => Some((source.line(), source.column())),
            Self::Invalid { .. } => None,
        }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path().is_empty() {
            write!(f, "{}: ", self.path())?;
        }
        match self {
            Self::Json { source, .. } => source.fmt(f),
            Self::Invalid { fault, .. } => fault.fmt(f),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::Relative { path } => write!(f, "path {path:?} is not absolute"),
            Self::Duplicate { word } => write!(f, "{word:?} is there twice"),
            Self::Word { word } => write!(f, "unknown word {word:?}"),
            Self::Form { text, expected } => write!(f, "{text:?} is not {expected}"),
            Self::Range { value, min, max } => {
                write!(f, "{value} is not between {min} and {max}")
            }
            Self::Without { field } => write!(f, "is given without {field}"),
        }
    }
}

impl From<JsonError> for SpecError {
    fn from(JsonError { path, source }: JsonError) -> Self {
        Self::Json { path, source }
    }
}

impl std::error::Error for Fault {}

// The source's text is part of our own line already, hence no `source()`.
impl std::error::Error for SpecError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_grow_from_the_inside_out() {
        let error = SpecError::invalid("path", Fault::Empty).under("namespaces[2]").under("linux");
        assert_eq!(error.to_string(), "linux.namespaces[2].path: is empty");
        let error = SpecError::invalid("", Fault::Empty).under("args");
        assert_eq!(error.path(), "args");
    }
}
