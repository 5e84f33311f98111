//! `dhow_spec::runtime` against the reference schemas and samples, as a stranger would use it.

mod schema;

use dhow_spec::runtime::{Fault, Features, Process, Resources, Spec, SpecError, State};
use proptest::prelude::*;
use schema::generate::Hints;
use schema::judge::{Judge, Kind, Refusal};
use schema::reference;
use serde_json::Value;

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

const JUDGE: Judge = Judge {
    directory: "oci-runtime",
    kinds: &[
        Kind {
            name: "config",
            file: "config-schema.json",
            hints: &HINTS,
            read: |bytes| Spec::parse(bytes).map(|spec| spec.to_json()).map_err(refusal),
        },
        Kind {
            name: "state",
            file: "state-schema.json",
            hints: &HINTS,
            read: |bytes| State::parse(bytes).map(|state| state.to_json()).map_err(refusal),
        },
        Kind {
            name: "features",
            file: "features-schema.json",
            hints: &HINTS,
            read: |bytes| Features::parse(bytes).map(|all| all.to_json_pretty()).map_err(refusal),
        },
    ],
    zero_is_absent: &[
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
    ],
};

fn refusal(error: SpecError) -> Refusal {
    Refusal {
        // Rules about two values at once, which the schemas do not know.
        beyond_schema: matches!(
            error,
            SpecError::Invalid {
                fault: Fault::Duplicate { .. } | Fault::Without { .. } | Fault::Empty,
                ..
            }
        ),
        path: error.path().to_owned(),
        text: error.to_string(),
    }
}

#[test]
fn every_member_and_word_of_the_schemas_is_known() {
    JUDGE.everything_is_known("every_member_and_word_of_the_schemas_is_known");
}

#[test]
fn every_wrong_value_is_refused_by_its_path() {
    JUDGE.wrong_values_are_refused("every_wrong_value_is_refused_by_its_path");
}

#[test]
fn null_is_absent_unless_required() {
    JUDGE.null_is_absent("null_is_absent_unless_required");
}

#[test]
fn random_documents_come_back_and_keep_the_schema() {
    JUDGE.random_documents_come_back("random_documents_come_back_and_keep_the_schema");
}

#[test]
fn samples() {
    let Some(directory) = reference("samples", "oci-runtime/test") else { return };
    let mut judged = 0;
    for kind in JUDGE.kinds {
        for verdict in ["good", "bad"] {
            for entry in directory.join(kind.name).join(verdict).read_dir().expect("samples") {
                let path = entry.expect("directory entry").path();
                // What another system forbids is unknown, hence fine, to us.
                let ours = !path.ends_with("freebsd-vnet-disable.json");
                let result = (kind.read)(&std::fs::read(&path).expect("sample"));
                assert_eq!(result.is_ok(), verdict == "good" || !ours, "{path:?}: {result:?}");
                judged += 1;
            }
        }
    }
    assert!(judged >= 18, "only {judged} samples");
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
