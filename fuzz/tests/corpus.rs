//! The inputs that fuzzing has kept, tried again with every change.

use std::path::Path;

fn replay(target: &str, property: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&dir).expect("a corpus") {
        let path = entry.expect("an entry").path();
        let data = std::fs::read(&path).expect("an input");
        if std::panic::catch_unwind(|| property(&data)).is_err() {
            panic!("{}", path.display());
        }
        count += 1;
    }
    assert!(count >= 9, "only {count} inputs for {target}");
}

#[test]
fn tar() {
    replay("tar", dhow_fuzz::tar);
}

#[test]
fn manifest() {
    replay("manifest", dhow_fuzz::manifest);
}

#[test]
fn reference() {
    replay("reference", dhow_fuzz::reference);
}
