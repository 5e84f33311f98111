//! One pattern: how it is read, and whether a path is one that it means.
//!
//! Two of Docker's habits are kept because files rely on them: `**x` at the beginning means any
//! path that ends in `x`, `x**` at the end any that begins with it, even within a name.
//! Others are not, being accidents of its way over regular expressions: `\d` is a `d` here, `^`
//! and a line break are characters like others.

use super::patterns::PatternFault;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    form: Form,
}

/// Most patterns are plain text, perhaps with `**` at one end.
#[derive(Debug, Clone)]
enum Form {
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
    Suffix(Vec<u8>),
    Tokens(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// One character, or one byte that is none.
    Character(Rune),
    /// `?`: any but a slash.
    Any,
    /// `*`: any number of those.
    Star,
    /// `**`, with the slash behind it: nothing, or anything that ends in a slash.
    Directories,
    /// `**` at the end: anything.
    Rest,
    /// `[a-z]`, `[^a-z]`.
    Class { negated: bool, ranges: Vec<(Rune, Rune)> },
}

/// A character, or the byte (as a number past all characters) that is not part of one.
type Rune = u32;

const NOT_A_CHARACTER: Rune = 0x11_0000;
const SLASH: Rune = b'/' as Rune;

/// The first character of a text, and what follows it.
fn next(bytes: &[u8]) -> Option<(Rune, &[u8])> {
    let first = *bytes.first()?;
    if first.is_ascii() {
        return Some((first.into(), &bytes[1..]));
    }
    let beginning = &bytes[..bytes.len().min(4)];
    let text = match str::from_utf8(beginning) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&beginning[..error.valid_up_to()]).unwrap_or_default(),
    };
    match text.chars().next() {
        Some(character) => Some((character.into(), &bytes[character.len_utf8()..])),
        None => Some((NOT_A_CHARACTER + Rune::from(first), &bytes[1..])),
    }
}

fn runes(mut bytes: &[u8]) -> impl Iterator<Item = Rune> {
    std::iter::from_fn(move || {
        let (rune, rest) = next(bytes)?;
        bytes = rest;
        Some(rune)
    })
}

impl Glob {
    /// Reads a pattern that is clean already.
    pub(super) fn parse(pattern: &[u8]) -> Result<Self, PatternFault> {
        let tokens = tokens(pattern)?;
        let is_plain =
            |tokens: &[Token]| tokens.iter().all(|token| matches!(token, Token::Character(_)));
        let escaped = pattern.contains(&b'\\');
        let form = match &tokens[..] {
            _ if escaped => Form::Tokens(tokens),
            all if is_plain(all) => Form::Exact(pattern.to_vec()),
            [before @ .., Token::Rest] if is_plain(before) => {
                Form::Prefix(pattern[..pattern.len() - 2].to_vec())
            }
            [Token::Directories, after @ ..] if is_plain(after) => {
                Form::Suffix(pattern[2..].to_vec())
            }
            _ => Form::Tokens(tokens),
        };
        Ok(Self { form })
    }

    /// Whether a path is one that the pattern means; what is above it does not count here.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match &self.form {
            Form::Exact(text) => path == text,
            Form::Prefix(prefix) => path.starts_with(prefix),
            Form::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix(b"/").is_some_and(|name| path == name)
            }
            Form::Tokens(tokens) => simulate(tokens, path),
        }
    }
}

fn tokens(pattern: &[u8]) -> Result<Vec<Token>, PatternFault> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some((rune, after)) = next(rest) {
        rest = after;
        let token = match (char::from_u32(rune), after) {
            (Some('*'), [b'*', after @ ..]) => {
                rest = after.strip_prefix(b"/").unwrap_or(after);
                if rest.is_empty() { Token::Rest } else { Token::Directories }
            }
            (Some('*'), _) => Token::Star,
            (Some('?'), _) => Token::Any,
            (Some('['), _) => {
                let class;
                (class, rest) = self::class(after)?;
                class
            }
            (Some('\\'), _) => {
                let (literal, after) = next(after).ok_or(PatternFault::Syntax)?;
                rest = after;
                Token::Character(literal)
            }
            _ => Token::Character(rune),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// What stands between brackets, and what follows them.
fn class(text: &[u8]) -> Result<(Token, &[u8]), PatternFault> {
    let (negated, mut rest) = match text {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        if let [b']', after @ ..] = rest
            && !ranges.is_empty()
        {
            return Ok((Token::Class { negated, ranges }, after));
        }
        let (low, after) = class_character(rest)?;
        rest = after;
        let mut high = low;
        if let [b'-', after @ ..] = rest {
            (high, rest) = class_character(after)?;
        }
        if high < low {
            return Err(PatternFault::Syntax);
        }
        ranges.push((low, high));
    }
}

fn class_character(text: &[u8]) -> Result<(Rune, &[u8]), PatternFault> {
    let text = match text {
        [b'-' | b']', ..] => return Err(PatternFault::Syntax),
        [b'\\', after @ ..] => after,
        _ => text,
    };
    match next(text) {
        Some((rune, after)) if rune < NOT_A_CHARACTER && !after.is_empty() => Ok((rune, after)),
        _ => Err(PatternFault::Syntax),
    }
}

/// Follows all ways through the tokens at once. Place `n` means that `n` tokens are behind us;
/// inside directories we are when their token has taken something and wants a slash.
fn simulate(tokens: &[Token], path: &[u8]) -> bool {
    let mut now = Places::new(tokens.len());
    now.reach(tokens, 0);
    for rune in runes(path) {
        let mut then = Places::new(tokens.len());
        for (place, token) in tokens.iter().enumerate() {
            if now.inside[place] {
                then.inside[place] = true;
                if rune == SLASH {
                    then.reach(tokens, place + 1);
                }
            }
            if !now.at[place] {
                continue;
            }
            match token {
                Token::Character(character) if *character == rune => then.reach(tokens, place + 1),
                Token::Any if rune != SLASH => then.reach(tokens, place + 1),
                Token::Star if rune != SLASH => then.reach(tokens, place),
                Token::Rest => then.reach(tokens, place),
                Token::Class { negated, ranges } => {
                    let within = ranges.iter().any(|(low, high)| (low..=high).contains(&&rune));
                    if within != *negated {
                        then.reach(tokens, place + 1);
                    }
                }
                Token::Character(_) | Token::Any | Token::Star | Token::Directories => {}
            }
        }
        now = then;
    }
    now.at[tokens.len()]
}

/// Where in the tokens we may be.
struct Places {
    at: Vec<bool>,
    inside: Vec<bool>,
}

impl Places {
    fn new(tokens: usize) -> Self {
        Self { at: vec![false; tokens + 1], inside: vec![false; tokens] }
    }

    /// Marks a place, and those behind it that need nothing.
    fn reach(&mut self, tokens: &[Token], mut place: usize) {
        loop {
            if std::mem::replace(&mut self.at[place], true) {
                return;
            }
            match tokens.get(place) {
                Some(Token::Directories) => self.inside[place] = true,
                Some(Token::Star | Token::Rest) => {}
                _ => return,
            }
            place += 1;
        }
    }
}
