//! Users and their passwords: a file as Apache's `htpasswd -B` writes it.
//!
//! Invariant: only bcrypt is taken. A wrong name costs as much time as a wrong password, and whoever guesses
//! waits in one line with all others who do. What was right is remembered for a while, as a keyed hash.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ring::hmac;
use tokio::sync::Semaphore;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long a password that was right is believed.
const REMEMBER: Duration = Duration::from_secs(300);
const REMEMBERED_MAX: usize = 1024;
/// A file larger than that is no list of users.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Bcrypt reads no more of a password.
const PASSWORD_BYTES_MAX: usize = 72;
/// What a name that nobody has is compared with.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuFl21EFt0Kc9mXKWaAh1pmkUd.1rTi2W";

/// The users; cloned freely.
#[derive(Clone)]
pub(super) struct Htpasswd {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    /// Comparing takes a core's tenth of a second.
    turns: Arc<Semaphore>,
}

struct State {
    users: HashMap<String, String>,
    modified: Option<SystemTime>,
    looked: Instant,
    key: hmac::Key,
    known: HashMap<Vec<u8>, Instant>,
}

impl Htpasswd {
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let mut key = [0; 32];
        crate::secret::fill(&mut key)?;
        let (users, modified) = read(&path)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let looked = Instant::now();
        let state = State { users, modified, looked, key, known: HashMap::new() };
        Ok(Self { path, state: Arc::new(Mutex::new(state)), turns: Arc::new(Semaphore::new(1)) })
    }

    /// Whether this is that user's password.
    pub(super) async fn verify(&self, user: &str, password: String) -> bool {
        self.look();
        let (hash, proof) = {
            let state = self.state();
            let proof = hmac::sign(&state.key, format!("{user}\0{password}").as_bytes());
            let proof = proof.as_ref().to_vec();
            if state.known.get(&proof).is_some_and(|since| since.elapsed() < REMEMBER) {
                return true;
            }
            (state.users.get(user).cloned(), proof)
        };
        let is_user = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
        // Nobody closes it.
        let Ok(_turn) = self.turns.acquire().await else { return false };
        let compare = move || {
            password.len() <= PASSWORD_BYTES_MAX
                && bcrypt::verify(password.as_bytes(), &hash).unwrap_or(false)
        };
        let right = tokio::task::spawn_blocking(compare).await.unwrap_or(false) && is_user;
        if right {
            let mut state = self.state();
            if state.known.len() >= REMEMBERED_MAX {
                state.known.retain(|_, since| since.elapsed() < REMEMBER);
            }
            if state.known.len() < REMEMBERED_MAX {
                state.known.insert(proof, Instant::now());
            }
        }
        right
    }

    /// Reads the file again if it has changed. One that cannot be read changes nothing.
    fn look(&self) {
        let mut state = self.state();
        if state.looked.elapsed() < LOOK {
            return;
        }
        state.looked = Instant::now();
        let modified = std::fs::metadata(&self.path).and_then(|found| found.modified()).ok();
        if modified != state.modified
            && let Ok((users, modified)) = read(&self.path)
        {
            (state.users, state.modified) = (users, modified);
            state.known.clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &PathBuf) -> io::Result<(HashMap<String, String>, Option<SystemTime>)> {
    let about = |kind, what: &str| io::Error::new(kind, format!("{}: {what}", path.display()));
    let found = std::fs::metadata(path).map_err(|error| about(error.kind(), &error.to_string()))?;
    if found.len() > FILE_BYTES_MAX {
        return Err(about(io::ErrorKind::InvalidData, "too large for a list of users"));
    }
    let text =
        std::fs::read_to_string(path).map_err(|error| about(error.kind(), &error.to_string()))?;
    let users = parse(&text).map_err(|line| {
        about(
            io::ErrorKind::InvalidData,
            &format!("line {line}: not NAME:HASH with a hash by bcrypt"),
        )
    })?;
    Ok((users, found.modified().ok()))
}

/// Gives the number of a line that is wrong.
fn parse(text: &str) -> Result<HashMap<String, String>, usize> {
    let mut users = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (user, hash) = line.split_once(':').ok_or(index + 1)?;
        let is_bcrypt = ["$2a$", "$2b$", "$2y$"].iter().any(|kind| hash.starts_with(kind));
        if user.is_empty() || !is_bcrypt || hash.len() != 60 {
            return Err(index + 1);
        }
        users.insert(user.to_owned(), hash.to_owned());
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bcrypt_is_taken() {
        let good = format!("# users\n\nann:{NOBODY}\n");
        assert_eq!(parse(&good).expect("a list")["ann"], NOBODY);
        for (text, line) in [
            ("ann:{SHA}x", 1),
            ("\nann", 2),
            (":$2y$05$x", 1),
            ("a:$apr1$x$y", 1),
            ("a:$2y$05$x", 1),
        ] {
            assert_eq!(parse(text), Err(line), "{text}");
        }
    }

    #[test]
    fn nobody_is_a_hash_that_takes_its_time() {
        assert!(!bcrypt::verify("x", NOBODY).expect("a hash"));
    }
}
