//! How Go's JSON differs from serde's, in one place.
//!
//! Invariant: a type made by [`object!`] reads `null` and a missing field as the field's zero value, and writes
//! either always (`name: Type = "Name"`) or only what is not zero (`name: Type => "Name"`, Go's `omitempty`).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Go's `struct{}`, the value in its sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// Whether Go's `omitempty` would leave a value out.
pub(crate) trait Zero {
    /// Whether it would.
    fn is_zero(&self) -> bool;
}

/// Reads `null` as the zero value, as Go does.
pub(crate) fn or_zero<'de, D, T>(reader: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(reader)?.unwrap_or_default())
}

macro_rules! zero {
    ($($type:ty: $test:expr,)*) => {
        $(impl Zero for $type {
            fn is_zero(&self) -> bool {
                let test: fn(&$type) -> bool = $test;
                test(self)
            }
        })*
    };
}

zero! {
    bool: |value| !value,
    u16: |value| *value == 0,
    u32: |value| *value == 0,
    u64: |value| *value == 0,
    i32: |value| *value == 0,
    i64: |value| *value == 0,
    String: String::is_empty,
}

impl<T> Zero for Option<T> {
    fn is_zero(&self) -> bool {
        self.is_none()
    }
}

impl<T> Zero for Vec<T> {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

impl<K, V> Zero for BTreeMap<K, V> {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

/// Makes a type of the API.
macro_rules! object {
    ($(
        $(#[$meta:meta])*
        $name:ident {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $type:ty $(= $json:literal)? $(=> $omitted:literal)?,
            )*
        }
    )*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, Default, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
            #[serde(default)]
            #[allow(missing_docs, reason = "the API's reference says what each field is")]
            pub struct $name {
                $(
                    $(#[$field_meta])*
                    $(#[serde(rename = $json, deserialize_with = "crate::go::or_zero")])?
                    $(#[serde(
                        rename = $omitted,
                        deserialize_with = "crate::go::or_zero",
                        skip_serializing_if = "crate::go::Zero::is_zero"
                    )])?
                    pub $field: $type,
                )*
            }
        )*
    };
}

pub(crate) use object;

#[cfg(test)]
mod tests {
    use crate::{Stats, Volumes};

    #[test]
    fn null_and_missing_read_as_zero() {
        let read: Volumes = serde_json::from_str(r#"{"Volumes":null,"More":1}"#).unwrap();
        assert_eq!(read, Volumes::default());
    }

    #[test]
    fn zero_is_written_or_left_out() {
        let written = serde_json::to_string(&Volumes::default()).unwrap();
        assert_eq!(written, r#"{"Volumes":[],"Warnings":null}"#);
        let named = Stats { name: "x".to_owned(), ..Stats::default() };
        let written = serde_json::to_string(&named).unwrap();
        assert!(written.starts_with(r#"{"name":"x","read":"","#), "{written}");
    }
}
