//! Docker's plugins for its command line: programs of the user's, such as `docker-compose`, that a command leads
//! to which is none of ours.
//!
//! Invariant: a plugin talks to the engine that this command line would; it takes our place and ends as it ends.
//! Absent on purpose: asking plugins for their help; hooks.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use crate::cli::Cli;
use crate::failure::Failure;

/// Where Docker looks, behind the user's own directory.
const PLACES: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// Runs the plugin that the first of the words names; comes back only if there is none, or it cannot be run.
#[expect(clippy::disallowed_methods, reason = "plugins are programs of the user's own")]
pub(crate) fn run(cli: &Cli, words: &[String]) -> Result<(), Failure> {
    let Some(name) = words.first().filter(|name| is_name(name)) else { return Ok(()) };
    let Some(program) = find(cli, name)? else { return Ok(()) };
    // Plugins know no way to start an engine.
    let endpoint = cli.endpoint()?;
    cli.client()?.get("/_ping".to_owned()).or_else(|error| match error {
        Failure::Answer { .. } => Ok(crate::json::Json::Null),
        error => Err(error),
    })?;
    let mut command = std::process::Command::new(&program);
    command.args(words).env("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", cli.program);
    if cli.is_default_context()? {
        command.env("DOCKER_HOST", endpoint.to_string()).env_remove("DOCKER_CONTEXT");
    } else {
        command.env("DOCKER_CONTEXT", cli.context_name()?);
    }
    let error = command.exec();
    Err(Failure::io("run", program.display().to_string())(error))
}

fn is_name(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|letter| letter.is_ascii_lowercase())
        && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
}

fn find(cli: &Cli, name: &str) -> Result<Option<PathBuf>, Failure> {
    let config = cli.config()?;
    let own = config.directory().join("cli-plugins");
    let extra = config.texts("cliPluginsExtraDirs").into_iter().map(PathBuf::from);
    let places = [own].into_iter().chain(extra).chain(PLACES.map(PathBuf::from));
    let file = format!("docker-{name}");
    Ok(places.map(|place| place.join(&file)).find(|path| is_program(path)))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_letters_and_digits() {
        assert!(is_name("compose") && is_name("x2"));
        assert!(!is_name("2x") && !is_name("../x") && !is_name("") && !is_name("-v"));
    }
}
