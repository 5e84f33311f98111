//! The lines of a `.dockerignore`, and Go's way to clean a path.

/// The patterns of a file, one a line, as they are to be compiled.
pub(super) fn lines(file: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let is_comment = |line: &&[u8]| line.first() == Some(&b'#');
    text.split(|byte| *byte == b'\n')
        .filter(move |line| !is_comment(line))
        .map(trim)
        .filter(|line| !line.is_empty())
        .map(normal)
}

/// A path of the context whether it was written from its root or not.
fn normal(line: &[u8]) -> Vec<u8> {
    let (mark, pattern) = match line {
        [b'!', pattern @ ..] => (&b"!"[..], trim(pattern)),
        pattern => (&b""[..], pattern),
    };
    if pattern.is_empty() {
        return mark.to_vec();
    }
    let cleaned = clean(pattern);
    let relative = match &cleaned[..] {
        [b'/', rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    [mark, relative].concat()
}

/// Without the white space at both ends, as Unicode knows it.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    match str::from_utf8(bytes) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => bytes.trim_ascii(),
    }
}

/// The shortest path that says the same, by its text alone.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if kept.last().is_some_and(|last| *last != b"..") => drop(kept.pop()),
            b".." if rooted => {}
            _ => kept.push(component),
        }
    }
    let joined = kept.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", &joined[..]].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_docker_reads_them() {
        let file =
            b"\xef\xbb\xbf/abs\n  a/../b/ \r\n# comment\n  # none\n\n! /x//y \n!\n/\n./\n\t!a b\n#";
        let seen: Vec<_> = lines(file).map(|line| line.escape_ascii().to_string()).collect();
        assert_eq!(seen, ["abs", "b", "# none", "!x/y", "!", "/", ".", "!a b"]);
    }

    #[test]
    fn cleaned_as_go_cleans() {
        let cases = [
            ("", "."),
            ("/", "/"),
            ("a/b", "a/b"),
            ("a//b/", "a/b"),
            ("./a/./b", "a/b"),
            ("a/..", "."),
            ("../a", "../a"),
            ("../../a/..", "../.."),
            ("/../a", "/a"),
            ("a/../../b", "../b"),
            ("**/", "**"),
            ("/..", "/"),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }
}
