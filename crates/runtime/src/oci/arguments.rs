//! Reading a command line word by word, in any order.
//!
//! Invariant: every mistake names the option or argument as the user wrote it.
//! A switch may be given a value as Go programs allow (`--detach=false`).

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub(super) use lexopt::Arg;

/// What is wrong with a command line.
#[derive(Debug)]
pub(super) enum UsageError {
    /// Nothing: help was asked for, which ends the reading as an error would.
    HelpWanted,
    /// There is no such command.
    UnknownCommand { name: String },
    /// The words do not fit together.
    Syntax(lexopt::Error),
    /// An option's value is none of its kind.
    Value { option: String, value: String, expected: &'static str },
    /// A text that has to be one is not UTF-8.
    NotText { option: String, value: OsString },
    /// A word too many.
    Extra { value: OsString },
    /// A word too few.
    Missing { what: &'static str },
    /// Known from another runtime, and refused for a reason.
    Refused { option: &'static str, reason: &'static str },
}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self::Syntax(error)
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HelpWanted => f.write_str("help"),
            Self::UnknownCommand { name } => write!(f, "unknown command {name:?}"),
            Self::Syntax(lexopt::Error::UnexpectedOption(option)) => {
                write!(f, "unknown option {option}")
            }
            Self::Syntax(lexopt::Error::MissingValue { option: Some(option) }) => {
                write!(f, "{option} needs a value")
            }
            Self::Syntax(error) => error.fmt(f),
            Self::Value { option, value, expected } => {
                write!(f, "{option}: {value:?} is not {expected}")
            }
            Self::NotText { option, value } => write!(f, "{option}: {value:?} is not UTF-8"),
            Self::Extra { value } => write!(f, "unexpected argument {value:?}"),
            Self::Missing { what } => write!(f, "{what} is missing"),
            Self::Refused { option, reason } => write!(f, "{option}: {reason}"),
        }
    }
}

impl std::error::Error for UsageError {}

/// The words of a command line that are still to be read.
pub(super) struct Arguments {
    parser: lexopt::Parser,
    /// The option read last, as it was written.
    option: String,
}

impl Arguments {
    pub(super) fn new(words: impl IntoIterator<Item = OsString>) -> Self {
        let words: Vec<OsString> = words.into_iter().collect();
        Self { parser: lexopt::Parser::from_args(words), option: String::new() }
    }

    /// The next option or argument; an option's value is asked for by the methods below.
    pub(super) fn next(&mut self) -> Result<Option<Arg<'_>>, UsageError> {
        let argument = self.parser.next()?;
        match &argument {
            Some(Arg::Long("help") | Arg::Short('h' | '?')) => return Err(UsageError::HelpWanted),
            Some(Arg::Long(name)) => self.option = format!("--{name}"),
            Some(Arg::Short(letter)) => self.option = format!("-{letter}"),
            _ => {}
        }
        Ok(argument)
    }

    /// All words that follow, options or not.
    pub(super) fn rest(&mut self) -> Result<Vec<OsString>, UsageError> {
        Ok(self.parser.raw_args()?.collect())
    }

    /// The value of the option just read, as it is.
    pub(super) fn value(&mut self) -> Result<OsString, UsageError> {
        Ok(self.parser.value()?)
    }

    pub(super) fn path(&mut self) -> Result<PathBuf, UsageError> {
        self.value().map(PathBuf::from)
    }

    pub(super) fn text(&mut self) -> Result<String, UsageError> {
        let value = self.value()?;
        value
            .into_string()
            .map_err(|value| UsageError::NotText { option: self.option.clone(), value })
    }

    /// A value that `expected` describes.
    pub(super) fn parsed<T: FromStr>(&mut self, expected: &'static str) -> Result<T, UsageError> {
        self.chosen(expected, |text| text.parse().ok())
    }

    /// A value that `read` understands.
    pub(super) fn chosen<T>(
        &mut self,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, UsageError> {
        let value = self.text()?;
        match read(&value) {
            Some(read) => Ok(read),
            None => Err(UsageError::Value { option: self.option.clone(), value, expected }),
        }
    }

    /// Whether the switch just read is on.
    pub(super) fn switch(&mut self) -> Result<bool, UsageError> {
        if !self.option.starts_with("--") {
            return Ok(true);
        }
        match self.parser.optional_value() {
            None => Ok(true),
            Some(value) => match value.to_str() {
                Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
                Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
                _ => Err(UsageError::Value {
                    option: self.option.clone(),
                    value: value.to_string_lossy().into_owned(),
                    expected: "true or false",
                }),
            },
        }
    }
}

/// The error for a word that no arm of a command's list wanted.
pub(super) fn unexpected(argument: Arg<'_>) -> UsageError {
    match argument {
        Arg::Value(value) => UsageError::Extra { value },
        option => UsageError::Syntax(option.unexpected()),
    }
}

/// An argument that names something, such as a container.
pub(super) fn name(value: OsString, what: &'static str) -> Result<String, UsageError> {
    value.into_string().map_err(|value| UsageError::NotText { option: what.to_owned(), value })
}

/// Reads a command line that consists of one container and nothing else.
pub(super) fn one_container(mut arguments: Arguments) -> Result<String, UsageError> {
    let mut id = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Value(value) if id.is_none() => id = Some(name(value, CONTAINER)?),
            other => return Err(unexpected(other)),
        }
    }
    id.ok_or(UsageError::Missing { what: CONTAINER })
}

/// What errors call the argument that is on nearly every command line.
pub(super) const CONTAINER: &str = "the container's id";

/// For tests: a command line from its words.
#[cfg(test)]
pub(super) fn words(line: &str) -> Arguments {
    Arguments::new(line.split_whitespace().map(OsString::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switches(line: &str) -> Result<Vec<bool>, String> {
        let mut arguments = words(line);
        let mut found = Vec::new();
        loop {
            match arguments.next() {
                Ok(None) => return Ok(found),
                Ok(Some(Arg::Long("on") | Arg::Short('o'))) => {
                    found.push(arguments.switch().map_err(|error| error.to_string())?);
                }
                Ok(Some(other)) => return Err(unexpected(other).to_string()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    #[test]
    fn switches_take_go_booleans() {
        assert_eq!(switches("--on -oo --on=true --on=0"), Ok(vec![true, true, true, true, false]));
        assert_eq!(switches("--on=yes"), Err("--on: \"yes\" is not true or false".to_owned()));
        assert_eq!(switches("--off"), Err("unknown option --off".to_owned()));
        assert_eq!(switches("-x"), Err("unknown option -x".to_owned()));
        assert_eq!(switches("word"), Err("unexpected argument \"word\"".to_owned()));
        assert_eq!(switches("--on --help"), Err("help".to_owned()));
    }

    #[test]
    fn values_may_look_like_options() {
        let mut arguments = words("--number -1 --number=-2 --number");
        for expected in [-1, -2] {
            arguments.next().unwrap();
            assert_eq!(arguments.parsed::<i64>("a number").unwrap(), expected);
        }
        arguments.next().unwrap();
        let error = arguments.parsed::<i64>("a number").unwrap_err();
        assert_eq!(error.to_string(), "--number needs a value");
    }

    #[test]
    fn one_container_is_one() {
        assert_eq!(one_container(words("c1")).unwrap(), "c1");
        assert_eq!(one_container(words("-- -c1")).unwrap(), "-c1");
        assert_eq!(
            one_container(words("")).unwrap_err().to_string(),
            "the container's id is missing"
        );
        assert_eq!(
            one_container(words("a b")).unwrap_err().to_string(),
            "unexpected argument \"b\""
        );
    }
}
