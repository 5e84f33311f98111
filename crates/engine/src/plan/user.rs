//! Whom a container runs as, by what its own files say.
//!
//! Invariant: the files are looked up below the container's root and nowhere else, whatever links are on
//! the way; they are read to a bound. A number needs no entry; a name does.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use dhow_spec::runtime::User;
use dhow_store::RootView;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// More users than anybody has.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Docker's bound, which is the kernel's for most of its interfaces.
const ID_MAX: i64 = (1 << 31) - 1;

/// A user or group that cannot be found.
#[derive(Debug)]
pub enum UserError {
    /// A name without an entry.
    UnknownUser {
        /// The name.
        name: String,
    },
    /// A name without an entry.
    UnknownGroup {
        /// The name.
        name: String,
    },
    /// A number that is none of a user's or group's.
    Range,
    /// The files could not be read.
    Read {
        /// Which.
        path: &'static str,
        /// Why not.
        error: io::Error,
    },
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownUser { name } => {
                write!(f, "unable to find user {name}: no matching entries in passwd file")
            }
            Self::UnknownGroup { name } => {
                write!(f, "unable to find group {name}: no matching entries in group file")
            }
            Self::Range => f.write_str("uids and gids must be in range 0-2147483647"),
            Self::Read { path, error } => write!(f, "{path} of the container: {error}"),
        }
    }
}

impl std::error::Error for UserError {}

/// Finds the user of a text such as `www`, `33`, `www:adm` or `33:4`, and `groups` beside.
///
/// `root` is the container's root directory. Without a group of its own, the text stands for the user's
/// groups by the container's files; with one, for that alone.
pub fn resolve_user(
    root: BorrowedFd<'_>,
    text: &str,
    groups: &[String],
) -> Result<User, UserError> {
    let passwd = read(root, "etc/passwd", "/etc/passwd")?;
    let group = read(root, "etc/group", "/etc/group")?;
    find(text, groups, &passwd, &group)
}

/// The same of a root that is not mounted.
pub fn resolve_user_in(root: &RootView, text: &str, groups: &[String]) -> Result<User, UserError> {
    let bytes_max = usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX);
    let read = |path: &'static str| match root.read(path, bytes_max) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()),
        Err(error) if error.is_loop() => Ok(String::new()),
        Err(error) => Err(UserError::Read { path, error: io::Error::other(error) }),
    };
    find(text, groups, &read("/etc/passwd")?, &read("/etc/group")?)
}

/// The same, by the files' texts.
fn find(text: &str, groups: &[String], passwd: &str, group: &str) -> Result<User, UserError> {
    let (user_word, group_word) = text.split_once(':').unwrap_or((text, ""));
    let number = user_word.parse::<i64>().ok();
    let matches = |entry: &Entry<'_>| match (user_word, number) {
        ("", _) => entry.id == 0,
        (_, Some(number)) => entry.id == number,
        (name, None) => entry.name == name,
    };
    let entry = users(passwd).find(matches);
    let (uid, gid) = match (&entry, number) {
        (Some(entry), _) => (entry.id, entry.group),
        (None, Some(number)) => (number, 0),
        (None, None) if user_word.is_empty() => (0, 0),
        (None, None) => return Err(UserError::UnknownUser { name: user_word.to_owned() }),
    };
    let mut user = User { uid: id(uid)?, gid: id(gid)?, ..User::default() };
    if group_word.is_empty() {
        if let Some(entry) = &entry {
            let member = |group: &Entry<'_>| group.members.split(',').any(|m| m == entry.name);
            let gids: Result<Vec<u32>, UserError> =
                self::groups(group).filter(member).map(|group| id(group.id)).collect();
            user.additional_gids = gids?;
        }
    } else {
        user.gid = find_group(group_word, group)?;
    }
    for word in groups {
        let gid = find_group(word, group)?;
        if !user.additional_gids.contains(&gid) {
            user.additional_gids.push(gid);
        }
    }
    Ok(user)
}

fn find_group(word: &str, file: &str) -> Result<u32, UserError> {
    let number = word.parse::<i64>().ok();
    let matches = |entry: &Entry<'_>| match number {
        Some(number) => entry.id == number,
        None => entry.name == word,
    };
    match (groups(file).find(matches), number) {
        (Some(entry), _) => id(entry.id),
        (None, Some(number)) => id(number),
        (None, None) => Err(UserError::UnknownGroup { name: word.to_owned() }),
    }
}

fn id(number: i64) -> Result<u32, UserError> {
    let good = Some(number).filter(|number| (0..=ID_MAX).contains(number));
    good.and_then(|number| u32::try_from(number).ok()).ok_or(UserError::Range)
}

struct Entry<'a> {
    name: &'a str,
    id: i64,
    group: i64,
    members: &'a str,
}

/// Lines `name:password:uid:gid:…`; a line whose numbers are none is nobody's.
fn users(text: &str) -> impl Iterator<Item = Entry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let id = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Entry { name, id, group, members: "" })
    })
}

/// Lines `name:password:gid:members`.
fn groups(text: &str) -> impl Iterator<Item = Entry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let id = fields.nth(1)?.parse().ok()?;
        Some(Entry { name, id, group: id, members: fields.next().unwrap_or_default() })
    })
}

/// A file below the root as text; empty where there is none.
fn read(root: BorrowedFd<'_>, below: &str, path: &'static str) -> Result<String, UserError> {
    let fault = |error: io::Error| UserError::Read { path, error };
    // What is no file must not keep us waiting.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(root, below, flags, Mode::empty(), resolve) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(String::new()),
        Err(error) => return Err(fault(error.into())),
    };
    let kind = rustix::fs::fstat(&file).map_err(|error| fault(error.into()))?.st_mode;
    if FileType::from_raw_mode(kind) != FileType::RegularFile {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(fault)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        # a comment\nwww:x:33:33::/var/www:/bin/false\n\
        broken:x::12::/:/bin/sh\ntwin:x:33:7::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:www,other\nwww:x:33:\nbig:x:99:twin,www\n";

    fn found(text: &str, groups: &[&str]) -> Result<(u32, u32, Vec<u32>), String> {
        let groups: Vec<String> = groups.iter().copied().map(str::to_owned).collect();
        find(text, &groups, PASSWD, GROUP)
            .map(|user| (user.uid, user.gid, user.additional_gids))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn users_as_docker_finds_them() {
        assert_eq!(found("", &[]), Ok((0, 0, vec![])));
        assert_eq!(found("www", &[]), Ok((33, 33, vec![4, 99])));
        assert_eq!(found("33", &[]), Ok((33, 33, vec![4, 99])));
        assert_eq!(found("twin", &[]), Ok((33, 7, vec![99])));
        assert_eq!(found("www:adm", &[]), Ok((33, 4, vec![])));
        assert_eq!(found("1000", &[]), Ok((1000, 0, vec![])));
        assert_eq!(found("1000:1001", &[]), Ok((1000, 1001, vec![])));
        assert_eq!(found(":adm", &[]), Ok((0, 4, vec![])));
        assert_eq!(found("www", &["adm", "5000"]), Ok((33, 33, vec![4, 99, 5000])));
    }

    #[test]
    fn users_that_are_not_there() {
        let refusal = |text: &str| found(text, &[]).expect_err(text);
        assert_eq!(refusal("me"), "unable to find user me: no matching entries in passwd file");
        assert_eq!(refusal("www:me"), "unable to find group me: no matching entries in group file");
        // A line whose number is missing must not stand for root.
        assert!(refusal("broken").starts_with("unable to find user broken"));
        for text in ["-1", "2147483648", "1:-1"] {
            assert_eq!(refusal(text), "uids and gids must be in range 0-2147483647");
        }
    }

    #[test]
    fn links_stay_below_the_root() {
        let root = crate::plan::tests::scratch("user");
        let etc = root.path().join("etc");
        std::fs::create_dir_all(&etc).expect("a directory");
        std::fs::write(root.path().join("users"), PASSWD).expect("a file");
        std::os::unix::fs::symlink("/users", etc.join("passwd")).expect("a link");
        std::os::unix::fs::symlink("../../../../etc/group", etc.join("group")).expect("a link");
        let directory = File::open(root.path()).expect("the root");
        let user = resolve_user(directory.as_fd(), "www", &[]).expect("a user");
        let view = RootView::of_directory(directory.try_clone().expect("the root").into());
        assert_eq!(resolve_user_in(&view, "www", &[]).expect("a user"), user);
        // The link to the group file leads to itself below this root: there are no groups.
        assert_eq!((user.uid, user.gid, user.additional_gids), (33, 33, vec![]));
        std::fs::remove_file(etc.join("passwd")).expect("removed");
        let user = resolve_user(directory.as_fd(), "7", &[]).expect("a number");
        assert_eq!((user.uid, user.gid), (7, 0));
    }
}
