//! Archives made by hand, byte by byte, and a reader that tells what it saw as text.

#![allow(dead_code, reason = "each suite takes what it needs")]

use std::io::{self, Read};

use dhow_archive::tar::{Entry, Kind, Options, Reader, TarError};

pub(crate) const BLOCK: usize = 512;

/// A header block in the making; fields are written over by place.
#[derive(Clone)]
pub(crate) struct Raw(pub(crate) [u8; BLOCK]);

impl Raw {
    pub(crate) fn new(flag: u8, path: &str, size: u64) -> Self {
        let mut raw = Self([0; BLOCK]);
        raw = raw.put(0, path).put(100, "0000644\0").put(108, "0000000\0").put(116, "0000000\0");
        raw = raw.put(124, format!("{size:011o}\0")).put(136, "00000000000\0");
        raw.0[156] = flag;
        raw.put(257, "ustar\x0000").put(329, "0000000\0").put(337, "0000000\0")
    }

    pub(crate) fn gnu(self) -> Self {
        self.put(257, "ustar  \0")
    }

    pub(crate) fn link(self, target: &str) -> Self {
        self.put(157, target)
    }

    pub(crate) fn put(mut self, place: usize, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.0[place..place + text.len()].copy_from_slice(text);
        self
    }

    fn sealed(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.put(148, format!("{sum:06o}\0 ")).0
    }
}

/// An archive in the making.
#[derive(Clone, Default)]
pub(crate) struct Archive(pub(crate) Vec<u8>);

impl Archive {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn header(mut self, raw: Raw) -> Self {
        self.0.extend(raw.sealed());
        self
    }

    /// A body, filled up to whole blocks.
    pub(crate) fn data(mut self, data: impl AsRef<[u8]>) -> Self {
        self.0.extend(data.as_ref());
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub(crate) fn file(self, path: &str, data: &str) -> Self {
        self.header(Raw::new(b'0', path, data.len() as u64)).data(data)
    }

    /// An extended header of the given type with these records.
    pub(crate) fn records(self, flag: u8, records: &[(&str, &str)]) -> Self {
        let body: Vec<u8> =
            records.iter().flat_map(|(keyword, value)| record(keyword, value)).collect();
        self.header(Raw::new(flag, "PaxHeaders/x", body.len() as u64)).data(body)
    }

    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        self.records(b'x', records)
    }

    /// A GNU long name (`L`) or long link (`K`).
    pub(crate) fn long(self, flag: u8, text: &str) -> Self {
        let text = format!("{text}\0");
        self.header(Raw::new(flag, "././@LongLink", text.len() as u64).gnu()).data(text)
    }

    pub(crate) fn zeros(mut self, blocks: usize) -> Self {
        self.0.resize(self.0.len() + blocks * BLOCK, 0);
        self
    }

    pub(crate) fn end(self) -> Self {
        self.zeros(2)
    }
}

pub(crate) fn record(keyword: &str, value: &str) -> Vec<u8> {
    let payload = keyword.len() + value.len() + 3;
    let length = (payload..).find(|length| payload + length.to_string().len() == *length);
    format!("{} {keyword}={value}\n", length.expect("some length")).into_bytes()
}

/// Every entry as one line, its content behind it.
pub(crate) fn list(bytes: &[u8], options: Options) -> Result<Vec<String>, TarError> {
    let mut lines = Vec::new();
    let mut reader = Reader::new(bytes, options);
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        reader.body().read_to_end(&mut content).map_err(tar_error)?;
        lines.push(line(&entry, &content));
    }
    Ok(lines)
}

/// What the reader said, out of the error of its body.
pub(crate) fn tar_error(error: io::Error) -> TarError {
    error.downcast().expect("an error of the reader")
}

fn line(entry: &Entry, content: &[u8]) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let path = text(&entry.path);
    match &entry.kind {
        Kind::File(_) => format!("file {path} = {}", text(content)),
        Kind::HardLink { target } => format!("hard link {path} -> {}", text(target)),
        Kind::Symlink { target } => format!("symlink {path} -> {}", text(target)),
        Kind::Directory => format!("directory {path}"),
        Kind::CharDevice(device) => format!("char {path} {}:{}", device.major, device.minor),
        Kind::BlockDevice(device) => format!("block {path} {}:{}", device.major, device.minor),
        Kind::Fifo => format!("fifo {path}"),
    }
}
