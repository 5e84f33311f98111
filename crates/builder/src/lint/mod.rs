//! What is right and still not good in a Dockerfile: Docker's 21 rules.
//!
//! The way: [`style`] looks at how things are written, [`scope`] at what variables mean. Invariant: nothing is
//! fetched or built for it; where a base's variables are not known, no variable of its stages is called undefined.
//! Absent on purpose: fixing anything.

mod rule;
mod scope;
mod style;

use std::collections::BTreeMap;

pub use rule::Rule;

use crate::dockerfile::{Check, Dockerfile};

/// Something that should be otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintWarning {
    /// By which rule.
    pub rule: Rule,
    /// What exactly.
    pub message: String,
    /// First and last line.
    pub lines: (usize, usize),
}

/// What is known beside the file.
pub struct LintAsk<'a> {
    /// The file.
    pub file: &'a Dockerfile,
    /// What the user says that variables are.
    pub args: &'a BTreeMap<String, String>,
    /// Whether a path was excluded from the context.
    pub is_ignored: &'a dyn Fn(&str) -> bool,
    /// The variables of an image, where they are known.
    pub env_of: &'a dyn Fn(&str) -> Option<Vec<String>>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// By their lines.
    pub warnings: Vec<LintWarning>,
    /// Whether any of them ends the build.
    pub error: bool,
}

/// Looks at a file.
pub fn lint(ask: &LintAsk<'_>) -> Lint {
    let said = ask.args.get("BUILDKIT_DOCKERFILE_CHECK").map(|text| Check::parse(text));
    let check = said.as_ref().unwrap_or(&ask.file.directives.check);
    let mut found = Found { check, warnings: Vec::new() };
    style::look(ask, &mut found);
    scope::look(ask, &mut found);
    let mut warnings = found.warnings;
    warnings.sort_by_key(|warning: &LintWarning| warning.lines);
    Lint { error: check.error && !warnings.is_empty(), warnings }
}

impl Lint {
    /// The names of the rules that were broken, for the error.
    pub fn rules(&self) -> String {
        let mut names: Vec<&str> = self.warnings.iter().map(|warning| warning.rule.name).collect();
        names.dedup();
        names.join(", ")
    }
}

/// What was found so far.
struct Found<'a> {
    check: &'a Check,
    warnings: Vec<LintWarning>,
}

impl Found<'_> {
    fn add(&mut self, rule: Rule, lines: (usize, usize), message: String) {
        let named = |list: &[String]| list.iter().any(|name| name == rule.name || name == "all");
        let wanted = !rule.experimental || named(&self.check.experimental);
        if wanted && !named(&self.check.skip) {
            self.warnings.push(LintWarning { rule, message, lines });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&'static str, String, usize)> {
        let file = Dockerfile::parse(text.as_bytes()).expect(text);
        let ask = LintAsk {
            file: &file,
            args: &BTreeMap::new(),
            is_ignored: &|path| path == "gone",
            env_of: &|image| (image == "alpine").then(|| vec!["PATH=/bin".to_owned()]),
        };
        let one = |warning: LintWarning| (warning.rule.name, warning.message, warning.lines.0);
        lint(&ask).warnings.into_iter().map(one).collect()
    }

    /// One rule, broken in one way.
    #[track_caller]
    fn check(text: &str, name: &str, message: &str, line: usize) {
        let expected = vec![(name, message.to_owned(), line)];
        let found = found(text);
        let found: Vec<_> = found.iter().map(|(a, b, c)| (*a, b.clone(), *c)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn each_rule_is_broken_once() {
        let table = [
            (
                "FROM alpine AS Build",
                "StageNameCasing",
                "Stage name 'Build' should be lowercase",
                1,
            ),
            (
                "FROM alpine as x",
                "FromAsCasing",
                "'as' and 'FROM' keywords' casing do not match",
                1,
            ),
            ("FROM alpine\nRUN a \\\n\n b", "NoEmptyContinuation", "Empty continuation line", 2),
            (
                "FROM alpine\nrun x\nUSER y",
                "ConsistentInstructionCasing",
                "Command 'run' should match the case of the command majority (uppercase)",
                2,
            ),
            (
                "FROM alpine AS a\nFROM alpine AS a",
                "DuplicateStageName",
                "Duplicate stage name \"a\", stage names should be unique",
                2,
            ),
            (
                "FROM alpine AS context",
                "ReservedStageName",
                "Stage name should not use the same name as reserved stage \"context\"",
                1,
            ),
            (
                "FROM alpine\nENTRYPOINT run this",
                "JSONArgsRecommended",
                "JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals",
                2,
            ),
            (
                "FROM alpine\nMAINTAINER me",
                "MaintainerDeprecated",
                "Maintainer instruction is deprecated in favor of using label",
                2,
            ),
            (
                "ARG VERSION=1\nFROM alpine:$VERSIN",
                "UndefinedArgInFrom",
                "FROM argument 'VERSIN' is not declared (did you mean VERSION?)",
                2,
            ),
            (
                "FROM alpine\nWORKDIR srv",
                "WorkdirRelativePath",
                "Relative workdir \"srv\" can have unexpected results if the base image changes",
                2,
            ),
            (
                "FROM alpine\nENV A=$PAHT:/x",
                "UndefinedVar",
                "Usage of undefined variable '$PAHT' (did you mean $PATH?)",
                2,
            ),
            (
                "FROM alpine\nCMD [\"a\"]\nCMD [\"b\"]",
                "MultipleInstructionsDisallowed",
                "Multiple CMD instructions should not be used in the same stage because only the last one will be used",
                2,
            ),
            (
                "FROM alpine\nENV a b",
                "LegacyKeyValueFormat",
                "\"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
                2,
            ),
            (
                "FROM --platform=$TARGETPLATFORM alpine",
                "RedundantTargetPlatform",
                "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
                1,
            ),
            (
                "FROM alpine\nARG API_KEY",
                "SecretsUsedInArgOrEnv",
                "Do not use ARG or ENV instructions for sensitive data (ARG \"API_KEY\")",
                2,
            ),
            (
                "ARG TAG\nFROM alpine:${TAG}",
                "InvalidDefaultArgInFrom",
                "Default value for ARG alpine:${TAG} results in empty or invalid base image name",
                2,
            ),
            (
                "FROM --platform=linux/arm64 alpine",
                "FromPlatformFlagConstDisallowed",
                "FROM --platform flag should not use constant value \"linux/arm64\"",
                1,
            ),
            (
                "# check=experimental=all\nFROM alpine\nCOPY gone /",
                "CopyIgnoredFile",
                "Attempting to Copy file \"gone\" that is excluded by .dockerignore",
                3,
            ),
            (
                "# check=experimental=InvalidDefinitionDescription\n# what it is\nARG A=1\nFROM alpine",
                "InvalidDefinitionDescription",
                "Comment for ARG should follow the format: `# A <description>`",
                3,
            ),
            (
                "FROM alpine\nEXPOSE 80/TcP",
                "ExposeProtoCasing",
                "Defined protocol '80/TcP' in EXPOSE instruction should be lowercase",
                2,
            ),
            (
                "FROM alpine\nEXPOSE 127.0.0.1:80:80",
                "ExposeInvalidFormat",
                "EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'",
                2,
            ),
        ];
        assert_eq!(table.len(), 21);
        for (text, name, message, line) in table {
            check(text, name, message, line);
        }
    }

    #[test]
    fn what_is_good_is_let_be() {
        for text in [
            "ARG V=1\nARG W=$V\nFROM alpine:${W:-2} AS a\nARG V\nENV A=$V B=${X:-y}\nENV C=$A\n",
            "FROM unknown\nENV A=$JAVA_HOME\n",
            "FROM alpine AS a\nARG X\nENV Y=$X\nFROM a\nENV Z=$Y$HTTP_PROXY\n",
            "FROM alpine\nSHELL [\"sh\", \"-c\"]\nCMD run\nWORKDIR /a\nWORKDIR b\n",
            "from alpine as a\nrun x\n",
            "FROM alpine\nARG PUBLIC_KEY\nARG KEYBOARD\nEXPOSE 80/tcp 90-99\n",
            "FROM --platform=linux/arm64 alpine AS build-arm64\nFROM --platform=$BUILDPLATFORM alpine\n",
            "# check=skip=all\nFROM alpine as X\n",
            "FROM alpine\nCOPY gone /\n",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn errors_are_asked_for() {
        let lint = |text: &str, args: &BTreeMap<String, String>| {
            let file = Dockerfile::parse(text.as_bytes()).expect(text);
            let (is_ignored, env_of) = (|_: &str| false, |_: &str| None);
            super::lint(&LintAsk { file: &file, args, is_ignored: &is_ignored, env_of: &env_of })
        };
        let text = "# check=error=true\nFROM alpine as x\nMAINTAINER y\n";
        let found = lint(text, &BTreeMap::new());
        assert!(found.error);
        assert_eq!(found.rules(), "FromAsCasing, MaintainerDeprecated");
        let args = [("BUILDKIT_DOCKERFILE_CHECK".to_owned(), "skip=FromAsCasing".to_owned())];
        let found = lint(text, &args.into());
        assert_eq!((found.error, found.rules().as_str()), (false, "MaintainerDeprecated"));
        assert!(!lint("# check=error=true\nFROM alpine\n", &BTreeMap::new()).error);
    }
}
