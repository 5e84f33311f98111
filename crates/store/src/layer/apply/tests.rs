//! Layers that want out, or too much, and what is said of them; what a good one becomes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use dhow_archive::tar::{Content, Device, Extent, Kind, SparseMap};

use super::*;
use crate::layer::Owners;
use crate::testing::{LayerTar, SOME_TIME, Scratch, is_root};

/// Unpacks a layer into `root` below a scratch directory.
fn unpack(
    scratch: &Scratch,
    layer: &[u8],
    options: &ApplyOptions<'_>,
) -> Result<(Applied, Pending), ApplyError> {
    let work = scratch.open();
    rustix::fs::mkdirat(&work, "root", Mode::from_raw_mode(0o755)).expect("a directory");
    let root = open_dir(work.as_fd(), b"root").expect("it");
    apply(layer, root, work.as_fd(), Form::Overlay, options)
}

/// The words of a refusal; nothing but the layer's own directory may have come of it.
fn refused(layer: LayerTar, options: &ApplyOptions<'_>) -> String {
    refused_bytes(&layer.done(), options)
}

fn refused_bytes(layer: &[u8], options: &ApplyOptions<'_>) -> String {
    let scratch = Scratch::new();
    let error = unpack(&scratch, layer, options).expect_err("a refusal");
    let inside = std::fs::read_dir(scratch.path()).expect("a directory").count();
    assert_eq!(inside, 1, "nothing beside the root");
    error.to_string()
}

fn unpacked(layer: LayerTar) -> (Scratch, Applied, Pending) {
    let scratch = Scratch::new();
    let (applied, pending) =
        unpack(&scratch, &layer.done(), &ApplyOptions::EXACT).expect("unpacked");
    (scratch, applied, pending)
}

fn stat(scratch: &Scratch, path: &str) -> std::fs::Metadata {
    let full = scratch.path().join("root").join(path);
    std::fs::symlink_metadata(full).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn read(scratch: &Scratch, path: &str) -> String {
    std::fs::read_to_string(scratch.path().join("root").join(path)).expect(path)
}

#[test]
fn paths_that_lead_out() {
    if !is_root("paths_that_lead_out") {
        return;
    }
    let exact = &ApplyOptions::EXACT;
    let check = |layer, expected: &str| assert_eq!(refused(layer, exact), expected);
    let new = LayerTar::new;
    check(new().file("../x", ""), r#"entry 1: layer entry "../x": a path with "..""#);
    check(new().file("a/../../x", ""), r#"entry 1: layer entry "a/../../x": a path with "..""#);
    check(
        new().file("a", "").link("b", "../../etc/passwd"),
        r#"entry 2: layer entry "b": its link target "../../etc/passwd": a path with "..""#,
    );
    check(new().file("d/.wh...", ""), r#"entry 1: layer entry "d/.wh...": an invalid whiteout"#);
    check(
        new().symlink("d", "/etc").file("d/dhow-escaped", "x"),
        r#"entry 2: layer entry "d/dhow-escaped": its path leads through something that is no directory"#,
    );
    check(
        new().symlink("d", "..").dir("e").file("d/e/x", "x"),
        r#"entry 3: layer entry "d/e/x": its path leads through something that is no directory"#,
    );
    check(
        new()
            .dir("d")
            .file("d/x", "")
            .entry("d", Kind::Symlink { target: b"/etc".into() }, b"", |_| {})
            .file("d/y", ""),
        r#"entry 4: layer entry "d/y": its path leads through something that is no directory"#,
    );
    check(
        new().symlink("d", "/etc").link("p", "d/passwd"),
        r#"entry 2: layer entry "p": its path leads through something that is no directory"#,
    );
    check(
        new().file("f", "").file("f/x", ""),
        r#"entry 2: layer entry "f/x": its path leads through something that is no directory"#,
    );
    assert!(!Path::new("/etc/dhow-escaped").exists());
}

#[test]
fn absolute_paths_stay_below_the_root() {
    if !is_root("absolute_paths_stay_below_the_root") {
        return;
    }
    let (scratch, ..) = unpacked(LayerTar::new().file("/etc/dhow-inside", "x"));
    assert_eq!(read(&scratch, "etc/dhow-inside"), "x");
    assert!(!Path::new("/etc/dhow-inside").exists());
}

#[test]
fn links_to_what_cannot_be_linked() {
    if !is_root("links_to_what_cannot_be_linked") {
        return;
    }
    let check = |layer, expected: &str| assert_eq!(refused(layer, &ApplyOptions::EXACT), expected);
    check(
        LayerTar::new().dir("d").link("l", "d"),
        r#"entry 2: layer entry "l": a hard link to "d", which is no file"#,
    );
    check(
        LayerTar::new().file(".wh.x", "").link("l", "x"),
        r#"entry 2: layer entry "l": a hard link to "x", which is no file"#,
    );
    check(
        LayerTar::new().link("l", ".wh..wh.plnk/1.2"),
        r#"entry 1: layer entry "l": a hard link to "1.2", which is not there"#,
    );
}

#[test]
fn whiteouts_of_what_the_layer_itself_has() {
    if !is_root("whiteouts_of_what_the_layer_itself_has") {
        return;
    }
    for layer in [
        LayerTar::new().file("a", "x").file(".wh.a", ""),
        LayerTar::new().dir("a").file(".wh.a", ""),
    ] {
        let expected = r#"entry 2: layer entry "a": a whiteout of what this layer has put there"#;
        assert_eq!(refused(layer, &ApplyOptions::EXACT), expected);
    }
}

#[test]
fn devices_where_they_are_not_allowed() {
    if !is_root("devices_where_they_are_not_allowed") {
        return;
    }
    let options = ApplyOptions { devices_allowed: false, ..ApplyOptions::EXACT };
    let layer = || LayerTar::new().device("dev/null", 1, 3).file("f", "x");
    assert_eq!(
        refused(layer(), &options),
        r#"entry 1: layer entry "dev/null": device nodes are not allowed here"#
    );
    let scratch = Scratch::new();
    let options = ApplyOptions { devices: Unmakeable::Skip, ..options };
    let (applied, _) = unpack(&scratch, &layer().done(), &options).expect("unpacked");
    assert_eq!((applied.entries, applied.skipped), (2, 1));
    assert_eq!(read(&scratch, "f"), "x");
    assert!(!scratch.path().join("root/dev/null").exists());
}

#[test]
fn limits_of_bytes_and_entries() {
    if !is_root("limits_of_bytes_and_entries") {
        return;
    }
    let layer = || LayerTar::new().file("a", "12345").file("b", "123456");
    let bytes = |bytes_max| ApplyOptions { bytes_max, ..ApplyOptions::EXACT };
    assert_eq!(
        refused(layer(), &bytes(10)),
        r#"entry 2: layer entry "b": the layer has more than 10 bytes of data"#
    );
    let entries = |entries_max| ApplyOptions { entries_max, ..ApplyOptions::EXACT };
    assert_eq!(
        refused(layer(), &entries(1)),
        r#"entry 2: layer entry "b": the layer has more than 1 entries"#
    );
    let both = ApplyOptions { entries_max: 2, ..bytes(11) };
    let applied = unpack(&Scratch::new(), &layer().done(), &both).expect("as much as it may have");
    assert_eq!(applied.0.bytes, 11);
}

#[test]
fn a_body_that_is_announced_and_does_not_come() {
    if !is_root("a_body_that_is_announced_and_does_not_come") {
        return;
    }
    let mut bytes = LayerTar::new().file("a", &"x".repeat(2000)).done();
    bytes.truncate(1000);
    let words = refused_bytes(&bytes, &ApplyOptions::EXACT);
    assert_eq!(words, "tar entry 1: the archive ends in the middle of it");
}

#[test]
fn a_cancelled_layer_stops() {
    if !is_root("a_cancelled_layer_stops") {
        return;
    }
    let cancel = AtomicBool::new(true);
    let options = ApplyOptions { cancel: Some(&cancel), ..ApplyOptions::EXACT };
    assert_eq!(refused(LayerTar::new().file("a", "x"), &options), "cancelled");
}

#[test]
fn owners_outside_of_the_map() {
    if !is_root("owners_outside_of_the_map") {
        return;
    }
    let range = crate::layer::IdRange { layer: 0, disk: 5000, count: 10 };
    let owners = Owners { users: vec![range], groups: vec![range] };
    let options = ApplyOptions { owners: &owners, ..ApplyOptions::EXACT };
    let file = |uid| {
        LayerTar::new().entry("f", Kind::File(Content::plain(0)), b"", move |said| said.uid = uid)
    };
    assert_eq!(
        refused(file(10), &options),
        r#"entry 1: layer entry "f": owner 10 is outside of the ids that are mapped"#
    );
    let scratch = Scratch::new();
    unpack(&scratch, &file(9).done(), &options).expect("unpacked");
    assert_eq!((stat(&scratch, "f").uid(), stat(&scratch, "f").gid()), (5009, 5000));
    assert_eq!(stat(&scratch, "").uid(), 5000, "the root nobody spoke of, too");
}

#[test]
fn attributes_of_overlay_do_not_reach_the_kernel() {
    if !is_root("attributes_of_overlay_do_not_reach_the_kernel") {
        return;
    }
    let (scratch, ..) = unpacked(LayerTar::new().entry("d", Kind::Directory, b"", |said| {
        said.xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
        said.xattrs.insert(b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec());
    }));
    let dir = crate::layer::open_dir_path(&scratch.path().join("root/d")).expect("it");
    let target = Target::Open(dir.as_fd());
    assert_eq!(target.xattr(b"trusted.overlay.opaque"), Ok(None));
    assert_eq!(target.xattr(b"trusted.overlay.redirect"), Ok(None));
    let kept = target.xattrs(Form::Overlay).expect("attributes");
    assert_eq!(kept.get(b"trusted.overlay.redirect".as_slice()), Some(&b"/etc".to_vec()));
}

#[test]
fn trees_too_deep_for_a_system_call() {
    if !is_root("trees_too_deep_for_a_system_call") {
        return;
    }
    // Paths are bounded by the reader; this is about as deep as they can be.
    let deep = "directory/".repeat(3200);
    let (scratch, applied, pending) = unpacked(
        LayerTar::new()
            .file(&format!("{deep}f"), "x")
            .link(&format!("{deep}l"), &format!("{deep}f")),
    );
    assert_eq!(applied.entries, 2);
    assert!(pending.implied && pending.links.is_empty());
    remove_tree(scratch.open().as_fd(), b"root").expect("removed");

    let deeper = "d/".repeat(100_000);
    let words = refused_bytes(&long_name(&deeper), &ApplyOptions::EXACT);
    assert_eq!(words, "tar entry 1: the path is longer than 32769");
}

/// A header of GNU's for a long name.
fn long_name(name: &str) -> Vec<u8> {
    let mut block = [0_u8; 512];
    block[..13].copy_from_slice(b"././@LongLink");
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{:011o}\0", name.len() + 1).as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = b'L';
    block[257..265].copy_from_slice(b"ustar  \0");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = block.to_vec();
    bytes.extend(name.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(512) + 512, 0);
    bytes
}

#[test]
fn two_entries_of_one_name() {
    if !is_root("two_entries_of_one_name") {
        return;
    }
    let (scratch, applied, pending) = unpacked(
        LayerTar::new()
            .file("f", "first")
            .file("f", "second")
            .symlink("s", "/etc/passwd")
            .file("s", "a file now")
            .dir("d")
            .file("d/in", "gone")
            .file("d", "a file now")
            .file("g", "gone")
            .dir("g")
            .file("g/in", "in"),
    );
    assert_eq!(applied.entries, 10);
    assert_eq!(read(&scratch, "f"), "second");
    assert_eq!(read(&scratch, "s"), "a file now");
    assert_eq!(read(&scratch, "d"), "a file now");
    assert_eq!(read(&scratch, "g/in"), "in");
    assert!(pending.marks, "what replaces a file hides what is below it");
    assert!(std::fs::metadata("/etc/passwd").expect("it").len() > 20);
}

#[test]
fn everything_as_the_layer_says() {
    if !is_root("everything_as_the_layer_says") {
        return;
    }
    let map = SparseMap::new(&[Extent { offset: 1 << 20, length: 5 }], 9 << 30).expect("a map");
    let sparse = Kind::File(Content { size: 9 << 30, map: Some(map) });
    let (scratch, ..) = unpacked(
        LayerTar::new()
            .entry("./", Kind::Directory, b"", |said| said.mode = 0o700)
            .entry("sticky", Kind::Directory, b"", |said| said.mode = 0o1777)
            .entry("setgid", Kind::Directory, b"", |said| (said.mode, said.gid) = (0o2755, 7))
            .file("setgid/plain", "x")
            .entry("setuid", Kind::File(Content::plain(1)), b"x", |said| {
                (said.mode, said.uid, said.gid) = (0o6755, 2_097_152 + 5, 3);
                let bytes = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                said.xattrs.insert(b"security.capability".to_vec(), bytes.to_vec());
            })
            .entry("sparse", sparse, b"12345", |_| {})
            .entry("fifo", Kind::Fifo, b"", |said| said.mode = 0o622)
            .entry("sda", Kind::BlockDevice(Device { major: 8, minor: 300 }), b"", |_| {})
            .entry(b"n\xff\xfe", Kind::File(Content::plain(0)), b"", |_| {})
            .link("hard", "setgid/plain")
            .file("late", ""),
    );
    let mode = |path: &str| stat(&scratch, path).mode() & 0o7777;
    assert_eq!((mode(""), mode("sticky"), mode("setgid")), (0o700, 0o1777, 0o2755));
    assert_eq!((mode("setgid/plain"), stat(&scratch, "setgid/plain").gid()), (0o644, 0));
    let setuid = stat(&scratch, "setuid");
    assert_eq!((mode("setuid"), setuid.uid(), setuid.gid()), (0o6755, 2_097_157, 3));
    let file = std::fs::File::open(scratch.path().join("root/setuid")).expect("it");
    let capability = Target::Open(file.as_fd()).xattr(b"security.capability");
    assert_eq!(capability.expect("read").expect("there").len(), 20);
    let sparse = stat(&scratch, "sparse");
    assert_eq!(sparse.len(), 9 << 30);
    assert!(sparse.blocks() < 100, "{} blocks", sparse.blocks());
    assert_eq!(mode("fifo"), 0o622);
    assert_eq!(stat(&scratch, "sda").rdev(), rustix::fs::makedev(8, 300));
    assert_eq!(stat(&scratch, "hard").ino(), stat(&scratch, "setgid/plain").ino());
    for path in ["", "sticky", "setgid", "setuid", "sparse", "fifo", "sda", "late"] {
        let found = stat(&scratch, path);
        let time = (found.mtime(), found.mtime_nsec());
        assert_eq!(time, (SOME_TIME.seconds, i64::from(SOME_TIME.nanoseconds)), "{path:?}");
    }
}

#[test]
fn files_that_aufs_kept_aside() {
    if !is_root("files_that_aufs_kept_aside") {
        return;
    }
    let (scratch, ..) = unpacked(
        LayerTar::new()
            .dir(".wh..wh.plnk")
            .file(".wh..wh.plnk/1.2", "data")
            .link("a", ".wh..wh.plnk/1.2")
            .link("b", ".wh..wh.plnk/1.2"),
    );
    assert_eq!(read(&scratch, "a"), "data");
    assert_eq!(stat(&scratch, "a").ino(), stat(&scratch, "b").ino());
    assert_eq!(stat(&scratch, "a").nlink(), 2);
    assert!(!scratch.path().join("aside").exists());
}

#[test]
fn what_the_layers_below_are_needed_for() {
    if !is_root("what_the_layers_below_are_needed_for") {
        return;
    }
    let (_, _, pending) = unpacked(LayerTar::new().dir("a").file("a/f", ""));
    assert_eq!(pending, Pending::default());
    let (_, _, pending) = unpacked(LayerTar::new().file("a/f", "").link("b", "lower/f"));
    let links = vec![(b"b".to_vec(), b"lower/f".to_vec())];
    assert_eq!(pending, Pending { implied: true, marks: false, links });
    let (scratch, _, pending) =
        unpacked(LayerTar::new().file("a/.wh.f", "").file("d/.wh..wh..opq", ""));
    assert!(pending.marks);
    let whiteout = stat(&scratch, "a/f");
    assert_eq!((whiteout.mode() & 0o170_000, whiteout.rdev()), (0o020_000, 0));
}

#[test]
fn default_permissions_are_not_inherited() {
    if !is_root("default_permissions_are_not_inherited") {
        return;
    }
    // Version 2; user, group and others: all but writing for others.
    let acl: Vec<u8> = [2_u32, 0x0007_0001, u32::MAX, 0x0007_0004, u32::MAX, 0x0005_0020, u32::MAX]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let (scratch, ..) = unpacked(
        LayerTar::new()
            .entry("d", Kind::Directory, b"", |said| {
                said.xattrs.insert(metadata::DEFAULT_ACL.to_vec(), acl.clone());
            })
            .file("d/a", "x")
            .dir("e")
            .file("d/b", "x"),
    );
    for name in ["d/a", "d/b"] {
        assert_eq!(stat(&scratch, name).mode() & 0o7777, 0o644, "{name}");
    }
    let dir = crate::layer::open_dir_path(&scratch.path().join("root/d")).expect("it");
    let found = Target::Open(dir.as_fd()).xattr(metadata::DEFAULT_ACL);
    assert_eq!(found, Ok(Some(acl)));
    assert_eq!(stat(&scratch, "d").mtime(), SOME_TIME.seconds);
}
