//! Which images a list or a prune is about.
//!
//! Invariant: an image that is named as a limit (`before`, `since`) must exist.

use dhow_store::Image;

use super::catalog::ImageRow;
use super::error::ImagesError;
use super::options::ImageEngine;

/// What images are narrowed to; of several labels all must fit, of several references one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFilters {
    /// With or without a name.
    pub dangling: Option<bool>,
    /// `key` or `key=value`.
    pub labels: Vec<String>,
    /// The same, for what must not be there.
    pub labels_not: Vec<String>,
    /// Patterns of names (`debian:*`).
    pub references: Vec<String>,
    /// Made before this image.
    pub before: Option<String>,
    /// Made after this image.
    pub since: Option<String>,
    /// Made before then, in seconds since 1970.
    pub until_s: Option<i64>,
}

/// The same with all images looked up.
pub(super) struct Resolved {
    filters: ImageFilters,
    before_s: Option<i64>,
    since_s: Option<i64>,
}

impl ImageFilters {
    pub(super) fn resolve(self, engine: &ImageEngine) -> Result<Resolved, ImagesError> {
        let created = |query: &Option<String>| {
            let find = |query: &String| -> Result<i64, ImagesError> {
                let image: Image = engine.store.images().find(query)?;
                Ok(engine.row(&image, &Default::default()).created_s)
            };
            query.as_ref().map(find).transpose()
        };
        Ok(Resolved {
            before_s: created(&self.before)?,
            since_s: created(&self.since)?,
            filters: self,
        })
    }
}

impl Resolved {
    /// Of an image that is asked for by a name, what it is called besides is not told.
    pub(super) fn narrow(&self, mut row: ImageRow) -> ImageRow {
        let patterns = &self.filters.references;
        if !patterns.is_empty() {
            let fits = |name: &String| patterns.iter().any(|pattern| names(pattern, name));
            row.tags.retain(fits);
            row.digests.retain(fits);
        }
        row
    }

    pub(super) fn fit(&self, row: &ImageRow) -> bool {
        let wanted = &self.filters;
        let label = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => row.labels.get(key).is_some_and(|found| found == value),
            None => row.labels.contains_key(wanted),
        };
        let references = &wanted.references;
        wanted.dangling.is_none_or(|dangling| dangling == row.tags.is_empty())
            && wanted.labels.iter().all(label)
            && !wanted.labels_not.iter().any(label)
            && (references.is_empty() || references.iter().any(|pattern| is_called(row, pattern)))
            && self.before_s.is_none_or(|before| row.created_s < before)
            && self.since_s.is_none_or(|since| row.created_s > since)
            && wanted.until_s.is_none_or(|until| row.created_s < until)
    }
}

/// Whether one of an image's names fits.
fn is_called(row: &ImageRow, pattern: &str) -> bool {
    row.tags.iter().chain(&row.digests).any(|name| names(pattern, name))
}

/// Whether a name fits, with or without its tag.
fn names(pattern: &str, name: &str) -> bool {
    let cut = name.find('@').or_else(|| name.rfind(':').filter(|at| !name[*at..].contains('/')));
    matches(pattern, name) || cut.is_some_and(|at| matches(pattern, &name[..at]))
}

/// As Go's `path.Match`: `*` and `?` stop at slashes; sets are `[a-z]`, `[^a]`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    let Some(first) = rest.next() else { return text.is_empty() };
    let mut behind = text.chars();
    match first {
        '*' => {
            let tail = rest.as_str();
            let mut at = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            at.by_ref()
                .take_while(|at| !text[..*at].contains('/'))
                .any(|at| matches(tail, &text[at..]))
        }
        '?' => behind.next().is_some_and(|c| c != '/') && matches(rest.as_str(), behind.as_str()),
        '[' => match set(rest.as_str(), behind.next()) {
            Some((true, tail)) => matches(tail, behind.as_str()),
            _ => false,
        },
        '\\' => {
            let escaped = rest.next();
            escaped.is_some() && escaped == behind.next() && matches(rest.as_str(), behind.as_str())
        }
        plain => behind.next() == Some(plain) && matches(rest.as_str(), behind.as_str()),
    }
}

/// Whether the character is in the set whose inside `pattern` begins with, and what follows the set.
fn set(pattern: &str, found: Option<char>) -> Option<(bool, &str)> {
    let found = found.filter(|c| *c != '/')?;
    let (inside, tail) = pattern.split_once(']')?;
    let (negated, inside) = match inside.strip_prefix('^') {
        Some(inside) => (true, inside),
        None => (false, inside),
    };
    let chars: Vec<char> = inside.chars().collect();
    let mut at = 0;
    let mut fits = false;
    while at < chars.len() {
        let last = if chars.get(at + 1) == Some(&'-') { chars.get(at + 2) } else { None };
        fits |= (chars[at]..=*last.unwrap_or(&chars[at])).contains(&found);
        at += if last.is_some() { 3 } else { 1 };
    }
    Some((fits != negated, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_go_s() {
        for (pattern, text, expected) in [
            ("debian", "debian", true),
            ("deb*", "debian", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("d?bian", "debian", true),
            ("d[a-f]bian", "debian", true),
            ("d[^e]bian", "debian", false),
            ("d[", "d[", false),
            ("", "x", false),
            ("*:latest", "debian:latest", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(names("own", "own:1") && names("own:*", "own:1") && !names("own", "host:5000/own"));
    }
}
