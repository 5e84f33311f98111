//! Filters as lists take them: names with any number of values each.
//!
//! Invariant: a name that a list does not know is refused, never ignored.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;

/// What a list is to be narrowed to: of one name any value may fit, of several names all must.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Adds a value to a name's.
    pub fn add(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_default().insert(value.to_owned());
    }

    /// Refuses names that are not among `known`.
    pub fn check(&self, known: &[&str]) -> Result<(), Error> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Error::InvalidFilter { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Whether there is nothing to narrow to.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A name's values; none if it was not given.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Whether a name was given at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|values| !values.is_empty())
    }

    /// Whether a name was not given, or one of its values fits.
    pub fn fits(&self, name: &str, mut fits: impl FnMut(&str) -> bool) -> bool {
        !self.has(name) || self.values(name).any(&mut fits)
    }

    /// Whether all of `label`'s values (`key` or `key=value`) are among these labels.
    pub fn fits_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label").all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        })
    }

    /// A yes or no; absent if it was not given.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        let mut values = self.values(name);
        let Some(value) = values.next() else { return Ok(None) };
        match (value, values.next()) {
            ("1" | "true" | "True" | "TRUE" | "t" | "T", None) => Ok(Some(true)),
            ("0" | "false" | "False" | "FALSE" | "f" | "F", None) => Ok(Some(false)),
            _ => Err(Error::InvalidFilterValue { name: name.to_owned(), value: value.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(pairs: &[(&str, &str)]) -> Filters {
        let mut filters = Filters::default();
        for (name, value) in pairs {
            filters.add(name, value);
        }
        filters
    }

    #[test]
    fn any_value_of_a_name_and_all_names() {
        let filters = filters(&[("status", "running"), ("status", "paused"), ("label", "a=b")]);
        assert!(filters.fits("status", |value| value == "paused"));
        assert!(!filters.fits("status", |value| value == "exited"));
        assert!(filters.fits("name", |_| false));
        let labels = |value: &str| BTreeMap::from([("a".to_owned(), value.to_owned())]);
        assert!(filters.fits_labels(&labels("b")));
        assert!(!filters.fits_labels(&labels("c")));
        let error = filters.check(&["status"]).expect_err("unknown").to_string();
        assert_eq!(error, "invalid filter 'label'");
    }

    #[test]
    fn flags() {
        assert_eq!(filters(&[("dangling", "1")]).flag("dangling").ok(), Some(Some(true)));
        assert_eq!(filters(&[]).flag("dangling").ok(), Some(None));
        assert!(filters(&[("dangling", "maybe")]).flag("dangling").is_err());
    }
}
