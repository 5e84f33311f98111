//! Documents made from a schema: one with everything in it, and random ones that shrink.
//!
//! Invariant: what is made keeps the schema. What a specification asks for beyond its schema (an
//! absolute path, a small number) comes in as hints by member name.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value};

use super::{Node, Schemas, members, number};

/// What to make for members of a name, instead of what their schema allows.
pub struct Hints {
    /// Members that are never made.
    pub skip: &'static [&'static str],
    /// Members that prose requires and the schema does not.
    pub require: &'static [&'static str],
    /// A pattern for texts; where two members share a name, the owner goes before a dot.
    pub texts: &'static [(&'static str, &'static str)],
    /// Smallest and largest number.
    pub numbers: &'static [(&'static str, i64, i64)],
}

impl Hints {
    fn text(&self, owner: &str, name: &str) -> Option<&'static str> {
        let hint = self.texts.iter().find(|(key, _)| is_for(key, owner, name));
        hint.map(|(_, pattern)| *pattern)
    }

    fn number(&self, owner: &str, name: &str) -> Option<(i128, i128)> {
        let hint = self.numbers.iter().find(|(key, ..)| is_for(key, owner, name));
        hint.map(|&(_, min, max)| (min.into(), max.into()))
    }
}

fn is_for(key: &str, owner: &str, name: &str) -> bool {
    match key.split_once('.') {
        Some((wanted, key)) => wanted == owner && key == name,
        None => key == name,
    }
}

/// A place in a schema: the node, its member name and that of the object around it.
#[derive(Clone, Copy)]
struct Place<'a> {
    node: Node<'a>,
    owner: &'a str,
    name: &'a str,
}

/// The document with every member, where the `turn`-th word of each closed list is used.
pub fn full(schemas: &Schemas, file: &str, hints: &Hints, turn: usize) -> Value {
    let place = Place { node: schemas.root(file), owner: "", name: "" };
    everything(schemas, hints, turn, place)
}

fn everything(schemas: &Schemas, hints: &Hints, turn: usize, place: Place<'_>) -> Value {
    let node = schemas.resolve(place.node);
    let schema = node.schema;
    let deeper = |schema, owner, name| {
        let place = Place { node: Node { schema, ..node }, owner, name };
        everything(schemas, hints, turn, place)
    };
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words[turn % words.len()].clone();
    }
    if let Some(choices) = schema.get("anyOf").or(schema.get("oneOf")).and_then(Value::as_array) {
        return deeper(&choices[0], place.owner, place.name);
    }
    if let Some(items) = schema.get("items") {
        return Value::Array(vec![deeper(items, place.owner, place.name)]);
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("boolean") => Value::Bool(true),
        Some("integer") => {
            let (min, max) = bounds(schema, hints, place);
            let value = if turn.is_multiple_of(2) { max } else { min.max(1) };
            integer(value)
        }
        Some("string") => sample(schema, hints, place).into(),
        _ => {
            let mut object = Map::new();
            for (key, member) in members(schemas, node) {
                if !hints.skip.contains(&key) {
                    let place = Place { node: member, owner: place.name, name: key };
                    object.insert(key.to_owned(), everything(schemas, hints, turn, place));
                }
            }
            if let Some(schema) = free_members(schema) {
                object.insert("free0".into(), deeper(schema, place.owner, place.name));
            }
            Value::Object(object)
        }
    }
}

/// The schema of members whose names are the writer's choice.
fn free_members(schema: &Value) -> Option<&Value> {
    let patterns = schema.get("patternProperties").and_then(Value::as_object);
    patterns.and_then(|all| all.values().next()).or(schema.get("additionalProperties"))
}

fn sample(schema: &Value, hints: &Hints, place: Place<'_>) -> String {
    let pattern = hints.text(place.owner, place.name).or(pattern(schema)).unwrap_or("text");
    let strategy = prop::string::string_regex(pattern).expect("a pattern");
    let tree = strategy.new_tree(&mut TestRunner::deterministic()).expect("a text");
    tree.current()
}

fn pattern(schema: &Value) -> Option<&'static str> {
    let pattern = schema.get("pattern")?.as_str()?;
    // Leaked once per schema and test run: hints are static, and the two must be of one type.
    Some(pattern.trim_start_matches('^').trim_end_matches('$').to_owned().leak())
}

fn bounds(schema: &Value, hints: &Hints, place: Place<'_>) -> (i128, i128) {
    hints.number(place.owner, place.name).unwrap_or_else(|| {
        let bound = |key, otherwise: i128| schema.get(key).and_then(number).unwrap_or(otherwise);
        (bound("minimum", i32::MIN.into()), bound("maximum", i32::MAX.into()))
    })
}

fn integer(value: i128) -> Value {
    serde_json::Number::from_i128(value).expect("a number of 64 bits").into()
}

/// Random documents that keep the schema.
pub fn documents(schemas: &Schemas, file: &str, hints: &Hints) -> BoxedStrategy<Value> {
    random(schemas, hints, Place { node: schemas.root(file), owner: "", name: "" })
}

fn random(schemas: &Schemas, hints: &Hints, place: Place<'_>) -> BoxedStrategy<Value> {
    let node = schemas.resolve(place.node);
    let schema = node.schema;
    let deeper = |schema, owner, name| {
        random(schemas, hints, Place { node: Node { schema, ..node }, owner, name })
    };
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return select(words.clone()).boxed();
    }
    if let Some(choices) = schema.get("anyOf").or(schema.get("oneOf")).and_then(Value::as_array) {
        let all: Vec<_> =
            choices.iter().map(|choice| deeper(choice, place.owner, place.name)).collect();
        return proptest::strategy::Union::new(all).boxed();
    }
    if let Some(items) = schema.get("items") {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0) as usize;
        let item = deeper(items, place.owner, place.name);
        return prop::collection::vec(item, least..=2).prop_map(Value::Array).boxed();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("boolean") => any::<bool>().prop_map(Value::Bool).boxed(),
        Some("null") => Just(Value::Null).boxed(),
        Some("integer") => {
            let (min, max) = bounds(schema, hints, place);
            prop_oneof![Just(min), Just(max), Just(0.clamp(min, max)), min..=max]
                .prop_map(integer)
                .boxed()
        }
        Some("string") => text(hints.text(place.owner, place.name).or(pattern(schema))),
        _ => object(schemas, hints, node, place),
    }
}

fn text(pattern: Option<&str>) -> BoxedStrategy<Value> {
    let pattern = pattern.unwrap_or(r#"[a-z]{1,8}|[ -~]{0,12}|[\n"\\\u{1}é☃𝄞]{1,3}"#);
    prop::string::string_regex(pattern).expect("a pattern").prop_map(Value::String).boxed()
}

fn object(
    schemas: &Schemas,
    hints: &Hints,
    node: Node<'_>,
    place: Place<'_>,
) -> BoxedStrategy<Value> {
    let required = |key: &str| {
        let listed =
            |schema: &Value| schema["required"].as_array().is_some_and(|l| l.contains(&key.into()));
        let all = node.schema.get("allOf").and_then(Value::as_array);
        listed(node.schema)
            || all
                .into_iter()
                .flatten()
                .any(|schema| listed(schemas.resolve(Node { schema, ..node }).schema))
    };
    let mut parts: Vec<BoxedStrategy<Map<String, Value>>> = Vec::new();
    for (key, member) in members(schemas, node) {
        if hints.skip.contains(&key) {
            continue;
        }
        let value = random(schemas, hints, Place { node: member, owner: place.name, name: key });
        let value = if required(key) || hints.require.contains(&key) {
            value.prop_map(Some).boxed()
        } else {
            prop::option::weighted(0.4, value).boxed()
        };
        let key = key.to_owned();
        let part = value
            .prop_map(move |value| value.map(|value| (key.clone(), value)).into_iter().collect());
        parts.push(part.boxed());
    }
    if let Some(schema) = free_members(node.schema) {
        let place = Place { node: Node { schema, ..node }, ..place };
        let free = prop::collection::btree_map("[a-z]{1,6}", random(schemas, hints, place), 0..3);
        parts.push(free.prop_map(|map| map.into_iter().collect()).boxed());
    }
    parts.prop_map(|parts| Value::Object(parts.into_iter().flatten().collect())).boxed()
}
