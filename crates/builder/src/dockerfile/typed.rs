//! From words to instructions: flags, forms, and what each instruction demands.
//!
//! Invariant: what Docker's parser refuses without looking at anything else is refused here.

use super::error::ParseFault;
use super::flags::Flags;
use super::heredoc::Heredoc;
use super::instruction::{
    Arg, Command, Copy, CopySource, From, HealthCheck, Instruction, Kind, Network, Pair, Run,
    Security,
};
use super::mount::Mount;
use super::node::Node;

const NAMES: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads an instruction that `ONBUILD` kept as text.
pub fn instruction_of(text: &str, escape: char) -> Result<Instruction, ParseFault> {
    typed(&Node::of(text, escape)?)
}

/// What a node means.
pub(super) fn typed(node: &Node) -> Result<Instruction, ParseFault> {
    let mut flags = Flags::new(&node.flags);
    let kind = kind(node, &mut flags)?;
    flags.finish()?;
    Ok(Instruction { kind, text: node.original.clone(), lines: node.lines })
}

fn kind(node: &Node, flags: &mut Flags) -> Result<Kind, ParseFault> {
    Ok(match node.name.as_str() {
        "from" => Kind::From(from(node, flags)?),
        "run" => Kind::Run(run(node, flags)?),
        "copy" => Kind::Copy(copy(node, flags, false)?),
        "add" => Kind::Copy(copy(node, flags, true)?),
        "cmd" => Kind::Cmd(command(node)),
        "entrypoint" => Kind::Entrypoint(command(node)),
        "env" => Kind::Env(pairs(node, "ENV")?),
        "label" => Kind::Label(pairs(node, "LABEL")?),
        "arg" => Kind::Arg(args(node)?),
        "expose" => Kind::Expose(some(node, "EXPOSE")?),
        "volume" => {
            let volumes = some(node, "VOLUME")?;
            if volumes.iter().any(|volume| volume.trim().is_empty()) {
                return rule("VOLUME", "specified can not be an empty string");
            }
            Kind::Volume(volumes)
        }
        "user" => Kind::User(one(node, "USER")?),
        "workdir" => Kind::Workdir(one(node, "WORKDIR")?),
        "stopsignal" => Kind::StopSignal(one(node, "STOPSIGNAL")?),
        "maintainer" => Kind::Maintainer(one(node, "MAINTAINER")?),
        "shell" if !node.json => {
            return rule("SHELL", "requires the arguments to be in JSON form");
        }
        "shell" => Kind::Shell(some(node, "SHELL")?),
        "onbuild" => Kind::OnBuild(on_build(node)?),
        "healthcheck" => Kind::HealthCheck(health_check(node, flags)?),
        _ => return Err(unknown(&node.word)),
    })
}

fn rule<T>(instruction: &'static str, rule: &'static str) -> Result<T, ParseFault> {
    Err(ParseFault::Rule { instruction, rule })
}

fn unknown(word: &str) -> ParseFault {
    let upper = word.to_ascii_uppercase();
    let near = NAMES.iter().map(|name| (distance(name, &upper), *name));
    let meant = near.filter(|(letters, _)| *letters <= 2).min().map(|(_, name)| name);
    ParseFault::Unknown { word: upper, meant }
}

/// How many letters would have to change.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = before + usize::from(x != *y);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn one(node: &Node, instruction: &'static str) -> Result<String, ParseFault> {
    match node.args.as_slice() {
        [text] => Ok(text.clone()),
        _ => Err(ParseFault::Arguments { instruction, wanted: "exactly one argument" }),
    }
}

fn some(node: &Node, instruction: &'static str) -> Result<Vec<String>, ParseFault> {
    if node.args.is_empty() {
        return Err(ParseFault::Arguments { instruction, wanted: "at least one argument" });
    }
    Ok(node.args.clone())
}

fn command(node: &Node) -> Command {
    Command { words: node.args.clone(), shell: !node.json && !node.args.is_empty() }
}

fn pairs(node: &Node, instruction: &'static str) -> Result<Vec<Pair>, ParseFault> {
    let args = some(node, instruction)?;
    let pair = |three: &[String]| match three {
        [name, _, _] if name.is_empty() => Err(ParseFault::BlankName { instruction }),
        [name, value, between] => {
            Ok(Pair { name: name.clone(), value: value.clone(), legacy: between.is_empty() })
        }
        _ => Err(ParseFault::TwoArguments { instruction }),
    };
    args.chunks(3).map(pair).collect()
}

fn args(node: &Node) -> Result<Vec<Arg>, ParseFault> {
    let arg = |word: String| {
        let (name, default) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        match name.is_empty() {
            true => Err(ParseFault::BlankName { instruction: "ARG" }),
            false => Ok(Arg { name, default }),
        }
    };
    some(node, "ARG")?.into_iter().map(arg).collect()
}

fn from(node: &Node, flags: &mut Flags) -> Result<From, ParseFault> {
    let platform = flags.value("platform")?;
    let (base, written) = match node.args.as_slice() {
        [base] => (base, None),
        [base, word, name] if word.eq_ignore_ascii_case("as") => (base, Some(name.clone())),
        _ => {
            let wanted = "either one or three arguments";
            return Err(ParseFault::Arguments { instruction: "FROM", wanted });
        }
    };
    if let Some(name) = &written {
        let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
        let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !first || !rest {
            return Err(ParseFault::StageName { name: name.clone() });
        }
    }
    let name = written.as_deref().map(str::to_lowercase);
    Ok(From { base: base.clone(), name, written, platform })
}

fn run(node: &Node, flags: &mut Flags) -> Result<Run, ParseFault> {
    let mounts = flags.all("mount")?;
    let mounts = mounts.iter().map(|text| Mount::parse(text)).collect::<Result<_, _>>()?;
    let bad = |flag: &str, value: String, expected| {
        Err(ParseFault::BadValue { flag: flag.to_owned(), value, expected })
    };
    let network = match flags.value("network")? {
        None => Network::Default,
        Some(value) => match value.as_str() {
            "default" => Network::Default,
            "none" => Network::None,
            "host" => Network::Host,
            _ => return bad("network", value, "must be default, none or host"),
        },
    };
    let security = match flags.value("security")? {
        None => Security::Sandbox,
        Some(value) => match value.as_str() {
            "sandbox" => Security::Sandbox,
            "insecure" => Security::Insecure,
            _ => return bad("security", value, "must be sandbox or insecure"),
        },
    };
    if node.args.is_empty() && !node.json {
        return Err(ParseFault::Arguments { instruction: "RUN", wanted: "at least one argument" });
    }
    let heredocs = node.heredocs.clone();
    Ok(Run { command: command(node), heredocs, mounts, network, security })
}

fn copy(node: &Node, flags: &mut Flags, add: bool) -> Result<Copy, ParseFault> {
    let instruction = if add { "ADD" } else { "COPY" };
    let copy = Copy {
        add,
        from: if add { None } else { flags.value("from")? },
        chown: flags.value("chown")?,
        chmod: flags.value("chmod")?,
        link: flags.switch("link")?.unwrap_or(false),
        parents: !add && flags.switch("parents")?.unwrap_or(false),
        exclude: flags.all("exclude")?,
        checksum: if add { flags.value("checksum")? } else { None },
        keep_git_dir: add && flags.switch("keep-git-dir")?.unwrap_or(false),
        unpack: if add { flags.switch("unpack")? } else { None },
        sources: Vec::new(),
        to: String::new(),
    };
    let [sources @ .., to] = node.args.as_slice() else {
        return Err(ParseFault::Arguments { instruction, wanted: "at least two arguments" });
    };
    if sources.is_empty() {
        return Err(ParseFault::Arguments { instruction, wanted: "at least two arguments" });
    }
    let mut inline = node.heredocs.iter();
    let source = |word: &String| {
        let announced = (!node.json).then(|| Heredoc::announced(word)).flatten();
        match announced.and_then(|_| inline.next()) {
            Some(heredoc) => CopySource::Inline(heredoc.clone()),
            None => CopySource::Path(word.clone()),
        }
    };
    let sources = sources.iter().map(source).collect();
    Ok(Copy { sources, to: to.clone(), ..copy })
}

fn on_build(node: &Node) -> Result<String, ParseFault> {
    let Some(child) = &node.child else {
        return Err(ParseFault::Arguments {
            instruction: "ONBUILD",
            wanted: "at least one argument",
        });
    };
    match child.name.as_str() {
        "onbuild" => rule("ONBUILD", "chaining via `ONBUILD ONBUILD` isn't allowed"),
        "maintainer" | "from" => {
            Err(ParseFault::OnBuild { instruction: child.name.to_uppercase() })
        }
        _ => {
            typed(child)?;
            Ok(child.original.clone())
        }
    }
}

fn health_check(node: &Node, flags: &mut Flags) -> Result<HealthCheck, ParseFault> {
    let [kind, words @ ..] = node.args.as_slice() else {
        return Err(ParseFault::Arguments {
            instruction: "HEALTHCHECK",
            wanted: "at least one argument",
        });
    };
    match kind.to_ascii_uppercase().as_str() {
        "NONE" if words.is_empty() => Ok(HealthCheck::None),
        "NONE" => rule("HEALTHCHECK", "NONE takes no arguments"),
        "CMD" if words.is_empty() => rule("HEALTHCHECK", "CMD: missing command"),
        "CMD" => {
            let (interval, timeout) = (flags.duration("interval")?, flags.duration("timeout")?);
            let (start_period, start_interval) =
                (flags.duration("start-period")?, flags.duration("start-interval")?);
            let retries = match flags.value("retries")? {
                None => 0,
                Some(value) => {
                    value.parse().ok().filter(|count| *count >= 0).ok_or(ParseFault::BadValue {
                        flag: "retries".to_owned(),
                        value,
                        expected: "a number that is not negative",
                    })?
                }
            };
            let command = Command { words: words.to_vec(), shell: !node.json };
            Ok(HealthCheck::Check {
                command,
                interval,
                timeout,
                start_period,
                start_interval,
                retries,
            })
        }
        _ => rule("HEALTHCHECK", "type is none of NONE and CMD"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        instruction_of(text, '\\').expect_err(text).to_string()
    }

    #[test]
    fn refusals() {
        for (text, expected) in [
            ("FRMO x", "unknown instruction: FRMO (did you mean FROM?)"),
            ("FRM x", "unknown instruction: FRM (did you mean FROM?)"),
            ("BOGUS x", "unknown instruction: BOGUS"),
            ("FROM a b", "FROM requires either one or three arguments"),
            (
                "FROM a AS 1x",
                "invalid name for build stage: \"1x\", name can't start with a number or contain symbols",
            ),
            ("COPY --user=me foo /tmp/", "unknown flag: --user"),
            ("COPY a", "COPY requires at least two arguments"),
            ("ADD --from=x a b", "unknown flag: --from"),
            ("ENV =x", "ENV names can not be blank"),
            ("ENV PATH", "ENV must have two arguments"),
            ("ENV a=1 b", "Syntax error - can't find = in \"b\". Must be of the form: name=value"),
            ("SHELL sh", "SHELL requires the arguments to be in JSON form"),
            ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
            ("ONBUILD ONBUILD RUN x", "ONBUILD chaining via `ONBUILD ONBUILD` isn't allowed"),
            ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
            ("HEALTHCHECK CMD", "HEALTHCHECK CMD: missing command"),
            (
                "HEALTHCHECK --interval=1us CMD x",
                "invalid value \"1us\" for interval: cannot be less than 1ms",
            ),
            (
                "RUN --network=moon x",
                "invalid value \"moon\" for network: must be default, none or host",
            ),
            (
                "CMD [ \"a\", [ \"b\" ] ]",
                "when using JSON array syntax, arrays must be comprised of strings only",
            ),
            ("USER", "USER requires exactly one argument"),
        ] {
            assert_eq!(refused(text), expected, "{text}");
        }
    }

    #[test]
    fn flags_of_copy() {
        let Kind::Copy(copy) = instruction_of(
            "COPY --from=a --chown=1:2 --chmod=u+x --link --parents --exclude=*.o --exclude=*.a x y /z/",
            '\\',
        )
        .expect("a copy")
        .kind
        else {
            panic!("no copy")
        };
        assert_eq!((copy.from.as_deref(), copy.link, copy.parents), (Some("a"), true, true));
        assert_eq!((copy.exclude.len(), copy.sources.len(), copy.to.as_str()), (2, 2, "/z/"));
    }
}
