//! What must not happen, and what is said instead.

use super::rig::Rig;
use crate::layer::ApplyOptions;
use crate::snapshot::{PrepareOptions, View};
use crate::testing::LayerTar;

/// Two active snapshots on one parent do not see each other, and the parent sees neither.
pub(super) fn lives_apart(rig: &Rig) {
    let base = rig.layer(&LayerTar::new().dir("./").file("f", "base").done(), &[], false);
    let before = rig.shown(base, &[]);
    let write = |text: &'static str| {
        rig.changed(&[base], move |root| std::fs::write(root.join("f"), text).expect("written"))
    };
    let (one, two) = (write("one"), write("two"));
    for (number, text) in [(one, "one"), (two, "two")] {
        rig.mounted(number, &[base], &View::WRITE, |root| {
            assert_eq!(std::fs::read_to_string(root.join("f")).expect("it"), text);
        });
    }
    assert_eq!(rig.shown(base, &[]), before);
    rig.mounted(one, &[base], &View::READ, |root| {
        let error = std::fs::write(root.join("f"), "x").expect_err("read-only");
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    });
}

pub(super) fn wrong_calls(rig: &Rig) {
    let base = rig.layer(&LayerTar::new().file("f", "").done(), &[], false);
    let taken = rig.driver.prepare(base, &[], &PrepareOptions::UNLIMITED);
    assert_eq!(taken.expect_err("taken").to_string(), format!("snapshot {base} is there already"));
    let committed = format!("snapshot {base} is committed: it can only be read");
    let write = rig.driver.mounts(base, &[], &View::WRITE);
    assert_eq!(write.expect_err("committed").to_string(), committed);
    let mut layer = &*LayerTar::new().done();
    let apply = rig.driver.apply(base, &mut layer, &ApplyOptions::EXACT);
    assert_eq!(apply.expect_err("committed").to_string(), committed);
    rig.driver.commit(base, &[]).expect("nothing to do");

    let never = rig.number();
    let absent = format!("snapshot {never} is not there");
    let mounts = rig.driver.mounts(never, &[], &View::READ);
    assert_eq!(mounts.expect_err("absent").to_string(), absent);
    assert_eq!(rig.driver.commit(never, &[]).expect_err("absent").to_string(), absent);
    rig.driver.release(never).expect("nothing to give back");
    let child = rig.number();
    let prepare = rig.driver.prepare(child, &[never], &PrepareOptions::UNLIMITED);
    assert_eq!(prepare.expect_err("absent").to_string(), absent);
    rig.driver.remove(never).expect("nothing to remove");
    assert_eq!(rig.driver.walk().expect("walked"), [base], "what failed left nothing");

    let limit = PrepareOptions { size_bytes_max: Some(1 << 20) };
    let number = rig.number();
    let limited = rig.driver.prepare(number, &[], &limit).expect_err("no quotas here").to_string();
    assert!(limited.contains("cannot limit sizes here: it needs "), "{limited}");
    assert_eq!(rig.driver.walk().expect("walked"), [base], "what failed left nothing");
}

/// A layer that ends too early, at every kind of place.
pub(super) fn broken_layers(rig: &Rig) {
    let whole = LayerTar::new().dir("d").file("d/f", &"x".repeat(3000)).link("l", "d/f").done();
    for length in [100, 600, 1700, 2600, 5000] {
        let number = rig.prepare(&[]);
        let mut part = &whole[..length];
        let result = rig.driver.apply(number, &mut part, &ApplyOptions::EXACT);
        let words = result.expect_err("cut off").to_string();
        assert!(words.starts_with("tar entry "), "{words}");
        rig.driver.remove(number).expect("removed");
        assert_eq!(rig.driver.walk().expect("walked"), []);
    }
}

pub(super) fn usage(rig: &Rig) {
    let data = "x".repeat(1 << 20);
    let layer = LayerTar::new().file("a", &data).link("b", "a").done();
    let base = rig.layer(&layer, &[], false);
    let usage = rig.driver.usage(base, &[]).expect("a usage");
    assert!((1 << 20..3 << 19).contains(&usage.size_bytes), "{usage:?}");
    assert_eq!(usage.inodes, 2, "a file of two names, and the root");
    let top = rig.changed(&[base], |root| std::fs::write(root.join("c"), "c").expect("written"));
    let usage = rig.driver.usage(top, &[base]).expect("a usage");
    if rig.driver.name() != "vfs" {
        assert!(usage.size_bytes < 1 << 19, "{usage:?}");
    }
    rig.driver.remove(top).expect("removed");
    rig.driver.remove(top).expect("nothing to remove");
}
