//! `completion`: what a shell needs to complete our command lines, and the answers to what it then asks.
//!
//! The scripts know no command: they ask `__complete` with the words so far, the one to be completed last, and
//! take one candidate a line. Invariant: an engine that is not there is not started for this, and no complaint
//! gets into the user's line.

use dhow_wire::Filters;

use super::COMMANDS;
use crate::args::Flag;
use crate::cli::Cli;
use crate::client::query;
use crate::failure::Failure;
use crate::help::GLOBAL;
use crate::tree::{Command, Found, GROUPS, Words, find};

pub(super) const COMPLETION: Command = Command {
    names: &["completion"],
    usage: "bash|zsh|fish",
    about: "Print the completion script of a shell",
    flags: &[],
    words: Words::Exactly(1),
    stops: false,
    run: |cli, matches| {
        let script = match matches.words[0].as_str() {
            "bash" => BASH,
            "zsh" => ZSH,
            "fish" => FISH,
            shell => {
                return Err(Failure::Invalid(format!(
                    "no completion for {shell:?}: only for bash, zsh and fish"
                )));
            }
        };
        cli.print(&script.replace("PROGRAM", cli.program))?;
        Ok(0)
    },
};

const BASH: &str = r#"# bash completion of PROGRAM
_PROGRAM() {
    local IFS=$'\n'
    local line="${COMP_LINE:0:COMP_POINT}"
    local cur="${COMP_WORDS[COMP_CWORD]}"
    # Colons part words for bash, and not for us.
    if declare -F _get_comp_words_by_ref >/dev/null; then
        local words cword
        _get_comp_words_by_ref -n : cur words cword
        COMPREPLY=($(PROGRAM __complete "${words[@]:1:cword}" 2>/dev/null))
        declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
    else
        COMPREPLY=($(PROGRAM __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -o default -F _PROGRAM PROGRAM
"#;

const ZSH: &str = r#"#compdef PROGRAM
# zsh completion of PROGRAM
_PROGRAM() {
    local -a found
    found=("${(@f)$(PROGRAM __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then
        compadd -- "${found[@]}"
    else
        _files
    fi
}
if [ "$funcstack[1]" = "_PROGRAM" ]; then _PROGRAM "$@"; else compdef _PROGRAM PROGRAM; fi
"#;

const FISH: &str = r#"# fish completion of PROGRAM
function __PROGRAM_complete
    set -l words (commandline -opc) (commandline -ct)
    PROGRAM __complete $words[2..-1] 2>/dev/null
end
complete -c PROGRAM -a '(__PROGRAM_complete)'
"#;

/// Prints what the last of the words may become.
pub(crate) fn complete(cli: &Cli, words: &[String]) -> Result<u8, Failure> {
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, rest)| (last, rest));
    let mut found = match without_flags(before) {
        None => Vec::new(),
        Some(plain) => candidates(cli, &plain, last),
    };
    found.retain(|word| word.starts_with(last));
    found.sort_unstable();
    found.dedup();
    let mut text = found.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    cli.print(&text)?;
    Ok(0)
}

/// The words that are neither flags nor their values; nothing if the next word is a flag's value.
fn without_flags(words: &[String]) -> Option<Vec<String>> {
    let mut plain: Vec<String> = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if !word.starts_with('-') || word == "-" {
            plain.push(word.clone());
            continue;
        }
        let takes_value = flag_of(&plain, word).is_some_and(|flag| !flag.is_switch());
        if takes_value && !word.contains('=') && is_whole(word) {
            rest.next()?;
        }
    }
    Some(plain)
}

/// A short flag may have its value right behind it.
fn is_whole(word: &str) -> bool {
    word.starts_with("--") || word.chars().count() == 2
}

fn flag_of(plain: &[String], word: &str) -> Option<&'static Flag> {
    let name = word.trim_start_matches('-').split('=').next().unwrap_or_default();
    let fits = |flag: &&'static Flag| match word.starts_with("--") {
        true => flag.long == name,
        false => flag.short.is_some() && flag.short == name.chars().next(),
    };
    flags_of(plain).find(fits)
}

fn flags_of(plain: &[String]) -> Box<dyn Iterator<Item = &'static Flag>> {
    match find(COMMANDS, plain) {
        Found::Command(command, _) => Box::new(command.flags.iter().flat_map(|table| table.iter())),
        _ => Box::new(GLOBAL.iter()),
    }
}

fn candidates(cli: &Cli, plain: &[String], last: &str) -> Vec<String> {
    if last.starts_with('-') {
        let flags = flags_of(plain).filter(|flag| !flag.hidden);
        return flags.map(|flag| format!("--{}", flag.long)).chain(["--help".to_owned()]).collect();
    }
    match find(COMMANDS, plain) {
        Found::Command(command, count) => objects(cli, command, plain.len() - count),
        Found::Group(group) => {
            let prefix = format!("{} ", group.name);
            names().filter_map(|name| Some(name.strip_prefix(&prefix)?.to_owned())).collect()
        }
        _ if plain.is_empty() => {
            let single = names().filter(|name| !name.contains(' ')).map(str::to_owned);
            single.chain(GROUPS.iter().map(|group| group.name.to_owned())).collect()
        }
        _ => Vec::new(),
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().flat_map(|command| command.names.iter().copied())
}

/// Names of what a command takes at that place, by its usage line.
fn objects(cli: &Cli, command: &Command, place: usize) -> Vec<String> {
    let words = command.usage.split_whitespace().filter(|word| *word != "[OPTIONS]");
    let words: Vec<&str> = words.collect();
    let word = words.get(place).or_else(|| words.last().filter(|word| word.ends_with("...]")));
    let word = word.copied().unwrap_or_default().trim_matches(['[', ']', '.']);
    let kind = word.split([':', '[', '|']).next().unwrap_or_default();
    let Ok(client) = cli.quiet_client() else { return Vec::new() };
    let texts = |path: String, name: fn(&crate::json::Json) -> Vec<String>| {
        let answer = client.get(path).unwrap_or_default();
        let items = if answer.items().is_empty() { answer.get("Volumes") } else { &answer };
        items.items().iter().flat_map(name).collect()
    };
    let first_name = |item: &crate::json::Json| {
        let names = item.texts("Names").into_iter();
        names.map(|name| name.trim_start_matches('/').to_owned()).collect()
    };
    match kind {
        "CONTAINER" => {
            let mut filters = Filters::default();
            if let Some(status) = status(command) {
                filters.add("status", status);
            }
            let text = Some(filters.encode()).filter(|text| !text.is_empty());
            let pairs = [("all", "1".to_owned())].into_iter();
            texts(
                format!("/containers/json{}", query(pairs.chain(text.map(|t| ("filters", t))))),
                first_name,
            )
        }
        "IMAGE" | "SOURCE_IMAGE" | "NAME" => texts("/images/json".to_owned(), |image| {
            image.texts("RepoTags").into_iter().map(str::to_owned).collect()
        }),
        "VOLUME" => texts("/volumes".to_owned(), |volume| vec![volume.text("Name").to_owned()]),
        "NETWORK" => texts("/networks".to_owned(), |network| vec![network.text("Name").to_owned()]),
        "CONTEXT" => super::context::names(cli).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// What containers must be for a command to make sense.
fn status(command: &Command) -> Option<&'static str> {
    match command.names.last().copied()? {
        "attach" | "exec" | "kill" | "pause" | "stop" | "top" | "port" => Some("running"),
        "unpause" => Some("paused"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn flags_and_their_values_are_no_words() {
        let plain = |text| without_flags(&words(text));
        assert_eq!(plain("-H unix:///x run --rm -it --name web"), Some(words("run")));
        assert_eq!(plain("run --name"), None);
        assert_eq!(plain("run --name=web busybox"), Some(words("run busybox")));
        assert_eq!(plain("container rm -f"), Some(words("container rm")));
    }

    #[test]
    fn scripts_name_the_program() {
        for script in [BASH, ZSH, FISH] {
            let script = script.replace("PROGRAM", "dhow");
            assert!(script.contains("dhow __complete") && !script.contains("PROGRAM"));
        }
    }

    #[test]
    fn commands_are_found() {
        let all: Vec<_> = names().collect();
        for name in ["run", "container ls", "cp", "system df", "context use"] {
            assert!(all.contains(&name), "{name}");
        }
    }
}
