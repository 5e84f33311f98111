//! Paths as `cp` reads them: what stands behind the last slash matters.
//!
//! Invariant: text in, text out; no file is looked at.

/// A path's directory and last name; `/.` at the end makes the name `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) directory: String,
    pub(crate) name: String,
}

/// `a//b/../c/` is `a/c`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
        match (name, kept.last()) {
            ("..", Some(last)) if *last != ".." => drop(kept.pop()),
            ("..", None) if rooted => {}
            _ => kept.push(name),
        }
    }
    let joined = kept.join("/");
    match (rooted, joined.as_str()) {
        (true, _) => format!("/{joined}"),
        (false, "") => ".".to_owned(),
        (false, _) => joined,
    }
}

/// Splits a path into directory and name.
pub(crate) fn split(path: &str) -> Entry {
    let cleaned = clean(path);
    if path == "." || path.ends_with("/.") {
        return Entry { directory: cleaned, name: ".".to_owned() };
    }
    if cleaned == "/" {
        return Entry { directory: "/".to_owned(), name: "/".to_owned() };
    }
    match cleaned.rsplit_once('/') {
        Some(("", name)) => Entry { directory: "/".to_owned(), name: name.to_owned() },
        Some((directory, name)) => Entry { directory: directory.to_owned(), name: name.to_owned() },
        None => Entry { directory: ".".to_owned(), name: cleaned },
    }
}

/// Whether a path says that it means a directory.
pub(crate) fn is_asserted_directory(path: &str) -> bool {
    path.ends_with('/') || path == "." || path.ends_with("/.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_behind_the_last_slash() {
        let check = |path: &str, directory: &str, name: &str| {
            let entry = split(path);
            assert_eq!(
                (entry.directory.as_str(), entry.name.as_str()),
                (directory, name),
                "{path}"
            );
        };
        check("/a/b", "/a", "b");
        check("/a/b/", "/a", "b");
        check("/a/b/.", "/a/b", ".");
        check("a", ".", "a");
        check("/", "/", "/");
        check("/a/../b", "/", "b");
        check(".", ".", ".");
        assert_eq!(clean("../a/../../b"), "../../b");
        assert!(is_asserted_directory("a/") && !is_asserted_directory("a"));
    }
}
