//! The tree of commands: which words lead to which command, and how a command is called.
//!
//! A command is one constant in its own file and one line in [`COMMANDS`]. Looking one up costs a walk
//! over that table. Absent on purpose: what commands do.

use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::failure::Failure;

/// How many words a command takes besides flags.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Words {
    None,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
}

/// One command.
pub(crate) struct Command {
    /// All the names that lead here, the canonical one first: `container ls`, `ps`.
    pub(crate) names: &'static [&'static str],
    /// What follows the name in a usage line.
    pub(crate) usage: &'static str,
    pub(crate) about: &'static str,
    pub(crate) flags: &'static [&'static [Flag]],
    pub(crate) words: Words,
    /// Flags end at the first other word, for the rest is another program's.
    pub(crate) stops: bool,
    /// `Ok` is the exit code.
    pub(crate) run: fn(&Cli, &Matches) -> Result<u8, Failure>,
}

/// A word that other commands follow.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
}

pub(crate) const GROUPS: &[Group] = &[
    Group { name: "builder", about: "Manage builds" },
    Group { name: "buildx", about: "Manage builds" },
    Group { name: "container", about: "Manage containers" },
    Group { name: "context", about: "Manage contexts" },
    Group { name: "engine", about: "Manage the engine on this machine" },
    Group { name: "image", about: "Manage images" },
    Group { name: "manifest", about: "Manage lists of images for several platforms" },
    Group { name: "network", about: "Manage networks" },
    Group { name: "system", about: "Manage the engine's data" },
    Group { name: "volume", about: "Manage volumes" },
];

/// Names of Docker's that lead to nothing here, for now: refused by name, not as a typing error.
const UNBUILT: &[&str] = &[
    "bake",
    "checkpoint",
    "compose",
    "config",
    "node",
    "plugin",
    "secret",
    "service",
    "stack",
    "swarm",
    "trust",
    "volume update",
];

/// Where words lead.
pub(crate) enum Found {
    /// To a command; so many words were its name.
    Command(&'static Command, usize),
    Group(&'static Group),
    Unbuilt(String),
    /// Nowhere; the words that were looked at.
    Nothing(String),
}

/// Follows the first words of a command line.
pub(crate) fn find(commands: &'static [&'static Command], words: &[String]) -> Found {
    let first = words.first().map(String::as_str).unwrap_or_default();
    let second = words.get(1).map(String::as_str).unwrap_or_default();
    let named = |name: &str| commands.iter().find(|command| command.names.contains(&name));
    let both = format!("{first} {second}");
    let group = GROUPS.iter().find(|group| group.name == first);
    let Some(group) = group else {
        return match named(first) {
            Some(command) => Found::Command(command, 1),
            None if UNBUILT.contains(&first) => Found::Unbuilt(first.to_owned()),
            None => Found::Nothing(first.to_owned()),
        };
    };
    match named(&both) {
        Some(command) => Found::Command(command, 2),
        None if second.is_empty() || second.starts_with('-') || second == "help" => {
            Found::Group(group)
        }
        None if UNBUILT.contains(&both.as_str()) => Found::Unbuilt(both),
        None => Found::Nothing(both),
    }
}

impl Words {
    /// Why `count` words are too few or too many, in Docker's words.
    pub(crate) fn check(self, count: usize) -> Result<(), String> {
        let plural = |number: usize| if number == 1 { "argument" } else { "arguments" };
        match self {
            Words::None if count > 0 => Err("accepts no arguments".to_owned()),
            Words::Exactly(n) if count != n => Err(format!("requires {n} {}", plural(n))),
            Words::AtLeast(n) if count < n => Err(format!("requires at least {n} {}", plural(n))),
            Words::AtMost(n) if count > n => Err(format!("requires at most {n} {}", plural(n))),
            _ => Ok(()),
        }
    }
}
