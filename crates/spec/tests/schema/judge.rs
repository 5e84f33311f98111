//! What any kind of document must hold against its schema.
//!
//! Invariant: each judgement says aloud when it was not made because the schemas are absent.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::generate::{Hints, documents, full};
use super::{Schemas, join};

/// The longest closed list of the schemas has 23 words.
const TURNS: usize = 24;

/// Kinds of documents whose schemas lie together.
pub struct Judge {
    /// Directory of the schemas.
    pub directory: &'static str,
    /// The kinds.
    pub kinds: &'static [Kind],
    /// Members whose zero or `false` is not printed, or printed where it was absent.
    pub zero_is_absent: &'static [&'static str],
}

/// One kind of document.
pub struct Kind {
    /// Its name, for messages.
    pub name: &'static str,
    /// Its schema.
    pub file: &'static str,
    /// How to make documents of it.
    pub hints: &'static Hints,
    /// Reads a document and prints it again.
    pub read: fn(&[u8]) -> Result<String, Refusal>,
}

/// Why a document was refused.
#[derive(Debug)]
pub struct Refusal {
    /// Path of the value at fault.
    pub path: String,
    /// The whole message.
    pub text: String,
    /// Whether it was by a rule that no schema knows.
    pub beyond_schema: bool,
}

impl Kind {
    fn read(&self, document: &Value) -> Result<Value, Refusal> {
        let printed = (self.read)(document.to_string().as_bytes())?;
        Ok(serde_json::from_str(&printed).expect("what we print is JSON"))
    }

    /// The document with everything in it, which must be fine.
    fn full(&self, schemas: &Schemas, turn: usize) -> Value {
        let document = full(schemas, self.file, self.hints, turn);
        assert_eq!(schemas.faults(self.file, &document), [""; 0], "{}: the generator", self.name);
        document
    }
}

impl Judge {
    /// A document with every member comes back whole, whatever the word of each closed list.
    pub fn everything_is_known(&self, test: &str) {
        let Some(schemas) = Schemas::load(test, self.directory) else { return };
        for kind in self.kinds {
            for turn in 0..TURNS {
                let document = kind.full(&schemas, turn);
                let ours = kind.read(&document);
                let ours = ours.unwrap_or_else(|e| panic!("{} {turn}: {}", kind.name, e.text));
                assert_eq!(ours, document, "{} {turn}", kind.name);
            }
        }
    }

    /// A value of the wrong type, wherever it is, is refused by its path.
    pub fn wrong_values_are_refused(&self, test: &str) {
        let Some(schemas) = Schemas::load(test, self.directory) else { return };
        for kind in self.kinds {
            let document = kind.full(&schemas, 1);
            for (path, pointer) in places(&document, "", "") {
                let mut wrong = document.clone();
                let value = wrong.pointer_mut(&pointer).expect("a place of the document");
                *value = if value.is_string() { json!(17) } else { json!("wrong") };
                let error = kind.read(&wrong).expect_err(&path);
                assert_eq!(error.path, path, "{}: {}", kind.name, error.text);
            }
        }
    }

    /// Go prints `null` for what is not there.
    pub fn null_is_absent(&self, test: &str) {
        let Some(schemas) = Schemas::load(test, self.directory) else { return };
        for kind in self.kinds {
            let document = kind.full(&schemas, 1);
            kind.read(&document).expect("a good document");
            for (path, pointer) in places(&document, "", "") {
                if !path.ends_with(']') {
                    self.null_is_absent_at(kind, &document, &path, &pointer);
                }
            }
        }
    }

    fn null_is_absent_at(&self, kind: &Kind, document: &Value, path: &str, pointer: &str) {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let mut null = document.clone();
        null.pointer_mut(pointer).expect("a place").take();
        let mut absent = document.clone();
        let object = absent.pointer_mut(parent).and_then(Value::as_object_mut);
        object.expect("an object").remove(&key.replace("~1", "/"));
        match (kind.read(&null), kind.read(&absent)) {
            (Ok(null), Ok(absent)) => {
                assert_eq!(self.bare(&null), self.bare(&absent), "{} {path}", kind.name);
            }
            (Err(_), Err(_)) => {}
            (null, absent) => panic!("{} {path}: {null:?} against {absent:?}", kind.name),
        }
    }

    /// Random documents keep their meaning, and what is printed keeps the schema.
    pub fn random_documents_come_back(&self, test: &str) {
        let Some(schemas) = Schemas::load(test, self.directory) else { return };
        for kind in self.kinds {
            let mut runner = TestRunner::new(ProptestConfig {
                cases: 300,
                max_global_rejects: 3000,
                failure_persistence: None,
                ..ProptestConfig::default()
            });
            let result = runner.run(&documents(&schemas, kind.file, kind.hints), |document| {
                let ours = match kind.read(&document) {
                    Ok(ours) => ours,
                    Err(error) if error.beyond_schema => {
                        return Err(TestCaseError::reject("a rule beyond the schema"));
                    }
                    Err(error) => return Err(TestCaseError::fail(error.text)),
                };
                prop_assert_eq!(self.bare(&ours), self.bare(&document));
                prop_assert_eq!(schemas.faults(kind.file, &ours), Vec::<String>::new());
                prop_assert_eq!(&kind.read(&ours).expect("our own document"), &ours);
                Ok(())
            });
            result.unwrap_or_else(|error| panic!("{}: {error}", kind.name));
        }
    }

    /// The document without what Go's `omitempty` leaves out and what has a default.
    fn bare(&self, value: &Value) -> Value {
        let is_nothing = |key: &str, value: &Value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            Value::Bool(true) => false,
            Value::Bool(false) => self.zero_is_absent.contains(&key),
            Value::Number(number) => {
                number.as_i64() == Some(0) && self.zero_is_absent.contains(&key)
            }
        };
        match value {
            Value::Object(members) => members
                .iter()
                .map(|(key, value)| (key.clone(), self.bare(value)))
                .filter(|(key, value)| !is_nothing(key, value))
                .collect(),
            Value::Array(items) => items.iter().map(|item| self.bare(item)).collect(),
            other => other.clone(),
        }
    }
}

/// Every place of a document: its path as our errors spell it, and its JSON pointer.
fn places(value: &Value, path: &str, pointer: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut visit = |child: &Value, path: String, pointer: String| {
        all.push((path.clone(), pointer.clone()));
        all.extend(places(child, &path, &pointer));
    };
    match value {
        Value::Object(members) => {
            for (key, child) in members {
                let escaped = key.replace('/', "~1");
                visit(child, join(path, key), format!("{pointer}/{escaped}"));
            }
        }
        Value::Array(items) => {
            for (i, child) in items.iter().enumerate() {
                visit(child, format!("{path}[{i}]"), format!("{pointer}/{i}"));
            }
        }
        _ => {}
    }
    all
}
