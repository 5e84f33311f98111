//! Rules of what variables mean: used before they are there, defaults that lead nowhere, platforms, directories.

use std::collections::BTreeMap;

use dhow_spec::Reference;

use super::rule::*;
use super::{Found, LintAsk};
use crate::build::is_proxy;
use crate::dockerfile::{CopySource, Expanded, Expander, Kind, Stage};

/// Names that are there without being asked for.
const PLATFORMS: [&str; 9] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
];
/// How many letters may be wrong in a name that was probably meant.
const LETTERS_MAX: usize = 2;

type Lines = (usize, usize);

/// What a stage's variables are; nobody knows all names of a base that is not here.
#[derive(Clone, Default)]
struct Env {
    values: BTreeMap<String, String>,
    /// Declared by `ARG`, with or without a value.
    args: BTreeMap<String, String>,
    complete: bool,
    workdir: bool,
}

/// Looks at the whole file.
pub(super) fn look(ask: &LintAsk<'_>, found: &mut Found<'_>) {
    let globals = globals(ask, true);
    let defaults = globals_of_file(ask);
    let mut ends: Vec<Env> = Vec::new();
    for (number, stage) in ask.file.stages.iter().enumerate() {
        from(ask, stage, number, &globals, &defaults, found);
        let mut env = base(ask, stage, number, &globals, &ends);
        for instruction in &stage.instructions {
            walk(ask, &mut env, &globals, &instruction.kind, instruction.lines, found);
        }
        env.args.clear();
        ends.push(env);
    }
}

fn globals_of_file(ask: &LintAsk<'_>) -> BTreeMap<String, String> {
    globals(ask, false)
}

/// What stands before the first stage, with or without what the user says.
fn globals(ask: &LintAsk<'_>, with_user: bool) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for (_, arg) in &ask.file.args {
        let said = ask.args.get(&arg.name).filter(|_| with_user).cloned();
        let default = arg.default.as_deref().map(|word| expand(ask, word, &known).text);
        known.insert(arg.name.clone(), said.or(default).unwrap_or_default());
    }
    known
}

fn expand(ask: &LintAsk<'_>, word: &str, known: &BTreeMap<String, String>) -> Expanded {
    let lookup = |name: &str| match known.get(name) {
        Some(value) => Some(value.clone()),
        None => PLATFORMS.contains(&name).then(|| "linux".to_owned()),
    };
    let escape = ask.file.directives.escape;
    // What cannot be expanded fails the build by itself.
    Expander { escape, lookup: &lookup, raw: false }.expand(word).unwrap_or_default()
}

fn from(
    ask: &LintAsk<'_>,
    stage: &Stage,
    number: usize,
    globals: &BTreeMap<String, String>,
    defaults: &BTreeMap<String, String>,
    found: &mut Found<'_>,
) {
    let lines = stage.lines;
    let platform = stage.from.platform.as_deref();
    for word in [Some(stage.from.base.as_str()), platform].into_iter().flatten() {
        for name in expand(ask, word, globals).unset {
            let options = globals.keys().map(String::as_str).chain(PLATFORMS);
            let meant = meant(&name, options);
            let hint = meant.map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default();
            let message = format!("FROM argument '{name}' is not declared{hint}");
            found.add(UNDEFINED_ARG_IN_FROM, lines, message);
        }
    }
    let base = &stage.from.base;
    let text = expand(ask, base, defaults);
    let declared = text.used.iter().any(|name| defaults.contains_key(name));
    let is_stage = ask.file.stage(&text.text, number).is_some();
    if declared && !is_stage && (text.text.is_empty() || Reference::parse(&text.text).is_err()) {
        let message =
            format!("Default value for ARG {base} results in empty or invalid base image name");
        found.add(INVALID_DEFAULT_ARG_IN_FROM, lines, message);
    }
    match platform {
        Some("$TARGETPLATFORM" | "${TARGETPLATFORM}") => {
            let platform = platform.unwrap_or_default();
            let message = format!(
                "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
            );
            found.add(REDUNDANT_TARGET_PLATFORM, lines, message);
        }
        // A stage that says by its name for which platform it is means it so.
        Some(platform) if !platform.contains('$') => {
            let name = stage.from.name.as_deref().unwrap_or_default();
            if !platform.split('/').any(|part| !part.is_empty() && name.contains(part)) {
                let message =
                    format!("FROM --platform flag should not use constant value {platform:?}");
                found.add(FROM_PLATFORM_FLAG_CONST_DISALLOWED, lines, message);
            }
        }
        _ => {}
    }
}

/// What a stage begins with.
fn base(
    ask: &LintAsk<'_>,
    stage: &Stage,
    number: usize,
    globals: &BTreeMap<String, String>,
    ends: &[Env],
) -> Env {
    let name = expand(ask, &stage.from.base, globals).text;
    if let Some(place) = ask.file.stage(&name, number).filter(|_| name.parse::<usize>().is_err()) {
        return ends[place].clone();
    }
    let mut env = Env { complete: true, ..Env::default() };
    if name != "scratch" {
        match (ask.env_of)(&name) {
            None => env.complete = false,
            Some(variables) => {
                let pairs = variables.iter().filter_map(|pair| pair.split_once('='));
                env.values.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
            }
        }
    }
    env.values.entry("PATH".to_owned()).or_default();
    env
}

fn walk(
    ask: &LintAsk<'_>,
    env: &mut Env,
    globals: &BTreeMap<String, String>,
    kind: &Kind,
    lines: Lines,
    found: &mut Found<'_>,
) {
    let before = env.clone();
    let mut text = |word: &str| before.text(ask, word, lines, found);
    match kind {
        Kind::Env(pairs) => {
            for pair in pairs {
                let value = text(&pair.value);
                env.values.insert(text(&pair.name), value);
            }
        }
        Kind::Label(pairs) => {
            for pair in pairs {
                text(&pair.name);
                text(&pair.value);
            }
        }
        Kind::Arg(args) => {
            for arg in args {
                let default = arg.default.as_deref().map(&mut text);
                let said = ask.args.get(&arg.name).cloned();
                let value = said.or(default).or_else(|| globals.get(&arg.name).cloned());
                env.args.insert(arg.name.clone(), value.unwrap_or_default());
            }
        }
        Kind::Copy(copy) => {
            let flags = [&copy.chown, &copy.chmod, &copy.checksum];
            flags.into_iter().flatten().for_each(|word| drop(text(word)));
            copy.exclude.iter().for_each(|word| drop(text(word)));
            text(&copy.to);
            for source in &copy.sources {
                if let CopySource::Path(path) = source {
                    text(path);
                }
            }
        }
        Kind::Expose(words) | Kind::Volume(words) => {
            words.iter().for_each(|word| drop(text(word)));
        }
        Kind::User(word) | Kind::StopSignal(word) => drop(text(word)),
        Kind::Workdir(word) => {
            let path = text(word);
            if path.starts_with('/') {
                env.workdir = true;
            } else if !env.workdir {
                let message = format!(
                    "Relative workdir {path:?} can have unexpected results if the base image changes"
                );
                found.add(WORKDIR_RELATIVE_PATH, lines, message);
            }
        }
        _ => {}
    }
}

impl Env {
    /// Expands a word, and tells what in it nobody has defined.
    fn text(&self, ask: &LintAsk<'_>, word: &str, lines: Lines, found: &mut Found<'_>) -> String {
        let lookup = |name: &str| self.values.get(name).or_else(|| self.args.get(name)).cloned();
        let escape = ask.file.directives.escape;
        let expander = Expander { escape, lookup: &lookup, raw: false };
        let expanded = expander.expand(word).unwrap_or_default();
        for name in expanded.unset.iter().filter(|name| self.complete && !is_proxy(name)) {
            let options = self.values.keys().chain(self.args.keys()).map(String::as_str);
            let meant = meant(name, options);
            let hint = meant.map(|meant| format!(" (did you mean ${meant}?)")).unwrap_or_default();
            let message = format!("Usage of undefined variable '${name}'{hint}");
            found.add(UNDEFINED_VAR, lines, message);
        }
        expanded.text
    }
}

/// The name that was probably meant.
fn meant<'a>(name: &str, options: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = options.map(|option| (crate::dockerfile::distance(name, option), option));
    near.filter(|(letters, _)| *letters <= LETTERS_MAX).min().map(|(_, option)| option)
}
