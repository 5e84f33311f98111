//! Variables in words: `$v`, `${v:-w}` and the other modifiers, quotes, escapes.
//!
//! Invariant: one call sees one set of variables; a text that was expanded is not looked at again.
//! Absent on purpose: commands, arithmetic, file names: this is no shell.

use std::collections::BTreeSet;
use std::fmt;

use super::pattern::Pattern;

/// A word that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpandError {
    /// A quote that is not closed.
    Quote {
        /// Which.
        quote: char,
    },
    /// `${` without `}`.
    Brace,
    /// `${}`, `${:x}` and the like.
    Bad,
    /// `${v^w}` and the like.
    Modifier {
        /// What stands there.
        modifier: String,
    },
    /// `${v:?message}` of a variable that is not set.
    Required {
        /// The variable.
        name: String,
        /// The message.
        message: String,
    },
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// The same as words, split where it was not quoted.
    pub words: Vec<String>,
    /// Variables that were used.
    pub used: BTreeSet<String>,
    /// Variables that were used without being set, and without anybody having thought of that.
    pub unset: BTreeSet<String>,
}

/// Expands words with one set of variables.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    /// The escape character.
    pub escape: char,
    /// What a variable is.
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Quotes and escapes stay as they are: for the text of here-documents.
    pub raw: bool,
}

impl Expander<'_> {
    /// Expands one word.
    pub fn expand(&self, word: &str) -> Result<Expanded, ExpandError> {
        let mut run = Run { own: *self, chars: word.chars().collect(), at: 0, out: Out::default() };
        let text = run.until(None, false)?;
        let Out { used, unset, mut words, word, open } = run.out;
        if open {
            words.push(word);
        }
        Ok(Expanded { text, words, used, unset })
    }

    /// Only the text.
    pub fn text(&self, word: &str) -> Result<String, ExpandError> {
        self.expand(word).map(|expanded| expanded.text)
    }
}

#[derive(Default)]
struct Out {
    used: BTreeSet<String>,
    unset: BTreeSet<String>,
    words: Vec<String>,
    word: String,
    open: bool,
}

impl Out {
    /// A character that may part words.
    fn plain(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() {
                if std::mem::take(&mut self.open) {
                    self.words.push(std::mem::take(&mut self.word));
                }
            } else {
                self.open = true;
                self.word.push(c);
            }
        }
    }

    /// Text that belongs together whatever is in it.
    fn quoted(&mut self, text: &str) {
        self.open = true;
        self.word.push_str(text);
    }
}

struct Run<'a> {
    own: Expander<'a>,
    chars: Vec<char>,
    at: usize,
    out: Out,
}

impl Run<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Reads to `stop`, or to the end. Inside braces nothing counts as words.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<String, ExpandError> {
        let mut result = String::new();
        let inner = stop.is_some();
        loop {
            let Some(c) = self.next() else {
                return if inner { Err(ExpandError::Brace) } else { Ok(result) };
            };
            if Some(c) == stop {
                return Ok(result);
            }
            let (piece, quoted) = match c {
                '\'' if !self.own.raw => (self.single()?, true),
                '"' if !self.own.raw => (self.double()?, true),
                '$' => (self.dollar()?, false),
                c if c == self.own.escape => {
                    let Some(next) = self.next() else {
                        if self.own.raw || raw_escapes {
                            result.push(c);
                        }
                        continue;
                    };
                    let keep = raw_escapes || (self.own.raw && next != '$' && next != c);
                    let text: String =
                        if keep { [c, next].iter().collect() } else { String::from(next) };
                    (text, true)
                }
                c => (String::from(c), false),
            };
            if !inner {
                match quoted {
                    true => self.out.quoted(&piece),
                    false => self.out.plain(&piece),
                }
            }
            result.push_str(&piece);
        }
    }

    fn single(&mut self) -> Result<String, ExpandError> {
        let mut result = String::new();
        loop {
            match self.next() {
                None => return Err(ExpandError::Quote { quote: '\'' }),
                Some('\'') => return Ok(result),
                Some(c) => result.push(c),
            }
        }
    }

    fn double(&mut self) -> Result<String, ExpandError> {
        let mut result = String::new();
        loop {
            match self.next() {
                None => return Err(ExpandError::Quote { quote: '"' }),
                Some('"') => return Ok(result),
                Some('$') => result.push_str(&self.dollar()?),
                Some(c) if c == self.own.escape => match self.peek() {
                    None => {}
                    Some(next) if next == '"' || next == '$' || next == c => {
                        self.at += 1;
                        result.push(next);
                    }
                    Some(_) => result.push(c),
                },
                Some(c) => result.push(c),
            }
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.peek() {
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                    self.at += 1;
                }
            }
            Some(c) if c.is_ascii_digit() => {
                while let Some(c) = self.peek().filter(char::is_ascii_digit) {
                    name.push(c);
                    self.at += 1;
                }
            }
            Some(c @ ('@' | '*' | '#')) => {
                name.push(c);
                self.at += 1;
            }
            _ => {}
        }
        name
    }

    fn value(&mut self, name: &str, excused: bool) -> Option<String> {
        self.out.used.insert(name.to_owned());
        let value = (self.own.lookup)(name);
        if value.is_none() && !excused {
            self.out.unset.insert(name.to_owned());
        }
        value
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(self.value(&name, false).unwrap_or_default());
        }
        self.at += 1;
        if let None | Some('{' | '}' | ':') = self.peek() {
            return Err(if self.peek().is_none() { ExpandError::Brace } else { ExpandError::Bad });
        }
        let name = self.name();
        match self.next() {
            None => Err(ExpandError::Brace),
            Some('}') => Ok(self.value(&name, false).unwrap_or_default()),
            Some(':') => {
                let modifier = self.next().ok_or(ExpandError::Brace)?;
                self.default(&name, modifier, true)
            }
            Some(c @ ('+' | '-' | '?')) => self.default(&name, c, false),
            Some(c @ ('#' | '%')) => self.trim(&name, c),
            Some('/') => self.replace(&name),
            Some(c) => Err(ExpandError::Modifier { modifier: c.to_string() }),
        }
    }

    /// `${v-w}` and its like; with a colon, empty counts as not set.
    fn default(&mut self, name: &str, how: char, colon: bool) -> Result<String, ExpandError> {
        if !matches!(how, '+' | '-' | '?') {
            return Err(ExpandError::Modifier { modifier: format!(":{how}") });
        }
        let word = self.until(Some('}'), false)?;
        let value = self.value(name, true);
        let there = value.clone().filter(|value| !(colon && value.is_empty()));
        match (how, there) {
            ('+', there) => Ok(there.map_or_else(String::new, |_| word)),
            ('-', there) => Ok(there.unwrap_or(word)),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let message = match (word.is_empty(), value.is_some()) {
                    (false, _) => word,
                    (true, true) => "is not allowed to be empty".to_owned(),
                    (true, false) => "is not allowed to be unset".to_owned(),
                };
                Err(ExpandError::Required { name: name.to_owned(), message })
            }
        }
    }

    fn trim(&mut self, name: &str, how: char) -> Result<String, ExpandError> {
        let longest = self.peek() == Some(how);
        if longest {
            self.at += 1;
        }
        let pattern = Pattern::new(&self.until(Some('}'), true)?);
        let value = self.value(name, false).unwrap_or_default();
        Ok(match how {
            '#' => pattern.without_prefix(&value, longest).to_owned(),
            _ => pattern.without_suffix(&value, longest).to_owned(),
        })
    }

    fn replace(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.at += 1;
        }
        let pattern = Pattern::new(&self.until(Some('/'), true)?);
        let with = self.until(Some('}'), false)?;
        let value = self.value(name, false).unwrap_or_default();
        Ok(pattern.replace(&value, &with, all))
    }
}

impl fmt::Display for ExpandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quote { quote: '"' } => {
                f.write_str("unexpected end of statement while looking for matching double-quote")
            }
            Self::Quote { .. } => {
                f.write_str("unexpected end of statement while looking for matching single-quote")
            }
            Self::Brace => f.write_str("syntax error: missing '}'"),
            Self::Bad => f.write_str("syntax error: bad substitution"),
            Self::Modifier { modifier } => {
                write!(f, "unsupported modifier ({modifier}) in substitution")
            }
            Self::Required { name, message } => write!(f, "{name}: {message}"),
        }
    }
}

impl std::error::Error for ExpandError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(word: &str) -> Result<Expanded, String> {
        let lookup = |name: &str| match name {
            "V" => Some("value".to_owned()),
            "E" => Some(String::new()),
            "P" => Some("/usr/lib/x.tar.gz".to_owned()),
            "W" => Some("a b".to_owned()),
            "1" => Some("one".to_owned()),
            _ => None,
        };
        let expander = Expander { escape: '\\', lookup: &lookup, raw: false };
        expander.expand(word).map_err(|error| error.to_string())
    }

    #[test]
    fn the_table() {
        for (word, expected) in [
            ("he$V", "hevalue"),
            ("${V}x", "valuex"),
            ("$Vx", ""),
            ("$1", "one"),
            ("$ $", "$ $"),
            ("\\$V", "$V"),
            ("'$V'", "$V"),
            ("\"$V\"", "value"),
            ("\"\\$V \\x \\\\\"", "$V \\x \\"),
            ("a\\ b", "a b"),
            ("a\\", "a"),
            ("${N:-w}", "w"),
            ("${E:-w}", "w"),
            ("${E-w}", ""),
            ("${N-w}", "w"),
            ("${V:-w}", "value"),
            ("${V:+w}", "w"),
            ("${E:+w}", ""),
            ("${E+w}", "w"),
            ("${N+w}", ""),
            ("${N:-${V}}", "value"),
            ("${N:-'a}b'}", "a}b"),
            ("${V:?no}", "value"),
            ("${P#*/}", "usr/lib/x.tar.gz"),
            ("${P##*/}", "x.tar.gz"),
            ("${P%.*}", "/usr/lib/x.tar"),
            ("${P%%.*}", "/usr/lib/x"),
            ("${P/lib/bin}", "/usr/bin/x.tar.gz"),
            ("${P//\\//-}", "-usr-lib-x.tar.gz"),
            ("${P/none/y}", "/usr/lib/x.tar.gz"),
            ("${V#?}", "alue"),
        ] {
            assert_eq!(expand(word).map(|found| found.text), Ok(expected.to_owned()), "{word}");
        }
    }

    #[test]
    fn refusals() {
        for (word, expected) in [
            ("${V", "syntax error: missing '}'"),
            ("${", "syntax error: missing '}'"),
            ("${}", "syntax error: bad substitution"),
            ("${V^}", "unsupported modifier (^) in substitution"),
            ("${V:#x}", "unsupported modifier (:#) in substitution"),
            ("${N?}", "N: is not allowed to be unset"),
            ("${E:?}", "E: is not allowed to be empty"),
            ("${E:?why}", "E: why"),
            ("'a", "unexpected end of statement while looking for matching single-quote"),
        ] {
            assert_eq!(expand(word).expect_err(word), expected, "{word}");
        }
    }

    #[test]
    fn words_part_where_nothing_quotes() {
        let words = |word| expand(word).expect(word).words;
        assert_eq!(words("$W c"), ["a", "b", "c"]);
        assert_eq!(words("\"$W\" c"), ["a b", "c"]);
        assert_eq!(words(" '' "), [""]);
        let found = expand("$N ${N:-x} $V").expect("found");
        assert_eq!(found.unset.into_iter().collect::<Vec<_>>(), ["N"]);
        assert_eq!(found.used.len(), 2);
    }
}
