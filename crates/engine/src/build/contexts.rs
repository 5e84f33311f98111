//! What clients sent for earlier builds, so that the next one need send only what changed.
//!
//! `contexts/KEY.data` has the bytes, `contexts/KEY.list` says which file's they are, and how it is known again.
//! Invariants: a list names only bytes that were written before it; lists do not outlive the machine's uptime, for
//! nothing here is synced; data without a list is nobody's, and is removed by the next engine.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use dhow_builder::{Data, Known};

use crate::error::Error;

/// Most contexts that are kept.
const COUNT_MAX: usize = 32;
/// Most bytes of all that are kept.
const SIZE_BYTES_MAX: u64 = 10 << 30;
/// Bytes that nobody needs any more, beyond those that somebody does, before a context is sent anew.
const WASTE_BYTES_MAX: u64 = 64 << 20;

/// What a client calls a context that it may send again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContextKey(String);

/// All contexts that are kept.
#[derive(Debug)]
pub(crate) struct Contexts {
    root: PathBuf,
    /// Those that a build uses now.
    used: Mutex<HashMap<ContextKey, Weak<Data>>>,
}

/// One of them, as it is told.
pub(super) struct KeptContext {
    pub(super) key: ContextKey,
    pub(super) in_use: bool,
    pub(super) size: u64,
    pub(super) created_ms: i64,
    pub(super) used_ms: i64,
}

impl ContextKey {
    /// 64 digits, as of a digest.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Contexts {
    /// What the last engine kept, unless the machine has booted since.
    pub(crate) fn open(data_root: &Path, rebooted: bool) -> Result<Self, Error> {
        let contexts = Self { root: data_root.join("contexts"), used: Mutex::default() };
        if rebooted {
            crate::containers::task::remove_tree(&contexts.root)?;
        }
        for path in contexts.files()? {
            let is_data = path.extension().is_some_and(|kind| kind == "data");
            let is_list = path.extension().is_some_and(|kind| kind == "list");
            if !(is_list || is_data && path.with_extension("list").exists()) {
                remove(&path)?;
            }
        }
        Ok(contexts)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContextKey, Weak<Data>>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &ContextKey, kind: &str) -> PathBuf {
        self.root.join(format!("{}.{kind}", key.0))
    }

    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        let failed = |error| Error::io("read", &self.root, error);
        match std::fs::read_dir(&self.root) {
            Ok(entries) => {
                entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect::<Result<_, _>>()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(error)),
        }
    }

    /// The bytes of a context, and what of them is known; nothing of one that is new.
    pub(super) fn take(&self, key: &ContextKey) -> Result<(Arc<Data>, Known), Error> {
        let mut used = self.lock();
        used.retain(|_, data| data.strong_count() > 0);
        let known = self.read_list(key);
        if let Some(data) = used.get(key).and_then(Weak::upgrade) {
            return Ok((data, known));
        }
        let path = self.path(key, "data");
        let failed = |error| Error::io("open", &path, error);
        let size = std::fs::metadata(&path).map_or(0, |found| found.len());
        let fresh = known.is_empty() || size > 2 * known.size() + WASTE_BYTES_MAX;
        if fresh {
            self.remove(key)?;
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(&self.root).map_err(failed)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(fresh).mode(0o600).open(&path);
        let data = Arc::new(Data::new(file.map_err(failed)?).map_err(failed)?);
        used.insert(key.clone(), Arc::downgrade(&data));
        Ok((data, if fresh { Known::default() } else { known }))
    }

    /// A list that cannot be read is none: what it told of is sent again.
    fn read_list(&self, key: &ContextKey) -> Known {
        let Ok(file) = File::open(self.path(key, "list")) else { return Known::default() };
        Known::read(&mut BufReader::with_capacity(64 << 10, file)).unwrap_or_default()
    }

    /// Notes what need not be sent the next time, and forgets what is too much.
    pub(super) fn keep(&self, key: &ContextKey, known: &Known) -> Result<(), Error> {
        let (path, new) = (self.path(key, "list"), self.path(key, "new"));
        let failed = |error| Error::io("write", &path, error);
        let _used = self.lock();
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        let mut sink = BufWriter::with_capacity(64 << 10, file.map_err(failed)?);
        known.write(&mut sink).and_then(|()| sink.flush()).map_err(failed)?;
        std::fs::rename(&new, &path).map_err(failed)
    }

    /// Notes that a context was wanted again.
    pub(super) fn note_used(&self, key: &ContextKey) {
        // Only the order in which they are forgotten depends on it.
        let list = File::options().write(true).open(self.path(key, "list"));
        drop(list.and_then(|list| list.set_modified(SystemTime::now())));
    }

    /// Forgets those that were used longest ago, where there is too much of all.
    pub(super) fn limit(&self) -> Result<(), Error> {
        let rows = self.rows()?;
        let mut size: u64 = rows.iter().map(|row| row.size).sum();
        let mut count = rows.len();
        for row in rows.iter().filter(|row| !row.in_use) {
            if count <= COUNT_MAX && size <= SIZE_BYTES_MAX {
                break;
            }
            self.forget(&row.key)?;
            size -= row.size;
            count -= 1;
        }
        Ok(())
    }

    /// All of them, the one that was used longest ago first.
    pub(super) fn rows(&self) -> Result<Vec<KeptContext>, Error> {
        let used = self.lock();
        let mut rows = Vec::new();
        for path in self.files()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some(key) = name.strip_suffix(".list").and_then(ContextKey::parse) else {
                continue;
            };
            let Ok(list) = std::fs::metadata(&path) else { continue };
            let Ok(data) = std::fs::metadata(self.path(&key, "data")) else { continue };
            let in_use = used.get(&key).is_some_and(|data| data.strong_count() > 0);
            let created = data.created().or_else(|_| data.modified());
            let (created_ms, used_ms) = (milliseconds(created), milliseconds(list.modified()));
            rows.push(KeptContext { key, in_use, size: data.len(), created_ms, used_ms });
        }
        rows.sort_by_key(|row| row.used_ms);
        Ok(rows)
    }

    /// Forgets one, unless a build uses it.
    pub(super) fn forget(&self, key: &ContextKey) -> Result<bool, Error> {
        let used = self.lock();
        let in_use = used.get(key).is_some_and(|data| data.strong_count() > 0);
        if !in_use {
            self.remove(key)?;
        }
        Ok(!in_use)
    }

    /// The list goes first: it must name nothing that is not there.
    fn remove(&self, key: &ContextKey) -> Result<(), Error> {
        remove(&self.path(key, "list"))?;
        remove(&self.path(key, "data"))
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

fn milliseconds(time: io::Result<SystemTime>) -> i64 {
    let since = time.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use dhow_archive::listing::{self, Listed, ListedKind, Stamp};
    use dhow_archive::tar::{Content, Entry, Kind, Metadata, Time, Writer};
    use dhow_builder::{Context, Reads};

    use super::*;

    fn told(path: &str, bytes: &[u8]) -> Vec<u8> {
        let changed = Time { seconds: 1, nanoseconds: 0 };
        let stamp = Some(Stamp { device: 1, inode: 1, changed });
        let kind = ListedKind::File { size: bytes.len() as u64, stamp };
        let (path, modified) = (path.as_bytes().to_vec(), Time::default());
        let mut told = Vec::new();
        listing::begin(&mut told).expect("memory");
        listing::write(&mut told, &Listed { path, kind, mode: 0o644, modified }).expect("memory");
        listing::end(&mut told).expect("memory");
        told
    }

    fn tar(path: &str, bytes: &[u8]) -> Vec<u8> {
        let kind = Kind::File(Content::plain(bytes.len() as u64));
        let path = path.as_bytes().to_vec();
        let mut tar = Writer::new(Vec::new());
        let entry = Entry { path, kind, metadata: Metadata::default() };
        tar.append(&entry, bytes).expect("an entry");
        tar.finish().expect("an archive")
    }

    /// Takes a context with one file; gives whether that was known.
    fn send(contexts: &Contexts, key: &ContextKey, path: &str, bytes: &[u8]) -> bool {
        let (data, known) = contexts.take(key).expect("a place");
        let limits = crate::build::CONTEXT_LIMITS;
        let mut context =
            Context::listed(&mut &told(path, bytes)[..], data, &known, limits).expect("a listing");
        let is_known = context.absent(&Reads::All).is_empty();
        if !is_known {
            context.fill(&*tar(path, bytes)).expect("a file");
            contexts.keep(key, &context.known()).expect("kept");
        }
        assert!(!contexts.forget(key).expect("looked at"), "a build has it");
        assert_eq!(context.file(path).expect("read").as_deref(), Some(bytes));
        is_known
    }

    #[test]
    fn what_was_sent_is_known_until_it_is_forgotten_or_the_machine_boots() {
        let root = std::env::temp_dir().join(format!("dhow-contexts-{}", std::process::id()));
        let key = ContextKey::parse(&"0f".repeat(32)).expect("a key");
        let contexts = Contexts::open(&root, false).expect("a place");
        assert!(!send(&contexts, &key, "a", b"one"));
        assert!(send(&contexts, &key, "a", b"one"));
        let other = ContextKey::parse(&"00".repeat(32)).expect("a key");
        assert!(!send(&contexts, &other, "a", b"one"));
        let contexts = Contexts::open(&root, false).expect("the next engine");
        assert!(send(&contexts, &key, "a", b"one"));
        assert!(!send(&contexts, &key, "b", b"two"));
        assert_eq!(contexts.rows().expect("rows").len(), 2);
        assert!(contexts.forget(&other).expect("forgotten"));
        // A list that is torn is none.
        std::fs::write(contexts.path(&key, "list"), b"dhow listing 1\n\x03").expect("a file");
        assert!(!send(&contexts, &key, "b", b"two"));
        std::fs::remove_file(contexts.path(&key, "list")).expect("removed");
        let contexts = Contexts::open(&root, false).expect("the next engine");
        assert!(!contexts.path(&key, "data").exists(), "without a list it is nobody's");
        assert!(!send(&contexts, &key, "b", b"two"));
        let contexts = Contexts::open(&root, true).expect("after a boot");
        assert!(contexts.rows().expect("rows").is_empty());
        assert_eq!(ContextKey::parse("../x"), None);
        std::fs::remove_dir_all(&root).ok();
    }
}
