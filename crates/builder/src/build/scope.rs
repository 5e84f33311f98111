//! Variables of a build: which there are, and who sees them.
//!
//! Invariant: what the user says counts only where the file asks for it (`ARG`); what `ENV` says counts more.
//! Proxies are given to every command, and are in no image and no key.

use std::collections::BTreeMap;

use dhow_spec::Platform;

use super::Ask;
use crate::dockerfile::{ExpandError, Expanded, Expander};
use crate::error::Fault;

/// Variables that nobody has to ask for.
const PROXIES: &[&str] = &[
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Words to the builder itself.
const OURS: &[&str] = &[
    "SOURCE_DATE_EPOCH",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_SYNTAX",
    "BUILDKIT_DOCKERFILE_CHECK",
];

/// Whether a variable is there without anybody having said so.
pub(crate) fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name)
}

/// Whether a variable may be set without anybody asking for it.
pub(super) fn is_predefined(name: &str) -> bool {
    PROXIES.contains(&name)
        || OURS.contains(&name)
        || name.starts_with("TARGET")
        || name.starts_with("BUILDPLATFORM")
}

/// What stands before the first stage.
pub(super) struct Globals {
    /// The file's own.
    pub(super) args: BTreeMap<String, Option<String>>,
    /// Platforms, and what the target is called.
    pub(super) platforms: BTreeMap<String, String>,
}

impl Globals {
    pub(super) fn new(ask: &Ask<'_>) -> Result<Self, Fault> {
        let platforms = platforms(ask);
        let mut globals = Self { args: BTreeMap::new(), platforms };
        for (_, arg) in &ask.file.args {
            let value = match (ask.args.get(&arg.name), &arg.default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(default)) => Some(globals.expand(ask, default)?),
                (None, None) => None,
            };
            globals.args.insert(arg.name.clone(), value);
        }
        Ok(globals)
    }

    /// A word of a `FROM`.
    pub(super) fn expand(&self, ask: &Ask<'_>, word: &str) -> Result<String, Fault> {
        let lookup = |name: &str| match self.args.get(name) {
            Some(value) => value.clone(),
            None => self.platforms.get(name).cloned(),
        };
        let escape = ask.file.directives.escape;
        Ok(Expander { escape, lookup: &lookup, raw: false }.text(word)?)
    }
}

fn platforms(ask: &Ask<'_>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut put = |name: &str, value: String| found.insert(name.to_owned(), value);
    for (prefix, platform) in [("TARGET", &ask.platform), ("BUILD", &ask.build_platform)] {
        put(&format!("{prefix}PLATFORM"), text(platform));
        put(&format!("{prefix}OS"), platform.os.clone());
        put(&format!("{prefix}ARCH"), platform.architecture.clone());
        put(&format!("{prefix}VARIANT"), platform.variant.clone().unwrap_or_default());
    }
    let stage = ask.target.clone().filter(|target| !target.is_empty());
    put("TARGETSTAGE", stage.unwrap_or_else(|| "default".to_owned()));
    for (name, value) in &ask.args {
        if found.contains_key(name) {
            found.insert(name.clone(), value.clone());
        }
    }
    found
}

/// `linux/amd64`.
pub(super) fn text(platform: &Platform) -> String {
    let mut text = format!("{}/{}", platform.os, platform.architecture);
    if let Some(variant) = platform.variant.as_deref().filter(|variant| !variant.is_empty()) {
        text.push('/');
        text.push_str(variant);
    }
    text
}

/// The variables of one stage.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// What was asked for, in order; without a value where nobody gave one.
    pub(super) args: Vec<(String, Option<String>)>,
}

impl Scope {
    pub(super) fn declare(&mut self, name: &str, value: Option<String>) {
        self.args.retain(|(known, _)| known != name);
        self.args.push((name.to_owned(), value));
    }

    fn get(&self, name: &str) -> Option<String> {
        self.args.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.clone())
    }

    /// Expands a word by one state of the variables.
    pub(super) fn expand(
        &self,
        env: &[String],
        escape: char,
        raw: bool,
        word: &str,
    ) -> Result<Expanded, ExpandError> {
        let lookup = |name: &str| env_value(env, name).or_else(|| self.get(name));
        Expander { escape, lookup: &lookup, raw }.expand(word)
    }

    /// Arguments that have a value, as a command sees them.
    pub(super) fn environment(&self, env: &[String]) -> Vec<String> {
        let values = self.args.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        values
            .filter(|(name, _)| env_value(env, name).is_none() && !PROXIES.contains(&name.as_str()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}

/// Proxies that the user gave.
pub(super) fn proxies(ask: &Ask<'_>) -> Vec<String> {
    let given = PROXIES.iter().filter_map(|name| Some((name, ask.args.get(*name)?)));
    given.map(|(name, value)| format!("{name}={value}")).collect()
}

/// The value of a variable in a list of `NAME=value`.
pub(super) fn env_value(env: &[String], name: &str) -> Option<String> {
    let value = |entry: &String| entry.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
    env.iter().find_map(value)
}

/// Sets a variable in such a list, in its place if it has one.
pub(super) fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    let own = |known: &&mut String| known.split('=').next() == Some(name);
    match env.iter_mut().find(own) {
        Some(known) => *known = entry,
        None => env.push(entry),
    }
}
