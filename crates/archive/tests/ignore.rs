//! `.dockerignore` as Docker reads it: verdicts that its own matcher gave, and rules of its
//! documentation.

use dhow_archive::ignore::{PatternFault, Patterns, Seen};

/// What moby's matcher said: patterns, path, verdict.
const VERDICTS: &str = include_str!("data/ignore.tsv");

/// How a file of more than one pattern is written on one line.
const LINE_BREAK: &str = "\u{1f}";

#[test]
fn verdicts_of_docker() {
    let mut count = 0;
    for line in VERDICTS.lines() {
        let [file, path, expected] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("three fields: {line}")
        };
        let seen = match Patterns::parse(file.replace(LINE_BREAK, "\n").as_bytes()) {
            Err(_) => "error",
            Ok(patterns) if patterns.matches(path.as_bytes()) => "yes",
            Ok(_) => "no",
        };
        assert_eq!(seen, expected, "{file:?} on {path:?}");
        count += 1;
    }
    assert!(count > 500);
}

fn ignored(file: &str, paths: &[&str]) -> Vec<bool> {
    let patterns = Patterns::parse(file.as_bytes()).expect(file);
    paths.iter().map(|path| patterns.matches(path.as_bytes())).collect()
}

#[test]
fn rules_of_the_documentation() {
    let check = |file, ignored: &[&str], kept: &[&str]| {
        assert_eq!(self::ignored(file, ignored), vec![true; ignored.len()], "{file:?} ignores");
        assert_eq!(self::ignored(file, kept), vec![false; kept.len()], "{file:?} keeps");
    };
    check("*/temp*", &["d/temporary.txt", "d/temp", "d/temp/x"], &["temp", "d/e/temp"]);
    check("*/*/temp*", &["d/e/temporary.txt"], &["d/temp"]);
    check("temp?", &["tempa", "tempb", "tempa/x"], &["temp", "tempab", "d/tempa"]);
    check("**/*.go", &["a.go", "d/a.go", "d/e/a.go"], &["a.god"]);
    check("*.md\n!README.md", &["a.md"], &["README.md", "d/a.md"]);
    check("*.md\n!README*.md\nREADME-secret.md", &["a.md", "README-secret.md"], &["README-x.md"]);
    check("*.md\nREADME-secret.md\n!README*.md", &["a.md"], &["README-secret.md", "README.md"]);
    check("/foo/bar\nfoo//baz/", &["foo/bar", "foo/baz/x"], &["foo", "x/foo/bar"]);
    check("docs\n!docs/keep", &["docs", "docs/a"], &["docs/keep", "docs/keep/x"]);
    check("# comment\n\n.", &[], &["a"]);
    check("*", &["a", "a/b", ".git"], &[]);
    check("**", &["a", "a/b"], &[]);
    check("a/**", &["a/b", "a/b/c"], &["a", "ab"]);
    check("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/xb"]);
    check("[a-c]x\n[^a-c]y\n\\[z", &["ax", "cx", "zy", "[z"], &["dx", "ay", "z"]);
    check("a\\*b", &["a*b"], &["axb"]);
    check("ä?", &["äö"], &["ä", "äöü"]);
}

#[test]
fn accidents_that_we_do_not_share() {
    assert_eq!(ignored("\\d\n^*", &["d", "5", "^x"]), [true, false, true]);
    assert_eq!(ignored("a/**/b", &["a/line\nbreak/b"]), [true]);
    // An odd line is an error, whether or not something comes by that would show it.
    assert!(Patterns::parse(b"a*[").is_err());
}

#[test]
fn names_that_are_no_text() {
    let patterns = Patterns::new([&b"\xff?"[..], b"*.\xfe"]).expect("patterns");
    for path in [&b"\xff\xfd"[..], b"\xffx", b"x.\xfe"] {
        assert!(patterns.matches(path), "{}", path.escape_ascii());
    }
    assert!(!patterns.matches(b"\xfex"));
}

#[test]
fn patterns_that_are_none() {
    for (file, fault) in [
        ("!", PatternFault::Exception),
        ("[", PatternFault::Syntax),
        ("[]", PatternFault::Syntax),
        ("[a", PatternFault::Syntax),
        ("[a-]", PatternFault::Syntax),
        ("[z-a]", PatternFault::Syntax),
        ("a\\", PatternFault::Syntax),
    ] {
        assert_eq!(Patterns::parse(file.as_bytes()).expect_err(file).fault, fault, "{file}");
    }
    let error = Patterns::parse(b"ok\n a/[b\n").expect_err("open brackets");
    assert_eq!(error.to_string(), "syntax error in pattern: \"a/[b\"");
}

#[test]
fn long_patterns_take_no_longer_than_they_are() {
    let pattern = "a*".repeat(2_000) + "b";
    let patterns = Patterns::new([pattern]).expect("a pattern");
    assert!(!patterns.matches(&b"a".repeat(2_000)));
    let patterns = Patterns::new(["**/a/".repeat(100) + "b"]).expect("a pattern");
    assert!(!patterns.matches("a/".repeat(200).trim_end_matches('/').as_bytes()));
}

/// On the way down, leaving out what [`Patterns::may_except_below`] allows, the same paths remain.
#[test]
fn walking_comes_to_the_same() {
    let names = ["a", "b", "ab", "a.b"];
    let mut paths = Vec::new();
    for one in names {
        paths.push(one.to_owned());
        for two in names {
            paths.push(format!("{one}/{two}"));
            paths.extend(names.map(|three| format!("{one}/{two}/{three}")));
        }
    }
    for line in VERDICTS.lines() {
        let file = line.split('\t').next().expect("patterns").replace(LINE_BREAK, "\n");
        let Ok(patterns) = Patterns::parse(file.as_bytes()) else { continue };
        let kept: Vec<_> =
            paths.iter().filter(|path| !patterns.matches(path.as_bytes())).cloned().collect();
        let mut walked = Vec::new();
        for one in names {
            walk(&patterns, one, &patterns.start(), &names, &mut walked);
        }
        assert_eq!(walked, kept, "{file:?}");
    }
}

fn walk(patterns: &Patterns, path: &str, parent: &Seen, names: &[&str], kept: &mut Vec<String>) {
    let (ignored, seen) = patterns.check(path.as_bytes(), parent);
    if !ignored {
        kept.push(path.to_owned());
    }
    let is_directory = path.split('/').count() < 3;
    if is_directory && (!ignored || patterns.may_except_below(path.as_bytes())) {
        for name in names {
            walk(patterns, &format!("{path}/{name}"), &seen, names, kept);
        }
    }
}
