//! JSON that keeps the order of its keys, as `inspect` and `--format json` must show it.
//!
//! What the engine sends is read into [`Json`] and shown; fields that this program does not know go
//! through unharmed. Absent on purpose: types for each answer, which `wire` has for those who decide
//! something by them.

use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// Any JSON value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Json {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

static NULL: Json = Json::Null;

impl Json {
    /// The value of a key, null if it is not there.
    pub(crate) fn get(&self, key: &str) -> &Json {
        self.find(key).unwrap_or(&NULL)
    }

    pub(crate) fn find(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text under a key, empty if there is none.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.get(key).as_str()
    }

    pub(crate) fn as_str(&self) -> &str {
        if let Json::Text(text) = self { text } else { "" }
    }

    pub(crate) fn int(&self, key: &str) -> i64 {
        self.get(key).as_int()
    }

    pub(crate) fn as_int(&self) -> i64 {
        match self {
            Json::Int(number) => *number,
            Json::Uint(number) => i64::try_from(*number).unwrap_or(i64::MAX),
            Json::Float(number) => *number as i64,
            _ => 0,
        }
    }

    /// Any number under a key; 0 if there is none.
    pub(crate) fn number(&self, key: &str) -> f64 {
        match self.get(key) {
            Json::Int(number) => *number as f64,
            Json::Uint(number) => *number as f64,
            Json::Float(number) => *number,
            _ => 0.0,
        }
    }

    pub(crate) fn on(&self, key: &str) -> bool {
        matches!(self.get(key), Json::Bool(true))
    }

    /// The members of a list, none of anything else.
    pub(crate) fn items(&self) -> &[Json] {
        if let Json::List(items) = self { items } else { &[] }
    }

    /// The texts of a list under a key.
    pub(crate) fn texts(&self, key: &str) -> Vec<&str> {
        self.get(key).items().iter().map(Json::as_str).collect()
    }

    /// The members of an object in their order, none of anything else.
    pub(crate) fn fields(&self) -> &[(String, Json)] {
        if let Json::Object(fields) = self { fields } else { &[] }
    }

    /// Adds a member to an object, or replaces it.
    pub(crate) fn set(&mut self, key: &str, value: Json) {
        if let Json::Object(fields) = self {
            match fields.iter_mut().find(|(name, _)| name == key) {
                Some((_, old)) => *old = value,
                None => fields.push((key.to_owned(), value)),
            }
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Json, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// In one line, without blanks, as Go's encoder writes it with HTML left alone.
    pub(crate) fn compact(&self) -> String {
        let mut out = String::new();
        // A String takes everything.
        let _ = self.write(&mut out, None, 0);
        out
    }

    /// Over several lines, `indent` blanks a level.
    pub(crate) fn pretty(&self, indent: usize) -> String {
        let mut out = String::new();
        let _ = self.write(&mut out, Some(indent), 0);
        out
    }

    fn write(&self, out: &mut String, indent: Option<usize>, depth: usize) -> fmt::Result {
        match self {
            Json::Null => out.write_str("null"),
            Json::Bool(on) => write!(out, "{on}"),
            Json::Int(number) => write!(out, "{number}"),
            Json::Uint(number) => write!(out, "{number}"),
            Json::Float(number) => write!(out, "{}", float(*number)),
            Json::Text(text) => quote(out, text),
            Json::List(items) if items.is_empty() => out.write_str("[]"),
            Json::Object(fields) if fields.is_empty() => out.write_str("{}"),
            Json::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    separate(out, index, indent, depth + 1);
                    item.write(out, indent, depth + 1)?;
                }
                separate(out, 0, indent, depth);
                out.write_char(']')
            }
            Json::Object(fields) => {
                out.push('{');
                for (index, (key, value)) in fields.iter().enumerate() {
                    separate(out, index, indent, depth + 1);
                    quote(out, key)?;
                    out.push_str(if indent.is_some() { ": " } else { ":" });
                    value.write(out, indent, depth + 1)?;
                }
                separate(out, 0, indent, depth);
                out.write_char('}')
            }
        }
    }
}

fn separate(out: &mut String, index: usize, indent: Option<usize>, depth: usize) {
    if index > 0 {
        out.push(',');
    }
    if let Some(indent) = indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', indent * depth));
    }
}

fn float(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{number}")
}

fn quote(out: &mut String, text: &str) -> fmt::Result {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            letter if (letter as u32) < 0x20 => write!(out, "\\u{:04x}", letter as u32)?,
            letter => out.push(letter),
        }
    }
    out.write_char('"')
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::Text(text)
    }
}

impl From<bool> for Json {
    fn from(on: bool) -> Json {
        Json::Bool(on)
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Json {
        Json::Int(number)
    }
}

impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(items: Vec<T>) -> Json {
        Json::List(items.into_iter().map(Into::into).collect())
    }
}

/// An object from pairs.
pub(crate) fn object<K: Into<String>, V: Into<Json>>(
    pairs: impl IntoIterator<Item = (K, V)>,
) -> Json {
    Json::Object(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(on) => serializer.serialize_bool(*on),
            Json::Int(number) => serializer.serialize_i64(*number),
            Json::Uint(number) => serializer.serialize_u64(*number),
            Json::Float(number) => serializer.serialize_f64(*number),
            Json::Text(text) => serializer.serialize_str(text),
            Json::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Json::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, on: bool) -> Result<Json, E> {
        Ok(Json::Bool(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(i64::try_from(number).map_or(Json::Uint(number), Json::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_numbers_survive() {
        let text =
            r#"{"Z":1,"A":[true,null,1.5,18446744073709551615],"M":{"b":"x\u2028<>&","a":""}}"#;
        let json = Json::parse(text.as_bytes()).unwrap();
        assert_eq!(json.compact(), text);
        assert_eq!(json.get("M").text("a"), "");
        assert_eq!(json.int("Z"), 1);
        assert!(json.get("missing").get("deeper").is_null());
    }

    #[test]
    fn indented_as_docker_inspect() {
        let json = Json::parse(br#"[{"Id":"x","Env":[],"Labels":{},"N":["a"]}]"#).unwrap();
        let expected = "[\n    {\n        \"Id\": \"x\",\n        \"Env\": [],\n        \"Labels\": {},\n        \"N\": [\n            \"a\"\n        ]\n    }\n]";
        assert_eq!(json.pretty(4), expected);
    }
}
