//! Small turns between text and what the kernel takes.

use std::ffi::{CStr, CString};
use std::fmt;

use dhow_sys::Errno;

/// An errno in the C library's words, as the end of a sentence: no capital, no number.
pub(crate) struct ErrnoWords(pub(crate) Errno);

impl fmt::Display for ErrnoWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0.raw_os_error()).to_string();
        let words = text.split(" (os error").next().unwrap_or(&text);
        let mut letters = words.chars();
        match letters.next() {
            Some(first) => write!(f, "{}{}", first.to_lowercase(), letters.as_str()),
            None => Ok(()),
        }
    }
}

/// For messages: bytes that are not UTF-8 are shown as replacements.
pub(crate) fn lossy(text: &CStr) -> String {
    text.to_string_lossy().into_owned()
}

/// `text` with its NUL; a NUL inside cannot come from a parsed document's path that the kernel could
/// ever have meant, so the text is cut there.
pub(crate) fn c_string(text: impl Into<Vec<u8>>) -> CString {
    let mut bytes = text.into();
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    CString::new(bytes).unwrap_or_default()
}

/// `path` without `.`, `..` and doubled slashes, relative to the root: what an absolute path means before
/// any symlink is looked at. Empty for the root itself.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_like_go_does() {
        for (path, cleaned) in [
            ("/", ""),
            ("/proc", "proc"),
            ("//a/./b//c/", "a/b/c"),
            ("/a/../../b", "b"),
            ("a/b", "a/b"),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    #[test]
    fn an_errno_ends_a_sentence() {
        assert_eq!(ErrnoWords(Errno::NOENT).to_string(), "no such file or directory");
        assert_eq!(ErrnoWords(Errno::LOOP).to_string(), "too many levels of symbolic links");
    }

    #[test]
    fn text_is_cut_at_a_nul() {
        assert_eq!(c_string("a\0b").as_c_str(), c"a");
    }
}
