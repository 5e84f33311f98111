//! One reading or an error: archives made by hand, and what the reader says of each.

mod common;

use std::io::Read;

use common::{Archive, Raw, list, tar_error};
use dhow_archive::tar::{End, Fault, Kind, Metadata, Options, Reader, Time};

fn reads(archive: Archive, expected: &[&str]) {
    let lines = list(&archive.0, Options::LAYER).expect("a good archive");
    assert_eq!(lines, expected);
}

fn refuses(archive: Archive, expected: &str) {
    let error = list(&archive.0, Options::LAYER).expect_err(expected);
    assert_eq!(error.to_string(), expected);
}

fn metadata(archive: Archive, options: Options) -> Metadata {
    let mut reader = Reader::new(&archive.0[..], options);
    reader.next_entry().expect("a good archive").expect("an entry").metadata
}

#[test]
fn every_kind() {
    let archive = Archive::new()
        .header(Raw::new(b'5', "d/", 0))
        .file("d/f", "hello")
        .header(Raw::new(b'7', "contiguous", 0))
        .header(Raw::new(b'1', "d/h", 0).link("d/f"))
        .header(Raw::new(b'2', "d/s", 0).link("../any where"))
        .header(Raw::new(b'3', "null", 0).put(329, "0000001\0").put(337, "0000003\0"))
        .header(Raw::new(b'4', "sda", 0).put(329, "0000010\0"))
        .header(Raw::new(b'6', "p", 0))
        .end();
    reads(
        archive,
        &[
            "directory d/",
            "file d/f = hello",
            "file contiguous = ",
            "hard link d/h -> d/f",
            "symlink d/s -> ../any where",
            "char null 1:3",
            "block sda 8:0",
            "fifo p",
        ],
    );
}

#[test]
fn names_of_every_form() {
    let long = "x".repeat(300);
    let raw = |name: &[u8]| Raw::new(b'0', "", 0).put(0, name);
    reads(
        Archive::new()
            .header(raw(&[b'n'; 100]).put(345, "pre/fix"))
            .header(raw(b"\xff\xfe\n"))
            .long(b'L', &long)
            .header(Raw::new(b'0', "short", 0).gnu())
            .long(b'K', &long)
            .long(b'L', "long")
            .header(Raw::new(b'2', "short", 0).gnu().link("short"))
            .pax(&[("path", "π"), ("linkpath", &long)])
            .header(Raw::new(b'2', "other", 0).link("short"))
            .header(Raw::new(b'0', "v7", 0).put(257, [0; 8]))
            .end(),
        &[
            &format!("file pre/fix/{} = ", "n".repeat(100)),
            r"file \xff\xfe\n = ",
            &format!("file {long} = "),
            &format!("symlink long -> {long}"),
            &format!(r"symlink \xcf\x80 -> {long}"),
            "file v7 = ",
        ],
    );
}

#[test]
fn names_that_depend_on_the_reader() {
    let conflict =
        "tar entry 1 \"f\": header and extended header contradict each other on the path";
    let v7 = Raw::new(b'0', "f", 0).put(257, [0; 8]).put(345, "prefix");
    refuses(Archive::new().header(v7).end(), conflict);
    let sparse = [("GNU.sparse.size", "0"), ("GNU.sparse.map", "0,0"), ("GNU.sparse.name", "f")];
    let both = [&sparse[..], &[("path", "g")]].concat();
    refuses(Archive::new().pax(&both).header(Raw::new(b'0', "h", 0)).end(), conflict);
    refuses(
        Archive::new().pax(&[("path", "")]).header(Raw::new(b'0', "h", 0)).end(),
        "tar entry 1: the path is empty",
    );
}

#[test]
fn old_directories_are_files_with_a_slash() {
    reads(Archive::new().header(Raw::new(0, "d/", 0).put(257, [0; 8])).end(), &["directory d/"]);
    let slash = "tar entry 1 \"d/\": a file whose name ends in a slash";
    refuses(Archive::new().header(Raw::new(b'0', "d/", 0)).end(), slash);
    refuses(Archive::new().pax(&[("path", "d/")]).header(Raw::new(b'0', "d", 0)).end(), slash);
}

#[test]
fn metadata_from_where_it_counts() {
    let xattr = [("SCHILY.xattr.security.capability", "\u{1}"), ("SCHILY.xattr.user.empty", "")];
    let archive = Archive::new()
        .pax(
            &[
                &xattr[..],
                &[
                    ("mtime", "-1.5"),
                    ("atime", "7"),
                    ("uid", "4294967294"),
                    ("gname", "grüppe"),
                    ("comment", "skipped"),
                ],
            ]
            .concat(),
        )
        .header(Raw::new(b'0', "f", 0).put(100, "0104755\0").put(116, "0000012\0").put(265, "me"))
        .end();
    let seen = metadata(archive, Options::LAYER);
    assert_eq!(seen.mode, 0o4755);
    assert_eq!((seen.uid, seen.gid), (u32::MAX - 1, 10));
    assert_eq!((&seen.uname[..], &seen.gname[..]), (&b"me"[..], "grüppe".as_bytes()));
    assert_eq!(seen.modified, Time { seconds: -2, nanoseconds: 500_000_000 });
    assert_eq!(seen.accessed, Some(Time { seconds: 7, nanoseconds: 0 }));
    assert_eq!(seen.changed, None);
    assert_eq!(seen.xattrs[&b"security.capability"[..]], [1]);
    assert!(seen.xattrs[&b"user.empty"[..]].is_empty());
}

#[test]
fn gnu_times_and_base_256() {
    let negative = [&[0xff; 11][..], &[0xfe]].concat();
    let archive = Archive::new()
        .header(
            Raw::new(b'0', "f", 0)
                .gnu()
                .put(108, [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe])
                .put(136, negative)
                .put(345, "00000000017\0"),
        )
        .end();
    let seen = metadata(archive, Options::LAYER);
    assert_eq!(seen.uid, u32::MAX - 1);
    assert_eq!(seen.modified.seconds, -2);
    assert_eq!(seen.accessed.map(|time| time.seconds), Some(15));
    // Go before 1.8 put a path's beginning there.
    refuses(
        Archive::new().header(Raw::new(b'0', "f", 0).gnu().put(345, "usr/share/doc")).end(),
        "tar entry 1 \"f\": the atime is not a number",
    );
}

#[test]
fn ends() {
    let end = |archive: &Archive| {
        let mut reader = Reader::new(&archive.0[..], Options::LAYER);
        while reader.next_entry().expect("a good archive").is_some() {}
        assert!(reader.next_entry().expect("still the end").is_none());
        reader.end()
    };
    let archive = Archive::new().file("f", "x");
    assert_eq!(end(&archive.clone().end()), Some(End::Marked));
    assert_eq!(end(&archive.clone().zeros(20)), Some(End::Marked));
    assert_eq!(end(&archive.clone().zeros(1)), Some(End::HalfMarked));
    assert_eq!(end(&archive), Some(End::Unmarked));
    assert_eq!(end(&Archive::new()), Some(End::Unmarked));
    let mut odd = archive.clone().end();
    odd.0.extend([0; 7]);
    assert_eq!(end(&odd), Some(End::Marked));

    refuses(
        archive.clone().zeros(1).file("g", "y"),
        "tar entry 2: a block of zeros is followed by more entries",
    );
    refuses(
        archive.clone().end().file("g", "y"),
        "tar entry 2: data behind the end of the archive",
    );
    refuses(
        archive.clone().end().zeros(300).data("\u{1}"),
        "tar entry 2: data behind the end of the archive",
    );
    let mut odd = archive.end();
    odd.0.push(1);
    refuses(odd, "tar entry 2: data behind the end of the archive");
}

#[test]
fn cut_anywhere() {
    let whole = Archive::new()
        .pax(&[("path", "long")])
        .header(Raw::new(b'0', "f", 700))
        .data([b'x'; 700])
        .file("g", "y");
    for length in 0..whole.0.len() {
        let cut = Archive(whole.0[..length].to_vec());
        let seen = list(&cut.0, Options::LAYER);
        // Between entries nobody can tell, and the end says so.
        let between = [0, 5 * 512];
        match seen {
            Ok(_) => assert!(between.contains(&length), "cut at {length}"),
            Err(error) => assert!(
                matches!(error.fault, Fault::Truncated | Fault::Dangling),
                "cut at {length}: {error}"
            ),
        }
    }
}

#[test]
fn sizes_that_differ() {
    // The nested entry would be seen by a reader that takes the smaller size.
    let nested = Archive::new().file("hidden", "");
    let smuggled = |records: &[(&str, &str)], stored: u64| {
        Archive::new().pax(records).header(Raw::new(b'0', "f", stored)).data(&nested.0).end()
    };
    let conflict =
        "tar entry 1 \"f\": header and extended header contradict each other on the size";
    refuses(smuggled(&[("size", "512")], 0), conflict);
    refuses(smuggled(&[("size", "0")], 512), conflict);
    refuses(smuggled(&[("size", "512"), ("size", "0")], 0), "tar entry 1: two values for size");
    refuses(smuggled(&[("size", "-1")], 0), "tar entry 1 \"f\": the size is not a number");
    refuses(smuggled(&[("size", "")], 0), "tar entry 1: the size is empty");
    refuses(
        smuggled(&[("size", "9223372036854775808")], 0),
        "tar entry 1 \"f\": the size is out of range",
    );
    refuses(
        smuggled(&[("size", "9223372036854775807")], 0),
        "tar entry 1 \"f\": the archive ends in the middle of it",
    );
    reads(
        smuggled(&[("size", "512")], 512).clone(),
        &[&format!("file f = {}", nested.0.escape_ascii())],
    );
    // A reader that skips the body of a global header only by its own size.
    refuses(
        Archive::new().records(b'g', &[("size", "512")]).file("f", "").end(),
        "tar entry 1: a global header sets size, which not every reader would apply",
    );
}

#[test]
fn sizes_where_no_body_is() {
    for flag in *b"123456" {
        let raw = Raw::new(flag, "n", 512).link("t");
        refuses(
            Archive::new().header(raw.clone()).data([b'x'; 512]).end(),
            "tar entry 1 \"n\": 512 bytes are announced for an entry that has no body",
        );
        refuses(
            Archive::new().pax(&[("size", "8589934592")]).header(raw.put(124, [0; 12])).end(),
            "tar entry 1 \"n\": 8589934592 bytes are announced for an entry that has no body",
        );
    }
}

#[test]
fn headers_that_are_none() {
    let good = Raw::new(b'0', "f", 0);
    let mut broken = Archive::new().header(good.clone()).end();
    broken.0[0] = b'g';
    refuses(broken, "tar entry 1: the header's checksum is wrong");
    let one = |raw: Raw| Archive::new().header(raw).end();
    refuses(one(good.clone().put(257, "ustarXX")), "tar entry 1: the header's format is unknown");
    refuses(
        one(good.clone().put(124, "00000000012x")),
        "tar entry 1 \"f\": the size is not a number",
    );
    refuses(one(good.clone().put(124, [0xff; 12])), "tar entry 1 \"f\": the size is out of range");
    refuses(
        one(good.clone().put(124, [0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0])),
        "tar entry 1 \"f\": the size is out of range",
    );
    refuses(one(good.clone().put(108, [0xff; 8])), "tar entry 1 \"f\": the uid is out of range");
    refuses(
        one(good.clone().put(116, [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])),
        "tar entry 1 \"f\": the gid is out of range",
    );
    refuses(one(good.clone().put(337, "12 34")), "tar entry 1: the device number is not a number");
    for flag in *b"ADMNVXSZ" {
        refuses(
            one(Raw::new(flag, "f", 0)),
            &format!("tar entry 1 \"f\": entries of type '{}' are not supported", char::from(flag)),
        );
    }
    refuses(
        one(Raw::new(0xff, "f", 0)),
        r#"tar entry 1 "f": entries of type '\xff' are not supported"#,
    );
    refuses(one(Raw::new(b'0', "", 0)), "tar entry 1 \"\": the path is empty");
    refuses(one(Raw::new(b'1', "f", 0)), "tar entry 1 \"f\": the link target is empty");
    refuses(
        one(Raw::new(b'3', "f", 0).put(257, [0; 8])),
        "tar entry 1 \"f\": the device number is empty",
    );
    refuses(
        one(Raw::new(b'3', "f", 0).put(329, "0010000\0")),
        "tar entry 1 \"f\": the device number is out of range",
    );
}

#[test]
fn extensions_that_fit_nothing() {
    let file = || Raw::new(b'0', "f", 0);
    refuses(
        Archive::new().pax(&[("path", "x")]).end(),
        "tar entry 1: an extended header without its entry",
    );
    refuses(Archive::new().long(b'L', "x"), "tar entry 1: an extended header without its entry");
    refuses(
        Archive::new().pax(&[("uid", "1")]).records(b'g', &[]).header(file()).end(),
        "tar entry 1: an extended header without its entry",
    );
    refuses(
        Archive::new().pax(&[("uid", "1")]).pax(&[("gid", "1")]).header(file()).end(),
        "tar entry 1: two values for an extended header",
    );
    refuses(
        Archive::new().long(b'L', "a").long(b'L', "b").header(file()).end(),
        "tar entry 1: two values for a long path",
    );
    refuses(
        Archive::new().long(b'L', "a").pax(&[("path", "b")]).header(file()).end(),
        "tar entry 1 \"b\": header and extended header contradict each other on the path",
    );
    reads(
        Archive::new().long(b'L', "a").pax(&[("path", "a")]).header(file()).end(),
        &["file a = "],
    );
    refuses(
        Archive::new().pax(&[("path", "a\0b")]).header(file()).end(),
        "tar entry 1: the path contains a nul byte",
    );
    refuses(
        Archive::new().long(b'L', "a\0b").header(file()).end(),
        "tar entry 1: the path contains a nul byte",
    );
    refuses(
        Archive::new().pax(&[("hdrcharset", "KOI8-R")]).header(file()).end(),
        "tar entry 1 \"f\": the keyword hdrcharset is not supported",
    );
    let padded = Archive::new().header(Raw::new(b'x', "x", 9)).data("9 path=x\nno record");
    reads(padded.header(file()).end(), &["file x = "]);
}

#[test]
fn global_headers() {
    let archive = |records: &[(&str, &str)]| {
        Archive::new().records(b'g', records).header(Raw::new(b'0', "f", 0)).end()
    };
    reads(archive(&[("comment", "5f3c2a")]), &["file f = "]);
    refuses(
        archive(&[("uid", "7")]),
        "tar entry 1: a global header sets uid, which not every reader would apply",
    );
    let applied = metadata(archive(&[("uid", "7"), ("mtime", "9")]), Options::GENERAL);
    assert_eq!((applied.uid, applied.modified.seconds), (7, 9));
    let error = list(&archive(&[("path", "x")]).0, Options::GENERAL).expect_err("a path for all");
    assert!(matches!(error.fault, Fault::Global { keyword: "path" }), "{error}");
}

#[test]
fn bounds_before_memory() {
    let huge = 1_u64 << 33;
    for (flag, what) in [(b'x', "extended header"), (b'L', "path"), (b'K', "link target")] {
        let max = if flag == b'x' { 1 << 20 } else { 8 * 4096 + 1 };
        refuses(
            Archive::new().header(Raw::new(flag, "x", huge - 1)),
            &format!("tar entry 1: the {what} is longer than {max}"),
        );
        // Announced and allowed, but not there.
        refuses(
            Archive::new().header(Raw::new(flag, "x", max)),
            "tar entry 1: the archive ends in the middle of it",
        );
    }
    let deep = "d/".repeat(100_000);
    refuses(
        Archive::new().pax(&[("path", &deep)]).header(Raw::new(b'5', "d", 0)).end(),
        &format!("tar entry 1 {:?}…: the path is longer than 32768", &deep[..200]),
    );
}

#[test]
fn holes_in_four_forms() {
    let expected = &[r"file s = abc\x00\x00\x00\x00\x00d\x00", "file after = x"][..];
    let end = |archive: Archive| archive.file("after", "x").end();
    let pair = |offset: u64, length: u64| format!("{offset:011o}\0{length:011o}\0");
    let old =
        Raw::new(b'S', "s", 4).gnu().put(386, pair(0, 3) + &pair(8, 1)).put(483, "00000000012\0");
    reads(end(Archive::new().header(old).data("abcd")), expected);

    let zero = [
        ("GNU.sparse.size", "10"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "0"),
        ("GNU.sparse.numbytes", "3"),
        ("GNU.sparse.offset", "8"),
        ("GNU.sparse.numbytes", "1"),
    ];
    let munged = || Raw::new(b'0', "GNUSparseFile.1/s", 4);
    reads(end(Archive::new().pax(&zero).header(Raw::new(b'0', "s", 4)).data("abcd")), expected);
    let one = [
        ("GNU.sparse.size", "10"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.map", "0,3,8,1"),
    ];
    reads(end(Archive::new().pax(&one).header(munged()).data("abcd")), expected);
    let leading = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.realsize", "10"),
    ];
    let with_map = |map: &str, data: &str, size| {
        let header = Raw::new(b'0', "GNUSparseFile.1/s", size);
        end(Archive::new().pax(&leading).header(header).data(map).data(data))
    };
    reads(with_map("2\n0\n3\n8\n1\n", "abcd", 512 + 4), expected);

    let invalid = "tar entry 1 \"s\": the map of its holes is invalid";
    refuses(with_map("2\n0\n3\n8\n2\n", "abcd", 512 + 4), invalid);
    refuses(with_map("2\n0\n3\n8\n3\n", "abcdef", 512 + 6), invalid);
    refuses(with_map("2\n8\n1\n0\n3\n", "abcd", 512 + 4), invalid);
    refuses(with_map("0\n", "", 0), invalid);
    refuses(with_map("18446744073709551615\n", "", 512), invalid);
    refuses(with_map("300000\n", "", 512), invalid);
    refuses(end(Archive::new().pax(&one[..3]).header(munged()).data("abcd")), invalid);
    refuses(
        end(Archive::new().pax(&zero[1..]).header(munged()).data("abcd")),
        "tar entry 1 \"GNUSparseFile.1/s\": the map of its holes is invalid",
    );
    refuses(
        end(Archive::new().pax(&[&one[..], &zero[2..]].concat()).header(munged()).data("abcd")),
        invalid,
    );
    refuses(
        end(Archive::new().pax(&[("SCHILY.realsize", "10")]).header(munged()).data("abcd")),
        "tar entry 1 \"GNUSparseFile.1/s\": the keyword SCHILY.realsize is not supported",
    );
    refuses(
        Archive::new().pax(&leading).header(Raw::new(b'5', "d", 0)).end(),
        "tar entry 1 \"s\": header and extended header contradict each other on the type",
    );
}

#[test]
fn old_holes_over_several_blocks() {
    let pair = |offset: u64, length: u64| format!("{offset:011o}\0{length:011o}\0");
    let pairs: Vec<String> = (0..30).map(|n| pair(n * 10, 1)).collect();
    let header = Raw::new(b'S', "s", 30).gnu().put(386, pairs[..4].concat());
    let header = header.put(482, "\u{1}").put(483, "00000000454\0");
    let mut more = Archive::new().header(header);
    let first = Raw([0; 512]).put(0, pairs[4..25].concat()).put(504, "\u{1}");
    more.0.extend(first.0);
    more.0.extend(Raw([0; 512]).put(0, pairs[25..].concat()).0);
    let archive = more.data("x".repeat(30)).file("after", "").end();
    let content = r"x\x00\x00\x00\x00\x00\x00\x00\x00\x00".repeat(30);
    reads(archive, &[&format!("file s = {content}"), "file after = "]);
}

#[test]
fn a_hole_as_large_as_a_file_can_be() {
    let records =
        [("GNU.sparse.size", "9223372036854775807"), ("GNU.sparse.map", "9223372036854775806,1")];
    let archive = Archive::new().pax(&records).file("s", "x").file("after", "").end();
    let mut reader = Reader::new(&archive.0[..], Options::LAYER);
    let entry = reader.next_entry().expect("a good archive").expect("an entry");
    assert_eq!(entry.kind.content().map(|content| content.data_size()), Some(1));
    let mut beginning = [1; 100];
    reader.body().read_exact(&mut beginning).expect("zeros");
    assert_eq!(beginning, [0; 100]);
    let after = reader.next_entry().expect("a good archive").expect("an entry");
    assert_eq!((&after.path[..], after.kind.content().is_some()), (&b"after"[..], true));
}

#[test]
fn nothing_comes_after_an_error() {
    let archive = Archive::new().header(Raw::new(b'0', "f", 9)).data("x");
    let mut reader = Reader::new(&archive.0[..520], Options::LAYER);
    let entry = reader.next_entry().expect("a header").expect("an entry");
    assert!(matches!(entry.kind, Kind::File(_)));
    let error = reader.body().read_to_end(&mut Vec::new()).expect_err("too short");
    assert!(matches!(tar_error(error).fault, Fault::Truncated));
    let error = reader.next_entry().expect_err("after an error");
    assert_eq!(error.to_string(), "tar entry 1 \"f\": the archive was refused before");
    assert!(reader.body().piece().is_err());
    assert_eq!(reader.end(), None);
}
