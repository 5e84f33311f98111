//! Layers: an archive has one reading, and that reading can be written down and is read again.

use std::io::Read;

use dhow_archive::layer::{Item, LayerPath};
use dhow_archive::tar::{Entry, Kind, Options, Reader, Writer};

const BLOCK: usize = 512;
/// Larger files, holes included, are read but not written again.
const WRITTEN_BYTES_MAX: u64 = 1 << 16;

/// Reads an archive as a layer and as an archive of people; what a layer says never leads out of it, and what
/// was read is written and read again.
pub fn tar(data: &[u8]) {
    holds(data);
    // Without this, a change of a header would hardly ever be more than a wrong checksum.
    let mut sealed = data.to_vec();
    for block in sealed.chunks_exact_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
        seal(block);
    }
    if sealed != data {
        holds(&sealed);
    }
}

/// Gives a header the checksum that it should have.
fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn holds(data: &[u8]) {
    let mut general = Reader::new(data, Options::GENERAL);
    while let Ok(Some(_)) = general.next_entry() {}
    let Some(read) = read(data) else { return };
    // Whoever reads a layer in the strict way sees what the lenient one does.
    assert!(general.end().is_some(), "a layer that is no archive");
    for (entry, _) in &read {
        meaning(entry.clone());
    }
    let small = |(entry, _): &(Entry, _)| match &entry.kind {
        Kind::File(content) => content.size <= WRITTEN_BYTES_MAX,
        _ => true,
    };
    if !read.iter().all(small) {
        return;
    }
    let mut writer = Writer::new(Vec::new());
    for (entry, body) in &read {
        let mut body = &body[..];
        writer.append(entry, &mut body).unwrap_or_else(|error| panic!("not written: {error}"));
    }
    let written = writer.finish().unwrap_or_else(|error| panic!("not written: {error}"));
    let again = self::read(&written).unwrap_or_else(|| panic!("not read again"));
    let read: Vec<_> = read.into_iter().map(|(entry, body)| (as_written(entry), body)).collect();
    assert_eq!(read, again);
}

/// Directories are written with a slash at their end.
fn as_written(mut entry: Entry) -> Entry {
    if entry.kind == Kind::Directory && !entry.path.ends_with(b"/") {
        entry.path.push(b'/');
    }
    entry
}

/// All entries, with the data that lies between a file's holes; `None` if any is refused.
fn read(data: &[u8]) -> Option<Vec<(Entry, Vec<u8>)>> {
    let mut reader = Reader::new(data, Options::LAYER);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().ok()? {
        let mut stored = Vec::new();
        let mut body = reader.body();
        while let Some(piece) = body.piece().ok()? {
            if let dhow_archive::tar::Piece::Data { bytes, .. } = piece {
                stored.extend_from_slice(bytes);
            }
        }
        assert!(stored.len() <= data.len(), "more data than there is");
        assert_eq!(reader.body().read(&mut [0]).ok()?, 0);
        entries.push((entry, stored));
    }
    Some(entries)
}

/// What an entry means in a layer stays inside, and says the same when it is written.
fn meaning(entry: Entry) {
    let Ok(Item::Change(change)) = Item::of(entry) else { return };
    inside(change.path());
    let Ok(entry) = change.clone().into_entry() else { return };
    match Item::of(entry) {
        Ok(Item::Change(again)) => assert_eq!(change, again),
        other => panic!("{other:?} in place of {change:?}"),
    }
}

fn inside(path: &LayerPath) {
    for component in path.components() {
        assert!(!matches!(component, b"" | b"." | b".."), "{path:?}");
        assert!(!component.contains(&b'/') && !component.contains(&0), "{path:?}");
    }
}
