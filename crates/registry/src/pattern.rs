//! Patterns of repositories: `*` within a component, `**` for any number of components.
//!
//! Invariant: matching takes no more steps than pattern and name have bytes, multiplied.

use std::fmt;

use dhow_spec::RepositoryPath;
use serde::{Deserialize, Deserializer};

/// A pattern of repositories' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Reads a pattern; `None` for one that no name could match.
    pub fn parse(text: &str) -> Option<Self> {
        let possible = |component: &str| {
            let plain = component.replace('*', "a");
            component == "**"
                || (!component.contains("**") && RepositoryPath::parse(&plain).is_some())
        };
        text.split('/').all(possible).then(|| Self(text.to_owned()))
    }

    /// Whether it is one of these.
    pub(crate) fn any(patterns: &[Self], name: &RepositoryPath) -> bool {
        patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether the name is one of those meant.
    pub fn matches(&self, name: &RepositoryPath) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let name: Vec<&str> = name.as_str().split('/').collect();
        // What of the pattern's beginnings matches the name's first components.
        let mut alive = vec![false; pattern.len() + 1];
        alive[0] = true;
        skip_stars(&pattern, &mut alive);
        for component in name {
            let mut next = vec![false; pattern.len() + 1];
            for (at, part) in pattern.iter().enumerate().filter(|(at, _)| alive[*at]) {
                if *part == "**" {
                    next[at] = true;
                } else if matches_component(part, component) {
                    next[at + 1] = true;
                }
            }
            skip_stars(&pattern, &mut next);
            alive = next;
        }
        alive[pattern.len()]
    }
}

/// `**` may also stand for nothing.
fn skip_stars(pattern: &[&str], alive: &mut [bool]) {
    for (at, part) in pattern.iter().enumerate() {
        if alive[at] && *part == "**" {
            alive[at + 1] = true;
        }
    }
}

fn matches_component(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let text = String::deserialize(reader)?;
        let wrong =
            || serde::de::Error::custom(format_args!("{text:?} is no pattern of repositories"));
        Self::parse(&text).ok_or_else(wrong)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars() {
        let check = |pattern: &str, name: &str, expected: bool| {
            let (pattern, name) = (Pattern::parse(pattern), RepositoryPath::parse(name));
            let (pattern, name) = (pattern.expect("a pattern"), name.expect("a name"));
            assert_eq!(pattern.matches(&name), expected, "{pattern} {name}");
        };
        check("**", "a/b/c", true);
        check("*", "a", true);
        check("*", "a/b", false);
        check("team/**", "team", true);
        check("team/**", "team/a/b", true);
        check("team/**", "teams/a", false);
        check("team/*", "team/a/b", false);
        check("**/cache", "cache", true);
        check("**/cache", "a/b/cache", true);
        check("a/**/z", "a/z", true);
        check("a/**/z", "a/b/c/z", true);
        check("a/**/z", "a/b/c", false);
        check("x*y*z", "xaybz", true);
        check("x*y*z", "xzy", false);
        check("x*x", "x", false);
        for wrong in ["", "A", "/a", "a/", "a***", "a b", "../a"] {
            assert_eq!(Pattern::parse(wrong), None, "{wrong}");
        }
    }
}
