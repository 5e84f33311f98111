//! The initial RAM file system: an archive in cpio's "newc" format, made in memory.
//!
//! Folders and regular files are all that it needs; links, devices and owners are absent.

use std::fs;
use std::io;
use std::path::Path;

const TRAILER: &str = "TRAILER!!!";

/// An archive under construction.
#[derive(Debug, Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    count: u32,
}

impl Initramfs {
    /// Adds a folder.
    pub(crate) fn add_dir(&mut self, name: &str) {
        self.add(name, 0o040_755, &[]);
    }

    /// Adds an executable file.
    pub(crate) fn add_program(&mut self, name: &str, contents: &[u8]) {
        self.add(name, 0o100_755, contents);
    }

    /// Ends the archive and writes it.
    pub(crate) fn write(mut self, at: &Path) -> io::Result<()> {
        self.add(TRAILER, 0, &[]);
        fs::write(at, self.bytes)
    }

    fn add(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.count += 1;
        let fields = [
            self.count,
            mode,
            0, // uid
            0, // gid
            1, // links
            0, // modification time
            contents.len() as u32,
            0, // device, major and minor
            0,
            0, // device that the file is, major and minor
            0,
            name.len() as u32 + 1,
            0, // checksum, unused in this format
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_ended() {
        let mut archive = Initramfs::default();
        archive.add_dir("bin");
        archive.add_program("init", b"#!/bin/sh\n");
        let path = std::env::temp_dir().join(format!("initramfs-{}", std::process::id()));
        archive.write(&path).expect("temporary folder is writable");
        let bytes = fs::read(&path).expect("was written");
        fs::remove_file(&path).expect("was written");
        assert_eq!(bytes.len() % 4, 0);
        // magic, inode 1, a folder with 0755
        assert!(bytes.starts_with(b"07070100000001000041ed"));
        assert_eq!(bytes.windows(6).filter(|w| w == b"070701").count(), 3);
        assert!(bytes.windows(TRAILER.len()).any(|w| w == TRAILER.as_bytes()));
    }
}
