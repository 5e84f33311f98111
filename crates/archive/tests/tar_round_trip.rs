//! What is written is read again, by us and whatever the entries are; and changed archives never
//! do harm.

mod common;

use std::io::Read;

use dhow_archive::tar::{
    Content, Device, Entry, Extent, Kind, Metadata, Options, Reader, SparseMap, TarError, Time,
    Writer,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn name(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let plain = "[a-z/.]{1,60}".prop_map(String::into_bytes);
    let long = vec(prop_oneof![Just(b'/'), b'a'..=b'c'], 90..max);
    let any = vec(1..=255_u8, 1..40);
    prop_oneof![4 => plain, 2 => long, 2 => any]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    name(400).prop_map(|mut path| {
        path.push(b'x');
        path
    })
}

fn owner() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Vec::new()), "[a-z]{1,40}|é{1,9}".prop_map(String::into_bytes)]
}

fn time() -> impl Strategy<Value = Time> {
    let seconds = prop_oneof![0..2_000_000_000_i64, any::<i64>()];
    let nanoseconds = prop_oneof![Just(0), 0..1_000_000_000_u32];
    (seconds, nanoseconds).prop_map(|(seconds, nanoseconds)| Time { seconds, nanoseconds })
}

fn content() -> impl Strategy<Value = Content> {
    let gaps = vec((0..2000_u64, 1..2000_u64), 0..40);
    let sparse = (gaps, 0..5000_u64).prop_map(|(gaps, rest)| {
        let mut end = 0;
        let mut extents = Vec::new();
        for (hole, length) in gaps {
            extents.push(Extent { offset: end + hole, length });
            end += hole + length;
        }
        let size = end + rest;
        Content { size, map: SparseMap::new(&extents, size) }
    });
    prop_oneof![3 => (0..3000_u64).prop_map(Content::plain), 1 => sparse]
}

fn kind() -> impl Strategy<Value = Kind> {
    let device = (0..4096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| Device { major, minor });
    prop_oneof![
        4 => content().prop_map(Kind::File),
        1 => name(300).prop_map(|target| Kind::HardLink { target }),
        1 => name(300).prop_map(|target| Kind::Symlink { target }),
        1 => Just(Kind::Directory),
        1 => device.clone().prop_map(Kind::CharDevice),
        1 => device.prop_map(Kind::BlockDevice),
        1 => Just(Kind::Fifo),
    ]
}

fn id() -> impl Strategy<Value = u32> {
    prop_oneof![0..2000_u32, 0..u32::MAX]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let optional = || proptest::option::weighted(0.2, time());
    let xattrs = btree_map(vec(1..=255_u8, 1..30), vec(any::<u8>(), 0..50), 0..3);
    let owners = (0..0o10000_u16, id(), id(), owner(), owner());
    (owners, time(), optional(), optional(), xattrs).prop_map(
        |((mode, uid, gid, uname, gname), modified, accessed, changed, xattrs)| Metadata {
            mode,
            uid,
            gid,
            uname,
            gname,
            modified,
            accessed,
            changed,
            xattrs,
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    (path(), kind(), metadata()).prop_map(|(mut path, kind, metadata)| {
        if kind == Kind::Directory {
            path.push(b'/');
        }
        Entry { path, kind, metadata }
    })
}

fn data(seed: u64, size: u64) -> Vec<u8> {
    (0..size).map(|place| (seed.wrapping_mul(31).wrapping_add(place * 7) % 255 + 1) as u8).collect()
}

fn write(entries: &[Entry]) -> Result<Vec<u8>, TarError> {
    let mut writer = Writer::new(Vec::new());
    for (seed, entry) in entries.iter().enumerate() {
        let size = entry.kind.content().map_or(0, Content::data_size);
        writer.append(entry, &data(seed as u64, size)[..])?;
    }
    writer.finish()
}

/// The file that data make, holes filled.
fn expand(content: &Content, data: &[u8]) -> Vec<u8> {
    let Some(map) = &content.map else { return data.to_vec() };
    let mut file = vec![0; content.size as usize];
    let mut data = data;
    for extent in map.extents() {
        let (here, rest) = data.split_at(extent.length as usize);
        file[extent.offset as usize..][..here.len()].copy_from_slice(here);
        data = rest;
    }
    file
}

/// Reads everything; what comes out is bounded by what went in, but for holes.
fn drain(bytes: &[u8]) -> Result<Vec<Entry>, TarError> {
    let mut reader = Reader::new(bytes, Options::LAYER);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let announced = entry.kind.content().map_or(0, Content::data_size);
        let mut data = 0;
        let mut body = reader.body();
        while let Some(piece) = body.piece()? {
            if let dhow_archive::tar::Piece::Data { bytes, .. } = piece {
                data += bytes.len() as u64;
            }
        }
        assert_eq!(data, announced, "{entry:?}");
        entries.push(entry);
    }
    Ok(entries)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn entries_come_back(entries in vec(entry(), 0..6)) {
        let bytes = write(&entries).expect("entries that can be written");
        prop_assert_eq!(&bytes, &write(&entries).expect("again"), "the same bytes");
        prop_assert_eq!(bytes.len() % 512, 0);
        let mut reader = Reader::new(&bytes[..], Options::LAYER);
        for (seed, expected) in entries.iter().enumerate() {
            let entry = reader.next_entry().expect("what we wrote").expect("all of it");
            prop_assert_eq!(&entry, expected);
            let Some(content) = entry.kind.content() else { continue };
            let mut file = Vec::new();
            reader.body().read_to_end(&mut file).expect("its body");
            let written = data(seed as u64, content.data_size());
            prop_assert_eq!(file, expand(content, &written));
        }
        prop_assert!(reader.next_entry().expect("the end").is_none());
    }

    /// Whatever is accepted can be written, and is the same then.
    #[test]
    fn changed_archives_are_refused_or_consistent(
        entries in vec(entry(), 1..4),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        sealed in any::<bool>(),
    ) {
        let mut bytes = write(&entries).expect("entries that can be written");
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
            if sealed {
                seal(&mut bytes[place / 512 * 512..][..512]);
            }
        }
        if let Ok(entries) = drain(&bytes) {
            let again = write(&entries).expect("what was read can be written");
            prop_assert_eq!(drain(&again).expect("and read"), normal(entries));
        }
    }
}

/// Makes a changed block pass for a header again.
fn seal(block: &mut [u8]) {
    if &block[257..262] == b"ustar" {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// As the writer writes directories.
fn normal(mut entries: Vec<Entry>) -> Vec<Entry> {
    for entry in &mut entries {
        if entry.kind == Kind::Directory && !entry.path.ends_with(b"/") {
            entry.path.push(b'/');
        }
    }
    entries
}

#[test]
fn bodies_are_as_long_as_announced() {
    let entry = |size| Entry {
        path: b"f".to_vec(),
        kind: Kind::File(Content::plain(size)),
        metadata: Metadata::default(),
    };
    let mut writer = Writer::new(Vec::new());
    let error = writer.append(&entry(2), &b"abc"[..]).expect_err("too much");
    assert_eq!(error.to_string(), "tar entry 1 \"f\": more data than its size says");
    let mut writer = Writer::new(Vec::new());
    writer.append(&entry(4), &b"abc"[..]).expect("not ended yet");
    let error = writer.begin(&entry(0)).expect_err("too little");
    assert_eq!(error.to_string(), "tar entry 1 \"f\": 1 bytes less than its size says");
}

#[test]
fn what_cannot_be_written() {
    let check = |change: &dyn Fn(&mut Entry), expected: &str| {
        let mut entry = Entry {
            path: b"f".to_vec(),
            kind: Kind::File(Content::plain(0)),
            metadata: Metadata::default(),
        };
        change(&mut entry);
        let error = Writer::new(Vec::new()).begin(&entry).expect_err(expected);
        assert_eq!(error.fault.to_string(), expected);
    };
    check(&|entry| entry.path.clear(), "the path is empty");
    check(&|entry| entry.path.push(0), "the path contains a nul byte");
    check(&|entry| entry.path.push(b'/'), "a file whose name ends in a slash");
    check(&|entry| entry.path = vec![b'x'; 40_000], "the path is longer than 32768");
    check(&|entry| entry.metadata.uid = u32::MAX, "the uid is out of range");
    check(&|entry| entry.metadata.uname.push(0), "the uname contains a nul byte");
    check(&|entry| entry.kind = Kind::File(Content::plain(u64::MAX)), "the size is out of range");
    check(&|entry| entry.kind = Kind::Symlink { target: Vec::new() }, "the link target is empty");
    check(
        &|entry| entry.kind = Kind::BlockDevice(Device { major: 4096, minor: 0 }),
        "the device number is out of range",
    );
    check(
        &|entry| drop(entry.metadata.xattrs.insert(b"user.a".to_vec(), vec![0; 65537])),
        "the extended attribute is longer than 65536",
    );
    check(
        &|entry| {
            for n in 0..20_u8 {
                entry.metadata.xattrs.insert(vec![b'a' + n], vec![0; 65536]);
            }
        },
        "the extended header is longer than 1048576",
    );
}
