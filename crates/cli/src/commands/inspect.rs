//! `inspect`, for one kind of object or for whichever has the name.
//!
//! What the engine sends is shown as it is; templates also find it under the names that Go's types
//! have. Absent on purpose: swarm's objects.

use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::{escape, query};
use crate::failure::Failure;
use crate::format::Format;
use crate::json::Json;
use crate::tree::{Command, Words};

const FORMAT: Flag = Flag::text("format", super::INSPECT_FORMAT_HELP).short('f');
const SIZE: Flag = Flag::switch("size", "Show sizes of a container's files").short('s');

pub(super) const INSPECT: Command = Command {
    names: &["inspect"],
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    about: "Return low-level information on objects",
    flags: &[&[FORMAT, SIZE, Flag::text("type", "Only inspect objects of the given type")]],
    words: Words::AtLeast(1),
    stops: false,
    run: inspect,
};

pub(super) const CONTAINER: Command = Command {
    names: &["container inspect"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Display detailed information on one or more containers",
    flags: &[&[FORMAT, SIZE]],
    words: Words::AtLeast(1),
    stops: false,
    run: |cli, matches| {
        let size = matches.on("size");
        show(cli, matches, |name| Kind::Container.get(cli, name, size, None))
    },
};

pub(super) const IMAGE: Command = Command {
    names: &["image inspect"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Display detailed information on one or more images",
    flags: &[&[FORMAT, Flag::text("platform", "Platform, if the image has several")]],
    words: Words::AtLeast(1),
    stops: false,
    run: |cli, matches| {
        show(cli, matches, |name| Kind::Image.get(cli, name, false, matches.some("platform")))
    },
};

pub(super) const NETWORK: Command = Command {
    names: &["network inspect"],
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    about: "Display detailed information on one or more networks",
    flags: &[&[FORMAT, Flag::switch("verbose", "With the firewall's rules in force").short('v')]],
    words: Words::AtLeast(1),
    stops: false,
    run: |cli, matches| {
        show(cli, matches, |name| match matches.on("verbose") {
            true => cli.client()?.get(format!("/networks/{}?verbose=1", escape(name))),
            false => Kind::Network.get(cli, name, false, None),
        })
    },
};

pub(super) const VOLUME: Command = Command {
    names: &["volume inspect"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Display detailed information on one or more volumes",
    flags: &[&[FORMAT]],
    words: Words::AtLeast(1),
    stops: false,
    run: |cli, matches| show(cli, matches, |name| Kind::Volume.get(cli, name, false, None)),
};

/// What can be inspected, in the order in which a name is looked for.
#[derive(Clone, Copy)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

const KINDS: [(&str, Kind); 4] = [
    ("container", Kind::Container),
    ("image", Kind::Image),
    ("network", Kind::Network),
    ("volume", Kind::Volume),
];

/// Docker's other kinds.
const OTHERS: [&str; 6] = ["config", "node", "plugin", "secret", "service", "task"];

impl Kind {
    fn get(
        self,
        cli: &Cli,
        name: &str,
        size: bool,
        platform: Option<&str>,
    ) -> Result<Json, Failure> {
        let name = escape(name);
        let path = match self {
            Kind::Container if size => format!("/containers/{name}/json?size=1"),
            Kind::Container => format!("/containers/{name}/json"),
            Kind::Image => {
                let platform = platform.map(|text| ("platform", text.to_owned()));
                format!("/images/{name}/json{}", query(platform))
            }
            Kind::Network => format!("/networks/{name}"),
            Kind::Volume => format!("/volumes/{name}"),
        };
        cli.client()?.get(path)
    }
}

fn inspect(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let (kind, size) = (matches.text("type"), matches.on("size"));
    let names = || {
        let mut all: Vec<&str> = KINDS.iter().map(|(name, _)| *name).chain(OTHERS).collect();
        all.sort_unstable();
        all.join("\", \"")
    };
    if kind.is_empty() && matches.changed("type") {
        return Err(Failure::Invalid(format!("type is empty: must be one of \"{}\"", names())));
    }
    if OTHERS.contains(&kind) {
        return Err(Failure::NotBuilt { what: format!("--type {kind}") });
    }
    let known = KINDS.iter().find(|(name, _)| *name == kind);
    if known.is_none() && !kind.is_empty() {
        return Err(Failure::Invalid(format!(
            "unknown type: {kind:?}: must be one of \"{}\"",
            names()
        )));
    }
    show(cli, matches, |name| {
        if let Some((_, kind)) = known {
            return kind.get(cli, name, size, None);
        }
        for (_, kind) in KINDS {
            match kind.get(cli, name, size, None) {
                Err(error) if skippable(&error) => {}
                result => return result,
            }
        }
        Err(Failure::Invalid(format!("Error: No such object: {name}")))
    })
}

/// Whether the name may still be one of another kind.
fn skippable(error: &Failure) -> bool {
    match error {
        Failure::Refused { status: 404, .. } => true,
        Failure::Refused { message, .. } => {
            message.contains("not supported") || message.contains("invalid reference format")
        }
        _ => false,
    }
}

/// Prints the objects that are there; for the others an error each, afterwards.
fn show(
    cli: &Cli,
    matches: &Matches,
    get: impl Fn(&str) -> Result<Json, Failure>,
) -> Result<u8, Failure> {
    let format = matches.text("format");
    let template = match format {
        "" | "json" => None,
        template => {
            let wrong = |error| Failure::Format { error, code: 64 };
            Some(Format::parse(template).map_err(wrong)?)
        }
    };
    let (mut found, mut out, mut errors) = (Vec::new(), String::new(), Vec::new());
    for name in &matches.words {
        match (get(name), &template) {
            (Ok(object), None) => found.push(object),
            (Ok(object), Some(template)) => {
                match template.fill_with(&with_go_names(object.clone()), &object) {
                    Ok(text) => {
                        out.push_str(&text);
                        out.push('\n');
                    }
                    Err(error) => errors.push(error.to_string()),
                }
            }
            (Err(error @ Failure::Unreachable { .. }), _) => return Err(error),
            (Err(error), _) => errors.push(error.to_string()),
        }
    }
    match (&template, format) {
        (Some(_), _) if out.is_empty() => out.push('\n'),
        (Some(_), _) => {}
        (None, _) if found.is_empty() => out.push_str("[]\n"),
        (None, "json") => out = format!("{}\n", Json::List(found).compact()),
        (None, _) => out = format!("{}\n", Json::List(found).pretty(4)),
    }
    cli.print(&out)?;
    if errors.is_empty() {
        return Ok(0);
    }
    Err(Failure::Stream { message: errors.join("\n"), code: 1 })
}

/// What Go's types have where the engine has nothing.
#[derive(Clone, Copy)]
enum Empty {
    /// No object.
    Nothing,
    Text,
    List,
    Map,
}

/// Go's fields that are left out of the answer, or `null`, when they are empty, so that `{{if .State.Health}}` is
/// a question and no mistake, and `{{.Config.Cmd}}` a list.
const OPTIONAL: &[(&[&str], Empty)] = &[
    (&["State", "Health"], Empty::Nothing),
    (&["Config", "Cmd"], Empty::List),
    (&["Config", "Entrypoint"], Empty::List),
    (&["Config", "Env"], Empty::List),
    (&["Config", "ExposedPorts"], Empty::Map),
    (&["Config", "Healthcheck"], Empty::Nothing),
    (&["Config", "Labels"], Empty::Map),
    (&["Config", "MacAddress"], Empty::Text),
    (&["Config", "OnBuild"], Empty::List),
    (&["Config", "Shell"], Empty::List),
    (&["Config", "StopSignal"], Empty::Text),
    (&["Config", "StopTimeout"], Empty::Nothing),
    (&["Config", "Volumes"], Empty::Map),
    (&["ExecIDs"], Empty::List),
    (&["HostConfig", "Binds"], Empty::List),
    (&["HostConfig", "CapAdd"], Empty::List),
    (&["HostConfig", "CapDrop"], Empty::List),
    (&["HostConfig", "Devices"], Empty::List),
    (&["HostConfig", "DeviceRequests"], Empty::List),
    (&["HostConfig", "ExtraHosts"], Empty::List),
    (&["HostConfig", "GroupAdd"], Empty::List),
    (&["HostConfig", "Init"], Empty::Nothing),
    (&["HostConfig", "Links"], Empty::List),
    (&["HostConfig", "MaskedPaths"], Empty::List),
    (&["HostConfig", "Mounts"], Empty::List),
    (&["HostConfig", "PortBindings"], Empty::Map),
    (&["HostConfig", "ReadonlyPaths"], Empty::List),
    (&["HostConfig", "SecurityOpt"], Empty::List),
    (&["HostConfig", "StorageOpt"], Empty::Map),
    (&["HostConfig", "Sysctls"], Empty::Map),
    (&["HostConfig", "Tmpfs"], Empty::Map),
    (&["HostConfig", "Ulimits"], Empty::List),
    (&["HostConfig", "VolumesFrom"], Empty::List),
    (&["Labels"], Empty::Map),
    (&["Options"], Empty::Map),
    (&["SizeRootFs"], Empty::Nothing),
    (&["SizeRw"], Empty::Nothing),
];

fn with_go_names(mut object: Json) -> Json {
    if let Some(id) = object.find("Id").cloned()
        && object.find("ID").is_none()
    {
        object.set("ID", id);
    }
    for (path, empty) in OPTIONAL {
        let value = || match empty {
            Empty::Nothing => Json::Null,
            Empty::Text => "".into(),
            Empty::List => Json::List(Vec::new()),
            Empty::Map => Json::Object(Vec::new()),
        };
        match path {
            [outer, inner] => {
                let mut part = object.get(outer).clone();
                if part.get(inner).is_null() && !part.is_null() {
                    part.set(inner, value());
                    object.set(outer, part);
                }
            }
            [name] if object.get(name).is_null() => object.set(name, value()),
            _ => {}
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_empty_as_in_go() {
        let check = |template: &str, expected: &str| {
            let object =
                r#"{"Id":"x","State":{"Pid":1},"Config":{"Cmd":null},"HostConfig":{"Links":null}}"#;
            let object = Json::parse(object.as_bytes()).unwrap();
            let format = Format::parse(template).unwrap();
            let text = format.fill_with(&with_go_names(object.clone()), &object).unwrap();
            assert_eq!(text, expected, "{template}");
        };
        check("{{.HostConfig.Links}} {{.Config.Cmd}} {{.Config.Labels}}", "[] [] map[]");
        check("{{json .HostConfig.Links}} {{json .Config.Cmd}}", "null null");
        check("{{if .State.Health}}yes{{else}}no{{end}}{{.Config.StopSignal}}", "no");
        check("{{len .HostConfig.Links}} {{range .Config.Env}}{{.}}{{end}}", "0 ");
        check("{{json .State}}", r#"{"Pid":1}"#);
    }
}
