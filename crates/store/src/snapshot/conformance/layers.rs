//! Layers that are unpacked: what they show together.

use dhow_archive::tar::{Content, Device, Extent, Kind, Metadata, SparseMap, Time};

use super::rig::Rig;
use crate::SnapshotError;
use crate::layer::ApplyOptions;
use crate::testing::LayerTar;

/// Says that several layers show what one layer shows.
fn same(rig: &Rig, layers: &[LayerTarFn], expected: LayerTarFn) {
    for late in [false, true] {
        let mut chain = Vec::new();
        for layer in layers {
            let number = rig.layer(&layer(LayerTar::new()).done(), &chain, late);
            chain.insert(0, number);
        }
        let one = rig.layer(&expected(LayerTar::new()).done(), &[], false);
        let shown = rig.shown(chain[0], &chain[1..]);
        assert_eq!(shown, rig.shown(one, &[]), "parents are told late: {late}");
    }
}

type LayerTarFn = fn(LayerTar) -> LayerTar;

fn root(tar: LayerTar) -> LayerTar {
    tar.dir("./")
}

pub(super) fn everything_comes_through(rig: &Rig) {
    let said = |change: fn(&mut Metadata)| change;
    let map = SparseMap::new(&[Extent { offset: 1 << 30, length: 5 }], 9 << 30).expect("a map");
    let sparse = Kind::File(Content { size: 9 << 30, map: Some(map) });
    let empty = || Kind::File(Content::plain(0));
    let capability = |said: &mut Metadata| {
        let bytes = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        said.xattrs.insert(b"security.capability".to_vec(), bytes.to_vec());
        said.xattrs.insert(b"user.note".to_vec(), b"\0\xff".to_vec());
    };
    let acl = |said: &mut Metadata| {
        let words = [
            2_u32,
            0x0007_0001,
            u32::MAX,
            0x0006_0002,
            77,
            0x0004_0004,
            u32::MAX,
            0x0006_0010,
            u32::MAX,
            0x0004_0020,
            u32::MAX,
        ];
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        said.xattrs.insert(b"system.posix_acl_access".to_vec(), bytes);
        said.mode = 0o764;
    };
    let long = format!("long/{}", "x".repeat(200));
    let layer = root(LayerTar::new())
        .entry("sticky", Kind::Directory, b"", said(|said| said.mode = 0o1777))
        .entry("setgid", Kind::Directory, b"", said(|said| (said.mode, said.gid) = (0o2755, 7)))
        .entry("setuid", empty(), b"", said(|said| (said.mode, said.uid) = (0o4755, 3_000_000)))
        .entry("capable", empty(), b"", capability)
        .entry("acl", empty(), b"", acl)
        .entry("huge", sparse, b"12345", |_| {})
        .entry("fifo", Kind::Fifo, b"", said(|said| said.mode = 0o622))
        .entry("sda", Kind::BlockDevice(Device { major: 8, minor: 300 }), b"", |_| {})
        .device("null", 1, 3)
        .entry(b"n\xff\xfe", empty(), b"", |_| {})
        .entry(
            "old",
            empty(),
            b"",
            said(|said| said.modified = Time { seconds: -5, nanoseconds: 7 }),
        )
        .dir("long")
        .file(&long, "long")
        .symlink("link", "../../anywhere")
        .file("a", "shared")
        .link("b", "a")
        .link("symlink twice", "link")
        .done();
    let one = rig.layer(&layer, &[], false);
    let shown = rig.shown(one, &[]);
    for expected in [
        "sticky 41777 0:0 t=1700000000.123456789",
        "setgid 42755 0:7 ",
        "setuid 104755 3000000:0 ",
        "capable 100644 0:0 t=1700000000.123456789 0 bytes",
        "security.capability=\\x01\\x00\\x00\\x02\\x00\\x04",
        "user.note=\\x00\\xff",
        "system.posix_acl_access=",
        "acl 100764 ",
        "huge 100644 0:0 t=1700000000.123456789 9663676416 bytes",
        "fifo 10622 ",
        "sda 60644 0:0 t=1700000000.123456789 10082c\n",
        "null 20644 0:0 t=1700000000.123456789 103",
        "n\\xff\\xfe ",
        "old 100644 0:0 t=-5.000000007",
        "link 120777 0:0 t=1700000000.123456789 -> ../../anywhere",
        "b = a\n",
        "symlink twice = link\n",
    ] {
        assert!(shown.contains(expected), "{expected} in\n{shown}");
    }
    // All of it again, as the diff of what it is.
    let again = rig.layer(&rig.diff(one, &[]), &[], false);
    assert_eq!(rig.shown(again, &[]), shown);
    let on_top = rig.layer(&root(LayerTar::new()).file("top", "").done(), &[one], true);
    let shown_on_top = rig.shown(on_top, &[one]);
    assert_eq!(shown_on_top.lines().count(), shown.lines().count() + 1);
    let usage = rig.driver.usage(one, &[]).expect("a usage");
    assert!(usage.size_bytes < 1 << 20, "holes stay holes: {}", usage.size_bytes);
}

pub(super) fn removed_and_made_again(rig: &Rig) {
    same(
        rig,
        &[
            |tar| {
                root(tar)
                    .file("f", "1")
                    .dir("d")
                    .file("d/in", "1")
                    .symlink("s", "f")
                    .file("g", "g")
                    .dir("e")
                    .file("e/x", "")
            },
            |tar| {
                root(tar)
                    .file(".wh.f", "")
                    .file(".wh.d", "")
                    .file(".wh.s", "")
                    .file("e/.wh.x", "")
                    .file(".wh.never-there", "")
            },
            |tar| root(tar).file("f", "3").dir("d").file("d/other", "3").symlink("s", "g"),
        ],
        |tar| {
            root(tar)
                .file("f", "3")
                .dir("d")
                .file("d/other", "3")
                .symlink("s", "g")
                .file("g", "g")
                .dir("e")
        },
    );
}

pub(super) fn opaque_directories(rig: &Rig) {
    same(
        rig,
        &[
            |tar| {
                root(tar).dir("d").file("d/a", "1").dir("d/sub").file("d/sub/x", "1").file("f", "1")
            },
            |tar| root(tar).dir("d").file("d/.wh..wh..opq", "").file("d/b", "2"),
            |tar| root(tar).dir("d").file("d/c", "3"),
        ],
        |tar| root(tar).dir("d").file("d/b", "2").file("d/c", "3").file("f", "1"),
    );
    same(
        rig,
        &[
            |tar| root(tar).dir("d").file("d/a", "1").file("f", "1"),
            |tar| root(tar).file(".wh..wh..opq", "").file("g", "2"),
            |tar| root(tar).file("h", "3"),
        ],
        |tar| root(tar).file("g", "2").file("h", "3"),
    );
}

pub(super) fn kinds_that_change(rig: &Rig) {
    same(
        rig,
        &[
            |tar| {
                root(tar)
                    .file("f", "1")
                    .dir("d")
                    .file("d/in", "1")
                    .symlink("s", "d")
                    .dir("e")
                    .file("e/in", "")
            },
            |tar| {
                root(tar)
                    .dir("f")
                    .file("f/in", "2")
                    .file("d", "2")
                    .dir("s")
                    .file("s/in", "2")
                    .symlink("e", "d")
            },
            |tar| root(tar).dir("f").file("f/more", "3").dir("d").file("d/more", "3"),
        ],
        |tar| {
            root(tar)
                .dir("f")
                .file("f/in", "2")
                .file("f/more", "3")
                .dir("d")
                .file("d/more", "3")
                .dir("s")
                .file("s/in", "2")
                .symlink("e", "d")
        },
    );
    // Within one layer the later entry wins, and hides what is below as it would on top of it.
    same(
        rig,
        &[
            |tar| root(tar).dir("d").file("d/lower", "1"),
            |tar| root(tar).file("d", "2").dir("d").file("d/upper", "2"),
        ],
        |tar| root(tar).dir("d").file("d/upper", "2"),
    );
}

pub(super) fn directories_nobody_spoke_of(rig: &Rig) {
    let special = |said: &mut Metadata| {
        (said.mode, said.uid, said.gid) = (0o2751, 11, 12);
        said.modified = Time { seconds: 1, nanoseconds: 2 };
        said.xattrs.insert(b"trusted.note".to_vec(), b"kept".to_vec());
    };
    let lower = || {
        let tar = LayerTar::new().entry("./", Kind::Directory, b"", special);
        let tar = tar.entry("d", Kind::Directory, b"", special);
        tar.entry("d/e", Kind::Directory, b"", special)
    };
    for late in [false, true] {
        let below = rig.layer(&lower().done(), &[], false);
        let middle = rig.layer(&LayerTar::new().file("d/other", "").done(), &[below], late);
        let layer = LayerTar::new().file("d/e/f", "x").done();
        let top = rig.layer(&layer, &[middle, below], late);
        let shown = rig.shown(top, &[middle, below]);
        let expected =
            rig.layer(&lower().file("d/e/f", "x").file("d/other", "").done(), &[], false);
        assert_eq!(shown, rig.shown(expected, &[]));
        // Without a lower one they are what others make of them.
        let alone = rig.layer(&layer, &[], false);
        let shown = rig.shown(alone, &[]);
        assert!(shown.contains("\nd 40755 0:0 "), "{shown}");
    }
}

pub(super) fn links_to_lower_layers(rig: &Rig) {
    for late in [false, true] {
        let base = root(LayerTar::new()).dir("d").file("d/f", "data").file("old", "old").done();
        let below = rig.layer(&base, &[], late);
        let layer = LayerTar::new()
            .link("l", "d/f")
            .link("new/m", "l")
            .link("old", "d/f")
            .link("x", "d/f")
            .file("x", "later")
            .done();
        let top = rig.layer(&layer, &[below], late);
        let shown = rig.shown(top, &[below]);
        for expected in [
            "d/f 100644 0:0 t=1700000000.123456789 4 bytes",
            "l = d/f\n",
            "new/m = d/f\n",
            "old = d/f\n",
        ] {
            assert!(shown.contains(expected), "{expected} in\n{shown}");
        }
        assert!(shown.contains("\nx 100644"), "{shown}");
        assert!(rig.shown(below, &[]).contains("d/f 100644"), "the lower one is what it was");
    }
}

pub(super) fn links_to_nothing(rig: &Rig) {
    let below = rig.layer(
        &LayerTar::new().file("gone", "x").dir("d").file("d/gone", "").done(),
        &[],
        false,
    );
    let check = |layer: LayerTar, path: &str, target: &str| {
        let number = rig.prepare(&[below]);
        rig.apply(number, &layer.done());
        let error = rig.driver.commit(number, &[below]).expect_err("a refusal");
        let expected = format!(
            "snapshot {number}: \"{path}\": a hard link to \"{target}\", which is not there"
        );
        assert_eq!(error.to_string(), expected);
        rig.driver.remove(number).expect("removed");
    };
    check(LayerTar::new().link("l", "never"), "l", "never");
    check(LayerTar::new().link("l", "gone").file(".wh.gone", ""), "l", "gone");
    check(LayerTar::new().link("l", "d/gone").file("d/.wh..wh..opq", ""), "l", "d/gone");
}

pub(super) fn long_chains(rig: &Rig) {
    let count = if rig.driver.name() == "overlay2" { 501 } else { 130 };
    let mut chain = Vec::new();
    for index in 0..count {
        let mut layer =
            LayerTar::new().file(&format!("layer {index:04}"), "").file("same", &index.to_string());
        if index == 0 {
            layer = layer.dir("d").file("d/bottom", "still here").link("d/twice", "d/bottom");
        } else {
            layer = layer
                .file(&format!("d/{index:04}"), "")
                .file(&format!(".wh.layer {:04}", index - 1), "");
        }
        let number = rig.layer(&layer.done(), &chain, true);
        chain.insert(0, number);
        if [127, 128, 500].contains(&(index + 1)) || index + 1 == count {
            let shown = rig.shown(chain[0], &chain[1..]);
            assert_eq!(shown.matches("layer ").count(), 1, "{} layers:\n{shown}", index + 1);
            assert_eq!(shown.lines().filter(|line| line.starts_with("d/")).count(), index + 2);
            assert!(shown.contains("d/twice = d/bottom"), "{shown}");
            let active = rig.changed(&chain, |root| {
                let text = std::fs::read_to_string(root.join("same")).expect("it");
                assert_eq!(text, index.to_string());
                std::fs::write(root.join("d/bottom"), "changed").expect("written");
            });
            assert!(rig.names(active, &chain).contains(&"C /d/bottom".to_owned()));
        }
    }
}

pub(super) fn very_deep_trees(rig: &Rig) {
    let deep = "directory/".repeat(1000);
    let below = rig.layer(&LayerTar::new().file(&format!("{deep}f"), "x").done(), &[], true);
    let top = rig.layer(&LayerTar::new().file(&format!("{deep}g"), "x").done(), &[below], true);
    let number = rig.prepare(&[top, below]);
    assert_eq!(rig.names(number, &[top, below]), [""; 0]);
    let names = rig.names(top, &[below]);
    assert_eq!(names.len(), 1001, "all the way and the file: {:?}", names.first());
    assert!(names[1000].starts_with("A /directory/") && names[1000].ends_with("/g"));
}

/// A layer that says nothing, and one that is nothing but removals.
pub(super) fn bare_layers(rig: &Rig) {
    let below = rig.layer(&root(LayerTar::new()).file("a", "x").done(), &[], true);
    let nothing = rig.layer(&LayerTar::new().done(), &[below], true);
    assert_eq!(rig.shown(nothing, &[below]), rig.shown(below, &[]));
    let less = rig.layer(&LayerTar::new().file(".wh.a", "").done(), &[nothing, below], true);
    assert_eq!(rig.shown(less, &[nothing, below]).lines().count(), 1);
    let alone = rig.layer(&LayerTar::new().file(".wh.a", "").done(), &[], true);
    assert_eq!(rig.shown(alone, &[]).lines().count(), 1, "a whiteout of nothing is not seen");
}

pub(super) fn attributes_of_overlay(rig: &Rig) {
    let below = rig.layer(
        &root(LayerTar::new()).dir("d").file("d/in", "x").dir("other").done(),
        &[],
        false,
    );
    let layer = root(LayerTar::new()).entry("d", Kind::Directory, b"", |said| {
        for prefix in ["trusted", "user"] {
            said.xattrs.insert(format!("{prefix}.overlay.opaque").into(), b"y".to_vec());
            said.xattrs.insert(format!("{prefix}.overlay.redirect").into(), b"/other".to_vec());
        }
    });
    let layer = layer.done();
    let top = rig.layer(&layer, &[below], false);
    let shown = rig.shown(top, &[below]);
    assert!(shown.contains("d/in "), "{shown}");
    assert!(shown.contains("user.overlay.opaque=y"), "{shown}");
    let kept = rig.layer(&rig.diff(top, &[below]), &[below], false);
    assert_eq!(rig.shown(kept, &[below]), shown);
    let mut reserved = &*LayerTar::new()
        .entry("d", Kind::Directory, b"", |said| {
            said.xattrs.insert(b"trusted.dhow.opaque".to_vec(), b"y".to_vec());
        })
        .done();
    let number = rig.prepare(&[]);
    let result = rig.driver.apply(number, &mut reserved, &ApplyOptions::EXACT);
    match (rig.driver.name(), result) {
        ("overlay2", Ok(_)) => {}
        (_, Err(SnapshotError::Apply(error))) => assert_eq!(
            error.to_string(),
            r#"entry 1: layer entry "d": extended attribute "trusted.dhow.opaque": the name is reserved"#
        ),
        (_, other) => panic!("{other:?}"),
    }
}
