//! Names of members in whatever case: how Go reads JSON, and so how the documents of Go programs are written.
//!
//! [`AnyCase`] stands between a reader and the types: where a type has a member of the name as it is written,
//! nothing changes; where it has not, but one that differs in the case of letters only, the name counts as
//! that one. Keys of maps are values, and stay as they are.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// A reader, a visitor, an access or a seed with the rule of this module around it.
pub(crate) struct AnyCase<T> {
    inner: T,
    /// The members of the type being read; none where names are not members.
    members: &'static [&'static str],
}

impl<T> AnyCase<T> {
    /// `inner` with the rule around it.
    pub(crate) fn new(inner: T) -> Self {
        Self::with(inner, &[])
    }

    fn with(inner: T, members: &'static [&'static str]) -> Self {
        Self { inner, members }
    }
}

/// Calls that may lead to types with members hand the rule on; the others are plain values.
macro_rules! nested {
    ($($call:ident),*) => {$(
        fn $call<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$call(AnyCase::new(visitor))
        }
    )*};
}

macro_rules! plain {
    ($($call:ident),*) => {$(
        fn $call<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$call(visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for AnyCase<D> {
    type Error = D::Error;

    nested!(deserialize_any, deserialize_option, deserialize_seq, deserialize_map);
    plain!(
        deserialize_bool,
        deserialize_i8,
        deserialize_i16,
        deserialize_i32,
        deserialize_i64,
        deserialize_u8,
        deserialize_u16,
        deserialize_u32,
        deserialize_u64,
        deserialize_f32,
        deserialize_f64,
        deserialize_char,
        deserialize_str,
        deserialize_string,
        deserialize_bytes,
        deserialize_byte_buf,
        deserialize_unit,
        deserialize_identifier,
        deserialize_ignored_any
    );

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        members: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_struct(name, members, AnyCase::with(visitor, members))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_newtype_struct(name, AnyCase::new(visitor))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple(length, AnyCase::new(visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple_struct(name, length, AnyCase::new(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        // Words of closed lists; none of ours has members.
        self.inner.deserialize_enum(name, variants, visitor)
    }
}

macro_rules! visit {
    ($($call:ident: $type:ty),*) => {$(
        fn $call<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$call(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for AnyCase<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit!(
        visit_bool: bool,
        visit_i64: i64,
        visit_u64: u64,
        visit_f64: f64,
        visit_str: &str,
        visit_borrowed_str: &'de str,
        visit_string: String,
        visit_bytes: &[u8],
        visit_borrowed_bytes: &'de [u8],
        visit_byte_buf: Vec<u8>
    );

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(AnyCase::new(reader))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, reader: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(AnyCase::new(reader))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(AnyCase::new(access))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(AnyCase::with(access, self.members))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(access)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for AnyCase<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(AnyCase::new(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for AnyCase<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(Name { inner: seed, members: self.members })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(AnyCase::new(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for AnyCase<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(AnyCase::new(reader))
    }
}

/// The seed, reader or visitor of one name.
struct Name<T> {
    inner: T,
    members: &'static [&'static str],
}

impl<V> Name<V> {
    /// The member that is meant by a name that is none.
    fn meant(&self, name: &str) -> Option<&'static str> {
        if self.members.contains(&name) {
            return None;
        }
        self.members.iter().copied().find(|member| member.eq_ignore_ascii_case(name))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<S::Value, D::Error> {
        if self.members.is_empty() {
            return self.inner.deserialize(reader);
        }
        self.inner.deserialize(Name { inner: reader, members: self.members })
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Name<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_identifier(Name { inner: visitor, members: self.members })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Name<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<V::Value, E> {
        match self.meant(name) {
            Some(member) => self.inner.visit_str(member),
            None => self.inner.visit_str(name),
        }
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<V::Value, E> {
        match self.meant(name) {
            Some(member) => self.inner.visit_str(member),
            None => self.inner.visit_borrowed_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Debug, PartialEq, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Inner {
        cpu_list: Option<String>,
        all: Vec<Inner>,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    struct Outer {
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        map: BTreeMap<String, Inner>,
    }

    fn read(text: &str) -> Outer {
        let mut reader = serde_json::Deserializer::from_str(text);
        Outer::deserialize(AnyCase::new(&mut reader)).unwrap()
    }

    fn inner(list: &str) -> Inner {
        Inner { cpu_list: Some(list.to_owned()), all: Vec::new() }
    }

    #[test]
    fn members_are_found_in_any_case_at_any_depth() {
        let read = read(
            r#"{"INNER":{"CPUList":"0","All":[{"cpulist":"1"},{"cpuList":"2","other":1}]},
                "Map":{"Key":{"cpu\u004cist":"3"}}}"#,
        );
        let all = vec![inner("1"), inner("2")];
        assert_eq!(read.inner, Some(Inner { cpu_list: Some("0".to_owned()), all }));
        assert_eq!(read.map, [("Key".to_owned(), inner("3"))].into(), "a map's keys stay");
    }

    #[test]
    fn a_member_of_its_own_name_is_that_one() {
        #[derive(Deserialize)]
        struct Two {
            a: u8,
            #[serde(rename = "A")]
            b: u8,
        }
        let mut reader = serde_json::Deserializer::from_str(r#"{"A":1,"a":2}"#);
        let two = Two::deserialize(AnyCase::new(&mut reader)).unwrap();
        assert_eq!((two.a, two.b), (2, 1));
    }
}
