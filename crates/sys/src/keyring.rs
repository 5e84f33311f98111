//! Kernel keyrings: one of a container's own.
//!
//! Without it a container shares its starter's session keyring and can read what lies there. Both
//! calls may run between clone and exec: they neither allocate nor lock. Where the kernel has no
//! keyrings they fail with `ENOSYS`.

use crate::process::check;
use rustix::io::Errno;
use std::ffi::CStr;

/// A key's or keyring's serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySerial(libc::c_int);

/// Makes a session keyring called `name`, or joins the one of that name that the caller may search,
/// and lets go of the one before. It survives exec.
pub fn join_session_keyring(name: &CStr) -> Result<KeySerial, Errno> {
    // SAFETY: the kernel reads a NUL-terminated string, which `name` is.
    let serial = check(unsafe {
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr())
    })?;
    match serial {
        // It was the session keyring before.
        0 => session_keyring(),
        _ => Ok(KeySerial(serial as libc::c_int)),
    }
}

fn session_keyring() -> Result<KeySerial, Errno> {
    let which = libc::KEY_SPEC_SESSION_KEYRING;
    // SAFETY: numbers only; no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_GET_KEYRING_ID, which, 0) })
        .map(|serial| KeySerial(serial as libc::c_int))
}

/// Adds `bits` to a key's permissions: a byte each for possessor, user, group and others, from the
/// top; in each, 8 is "may search".
pub fn allow_key(key: KeySerial, bits: u32) -> Result<(), Errno> {
    let mask = permissions(key)? | bits;
    // SAFETY: two numbers; no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, key.0, mask) }).map(drop)
}

fn permissions(key: KeySerial) -> Result<u32, Errno> {
    // "keyring;<uid>;<gid>;<permissions>;<name>", and the name is cut without harm.
    let mut text = [0_u8; 128];
    // SAFETY: the kernel writes at most the given length into the buffer, which has that length,
    // and answers with the length that it would have liked.
    check(unsafe {
        let (into, room) = (text.as_mut_ptr(), text.len());
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_DESCRIBE, key.0, into, room)
    })?;
    let hex = text.split(|byte| *byte == b';').nth(3).and_then(|field| str::from_utf8(field).ok());
    hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).ok_or(Errno::PROTO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_keyring_is_joined_and_opened() {
        // The session keyring belongs to a thread's credentials, so this one takes it to its end.
        let joined = std::thread::spawn(|| {
            let key = join_session_keyring(c"_ses.dhow-test")?;
            let before = permissions(key)?;
            allow_key(key, 0x08_0000)?;
            assert_eq!(permissions(key)?, before | 0x08_0000);
            assert_eq!(join_session_keyring(c"_ses.dhow-test")?, key);
            Ok(())
        });
        match joined.join().unwrap() {
            Ok(()) | Err(Errno::NOSYS) => {}
            Err(errno) => panic!("{errno}"),
        }
    }
}
