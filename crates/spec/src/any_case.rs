//! Members whose names begin with a capital: how Go programs print structures that have no names for JSON,
//! and how Go reads any.
//!
//! Invariant: a document without such a member is read as it stands, and never comes here. In one that has
//! any, a name that no member of its type has counts as the member that differs in the case of letters only.
//! Where both are there the later one wins, and of two objects each member of the later one: as in Go. Keys
//! of maps are values, and stay as they are.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    Deserialize, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// Whether the document has a member whose name begins with a capital.
pub(crate) fn has_capital_members(document: &[u8]) -> bool {
    let mut rest = document;
    while let Some(at) = rest.iter().position(|byte| *byte == b'"') {
        let text = &rest[at + 1..];
        let Some(end) = end_of_text(text) else { return false };
        rest = &text[end + 1..];
        let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
        if text.first().is_some_and(u8::is_ascii_uppercase) && next == Some(&b':') {
            return true;
        }
    }
    false
}

/// Where the quote is that ends a text.
fn end_of_text(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// A JSON document of any shape, with the members of its objects in their order. Read from it, a type finds its
/// members whatever the case of their letters, as a Go program does.
#[derive(Debug)]
pub enum Tree {
    /// Neither list nor object.
    Plain(Value),
    /// A list.
    List(Vec<Tree>),
    /// An object's members; no name stands in it twice.
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// Puts what comes later in the document over what is here.
    fn put(&mut self, later: Tree) {
        match (self, later) {
            (Tree::Object(members), Tree::Object(more)) => members.extend(more),
            (here, later) => *here = later,
        }
    }
}

/// The members of an object under the names that its type has for them.
fn renamed(object: Vec<(String, Tree)>, names: &'static [&'static str]) -> Vec<(String, Tree)> {
    let mut members: Vec<(String, Tree)> = Vec::with_capacity(object.len());
    for (name, value) in object {
        let known = names.contains(&name.as_str());
        let same = |one: &&&str| one.eq_ignore_ascii_case(&name);
        let meant = names.iter().find(same).filter(|_| !known).map(|meant| (*meant).to_owned());
        let name = meant.unwrap_or(name);
        match members.iter_mut().find(|(there, _)| *there == name) {
            Some((_, here)) => here.put(value),
            None => members.push((name, value)),
        }
    }
    members
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(AnyShape)
    }
}

struct AnyShape;

impl<'de> Visitor<'de> for AnyShape {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a JSON document")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Plain(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Plain(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Plain(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Plain(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = access.next_element()? {
            list.push(element);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut members: Vec<(String, Tree)> = Vec::new();
        while let Some((name, value)) = access.next_entry::<String, Tree>()? {
            if members.iter().any(|(there, _)| *there == name) {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            }
            members.push((name, value));
        }
        Ok(Tree::Object(members))
    }
}

impl<'de> Deserializer<'de> for Tree {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Tree::Plain(value) => value.deserialize_any(visitor),
            Tree::List(list) => visitor.visit_seq(SeqDeserializer::new(list.into_iter())),
            Tree::Object(members) => visitor.visit_map(MapDeserializer::new(members.into_iter())),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Tree::Object(members) => Tree::Object(renamed(members, names)).deserialize_any(visitor),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Tree::Plain(Value::Null) => visitor.visit_none(),
            other => visitor.visit_some(other),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Tree::Plain(value) => value.deserialize_enum(name, variants, visitor),
            // Words of closed lists; none of ours has members.
            other => other.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Tree {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(serde::Deserialize, Debug, PartialEq, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Inner {
        cpu_list: Option<String>,
        count: u64,
        all: Vec<Inner>,
    }

    #[derive(serde::Deserialize, Debug, PartialEq)]
    struct Outer {
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        map: BTreeMap<String, Inner>,
    }

    fn read(text: &str) -> Result<Outer, Error> {
        assert!(has_capital_members(text.as_bytes()), "{text}");
        Outer::deserialize(serde_json::from_str::<Tree>(text)?)
    }

    fn inner(list: &str) -> Inner {
        Inner { cpu_list: Some(list.to_owned()), ..Inner::default() }
    }

    #[test]
    fn members_are_found_at_any_depth() {
        let read = read(
            r#"{"INNER":{"CPUList":"0","All":[{"cpulist":"1"},{"cpuList":"2","other":[1,null]}]},
                "Map":{"Key":{"cpu\u004cist":"3"}}}"#,
        )
        .unwrap();
        let all = vec![inner("1"), inner("2")];
        assert_eq!(read.inner, Some(Inner { all, ..inner("0") }));
        assert_eq!(read.map, [("Key".to_owned(), inner("3"))].into(), "a map's keys stay");
    }

    #[test]
    fn the_later_one_wins_member_by_member() {
        let read = read(r#"{"inner":{"cpuList":"0","count":7},"Inner":{"CpuList":"1"}}"#).unwrap();
        assert_eq!(read.inner, Some(Inner { count: 7, ..inner("1") }));
    }

    #[test]
    fn the_same_name_twice_is_refused() {
        let error = read(r#"{"Inner":null,"Inner":{}}"#).unwrap_err();
        assert!(error.to_string().starts_with("duplicate field `Inner`"), "{error}");
    }

    #[test]
    fn only_names_count() {
        for text in [r#"{"a":"CAP_KILL","b":["X"]}"#, r#"{"a":"\"B\": 1"}"#, r#"{"a":"\\","b":1"#] {
            assert!(!has_capital_members(text.as_bytes()), "{text}");
        }
        assert!(has_capital_members(br#"{"a":"\\","B" :1}"#));
        for text in [&b"\""[..], b"\"\\", b"\"\"", b""] {
            assert!(!has_capital_members(text));
        }
    }
}
