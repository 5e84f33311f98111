//! A snapshot's files, as the builder reads them.

use std::fs::File;
use std::io::{self, Read};

use dhow_builder::{FileInfo, FileKind, Files, FilesError};
use dhow_store::{RootEntry, RootView, TreeError};
use rustix::fs::FileType;

/// The files of a root; of nothing where there are no layers.
pub(super) struct RootFiles(pub(super) Option<RootView>);

fn failed(path: &[u8]) -> impl Fn(TreeError) -> FilesError {
    let path = path.to_vec();
    move |error| FilesError::Io { path: path.clone(), error: io::Error::other(error) }
}

impl Files for RootFiles {
    fn look(&self, path: &[u8]) -> Result<Option<FileInfo>, FilesError> {
        let Some(root) = &self.0 else { return Ok(None) };
        let Some(entry) = root.look(path).map_err(failed(path))? else { return Ok(None) };
        let RootEntry { kind, size, metadata, target, device } = entry;
        let kind = match kind {
            FileType::Directory => FileKind::Directory,
            FileType::RegularFile => FileKind::File(size),
            FileType::Symlink => FileKind::Symlink(target),
            FileType::CharacterDevice => FileKind::CharDevice(device),
            FileType::BlockDevice => FileKind::BlockDevice(device),
            FileType::Fifo => FileKind::Fifo,
            _ => FileKind::Other,
        };
        Ok(Some(FileInfo { kind, metadata, digest: None }))
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, FilesError> {
        match &self.0 {
            Some(root) => root.names(path).map_err(failed(path)),
            None => Ok(Vec::new()),
        }
    }

    fn open(&self, path: &[u8]) -> Result<Box<dyn Read + '_>, FilesError> {
        let file = match &self.0 {
            Some(root) => root.open_file(path).map_err(failed(path))?,
            None => None,
        };
        match file {
            Some(file) => Ok(Box::new(File::from(file))),
            None => {
                Err(FilesError::Io { path: path.to_vec(), error: io::ErrorKind::NotFound.into() })
            }
        }
    }
}
