//! Patterns of names: the little of regular expressions that people filter names by.
//!
//! Invariant: a pattern that we would understand otherwise than Docker is refused.
//! Absent on purpose: groups, classes, alternatives, counts.

/// A pattern: `^`, `$`, `.`, `*` and `\` mean what they always do, the rest itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    from_start: bool,
    to_end: bool,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    /// `None` is any.
    character: Option<char>,
    many: bool,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (from_start, text) = match text.strip_prefix('^') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let ends = text.ends_with('$') && !text.ends_with("\\$");
        let text = if ends { &text[..text.len() - 1] } else { text };
        let mut parts: Vec<Part> = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let character = match character {
                '*' => {
                    parts.last_mut().filter(|part| !part.many)?.many = true;
                    continue;
                }
                '.' => None,
                '\\' => Some(characters.next().filter(|next| !next.is_alphanumeric())?),
                '^' | '$' | '+' | '?' | '|' | '(' | ')' | '[' | ']' | '{' | '}' => return None,
                other => Some(other),
            };
            parts.push(Part { character, many: false });
        }
        Some(Self { from_start, to_end: ends, parts })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let starts = if self.from_start { 0 } else { text.len() };
        (0..=starts).any(|start| self.matches_here(&self.parts, &text[start..]))
    }

    fn matches_here(&self, parts: &[Part], text: &[char]) -> bool {
        let Some((part, rest)) = parts.split_first() else {
            return !self.to_end || text.is_empty();
        };
        let fits = |found: char| part.character.is_none_or(|wanted| wanted == found);
        if !part.many {
            return text.first().is_some_and(|first| fits(*first))
                && self.matches_here(rest, &text[1..]);
        }
        let most = text.iter().take_while(|found| fits(**found)).count();
        (0..=most).any(|taken| self.matches_here(rest, &text[taken..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit() {
        let check = |pattern: &str, name: &str, expected: bool| {
            let parsed = Pattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.matches(name), expected, "{pattern} {name}");
        };
        check("we", "web", true);
        check("^/web$", "/web", true);
        check("^web$", "web2", false);
        check("b$", "web", true);
        check("w.b", "web", true);
        check("^w.*2$", "web12", true);
        check("a\\.b", "a.b", true);
        check("a\\.b", "axb", false);
        check("", "anything", true);
        check("x*", "web", true);
        for refused in ["a|b", "(a)", "[ab]", "a+", "*", "a**", "\\w"] {
            assert_eq!(Pattern::parse(refused), None, "{refused}");
        }
    }
}
