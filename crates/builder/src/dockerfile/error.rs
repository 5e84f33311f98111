//! What can be wrong with a Dockerfile.
//!
//! Invariant: worded as Docker words it, because tools look for that; the line is that of the instruction.

use std::fmt;

/// A Dockerfile that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The line, from 1 on; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub fault: ParseFault,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseFault {
    /// There is no instruction.
    Empty,
    /// It is not text.
    Encoding,
    /// A line longer than any sensible one.
    LineTooLong,
    /// A directive is there twice.
    DirectiveTwice {
        /// Which.
        name: String,
    },
    /// `escape` is neither of its two characters.
    Escape {
        /// What it is.
        found: String,
    },
    /// A front end that is not the built-in one.
    Syntax {
        /// Which.
        image: String,
    },
    /// A here-document without its end.
    Unterminated {
        /// Its name.
        name: String,
    },
    /// There is no such instruction.
    Unknown {
        /// The word.
        word: String,
        /// What was probably meant.
        meant: Option<&'static str>,
    },
    /// A list in JSON that has something else than texts.
    NotStrings,
    /// `NAME=value` where there is no `=`.
    NoEquals {
        /// The word.
        word: String,
    },
    /// A name without its value.
    TwoArguments {
        /// The instruction.
        instruction: &'static str,
    },
    /// A name that is empty.
    BlankName {
        /// The instruction.
        instruction: &'static str,
    },
    /// The number of arguments.
    Arguments {
        /// The instruction.
        instruction: &'static str,
        /// What is wanted.
        wanted: &'static str,
    },
    /// There is no such flag.
    UnknownFlag {
        /// The flag, with its dashes.
        flag: String,
    },
    /// A flag is there twice.
    FlagTwice {
        /// Its name.
        flag: String,
    },
    /// A flag without its value.
    FlagValue {
        /// Its name.
        flag: String,
    },
    /// A flag's value makes no sense.
    BadValue {
        /// Its name.
        flag: String,
        /// The value.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Something that an instruction must have, or must not.
    Rule {
        /// The instruction.
        instruction: &'static str,
        /// Docker's words.
        rule: &'static str,
    },
    /// `ONBUILD` of an instruction that cannot wait.
    OnBuild {
        /// Which.
        instruction: String,
    },
    /// An instruction before the first `FROM`.
    NoStage,
    /// The name of a stage.
    StageName {
        /// The name.
        name: String,
    },
    /// A variable's expansion.
    Expand(super::expand::ExpandError),
}

impl ParseError {
    pub(crate) const fn new(line: usize, fault: ParseFault) -> Self {
        Self { line, fault }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => self.fault.fmt(f),
            line => write!(f, "dockerfile parse error on line {line}: {}", self.fault),
        }
    }
}

impl fmt::Display for ParseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("file with no instructions"),
            Self::Encoding => f.write_str("the line is not UTF-8"),
            Self::LineTooLong => f.write_str("the line is longer than 1 MiB"),
            Self::DirectiveTwice { name } => {
                write!(f, "only one {name} parser directive can be used")
            }
            Self::Escape { found } => {
                write!(f, "invalid ESCAPE '{found}'. Must be ` or \\")
            }
            Self::Syntax { image } => write!(
                f,
                "the front end {image} cannot be used: only docker/dockerfile, which is built in"
            ),
            Self::Unterminated { name } => write!(f, "unterminated heredoc {name}"),
            Self::Unknown { word, meant } => {
                write!(f, "unknown instruction: {word}")?;
                match meant {
                    Some(meant) => write!(f, " (did you mean {meant}?)"),
                    None => Ok(()),
                }
            }
            Self::NotStrings => f.write_str(
                "when using JSON array syntax, arrays must be comprised of strings only",
            ),
            Self::NoEquals { word } => write!(
                f,
                "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
            ),
            Self::TwoArguments { instruction } => {
                write!(f, "{instruction} must have two arguments")
            }
            Self::BlankName { instruction } => {
                write!(f, "{instruction} names can not be blank")
            }
            Self::Arguments { instruction, wanted } => {
                write!(f, "{instruction} requires {wanted}")
            }
            Self::UnknownFlag { flag } => write!(f, "unknown flag: {flag}"),
            Self::FlagTwice { flag } => write!(f, "duplicate flag specified: {flag}"),
            Self::FlagValue { flag } => write!(f, "missing a value on flag: {flag}"),
            Self::BadValue { flag, value, expected } => {
                write!(f, "invalid value {value:?} for {flag}: {expected}")
            }
            Self::Rule { instruction, rule } => write!(f, "{instruction} {rule}"),
            Self::OnBuild { instruction } => {
                write!(f, "{instruction} isn't allowed as an ONBUILD trigger")
            }
            Self::NoStage => f.write_str("no build stage in current context"),
            Self::StageName { name } => write!(
                f,
                "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
            ),
            Self::Expand(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ParseError {}
