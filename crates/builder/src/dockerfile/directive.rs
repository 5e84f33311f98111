//! What the comments at the very beginning of a file decide: `syntax`, `escape`, `check`.
//!
//! Invariant: the first line that is no directive ends them; after it, they are comments.

use super::error::{ParseError, ParseFault};

/// What the directives say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// The front end that is asked for, if one is.
    pub syntax: Option<String>,
    /// The character that continues lines and takes the meaning from others.
    pub escape: char,
    /// What is said of lint rules.
    pub check: Check,
}

/// Which lint rules are left out, and whether one that is broken ends the build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Names of rules; `all` for all.
    pub skip: Vec<String>,
    /// Names of rules that hold only where they are asked for.
    pub experimental: Vec<String>,
    /// Whether a warning is an error.
    pub error: bool,
}

impl Directives {
    /// Reads them from the beginning of a file.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut found = Self { syntax: None, escape: '\\', check: Check::default() };
        let (mut escape, mut check) = (false, false);
        for (number, line) in text.lines().enumerate() {
            let Some((name, value)) = directive(line) else { break };
            let error = |fault| ParseError::new(number + 1, fault);
            let twice = |name: &str| error(ParseFault::DirectiveTwice { name: name.to_owned() });
            match name.as_str() {
                "syntax" if found.syntax.is_some() => return Err(twice("syntax")),
                "syntax" => found.syntax = Some(value.to_owned()),
                "escape" if std::mem::replace(&mut escape, true) => return Err(twice("escape")),
                "escape" => {
                    found.escape = match value {
                        "\\" => '\\',
                        "`" => '`',
                        other => {
                            return Err(error(ParseFault::Escape { found: other.to_owned() }));
                        }
                    }
                }
                "check" if std::mem::replace(&mut check, true) => return Err(twice("check")),
                "check" => found.check = Check::parse(value),
                _ => break,
            }
        }
        Ok(found)
    }

    /// Whether the front end that is asked for is the one that is built in: any `docker/dockerfile`.
    pub fn check_syntax(&self) -> Result<(), ParseError> {
        let Some(image) = &self.syntax else { return Ok(()) };
        let name = image.split(['@', ' ']).next().unwrap_or_default();
        let name = match name.rfind(':') {
            Some(at) if !name[at..].contains('/') => &name[..at],
            _ => name,
        };
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        match name {
            "docker/dockerfile" | "docker/dockerfile-upstream" => Ok(()),
            _ => Err(ParseError::new(1, ParseFault::Syntax { image: image.clone() })),
        }
    }
}

impl Check {
    /// `skip=A,B;error=true`.
    pub fn parse(text: &str) -> Self {
        let mut check = Self::default();
        for part in text.split(';') {
            match part.trim().split_once('=') {
                Some(("skip", rules)) => check.skip = names(rules),
                Some(("experimental", rules)) => check.experimental = names(rules),
                Some(("error", value)) => check.error = value.trim() == "true",
                _ => {}
            }
        }
        check
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// `# name = value`, the name in lower case.
fn directive(line: &str) -> Option<(String, &str)> {
    let line = line.trim_start_matches('\u{feff}').trim();
    let (name, value) = line.strip_prefix('#')?.split_once('=')?;
    let name = name.trim();
    let is_word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    is_word.then(|| (name.to_ascii_lowercase(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_end_at_the_first_other_line() {
        let found = Directives::parse("# syntax=docker/dockerfile:1\n#escape=`\n# check=skip=A, B;error=true\nFROM x\n# escape=\\\n")
            .expect("directives");
        assert_eq!(found.syntax.as_deref(), Some("docker/dockerfile:1"));
        assert_eq!(found.escape, '`');
        assert_eq!(found.check.skip, ["A", "B"]);
        assert!(found.check.error);
        assert_eq!(Directives::parse("\n# escape=`\n").expect("none").escape, '\\');
        assert_eq!(Directives::parse("# a comment\n# escape=`\n").expect("none").escape, '\\');
        let error = Directives::parse("#escape=`\n#escape=`\n").expect_err("twice");
        assert_eq!(error.line, 2);
        Directives::parse("#escape=x").expect_err("neither of the two");
    }

    #[test]
    fn any_tag_of_docker_dockerfile_is_built_in() {
        for (text, fine) in [
            ("docker/dockerfile", true),
            ("docker/dockerfile:1.7-labs", true),
            ("docker.io/docker/dockerfile@sha256:00", true),
            ("localhost:5000/other:1", false),
        ] {
            let found = Directives::parse(&format!("# syntax = {text}\n")).expect("directives");
            assert_eq!(found.check_syntax().is_ok(), fine, "{text}");
        }
    }
}
