//! Patterns in expansions (`${v#p}`, `${v/p/r}`): `*` for anything, `?` for one character, `\` for the next as it is.
//!
//! Invariant: a match takes time in proportion to pattern × text.

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    Any,
    Star,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => Token::Char(chars.next().unwrap_or('\\')),
                c => Token::Char(c),
            });
        }
        Self(tokens)
    }

    /// The ends, in bytes, of all beginnings of a text that it matches, the shortest first.
    pub(super) fn ends(&self, text: &str) -> Vec<usize> {
        let mut places = vec![false; self.0.len() + 1];
        let mut ends = Vec::new();
        self.reach(&mut places, 0);
        let mut at = 0;
        let mut chars = text.chars();
        loop {
            if places[self.0.len()] {
                ends.push(at);
            }
            let Some(c) = chars.next() else { return ends };
            at += c.len_utf8();
            let mut then = vec![false; self.0.len() + 1];
            for (place, token) in self.0.iter().enumerate() {
                if !places[place] {
                    continue;
                }
                match token {
                    Token::Star => self.reach(&mut then, place),
                    Token::Any => self.reach(&mut then, place + 1),
                    Token::Char(own) if *own == c => self.reach(&mut then, place + 1),
                    Token::Char(_) => {}
                }
            }
            places = then;
        }
    }

    fn reach(&self, places: &mut [bool], mut place: usize) {
        loop {
            places[place] = true;
            if self.0.get(place) != Some(&Token::Star) {
                return;
            }
            place += 1;
        }
    }

    fn is_whole(&self, text: &str) -> bool {
        self.ends(text).last() == Some(&text.len())
    }

    /// A text without a beginning that matches: the shortest one, or the longest.
    pub(super) fn without_prefix<'t>(&self, text: &'t str, longest: bool) -> &'t str {
        let ends = self.ends(text);
        let end = if longest { ends.last() } else { ends.first() };
        &text[end.copied().unwrap_or(0)..]
    }

    /// A text without an end that matches.
    pub(super) fn without_suffix<'t>(&self, text: &'t str, longest: bool) -> &'t str {
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        let mut starts: Vec<_> = starts.collect();
        if !longest {
            starts.reverse();
        }
        let found = starts.into_iter().find(|at| self.is_whole(&text[*at..]));
        &text[..found.unwrap_or(text.len())]
    }

    /// A text with what matches replaced, at its longest: once, or wherever it is.
    pub(super) fn replace(&self, text: &str, with: &str, all: bool) -> String {
        let mut result = String::new();
        let mut rest = text;
        loop {
            let end = self.ends(rest).last().copied().filter(|end| *end > 0);
            match (end, rest.chars().next()) {
                (Some(end), _) => {
                    result.push_str(with);
                    rest = &rest[end..];
                    if !all {
                        return result + rest;
                    }
                }
                (None, Some(c)) => {
                    result.push(c);
                    rest = &rest[c.len_utf8()..];
                }
                (None, None) => return result,
            }
        }
    }
}
