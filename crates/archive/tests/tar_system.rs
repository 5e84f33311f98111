//! The system's tar as judge: what it writes we read, what we write it unpacks.

#![expect(clippy::disallowed_methods, reason = "the judge is a program")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use dhow_archive::tar::{
    Content, Entry, Extent, Kind, Metadata, Options, Reader, SparseMap, Time, Writer,
};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

/// A directory of one test, emptied before and after.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const SPARSE_SIZE: u64 = 3 << 20;

/// Files of many kinds below `root`.
fn plant(root: &Path, short_names: bool) {
    let at = |name: &str| root.join(name);
    fs::create_dir(at("dir")).expect("a directory");
    fs::write(at("dir/file"), "hello\n").expect("a file");
    fs::write(at("empty"), "").expect("a file");
    fs::write(at("big"), vec![7; 300_001]).expect("a file");
    fs::hard_link(at("dir/file"), at("hard")).expect("a link");
    symlink("dir/../where ever", at("soft")).expect("a link");
    rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .expect("a pipe");
    fs::set_permissions(at("empty"), fs::Permissions::from_mode(0o4711)).expect("its mode");
    let sparse = fs::File::create(at("sparse")).expect("a file");
    sparse.set_len(SPARSE_SIZE).expect("its size");
    for place in [0, 1 << 20, (2 << 20) + 4096] {
        sparse.write_all_at(&[9; 4096], place).expect("some data");
    }
    if short_names {
        return;
    }
    let deep = at(&format!("{}/{}", "d".repeat(120), "e".repeat(120)));
    fs::create_dir_all(&deep).expect("directories");
    fs::write(deep.join("f".repeat(120)), "deep").expect("a file");
    symlink("t".repeat(200), at("long link")).expect("a link");
    fs::write(root.join(OsStr::from_bytes(b"\xff\xfe bytes")), "").expect("a file");
    fs::write(at("grün"), "").expect("a file");
}

/// What a tree holds, as far as all formats carry it.
type Tree = BTreeMap<String, (Kind, u16, Time, u64)>;

fn text(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

fn hash(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(data);
    hasher.finish()
}

fn tree(root: &Path, whole_seconds: bool) -> Tree {
    let mut tree = Tree::new();
    let mut names = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).expect("its metadata");
        if meta.is_dir() {
            let children = fs::read_dir(&path).expect("a directory");
            let mut children: Vec<_> =
                children.map(|child| child.expect("a child").path()).collect();
            children.sort();
            pending.extend(children.into_iter().rev());
        }
        if path == root {
            continue;
        }
        let name = path.strip_prefix(root).expect("below").as_os_str().as_bytes().to_vec();
        let first = names.entry(meta.ino()).or_insert_with(|| name.clone());
        let mut data = Vec::new();
        let kind = match meta.file_type() {
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_symlink() => Kind::Symlink {
                target: fs::read_link(&path).expect("a link").as_os_str().as_bytes().to_vec(),
            },
            _ if *first != name => Kind::HardLink { target: first.clone() },
            kind if kind.is_file() => {
                data = fs::read(&path).expect("its content");
                Kind::File(Content::plain(meta.len()))
            }
            _ => Kind::Fifo,
        };
        let nanoseconds = if whole_seconds { 0 } else { meta.mtime_nsec() as u32 };
        let time = Time { seconds: meta.mtime(), nanoseconds };
        tree.insert(text(&name), (kind, (meta.mode() & 0o7777) as u16, time, hash(&data)));
    }
    tree
}

/// The same of an archive, with the name that came first for the file of several names.
fn archived(archive: &[u8]) -> Tree {
    let mut tree = Tree::new();
    let mut reader = Reader::new(archive, Options::LAYER);
    while let Some(entry) = reader.next_entry().expect("what tar wrote") {
        let mut data = Vec::new();
        reader.body().read_to_end(&mut data).expect("its body");
        let mut name = entry.path;
        if name.ends_with(b"/") {
            name.pop();
        }
        let kind = match entry.kind {
            Kind::File(content) => Kind::File(Content::plain(content.size)),
            other => other,
        };
        let modified = entry.metadata.modified;
        tree.insert(text(&name), (kind, entry.metadata.mode, modified, hash(&data)));
    }
    tree
}

fn tar(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .env("LC_ALL", "C.UTF-8")
        .current_dir(directory)
        .args(arguments)
        .output()
        .expect("the system's tar");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && complaint.is_empty(), "tar {arguments:?}: {complaint}");
    output.stdout
}

fn pack(root: &Path, options: &[&str]) -> Vec<u8> {
    let mut names: Vec<_> = fs::read_dir(root)
        .expect("a directory")
        .map(|child| child.expect("a child").file_name())
        .collect();
    names.sort();
    let list: Vec<u8> = names.iter().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect();
    let files = root.with_extension("files");
    fs::write(&files, list).expect("the list");
    let files = files.to_str().expect("a name of ours");
    let fixed = ["--sort=name", "-cf", "-", "--null", "--verbatim-files-from", "-T", files];
    let packed = tar(root, &[options, &fixed].concat());
    fs::remove_file(files).expect("the list");
    packed
}

#[test]
fn reads_every_format_that_tar_writes() {
    let scratch = Scratch::new("tar-reads");
    let (short, all) = (scratch.0.join("short"), scratch.0.join("all"));
    for (root, short_names) in [(&short, true), (&all, false)] {
        fs::create_dir(root).expect("a directory");
        plant(root, short_names);
    }
    let cases: [(&Path, &[&str], bool); 9] = [
        (&short, &["--format=ustar"], true),
        (&all, &["--format=oldgnu"], true),
        (&all, &["--format=gnu"], true),
        (&all, &["--format=gnu", "--sparse"], true),
        (&all, &["--format=posix"], false),
        (&all, &["--format=posix", "--sparse", "--sparse-version=0.0"], false),
        (&all, &["--format=posix", "--sparse", "--sparse-version=0.1"], false),
        (&all, &["--format=posix", "--sparse", "--sparse-version=1.0"], false),
        (&all, &["--format=posix", "--pax-option=delete=atime,delete=ctime"], false),
    ];
    for (root, options, whole_seconds) in cases {
        assert_eq!(archived(&pack(root, options)), tree(root, whole_seconds), "{options:?}");
    }
    // The oldest format knows no pipes.
    fs::remove_file(short.join("pipe")).expect("a pipe");
    assert_eq!(archived(&pack(&short, &["--format=v7"])), tree(&short, true));
}

#[test]
fn sees_the_holes_that_tar_saw() {
    let scratch = Scratch::new("tar-holes");
    let root = scratch.0.join("root");
    fs::create_dir(&root).expect("a directory");
    let file = fs::File::create(root.join("sparse")).expect("a file");
    file.set_len(1 << 40).expect("its size");
    for place in 0..60 {
        file.write_all_at(&[9; 4096], place << 20).expect("some data");
    }
    for options in
        ["--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"]
    {
        let format = if options.starts_with("--sparse") { "--format=posix" } else { options };
        let archive = pack(&root, &[format, "--sparse", options]);
        let mut reader = Reader::new(&archive[..], Options::LAYER);
        let entry = reader.next_entry().expect("what tar wrote").expect("the file");
        let content = entry.kind.content().expect("a file");
        let map = content.map.as_ref().expect("a map");
        assert_eq!((content.size, map.extents().len(), map.data_size()), (1 << 40, 60, 60 * 4096));
        assert!(reader.next_entry().expect("what tar wrote").is_none(), "{options}");
    }
}

/// Attributes as a user may set them; none where the file system has none.
fn attributes(scratch: &Scratch) -> Vec<(&'static str, &'static [u8])> {
    let probe = scratch.0.join("probe");
    fs::write(&probe, "").expect("a file");
    match rustix::fs::setxattr(&probe, "user.probe", b"", XattrFlags::empty()) {
        Ok(()) => vec![("user.dhow", b"a\0b\n=c"), ("user.empty", b"")],
        Err(_) => Vec::new(),
    }
}

#[test]
fn tar_reads_what_we_write() {
    let scratch = Scratch::new("tar-writes");
    let attributes = attributes(&scratch);
    let owner = fs::metadata(&scratch.0).expect("our directory");
    let metadata = Metadata {
        mode: 0o640,
        uid: owner.uid(),
        gid: owner.gid(),
        modified: Time { seconds: 1_700_000_000, nanoseconds: 123_456_789 },
        ..Metadata::default()
    };
    let xattrs = attributes.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()));
    let attributed = Metadata { xattrs: xattrs.collect(), ..metadata.clone() };

    let deep = [&b"d".repeat(150)[..], b"/", &b"e".repeat(150), b"/"].concat();
    let extents: Vec<_> = (0..70).map(|n| Extent { offset: n << 16, length: 4096 }).collect();
    let map = SparseMap::new(&extents, 8 << 20);
    let sparse = Kind::File(Content { size: 8 << 20, map });
    let plain = |text: &str| Kind::File(Content::plain(text.len() as u64));
    let hard = |target: &[u8]| Kind::HardLink { target: target.to_vec() };
    let soft = |target: &[u8]| Kind::Symlink { target: target.to_vec() };
    let in_deep = |name: &[u8]| [&deep[..], name].concat();
    let entries: Vec<(Vec<u8>, Kind, &Metadata, Vec<u8>)> = vec![
        (b"file".to_vec(), plain("hello"), &attributed, b"hello".to_vec()),
        (b"b\xff\xfe".to_vec(), plain(""), &metadata, vec![]),
        ("grün".into(), plain("x"), &metadata, b"x".to_vec()),
        (b"hard".to_vec(), hard(b"file"), &metadata, vec![]),
        (b"soft".to_vec(), soft(&b"t".repeat(300)), &metadata, vec![]),
        (in_deep(b"f"), plain("deep"), &metadata, b"deep".to_vec()),
        (in_deep(b"hard"), hard(&in_deep(b"f")), &metadata, vec![]),
        (b"pipe".to_vec(), Kind::Fifo, &metadata, vec![]),
        (b"sparse".to_vec(), sparse, &metadata, vec![5; 70 * 4096]),
        (deep.clone(), Kind::Directory, &metadata, vec![]),
        (b"z/".to_vec(), Kind::Directory, &metadata, vec![]),
    ];
    let mut writer = Writer::new(Vec::new());
    for (path, kind, metadata, data) in &entries {
        let entry =
            Entry { path: path.clone(), kind: kind.clone(), metadata: Metadata::clone(metadata) };
        writer.append(&entry, &data[..]).expect("an entry");
    }
    let archive = writer.finish().expect("an archive");
    fs::write(scratch.0.join("archive.tar"), &archive).expect("the archive");
    let out = scratch.0.join("out");
    fs::create_dir(&out).expect("a directory");
    let complaint = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "-xpf", "../archive.tar"])
        .current_dir(&out)
        .output()
        .expect("the system's tar");
    assert!(complaint.status.success(), "{complaint:?}");
    // The charset of a name that is no text is all that it does not know.
    let complaint = String::from_utf8_lossy(&complaint.stderr).into_owned();
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(complaint.contains("hdrcharset"), "{complaint}");

    let mut expected = archived(&archive);
    let mut seen = tree(&out, false);
    // Nobody said anything about the parent of a directory, or of a link.
    seen.remove(&"d".repeat(150)).expect("made on the way");
    expected.get_mut("soft").expect("the link").1 = 0o777;
    assert_eq!(seen, expected);
    let file = fs::metadata(out.join("sparse")).expect("the file");
    assert!(file.blocks() * 512 < 2 * 70 * 4096, "unpacked with its holes");
    for (name, value) in &attributes {
        let mut buffer = [0; 64];
        let length = rustix::fs::getxattr(out.join("file"), *name, &mut buffer).expect("set");
        assert_eq!(buffer[..length], **value);
    }
}
