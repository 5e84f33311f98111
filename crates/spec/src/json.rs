//! From bytes to values and back: the one place that knows the JSON library.
//!
//! Invariant: a good document is read once, without any bookkeeping; only a refused one is read a
//! second time, to learn the path of what is wrong in it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::de::value::CowStrDeserializer;
use serde::{Deserialize, Deserializer, Serialize};

use crate::any_case::{Tree, has_capital_members};

/// Bytes that are not JSON, or hold a value of the wrong type, an unknown word, or lack a field.
#[derive(Debug)]
pub struct JsonError {
    /// Path of the value (of the enclosing object for a missing field); empty at the top.
    pub path: String,
    /// What the reader met, with line and column.
    pub source: serde_json::Error,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        self.source.fmt(f)
    }
}

// The source's text is part of our own line already, hence no `source()`.
impl std::error::Error for JsonError {}

/// Reads one JSON document.
pub(crate) fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, JsonError> {
    serde_json::from_slice(bytes).map_err(|plain| explain::<T>(bytes, plain))
}

/// The same for documents that Go programs may have written: see [`crate::any_case`].
pub(crate) fn parse_any_case<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, JsonError> {
    if !has_capital_members(bytes) {
        return parse(bytes);
    }
    let tree: Tree = parse(bytes)?;
    serde_path_to_error::deserialize(tree)
        .map_err(|error| JsonError { path: error.path().to_string(), source: error.into_inner() })
}

/// Reads the document again, slowly, for the path of its fault.
fn explain<'de, T: Deserialize<'de>>(bytes: &'de [u8], plain: serde_json::Error) -> JsonError {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Err(error) => with_path(error),
        // Something follows the document: no path leads there.
        Ok(_) => JsonError { path: String::new(), source: plain },
    }
}

fn with_path(error: serde_path_to_error::Error<serde_json::Error>) -> JsonError {
    let path = error.path().to_string();
    let path = if path == "." { String::new() } else { path };
    JsonError { path, source: error.into_inner() }
}

/// Prints a document in one line.
pub(crate) fn print<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain values with string keys always print")
}

/// Prints a document for people, indented by tabs as Go programs do.
pub(crate) fn print_pretty<T: Serialize>(value: &T) -> String {
    let mut out = Vec::with_capacity(4096);
    let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut printer = serde_json::Serializer::with_formatter(&mut out, format);
    value.serialize(&mut printer).expect("plain values with string keys always print");
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// Go prints a nil slice, map or struct without `omitempty` as `null`: the same as absent.
pub(crate) fn nullable<'de, D, T>(reader: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(reader)?.unwrap_or_default())
}

/// A map whose values may be `null` too: the empty value under that key, as Go reads it.
pub(crate) fn nullable_values<'de, D, T>(reader: D) -> Result<BTreeMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    let map: Option<BTreeMap<String, Option<T>>> = Option::deserialize(reader)?;
    Ok(map.into_iter().flatten().map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

/// A map whose keys are words of a closed list. They are read as text first: the reader of paths
/// cannot name a key that is anything else.
pub(crate) fn word_keys<'de, D, K, T>(reader: D) -> Result<BTreeMap<K, T>, D::Error>
where
    D: Deserializer<'de>,
    K: FromStr<Err: fmt::Display> + Ord,
    T: Deserialize<'de> + Default,
{
    let map: BTreeMap<String, T> = nullable_values(reader)?;
    map.into_iter()
        .map(|(key, value)| Ok((key.parse().map_err(D::Error::custom)?, value)))
        .collect()
}

/// An optional text: Go cannot tell an empty one from an absent one, so neither do we.
pub(crate) fn text<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = Option::deserialize(reader)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// An optional word of a closed list, where the empty word means absent.
pub(crate) fn word<'de, D, T>(reader: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let word: Option<Cow<'de, str>> = Option::deserialize(reader)?;
    match word {
        Some(word) if !word.is_empty() => T::deserialize(CowStrDeserializer::new(word)).map(Some),
        _ => Ok(None),
    }
}

/// For `skip_serializing_if`: `omitempty` on a boolean.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}
