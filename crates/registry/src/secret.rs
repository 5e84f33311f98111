//! The registry's own secret, and what is made of random bytes.
//!
//! Invariant: the secret is readable by the owner of the root alone, and is whole or not there.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};

const BYTES: usize = 32;

/// Fills the buffer with random bytes.
pub(crate) fn fill(buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        filled += getrandom(&mut buffer[filled..], GetRandomFlags::empty())?;
    }
    Ok(())
}

/// The secret below a root; made the first time.
pub(crate) fn load(root: &Path) -> io::Result<[u8; BYTES]> {
    let path = root.join("registry.secret");
    let mut secret = [0; BYTES];
    match File::open(&path) {
        Ok(mut file) => return file.read_exact(&mut secret).map(|()| secret),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fill(&mut secret)?;
    let part = root.join("registry.secret.part");
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    std::fs::rename(&part, &path)?;
    File::open(root)?.sync_all()?;
    Ok(secret)
}

/// Bytes as digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Digits as bytes; `None` for anything else.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| {
        pairs
            .iter()
            .map(|pair| {
                let pair = std::str::from_utf8(pair).ok()?;
                u8::from_str_radix(pair, 16).ok()
            })
            .collect()
    })?
}

/// A name that nobody has and nobody guesses.
pub(crate) fn random_name() -> io::Result<String> {
    let mut random = [0; 16];
    fill(&mut random)?;
    Ok(hex(&random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_back() {
        assert_eq!(unhex(&hex(&[0, 0xab, 0xff])), Some(vec![0, 0xab, 0xff]));
        for wrong in ["a", "zz", "+1", "é"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
        assert_ne!(random_name().expect("randomness"), random_name().expect("randomness"));
    }
}
