//! The cases that Docker's own parser is held to: files, and what must come of them as words.

use std::fs;
use std::path::PathBuf;

use dhow_builder::dockerfile::{Dockerfile, parse};

fn cases(folder: &str) -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut found: Vec<_> =
        fs::read_dir(root).expect(folder).map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    found
}

#[test]
fn files_are_read_as_docker_reads_them() {
    let cases = cases("testfiles");
    assert_eq!(cases.len(), 22);
    for case in cases {
        let bytes = fs::read(case.join("Dockerfile")).expect("a Dockerfile");
        let expected = fs::read_to_string(case.join("result")).expect("a result");
        let parsed = parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        assert_eq!(parsed.to_string().trim(), expected.trim(), "{}", case.display());
    }
}

#[test]
fn wrong_files_are_refused() {
    let cases = cases("testfiles-negative");
    assert_eq!(cases.len(), 3);
    for case in cases {
        let bytes = fs::read(case.join("Dockerfile")).expect("a Dockerfile");
        parse(&bytes).expect_err(&case.display().to_string());
        Dockerfile::parse(&bytes).expect_err(&case.display().to_string());
    }
}
