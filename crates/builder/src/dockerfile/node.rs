//! An instruction as words, in the form that Docker's own parser prints.
//!
//! Invariant: nothing is expanded, and quotes stay; what the words mean is [`super::typed`]'s.

use std::fmt;

use super::directive::Directives;
use super::error::{ParseError, ParseFault};
use super::heredoc::Heredoc;
use super::lines::Lines;
use super::words;

/// The longest line that is read.
const LINE_BYTES_MAX: usize = 1 << 20;

/// An instruction as words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name in lower case.
    pub name: String,
    /// Its name as it was written.
    pub word: String,
    /// Its flags, without quotes.
    pub flags: Vec<String>,
    /// Its words.
    pub args: Vec<String>,
    /// Whether the words were a list in JSON.
    pub json: bool,
    /// The instruction that `ONBUILD` puts off.
    pub child: Option<Box<Node>>,
    /// What stood in the following lines.
    pub heredocs: Vec<Heredoc>,
    /// The whole line, continuations joined.
    pub original: String,
    /// First and last line, from 1 on.
    pub lines: (usize, usize),
    /// An empty line stood inside.
    pub empty_continuation: bool,
    /// The comments right before it.
    pub comments: Vec<String>,
}

/// A file as words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What its first comments decide.
    pub directives: Directives,
    /// Its instructions.
    pub nodes: Vec<Node>,
}

/// Reads a file.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        ParseError::new(line + 1, ParseFault::Encoding)
    })?;
    let directives = Directives::parse(text)?;
    let mut lines = Lines::new(text, directives.escape);
    let mut nodes = Vec::new();
    while let Some(line) = lines.next() {
        let error = |fault| ParseError::new(line.start, fault);
        if line.text.len() > LINE_BYTES_MAX {
            return Err(error(ParseFault::LineTooLong));
        }
        let mut node = Node::of(&line.text, directives.escape).map_err(error)?;
        node.heredocs = node.announced(directives.escape);
        for heredoc in &mut node.heredocs {
            read(heredoc, &mut lines).map_err(error)?;
        }
        node.lines = (line.start, lines.number());
        node.empty_continuation = line.empty_continuation;
        node.comments = line.comments;
        nodes.push(node);
    }
    if nodes.is_empty() {
        return Err(ParseError::new(0, ParseFault::Empty));
    }
    Ok(Parsed { directives, nodes })
}

fn read(heredoc: &mut Heredoc, lines: &mut Lines<'_>) -> Result<(), ParseFault> {
    while let Some(line) = lines.raw() {
        if heredoc.ends_at(line) {
            return Ok(());
        }
        heredoc.content.push_str(line);
    }
    Err(ParseFault::Unterminated { name: heredoc.name.clone() })
}

impl Node {
    /// Reads one instruction's line.
    pub(super) fn of(line: &str, escape: char) -> Result<Self, ParseFault> {
        let line = line.trim();
        let (word, rest) = match line.find(words::is_blank) {
            Some(at) => (&line[..at], line[at..].trim_start_matches(words::is_blank)),
            None => (line, ""),
        };
        let (flags, rest) = words::flags(rest);
        let name = word.to_lowercase();
        let mut node = Self {
            word: word.to_owned(),
            flags,
            args: Vec::new(),
            json: false,
            child: None,
            heredocs: Vec::new(),
            original: line.to_owned(),
            lines: (0, 0),
            empty_continuation: false,
            comments: Vec::new(),
            name,
        };
        node.read(rest, escape)?;
        Ok(node)
    }

    fn read(&mut self, rest: &str, escape: char) -> Result<(), ParseFault> {
        if rest.is_empty() {
            return Ok(());
        }
        let blank_words =
            || rest.split(words::is_blank).filter(|word| !word.is_empty()).map(str::to_owned);
        match self.name.as_str() {
            "add" | "copy" | "volume" => match words::json_list(rest)? {
                Some(list) => (self.args, self.json) = (list, true),
                None => self.args = blank_words().collect(),
            },
            "cmd" | "entrypoint" | "run" | "shell" => match words::json_list(rest)? {
                Some(list) => (self.args, self.json) = (list, true),
                None => self.args = vec![rest.to_owned()],
            },
            "env" => self.args = pairs(rest, escape, "ENV")?,
            "label" => self.args = pairs(rest, escape, "LABEL")?,
            "arg" => self.args = words::words(rest, escape),
            "expose" | "from" => self.args = blank_words().collect(),
            "onbuild" => self.child = Some(Box::new(Self::of(rest, escape)?)),
            "healthcheck" => {
                let (kind, command) = match rest.find(char::is_whitespace) {
                    Some(at) => (&rest[..at], rest[at..].trim()),
                    None => (rest, ""),
                };
                self.args = vec![kind.to_owned()];
                match words::json_list(command)? {
                    Some(list) => {
                        self.json = true;
                        self.args.extend(list);
                    }
                    None if command.is_empty() => {}
                    None => self.args.push(command.to_owned()),
                }
            }
            _ => self.args = vec![rest.to_owned()],
        }
        Ok(())
    }

    /// Which here-documents follow.
    fn announced(&self, escape: char) -> Vec<Heredoc> {
        let own = self.child.as_deref().unwrap_or(self);
        if own.json || !matches!(own.name.as_str(), "add" | "copy" | "run") {
            return Vec::new();
        }
        let line = own.args.join(" ");
        words::words(&line, escape).iter().filter_map(|word| Heredoc::announced(word)).collect()
    }
}

/// Names, values and what stood between: the old form has one name, a blank and a value.
fn pairs(rest: &str, escape: char, instruction: &'static str) -> Result<Vec<String>, ParseFault> {
    let words = words::words(rest, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        let at = rest.find(words::is_blank).ok_or(ParseFault::TwoArguments { instruction })?;
        let value = rest[at..].trim_start_matches(words::is_blank);
        return Ok(vec![rest[..at].to_owned(), value.to_owned(), String::new()]);
    }
    let mut found = Vec::with_capacity(words.len() * 3);
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            return Err(ParseFault::NoEquals { word });
        };
        found.extend([name.to_owned(), value.to_owned(), "=".to_owned()]);
    }
    Ok(found)
}

impl fmt::Display for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, node) in self.nodes.iter().enumerate() {
            let end = if position == 0 { "" } else { "\n" };
            write!(f, "{end}({node})")?;
        }
        Ok(())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.flags.is_empty() {
            let flags: Vec<_> = self.flags.iter().map(|flag| quote(flag)).collect();
            write!(f, " [{}]", flags.join(" "))?;
        }
        if let Some(child) = &self.child {
            write!(f, " ({child})")?;
        }
        for word in &self.args {
            write!(f, " {}", quote(word))?;
        }
        Ok(())
    }
}

/// As Go quotes a text.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
