//! The commands, one file for those that belong together, and the table of all of them.

mod attach;
mod attached;
mod build;
pub(crate) mod completion;
mod containers_prune;
mod context;
mod cp;
mod df;
mod engine;
mod events;
mod exec;
mod files;
mod history;
mod images;
mod info;
mod inspect;
mod life;
mod login;
mod logs;
mod manifest;
mod networks;
pub(crate) mod plugin;
mod ps;
mod pull;
mod push;
mod run;
mod search;
mod stats;
mod system;
mod version;
mod volume_data;
mod volumes;

use std::io::Write;

use dhow_wire::Filters;

pub(crate) use version::short_version;

use crate::args::Matches;
use crate::cli::Cli;
use crate::failure::Failure;
use crate::tree::Command;

/// Every command; `--help` sorts them.
pub(crate) static COMMANDS: &[&Command] = &[
    &run::RUN_COMMAND,
    &run::CREATE_COMMAND,
    &attach::ATTACH,
    &attach::START,
    &build::BUILD,
    &build::PRUNE,
    &containers_prune::PRUNE,
    &completion::COMPLETION,
    &context::CREATE,
    &context::EXPORT,
    &context::IMPORT,
    &context::INSPECT,
    &context::LIST,
    &context::REMOVE,
    &context::SHOW,
    &context::UPDATE,
    &context::USE,
    &cp::CP,
    &df::DF,
    &engine::START,
    &engine::STOP,
    &engine::STATUS,
    &engine::LOGS,
    &events::EVENTS,
    &exec::EXEC,
    &files::COMMIT,
    &files::DIFF,
    &files::EXPORT,
    &files::IMPORT,
    &history::HISTORY,
    &images::IMAGES,
    &images::LOAD,
    &images::PRUNE,
    &images::REMOVE,
    &images::SAVE,
    &images::TAG,
    &info::INFO,
    &inspect::CONTAINER,
    &inspect::IMAGE,
    &inspect::INSPECT,
    &inspect::NETWORK,
    &inspect::VOLUME,
    &life::KILL,
    &life::PAUSE,
    &life::PORT,
    &life::REMOVE,
    &life::RENAME,
    &life::RESTART,
    &life::STOP,
    &life::TOP,
    &life::UNPAUSE,
    &life::UPDATE,
    &life::WAIT,
    &login::LOGIN,
    &login::LOGOUT,
    &logs::LOGS,
    &manifest::ANNOTATE,
    &manifest::CREATE,
    &manifest::INSPECT,
    &manifest::PUSH,
    &manifest::REMOVE,
    &networks::CONNECT,
    &networks::CREATE,
    &networks::DISCONNECT,
    &networks::LIST,
    &networks::PRUNE,
    &networks::REMOVE,
    &ps::PS,
    &pull::PULL,
    &push::PUSH,
    &search::SEARCH,
    &stats::STATS,
    &system::DIAL,
    &system::PRUNE,
    &version::VERSION,
    &volume_data::EXPORT,
    &volume_data::IMPORT,
    &volume_data::RENAME,
    &volume_data::SNAPSHOT,
    &volumes::CREATE,
    &volumes::LIST,
    &volumes::PRUNE,
    &volumes::REMOVE,
];

/// Flags that are refused together, wherever one of them is given.
#[cfg(test)]
pub(crate) const REFUSED: &[&[crate::args::Flag]] = &[build::REFUSED, volumes::CLUSTER];

const FORMAT_HELP: &str =
    "How to print: 'table', 'table TEMPLATE', 'json', or a Go template for each line";

const INSPECT_FORMAT_HELP: &str = "How to print: 'json', or a Go template";

/// The conditions of `--filter`.
fn filters_json(matches: &Matches) -> Filters {
    let mut filters = Filters::default();
    for text in matches.list("filter") {
        if let Some((name, value)) = text.split_once('=') {
            filters.add(name.trim().to_lowercase(), value.trim());
        }
    }
    filters
}

/// The same as part of a query; nothing if there are none.
fn filters(matches: &Matches) -> Option<(&'static str, String)> {
    let text = filters_json(matches).encode();
    Some(("filters", text)).filter(|(_, text)| !text.is_empty())
}

/// Asks before something is lost; only `y` is a yes.
fn confirm(cli: &Cli, warning: &str) -> Result<bool, Failure> {
    cli.print(&format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Failure::io("read", "the answer"))?;
    if !answer.ends_with('\n') {
        // The prompt's line was never ended by the user.
        let _ = writeln!(std::io::stdout());
    }
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
