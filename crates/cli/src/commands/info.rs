//! `info`: what the engine says of itself and its host.

use std::fmt::Write;

use super::version;
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::failure::Failure;
use crate::format::Format;
use crate::json::Json;
use crate::tree::{Command, Words};
use crate::units::binary_size;

pub(super) const INFO: Command = Command {
    names: &["system info", "info"],
    usage: "[OPTIONS]",
    about: "Display system-wide information",
    flags: &[&[Flag::text("format", super::INSPECT_FORMAT_HELP).short('f')]],
    words: Words::None,
    stops: false,
    run: info,
};

fn info(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let format = match matches.text("format") {
        "json" => "{{json .}}",
        format => format,
    };
    if !format.is_empty() {
        let wrong = |error| Failure::Format { error, code: 64 };
        let template = Format::parse(format).map_err(wrong)?;
        let mut info = cli.client()?.get("/info")?;
        info.set("ClientInfo", version::client(cli)?);
        cli.say(&template.fill(&info)?)?;
        return Ok(0);
    }
    let server = cli.client()?.get("/info");
    let ours = version::client(cli)?;
    let mut out = String::from("Client:\n");
    // A String takes everything, here and below.
    let _ = writeln!(out, " Version:    {}", ours.text("Version"));
    let _ = writeln!(out, " Context:    {}", ours.text("Context"));
    let _ = writeln!(out, " Debug Mode: false\n\nServer:");
    match server {
        Ok(server) => {
            host(&mut out, &server);
            cli.print(&out)?;
            for warning in server.texts("Warnings") {
                cli.warn(warning);
            }
            Ok(0)
        }
        Err(failure) => {
            cli.print(&out)?;
            Err(failure)
        }
    }
}

/// Prints a line unless there is nothing to say.
fn line(out: &mut String, title: &str, value: &str) {
    if !value.is_empty() {
        let _ = writeln!(out, " {title}: {value}");
    }
}

fn host(out: &mut String, info: &Json) {
    let _ = writeln!(out, " Containers: {}", info.int("Containers"));
    let _ = writeln!(out, "  Running: {}", info.int("ContainersRunning"));
    let _ = writeln!(out, "  Paused: {}", info.int("ContainersPaused"));
    let _ = writeln!(out, "  Stopped: {}", info.int("ContainersStopped"));
    let _ = writeln!(out, " Images: {}", info.int("Images"));
    line(out, "Server Version", info.text("ServerVersion"));
    line(out, "Storage Driver", info.text("Driver"));
    for pair in info.get("DriverStatus").items() {
        if let [key, value] = pair.items() {
            let _ = writeln!(out, "  {}: {}", key.as_str(), value.as_str());
        }
    }
    line(out, "Logging Driver", info.text("LoggingDriver"));
    line(out, "Cgroup Driver", info.text("CgroupDriver"));
    line(out, "Cgroup Version", info.text("CgroupVersion"));
    let plugins = info.get("Plugins");
    let _ = writeln!(out, " Plugins:");
    for kind in ["Volume", "Network", "Log"] {
        let _ = writeln!(out, "  {kind}: {}", plugins.texts(kind).join(" "));
    }
    let _ = writeln!(out, " Swarm: {}", info.get("Swarm").text("LocalNodeState"));
    let runtimes = info.get("Runtimes").fields();
    if !runtimes.is_empty() {
        let names: Vec<_> = runtimes.iter().map(|(name, _)| name.as_str()).collect();
        let _ = writeln!(out, " Runtimes: {}", names.join(" "));
        let _ = writeln!(out, " Default Runtime: {}", info.text("DefaultRuntime"));
    }
    if info.text("OSType") == "linux" {
        let _ = writeln!(out, " Init Binary: {}", info.text("InitBinary"));
        for (title, key) in [
            ("containerd version", "ContainerdCommit"),
            ("runc version", "RuncCommit"),
            ("init version", "InitCommit"),
        ] {
            let _ = writeln!(out, " {title}: {}", info.get(key).text("ID"));
        }
        security(out, &info.texts("SecurityOptions"));
    }
    for (title, key) in [
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
    ] {
        line(out, title, info.text(key));
    }
    let _ = writeln!(out, " CPUs: {}", info.int("NCPU"));
    let _ = writeln!(out, " Total Memory: {}", binary_size(info.number("MemTotal")));
    line(out, "Name", info.text("Name"));
    line(out, "ID", info.text("ID"));
    let _ = writeln!(out, " Docker Root Dir: {}", info.text("DockerRootDir"));
    let _ = writeln!(out, " Debug Mode: {}", info.on("Debug"));
    for (title, key) in
        [("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy")]
    {
        line(out, title, info.text(key));
    }
    list(out, "Labels", &info.texts("Labels"));
    let _ = writeln!(out, " Experimental: {}", info.on("ExperimentalBuild"));
    registries(out, info.get("RegistryConfig"));
    let _ = writeln!(out, " Live Restore Enabled: {}\n", info.on("LiveRestoreEnabled"));
}

fn list(out: &mut String, title: &str, items: &[&str]) {
    if !items.is_empty() {
        let _ = writeln!(out, " {title}:");
    }
    for item in items {
        let _ = writeln!(out, "  {item}");
    }
}

/// `name=seccomp,profile=builtin` in two lines.
fn security(out: &mut String, options: &[&str]) {
    if !options.is_empty() {
        let _ = writeln!(out, " Security Options:");
    }
    for option in options {
        let pairs = option.split(',').filter_map(|pair| pair.split_once('='));
        for (key, value) in pairs {
            match key {
                "name" => drop(writeln!(out, "  {value}")),
                "profile" => drop(writeln!(out, "   Profile: {value}")),
                _ => {}
            }
        }
    }
}

fn registries(out: &mut String, config: &Json) {
    let named = config.get("IndexConfigs").fields().iter();
    let mut insecure: Vec<&str> = named
        .filter(|(_, registry)| !registry.on("Secure"))
        .map(|(name, _)| name.as_str())
        .collect();
    insecure.extend(config.texts("InsecureRegistryCIDRs"));
    list(out, "Insecure Registries", &insecure);
    list(out, "Registry Mirrors", &config.texts("Mirrors"));
}
