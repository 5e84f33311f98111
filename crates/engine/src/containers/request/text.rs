//! Values that are written as one text: read by `FromStr`, kept and told as the client wrote them.
//!
//! Invariant: what stands in the database is the client's text, so that inspecting a container gives it
//! back to the byte, and a value read from there went through the same parser again.

/// Lets a type that has `FromStr` and `Display` be stored as its text.
macro_rules! as_text {
    ($($name:ty),+ $(,)?) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, printer: S) -> Result<S::Ok, S::Error> {
                printer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(reader)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

pub(crate) use as_text;

/// Go's `strconv.ParseBool`.
pub(crate) fn go_bool(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Go's `path.Clean` of a path: no empty, `.` or `..` elements that could be left out.
pub(crate) fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut elements: Vec<&str> = Vec::new();
    for element in path.split('/') {
        match element {
            "" | "." => {}
            ".." if elements.last().is_some_and(|last| *last != "..") => {
                elements.pop();
            }
            ".." if rooted => {}
            element => elements.push(element),
        }
    }
    let joined = elements.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Go's `filepath.IsLocal`: relative, not empty, and never above where it starts.
pub(crate) fn is_local_path(path: &str) -> bool {
    if path.is_empty() || path.starts_with('/') {
        return false;
    }
    let clean = clean_path(path);
    clean != ".." && !clean.starts_with("../")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, clean) in [
            ("/a//b/./c/..", "/a/b"),
            ("/../x", "/x"),
            ("", "."),
            ("a/../..", ".."),
            ("../../a", "../../a"),
            ("/", "/"),
        ] {
            assert_eq!(clean_path(path), clean, "{path}");
        }
        assert!(is_local_path("a/../b") && is_local_path("."));
        assert!(!is_local_path("a/../../b") && !is_local_path("/a") && !is_local_path(""));
    }
}
