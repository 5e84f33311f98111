//! `dhow_spec::runtime` against the reference schemas and samples, as a stranger would use it.

mod schema;

use dhow_spec::runtime::{Fault, Features, Process, Resources, Spec, SpecError, State};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use schema::generate::{Hints, documents, full};
use schema::{Schemas, join, reference};
use serde_json::{Value, json};

/// What the specification's prose asks for beyond the schemas, and what is not of Linux.
const HINTS: Hints = Hints {
    skip: &["solaris", "windows", "vm", "zos", "freebsd", "commandLine"],
    require: &["domain"],
    texts: &[
        ("ociVersion", r"1\.[0-9]\.[0-9]"),
        ("cwd", "/[a-z]{0,4}"),
        ("path", "/[a-z]{1,8}"),
        ("destination", "/[a-z]{0,4}"),
        ("access", "[rwm]{1,3}"),
        ("netDevices.name", "[a-z0-9]{1,15}"),
        ("closID", "[a-z0-9]{1,15}"),
        ("rlimits.type", "RLIMIT_(NOFILE|CORE|NPROC)"),
        ("devices.type", "[bc]"),
    ],
    numbers: &[
        ("oomScoreAdj", -1000, 1000),
        ("ioPriority.priority", 0, 7),
        ("args.index", 0, 5),
        ("nanosecs", 0, 999_999_999),
        ("timeout", 1, u32::MAX as i64),
        ("pid", 1, i32::MAX as i64),
    ],
};

/// How a kind of document is read and printed again.
type Reader = fn(&[u8]) -> Result<String, SpecError>;

const DOCUMENTS: &[(&str, &str, Reader)] = &[
    ("config", "config-schema.json", |bytes| Spec::parse(bytes).map(|spec| spec.to_json())),
    ("state", "state-schema.json", |bytes| State::parse(bytes).map(|state| state.to_json())),
    ("features", "features-schema.json", |bytes| {
        Features::parse(bytes).map(|features| features.to_json_pretty())
    }),
];

fn read(reader: Reader, document: &Value) -> Result<Value, SpecError> {
    let printed = reader(document.to_string().as_bytes())?;
    Ok(serde_json::from_str(&printed).expect("what we print is JSON"))
}

#[test]
fn samples() {
    let Some(directory) = reference("samples", "oci-runtime/test") else { return };
    let mut judged = 0;
    for (kind, _, reader) in DOCUMENTS {
        for verdict in ["good", "bad"] {
            for entry in directory.join(kind).join(verdict).read_dir().expect("samples") {
                let path = entry.expect("directory entry").path();
                // What another system forbids is unknown, hence fine, to us.
                let ours = !path.ends_with("freebsd-vnet-disable.json");
                let result = reader(&std::fs::read(&path).expect("sample"));
                assert_eq!(result.is_ok(), verdict == "good" || !ours, "{path:?}: {result:?}");
                judged += 1;
            }
        }
    }
    assert!(judged >= 18, "only {judged} samples");
}

#[test]
fn every_member_and_word_of_the_schemas_is_known() {
    let name = "every_member_and_word_of_the_schemas_is_known";
    let Some(schemas) = Schemas::load(name, "oci-runtime") else { return };
    for (kind, file, reader) in DOCUMENTS {
        // The longest closed list has 23 words.
        for turn in 0..24 {
            let document = full(&schemas, file, &HINTS, turn);
            assert_eq!(schemas.faults(file, &document), [""; 0], "{kind}: the generator");
            let ours = read(*reader, &document).unwrap_or_else(|e| panic!("{kind} {turn}: {e}"));
            assert_eq!(ours, document, "{kind} {turn}");
        }
    }
}

#[test]
fn every_wrong_value_is_refused_by_its_path() {
    let Some(schemas) = Schemas::load("every_wrong_value_is_refused_by_its_path", "oci-runtime")
    else {
        return;
    };
    for (kind, file, reader) in DOCUMENTS {
        let document = full(&schemas, file, &HINTS, 1);
        for (path, pointer) in places(&document, "", "") {
            let mut wrong = document.clone();
            let value = wrong.pointer_mut(&pointer).expect("a place of the document");
            *value = if value.is_string() { json!(17) } else { json!("wrong") };
            let error = read(*reader, &wrong).expect_err(&path);
            assert_eq!(error.path(), path, "{kind}: {error}");
            assert!(error.position().is_some(), "{kind}: {error}");
        }
    }
}

#[test]
fn null_is_absent_unless_required() {
    let Some(schemas) = Schemas::load("null_is_absent_unless_required", "oci-runtime") else {
        return;
    };
    for (kind, file, reader) in DOCUMENTS {
        let document = full(&schemas, file, &HINTS, 1);
        read(*reader, &document).expect("a good document");
        for (path, pointer) in places(&document, "", "") {
            if path.ends_with(']') {
                continue;
            }
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            let mut null = document.clone();
            null.pointer_mut(&pointer).expect("a place").take();
            let mut absent = document.clone();
            let object = absent.pointer_mut(parent).and_then(Value::as_object_mut);
            object.expect("an object").remove(key);
            match (read(*reader, &null), read(*reader, &absent)) {
                (Ok(null), Ok(absent)) => {
                    assert_eq!(bare(&null), bare(&absent), "{kind} {path}");
                }
                (Err(_), Err(_)) => {}
                (null, absent) => panic!("{kind} {path}: {null:?} against {absent:?}"),
            }
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
                visit(child, join(path, key), format!("{pointer}/{key}"));
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

/// The document without what Go's `omitempty` leaves out and what has a default.
fn bare(value: &Value) -> Value {
    const ZERO_IS_ABSENT: &[&str] = &[
        "uid",
        "gid",
        "major",
        "minor",
        "rate",
        "valueTwo",
        "secs",
        "nanosecs",
        "priority",
        "terminal",
        "readonly",
        "noNewPrivileges",
        "enableMonitoring",
    ];
    let is_nothing = |key: &str, value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(false) => ZERO_IS_ABSENT.contains(&key),
        Value::Number(number) => number.as_i64() == Some(0) && ZERO_IS_ABSENT.contains(&key),
        Value::Bool(true) => false,
    };
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), bare(value)))
            .filter(|(key, value)| !is_nothing(key, value))
            .collect(),
        Value::Array(items) => items.iter().map(bare).collect(),
        other => other.clone(),
    }
}

#[test]
fn random_documents_come_back_and_keep_the_schema() {
    let name = "random_documents_come_back_and_keep_the_schema";
    let Some(schemas) = Schemas::load(name, "oci-runtime") else { return };
    for (kind, file, reader) in DOCUMENTS {
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 300,
            max_global_rejects: 3000,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let result = runner.run(&documents(&schemas, file, &HINTS), |document| {
            let ours = match read(*reader, &document) {
                Ok(ours) => ours,
                // Rules about two values at once, which the generator does not know.
                Err(SpecError::Invalid {
                    fault: Fault::Duplicate { .. } | Fault::Without { .. } | Fault::Empty,
                    ..
                }) => return Err(TestCaseError::reject("a rule beyond the schema")),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            prop_assert_eq!(bare(&ours), bare(&document));
            prop_assert_eq!(schemas.faults(file, &ours), Vec::<String>::new());
            prop_assert_eq!(&read(*reader, &ours).expect("our own document"), &ours);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}

#[test]
fn process_and_resources_stand_alone() {
    let process = Process::parse(br#"{"args":["sh"],"cwd":"/","user":{"uid":7,"gid":8}}"#);
    assert_eq!(process.expect("a process").user.uid, 7);
    let error = Process::parse(br#"{"args":["sh"],"cwd":"here"}"#).expect_err("relative");
    assert_eq!(error.to_string(), r#"cwd: path "here" is not absolute"#);
    let error = Process::parse(br#"{"cwd":"/","rlimits":[{"type":"RLIMIT_FOO"}]}"#);
    assert_eq!(error.expect_err("an unknown limit").path(), "rlimits[0].type");

    let resources = Resources::parse(br#"{"memory":{"limit":-1},"cpu":{"idle":1}}"#);
    assert_eq!(resources.expect("resources").memory.and_then(|memory| memory.limit), Some(-1));
    let error = Resources::parse(br#"{"pids":{"limit":1.5}}"#).expect_err("a fraction");
    assert_eq!(error.path(), "pids.limit");
    let error = Resources::parse(b"{} {}").expect_err("two documents");
    assert_eq!(error.to_string(), "trailing characters at line 1 column 4");
}

/// A configuration as a container engine writes it.
const CONFIG: &[u8] = include_bytes!("data/engine-config.json");

#[test]
fn an_engines_configuration_survives_whole() {
    let spec = Spec::parse(CONFIG).expect("a good document");
    let before: Value = serde_json::from_slice(CONFIG).expect("JSON");
    let after: Value = serde_json::from_str(&spec.to_json_pretty()).expect("JSON");
    assert_eq!(after, before);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Damaged anywhere, the document is refused or means something that survives printing.
    #[test]
    fn damage_never_panics(
        cut in 0..CONFIG.len(),
        damage in prop::collection::vec((0..CONFIG.len(), any::<u8>()), 0..4),
    ) {
        let mut bytes = CONFIG.to_vec();
        for &(at, byte) in &damage {
            bytes[at] = byte;
        }
        if damage.is_empty() {
            bytes.truncate(cut);
        }
        match Spec::parse(&bytes) {
            Ok(spec) => {
                prop_assert_eq!(Spec::parse(spec.to_json().as_bytes()).expect("ours"), spec);
            }
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
        }
    }
}
