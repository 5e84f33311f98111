//! `version`: ours and the engine's.

use std::fmt::Write;

use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::API_VERSION;
use crate::failure::Failure;
use crate::format::{Format, align_with};
use crate::json::{Json, object};
use crate::tree::{Command, Words};

pub(super) const VERSION: Command = Command {
    names: &["version"],
    usage: "[OPTIONS]",
    about: "Show the version of the client and of the engine",
    flags: &[&[Flag::text("format", super::INSPECT_FORMAT_HELP).short('f')]],
    words: Words::None,
    stops: false,
    run: version,
};

/// The one line of `--version`.
pub(crate) fn short_version(program: &str) -> String {
    format!("{program} version {}", env!("CARGO_PKG_VERSION"))
}

/// What is known of this program.
pub(super) fn client(cli: &Cli) -> Result<Json, Failure> {
    Ok(object([
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("ApiVersion", cli.client()?.version()),
        ("DefaultAPIVersion", API_VERSION.to_owned()),
        ("Os", std::env::consts::OS.to_owned()),
        ("Arch", architecture().to_owned()),
        ("Context", cli.context_name()?),
    ]))
}

/// Go's name for our processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn version(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let format = match matches.text("format") {
        "json" => "{{json .}}",
        format => format,
    };
    let template = match format {
        "" => None,
        format => {
            let wrong = |error| Failure::Format { error, code: 64 };
            Some(Format::parse(format).map_err(wrong)?)
        }
    };
    let server = cli.client()?.get("/version");
    let ours = client(cli)?;
    let (server, failure) = match server {
        Ok(server) => (server, None),
        Err(failure) => (Json::Null, Some(failure)),
    };
    match template {
        None => cli.print(&align_with(&pretty(&ours, &server), 20, 1))?,
        Some(template) => {
            let both = object([("Client", with_go_names(ours)), ("Server", with_go_names(server))]);
            cli.say(&template.fill(&both)?)?;
        }
    }
    failure.map_or(Ok(0), Err)
}

fn with_go_names(mut version: Json) -> Json {
    if let Some(api) = version.find("ApiVersion").cloned() {
        version.set("APIVersion", api);
    }
    version
}

fn pretty(ours: &Json, server: &Json) -> String {
    let mut out = String::from("Client:\n");
    // A String takes everything.
    let _ = writeln!(out, " Version:\t{}", ours.text("Version"));
    let used = ours.text("ApiVersion");
    let down = match used == ours.text("DefaultAPIVersion") {
        true => String::new(),
        false => format!(" (downgraded from {})", ours.text("DefaultAPIVersion")),
    };
    let _ = writeln!(out, " API version:\t{used}{down}");
    let _ = writeln!(out, " OS/Arch:\t{}/{}", ours.text("Os"), ours.text("Arch"));
    let _ = writeln!(out, " Context:\t{}", ours.text("Context"));
    if server.is_null() {
        return out;
    }
    let platform = server.get("Platform").text("Name");
    let gap = if platform.is_empty() { "" } else { " " };
    let _ = writeln!(out, "\nServer:{gap}{platform}");
    for component in server.get("Components").items() {
        let details = component.get("Details");
        let _ = writeln!(out, " {}:", component.text("Name"));
        let _ = writeln!(out, "  Version:\t{}", component.text("Version"));
        if component.text("Name") != "Engine" {
            for (key, value) in details.fields() {
                let _ = writeln!(out, "  {key}:\t{}", value.as_str());
            }
            continue;
        }
        let _ = writeln!(
            out,
            "  API version:\t{} (minimum version {})",
            details.text("ApiVersion"),
            details.text("MinAPIVersion")
        );
        for (title, key) in
            [("Go version", "GoVersion"), ("Git commit", "GitCommit"), ("Built", "BuildTime")]
        {
            if !details.text(key).is_empty() {
                let _ = writeln!(out, "  {title}:\t{}", details.text(key));
            }
        }
        let _ = writeln!(out, "  OS/Arch:\t{}/{}", details.text("Os"), details.text("Arch"));
        let _ = writeln!(out, "  Experimental:\t{}", details.text("Experimental"));
    }
    out
}
