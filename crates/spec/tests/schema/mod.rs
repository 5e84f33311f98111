//! JSON schemas as judges: a reader of as much of draft 4 as the reference schemas use.
//!
//! Invariant: an unknown keyword is a panic, so no rule of a schema is ever skipped in silence.
//! Absent on purpose: fetching anything; references resolve by file name within one directory.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part of this")]

pub mod generate;
pub mod judge;

use std::collections::BTreeMap;
use std::path::PathBuf;

use regex_lite::Regex;
use serde_json::{Map, Value};

/// The schemas of one reference directory, by file name.
pub struct Schemas {
    files: BTreeMap<String, Value>,
}

/// A schema and the file against which its references resolve.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    pub file: &'a str,
    pub schema: &'a Value,
}

/// The directory of reference data beside the repository; `None`, said aloud, where it is absent.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub fn reference(test: &str, directory: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/reference"));
    let path = path.join(directory);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED {test}: reference data absent");
    None
}

impl Schemas {
    /// Reads the schemas of a reference directory; `None` where it is absent.
    pub fn load(test: &str, directory: &str) -> Option<Self> {
        let mut files = BTreeMap::new();
        for entry in reference(test, directory)?.read_dir().expect("reference directory") {
            let path = entry.expect("directory entry").path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.ends_with(".json") {
                let bytes = std::fs::read(&path).expect("schema file");
                files.insert(name.to_owned(), serde_json::from_slice(&bytes).expect("schema"));
            }
        }
        Some(Self { files })
    }

    /// The schema of a file as a whole.
    pub fn root<'a>(&'a self, file: &'a str) -> Node<'a> {
        Node { file, schema: &self.files[file] }
    }

    /// Follows references until there is something to look at.
    pub fn resolve<'a>(&'a self, node: Node<'a>) -> Node<'a> {
        let Some(reference) = node.schema.get("$ref").and_then(Value::as_str) else { return node };
        let (file, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let file = if file.is_empty() { node.file } else { self.key(file) };
        let schema = self.files[file].pointer(pointer).expect("a reference that leads somewhere");
        self.resolve(Node { file, schema })
    }

    fn key(&self, file: &str) -> &str {
        self.files.get_key_value(file).expect("a schema file").0
    }

    /// What the schema of `file` says against a document, a line per fault.
    pub fn faults(&self, file: &str, document: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.judge(self.root(file), document, "", &mut faults);
        faults
    }

    fn judge(&self, node: Node<'_>, value: &Value, path: &str, faults: &mut Vec<String>) {
        let node = self.resolve(node);
        for (keyword, rule) in node.schema.as_object().expect("a schema is an object") {
            let before = faults.len();
            let holds = match keyword.as_str() {
                "description" | "$schema" | "id" | "media" | "definitions" => true,
                "type" => is_type(rule, value),
                "enum" => rule.as_array().expect("enum").contains(value),
                "pattern" => on_text(value, |text| matches(rule, text)),
                "format" => on_text(value, |text| is_format(rule, text)),
                "minimum" => number(value).is_none_or(|n| n >= number(rule).expect("minimum")),
                "maximum" => number(value).is_none_or(|n| n <= number(rule).expect("maximum")),
                "minItems" => {
                    value.as_array().is_none_or(|items| Some(items.len() as u64) >= rule.as_u64())
                }
                "required" => has_all(rule, value),
                "items" => {
                    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                        let node = Node { schema: rule, ..node };
                        self.judge(node, item, &format!("{path}[{i}]"), faults);
                    }
                    true
                }
                "properties" | "patternProperties" | "additionalProperties" => {
                    self.judge_members(node, keyword, value, path, faults);
                    true
                }
                "allOf" => self.holding(node, rule, value) == rule.as_array().map_or(0, Vec::len),
                "anyOf" => self.holding(node, rule, value) >= 1,
                "oneOf" => self.holding(node, rule, value) == 1,
                unknown => panic!("{}: unknown keyword {unknown}", node.file),
            };
            if !holds && faults.len() == before {
                faults.push(format!("{path}: {keyword} {rule} does not hold for {value}"));
            }
        }
    }

    /// How many of a list of schemas hold.
    fn holding(&self, node: Node<'_>, rules: &Value, value: &Value) -> usize {
        let holds = |schema: &&Value| {
            let mut faults = Vec::new();
            self.judge(Node { schema, ..node }, value, "", &mut faults);
            faults.is_empty()
        };
        rules.as_array().expect("a list of schemas").iter().filter(holds).count()
    }

    fn judge_members(
        &self,
        node: Node<'_>,
        keyword: &str,
        value: &Value,
        path: &str,
        faults: &mut Vec<String>,
    ) {
        let rule = &node.schema[keyword];
        let known = |key: &str| node.schema["properties"].get(key).is_some();
        for (key, member) in value.as_object().into_iter().flatten() {
            let schema = match keyword {
                "properties" => rule.get(key),
                "additionalProperties" => (!known(key)).then_some(rule),
                _ => (rule.as_object().expect("patterns").iter())
                    .find(|(pattern, _)| Regex::new(pattern).expect("a pattern").is_match(key))
                    .map(|(_, schema)| schema),
            };
            if let Some(schema) = schema {
                self.judge(Node { schema, ..node }, member, &join(path, key), faults);
            }
        }
    }
}

/// The path of a member, as our own errors spell it.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn is_type(rule: &Value, value: &Value) -> bool {
    match rule.as_str().expect("a type name") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

fn has_all(rule: &Value, value: &Value) -> bool {
    let Some(object) = value.as_object() else { return true };
    let has = |key: &Value| object.contains_key(key.as_str().expect("a member's name"));
    rule.as_array().expect("required").iter().all(has)
}

fn on_text(value: &Value, holds: impl Fn(&str) -> bool) -> bool {
    value.as_str().is_none_or(holds)
}

fn matches(rule: &Value, text: &str) -> bool {
    Regex::new(rule.as_str().expect("a pattern")).expect("a pattern").is_match(text)
}

fn is_format(rule: &Value, text: &str) -> bool {
    let pattern = match rule.as_str().expect("a format") {
        "date-time" => r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$",
        "uri" => r"^[A-Za-z][A-Za-z0-9+.-]*:[!-~]+$",
        other => panic!("unknown format {other}"),
    };
    Regex::new(pattern).expect("a pattern").is_match(text)
}

/// Exact for every integer; the schemas write some bounds as rounded floats.
fn number(value: &Value) -> Option<i128> {
    let number = value.as_number()?;
    number.as_i128().or_else(|| number.as_f64().map(|float| float as i128))
}

/// The members of an object schema, those of its `allOf` included.
pub fn members<'a>(schemas: &'a Schemas, node: Node<'a>) -> Vec<(&'a str, Node<'a>)> {
    let node = schemas.resolve(node);
    let mut all: Vec<_> = (node.schema.get("properties").and_then(Value::as_object))
        .into_iter()
        .flat_map(Map::iter)
        .map(|(key, schema)| (key.as_str(), Node { schema, ..node }))
        .collect();
    for schema in node.schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        all.extend(members(schemas, Node { schema, ..node }));
    }
    all
}
