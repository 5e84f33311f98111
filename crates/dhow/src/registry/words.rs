//! The command line of the registry.
//!
//! Invariant: a word is known or refused by name, and never ignored.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use dhow_spec::RepositoryPath;
use lexopt::Arg;

/// Where a registry listens if nobody says.
pub(super) const ADDRESS: &str = "127.0.0.1:5000";

pub(super) const HELP: &str = "\
Usage: dhow registry COMMAND --root DIRECTORY

An OCI registry: images and artifacts, pushed and pulled by any client.

Commands:
  serve    Serve until told to end
  check    Look through everything that is kept; with --repair, forget what is damaged
  import   Read an OCI image layout into a repository
  export   Write a repository as an OCI image layout
  gc       Remove what nothing names (serve does it by itself)

Options:
  --root DIRECTORY   Where the registry keeps what it has
  --config FILE      The configuration file (docs/registry.md)
  --repository NAME  Which repository to import or export
  --layout DIRECTORY The OCI image layout
  --addr HOST:PORT   Where to listen (default 127.0.0.1:5000)
";

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Serve,
    Check { repair: bool },
    Collect,
    Import,
    Export,
}

/// All that was said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) task: Task,
    /// Absent if help was asked for.
    pub(super) root: Option<PathBuf>,
    pub(super) config: Option<PathBuf>,
    pub(super) address: Option<String>,
    /// The repository and the layout, for import and export.
    pub(super) moved: Option<(RepositoryPath, PathBuf)>,
}

/// A word that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) String);

impl Words {
    pub(super) fn read(words: impl Iterator<Item = OsString>) -> Result<Self, Refused> {
        let mut parser = lexopt::Parser::from_args(words);
        let refused = |error: lexopt::Error| Refused(error.to_string());
        let (mut task, mut repair, mut help) = (None, false, false);
        let (mut root, mut config, mut address) = (None, None, None);
        let (mut repository, mut layout) = (None, None);
        while let Some(arg) = parser.next().map_err(refused)? {
            match arg {
                Arg::Value(word) if task.is_none() => task = Some(task_of(&word)?),
                Arg::Long("root") => root = Some(parser.value().map_err(refused)?.into()),
                Arg::Long("config" | "config-file") => {
                    config = Some(parser.value().map_err(refused)?.into());
                }
                Arg::Long("addr") => {
                    let value = parser.value().map_err(refused)?;
                    address =
                        Some(value.into_string().map_err(|_| Refused("--addr: no text".into()))?);
                }
                Arg::Long("repository") => {
                    let value = parser.value().map_err(refused)?;
                    let name = value.to_str().and_then(RepositoryPath::parse);
                    let wrong = || Refused(format!("--repository {value:?}: no name of one"));
                    repository = Some(name.ok_or_else(wrong)?);
                }
                Arg::Long("layout") => layout = Some(parser.value().map_err(refused)?.into()),
                Arg::Long("repair") => repair = true,
                Arg::Long("help") | Arg::Short('h') => help = true,
                other => return Err(refused(other.unexpected())),
            }
        }
        let Some(mut task) = task.filter(|_| !help) else {
            return Ok(Self {
                task: Task::Serve,
                root: None,
                config: None,
                address: None,
                moved: None,
            });
        };
        match &mut task {
            Task::Check { repair: wanted } => *wanted = repair,
            _ if repair => return Err(Refused("--repair: only check repairs".to_owned())),
            _ => {}
        }
        if address.is_some() && task != Task::Serve {
            return Err(Refused("--addr: only serve listens".to_owned()));
        }
        let moves = matches!(task, Task::Import | Task::Export);
        let moved = match (repository, layout) {
            (Some(repository), Some(layout)) if moves => Some((repository, layout)),
            (None, None) if !moves => None,
            _ => {
                let why = "--repository and --layout come together, with import and export";
                return Err(Refused(why.to_owned()));
            }
        };
        match root {
            None => Err(Refused("--root DIRECTORY is missing".to_owned())),
            root => Ok(Self { task, root, config, address, moved }),
        }
    }
}

fn task_of(word: &OsString) -> Result<Task, Refused> {
    match word.to_str() {
        Some("serve") => Ok(Task::Serve),
        Some("check") => Ok(Task::Check { repair: false }),
        Some("import") => Ok(Task::Import),
        Some("export") => Ok(Task::Export),
        Some("gc") => Ok(Task::Collect),
        _ => Err(Refused(format!("{word:?} is no command; see dhow registry --help"))),
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Words, Refused> {
        Words::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn words_are_known_or_refused() {
        let words = read("serve --root /r --addr [::1]:0 --config c").expect("good words");
        assert_eq!((words.task, words.root), (Task::Serve, Some("/r".into())));
        assert_eq!(words.address.as_deref(), Some("[::1]:0"));
        let words = read("check --repair --root=/r").expect("good words");
        assert_eq!(words.task, Task::Check { repair: true });
        assert_eq!(read("serve --help").expect("help").root, None);
        for line in
            ["serve", "fly --root /r", "gc --repair --root /r", "gc --root /r x", "serve --rot /r"]
        {
            assert!(read(line).is_err(), "{line}");
        }
        assert!(read("check --root /r --addr x").is_err());
        assert!(read("export --root /r --repository a").is_err());
        assert!(read("export --root /r --repository A --layout l").is_err());
        let words = read("export --root /r --repository a/b --layout l").expect("good words");
        assert!(words.moved.is_some());
    }
}
