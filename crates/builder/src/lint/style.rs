//! Rules of how things are written: cases, forms, names, what is there twice.

use std::collections::BTreeMap;

use super::rule::*;
use super::{Found, LintAsk};
use crate::dockerfile::{CopySource, Instruction, Kind, Node};

/// Names that mean something else already.
const RESERVED: [&str; 2] = ["context", "scratch"];
/// Parts of names that say that there is a secret in it.
const SECRETS: [&str; 9] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "passwd", "secret", "token"];

/// Looks at the whole file.
pub(super) fn look(ask: &LintAsk<'_>, found: &mut Found<'_>) {
    casing(&ask.file.nodes, found);
    for node in &ask.file.nodes {
        if node.empty_continuation {
            found.add(NO_EMPTY_CONTINUATION, node.lines, "Empty continuation line".to_owned());
        }
        descriptions(node, found);
        if node.name == "from" {
            from_casing(node, found);
        }
    }
    for (line, arg) in &ask.file.args {
        secret("ARG", &arg.name, (*line, *line), found);
    }
    let mut names: Vec<&str> = Vec::new();
    for stage in &ask.file.stages {
        if let (Some(name), Some(written)) = (&stage.from.name, &stage.from.written) {
            if name != written {
                let message = format!("Stage name '{written}' should be lowercase");
                found.add(STAGE_NAME_CASING, stage.lines, message);
            }
            if RESERVED.contains(&name.as_str()) {
                let message =
                    format!("Stage name should not use the same name as reserved stage {name:?}");
                found.add(RESERVED_STAGE_NAME, stage.lines, message);
            }
            if names.contains(&name.as_str()) {
                let message =
                    format!("Duplicate stage name {name:?}, stage names should be unique");
                found.add(DUPLICATE_STAGE_NAME, stage.lines, message);
            }
            names.push(name);
        }
        let mut seen = Seen::default();
        for instruction in &stage.instructions {
            seen.look(ask, instruction, found);
        }
    }
}

/// What has been seen of a stage.
#[derive(Default)]
struct Seen {
    shell: bool,
    /// Where those stand of which only the last one counts.
    once: BTreeMap<&'static str, (usize, usize)>,
}

impl Seen {
    fn look(&mut self, ask: &LintAsk<'_>, instruction: &Instruction, found: &mut Found<'_>) {
        let (lines, name) = (instruction.lines, instruction.kind.name());
        if matches!(name, "CMD" | "ENTRYPOINT" | "HEALTHCHECK")
            && let Some(before) = self.once.insert(name, lines)
        {
            let message = format!(
                "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
            );
            found.add(MULTIPLE_INSTRUCTIONS_DISALLOWED, before, message);
        }
        match &instruction.kind {
            Kind::Shell(_) => self.shell = true,
            Kind::Cmd(command) | Kind::Entrypoint(command) if command.shell && !self.shell => {
                let message = format!(
                    "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
                );
                found.add(JSON_ARGS_RECOMMENDED, lines, message);
            }
            Kind::Maintainer(_) => {
                let message = "Maintainer instruction is deprecated in favor of using label";
                found.add(MAINTAINER_DEPRECATED, lines, message.to_owned());
            }
            Kind::Env(pairs) | Kind::Label(pairs) => {
                if pairs.iter().any(|pair| pair.legacy) {
                    let message = format!(
                        "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
                    );
                    found.add(LEGACY_KEY_VALUE_FORMAT, lines, message);
                }
                if name == "ENV" {
                    pairs.iter().for_each(|pair| secret(name, &pair.name, lines, found));
                }
            }
            Kind::Arg(args) => args.iter().for_each(|arg| secret(name, &arg.name, lines, found)),
            Kind::Expose(ports) => ports.iter().for_each(|port| expose(port, lines, found)),
            Kind::Copy(copy) if copy.from.is_none() => {
                let word = if copy.add { "Add" } else { "Copy" };
                for source in &copy.sources {
                    let CopySource::Path(path) = source else { continue };
                    let path = path.trim_start_matches("./").trim_matches('/');
                    if !path.is_empty() && !path.contains("://") && (ask.is_ignored)(path) {
                        let message = format!(
                            "Attempting to {word} file {path:?} that is excluded by .dockerignore"
                        );
                        found.add(COPY_IGNORED_FILE, lines, message);
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_upper(word: &str) -> bool {
    word == word.to_uppercase()
}

fn is_lower(word: &str) -> bool {
    word == word.to_lowercase()
}

/// Those that are in the minority.
fn casing(nodes: &[Node], found: &mut Found<'_>) {
    let lower = nodes.iter().filter(|node| is_lower(&node.word)).count();
    let upper = nodes.iter().filter(|node| is_upper(&node.word)).count();
    let (word, good): (_, fn(&str) -> bool) =
        if lower > upper { ("lowercase", is_lower) } else { ("uppercase", is_upper) };
    for node in nodes.iter().filter(|node| !good(&node.word)) {
        let message = format!(
            "Command '{}' should match the case of the command majority ({word})",
            node.word
        );
        found.add(CONSISTENT_INSTRUCTION_CASING, node.lines, message);
    }
}

fn from_casing(node: &Node, found: &mut Found<'_>) {
    let [_, word, _] = node.args.as_slice() else { return };
    let differs =
        is_upper(&node.word) && !is_upper(word) || is_lower(&node.word) && !is_lower(word);
    if differs {
        let message = format!("'{word}' and '{}' keywords' casing do not match", node.word);
        found.add(FROM_AS_CASING, node.lines, message);
    }
}

/// A comment right before a stage or a variable is taken for its description.
fn descriptions(node: &Node, found: &mut Found<'_>) {
    let (what, name) = match (node.name.as_str(), node.args.as_slice()) {
        ("from", [_, _, name]) => ("FROM", name.as_str()),
        ("arg", [first, ..]) => ("ARG", first.split('=').next().unwrap_or_default()),
        _ => return,
    };
    let Some(comment) = node.comments.last() else { return };
    let is_directive = ["syntax", "escape", "check"]
        .iter()
        .any(|word| comment.split('=').next().is_some_and(|before| before.trim() == *word));
    let described = comment.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '));
    if !is_directive && !described {
        let message =
            format!("Comment for {what} should follow the format: `# {name} <description>`");
        found.add(INVALID_DEFINITION_DESCRIPTION, node.lines, message);
    }
}

/// Whether a name says that there is a secret in it, by its parts between `_`.
fn secret(instruction: &str, name: &str, lines: (usize, usize), found: &mut Found<'_>) {
    let lower = name.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    if (has(&SECRETS) || has(&["pword"])) && !has(&["public"]) {
        let message = format!(
            "Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})"
        );
        found.add(SECRETS_USED_IN_ARG_OR_ENV, lines, message);
    }
}

fn expose(port: &str, lines: (usize, usize), found: &mut Found<'_>) {
    if let Some((_, protocol)) = port.split_once('/')
        && !protocol.contains('$')
        && !is_lower(protocol)
    {
        let message =
            format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
        found.add(EXPOSE_PROTO_CASING, lines, message);
    }
    if port.contains(':') && !port.contains('$') {
        let message = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
        );
        found.add(EXPOSE_INVALID_FORMAT, lines, message);
    }
}
