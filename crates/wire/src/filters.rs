//! The `filters` of lists: JSON in a query, in two forms.
//!
//! Both `{"label":["a","b"]}`, as in the API's first versions and Compose, and `{"label":{"a":true}}` are read;
//! the second is written. Invariant: names and values are unique and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a list is to be narrowed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    fields: BTreeMap<String, BTreeSet<String>>,
}

/// A query that is no filter.
#[derive(Debug)]
pub struct FiltersError {
    source: serde_json::Error,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Map(BTreeMap<String, bool>),
    List(Vec<String>),
}

impl Filters {
    /// Reads a query's value; the empty text is no filter at all.
    pub fn parse(text: &str) -> Result<Self, FiltersError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let read: Option<BTreeMap<String, Option<Values>>> =
            serde_json::from_str(text).map_err(|source| FiltersError { source })?;
        let fields = read.unwrap_or_default().into_iter().map(|(name, values)| {
            let values = match values {
                None => BTreeSet::new(),
                Some(Values::Map(map)) => map.into_keys().collect(),
                Some(Values::List(list)) => list.into_iter().collect(),
            };
            (name, values)
        });
        Ok(Self { fields: fields.collect() })
    }

    /// The query's value; empty if there is nothing to say.
    pub fn encode(&self) -> String {
        if self.fields.is_empty() {
            return String::new();
        }
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Adds a value that will do for `name`.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.fields.entry(name.into()).or_default().insert(value.into());
    }

    /// The values that will do for `name`; nothing if it is not asked for.
    pub fn get(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Whether `name` is asked for.
    pub fn contains(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// All names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.fields.iter().map(|(name, values)| (name.as_str(), values))
    }

    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl Serialize for Filters {
    fn serialize<S: serde::Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        let fields = self.fields.iter().map(|(name, values)| {
            (name, values.iter().map(|value| (value, true)).collect::<BTreeMap<_, _>>())
        });
        writer.collect_map(fields)
    }
}

impl fmt::Display for FiltersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid filter: {}", self.source)
    }
}

impl std::error::Error for FiltersError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_the_same() {
        let old = Filters::parse(r#"{"label":["b","a"],"name":["x"]}"#).unwrap();
        let new = Filters::parse(r#"{"label":{"a":true,"b":true},"name":{"x":true}}"#).unwrap();
        assert_eq!(old, new);
        assert_eq!(old.get("label").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(old.encode(), r#"{"label":{"a":true,"b":true},"name":{"x":true}}"#);
    }

    #[test]
    fn nothing_is_no_filter() {
        for text in ["", "{}", "null"] {
            assert!(Filters::parse(text).unwrap().is_empty(), "{text}");
        }
        assert_eq!(Filters::default().encode(), "");
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in ["x", "[]", r#"{"a":1}"#, r#"{"a":{"b":1}}"#] {
            Filters::parse(text).unwrap_err();
        }
    }
}
