//! Picks a role by the program's name and first word, reads the environment, and hands over.
//!
//! Absent on purpose: what any role does.

mod hello;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use dhow_runtime::Environment;

/// Under this name the program is an OCI runtime and nothing else, as engines want to call one.
const OCI_NAME: &str = "dhow-oci";

const HELP: &str = "\
Usage: dhow ROLE ...

Runs containers.

ROLES:
  oci         an OCI runtime, with the command lines of runc and crun
  hello       what the built-in image hello runs

OPTIONS:
  -v, --version  print the version
  -h, --help     print this help

Called as dhow-oci, this program is \"dhow oci\".
";

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == OCI_NAME) {
        return ExitCode::from(dhow_runtime::oci_main(OCI_NAME, &environment(), words));
    }
    let role = words.next();
    match role.as_ref().and_then(|word| word.to_str()) {
        Some("oci") => ExitCode::from(dhow_runtime::oci_main("dhow oci", &environment(), words)),
        Some("hello") => hello::main(),
        Some("-v" | "--version") => say(&format!("dhow version {}\n", env!("CARGO_PKG_VERSION"))),
        Some("-h" | "--help" | "help") => say(HELP),
        _ => refuse(role.as_ref()),
    }
}

fn say(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn refuse(role: Option<&OsString>) -> ExitCode {
    let mistake = match role {
        None => "a role is missing".to_owned(),
        Some(word) => format!("unknown role {word:?}"),
    };
    // If nobody takes the message there is nobody to tell.
    let _ = write!(std::io::stderr(), "dhow: {mistake}\n\n{HELP}");
    ExitCode::FAILURE
}

/// All that the environment says to the runtime.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
fn environment() -> Environment {
    let path = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(Into::into);
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let for_us = number("LISTEN_PID") == Some(std::process::id());
    Environment {
        runtime_dir: path("XDG_RUNTIME_DIR"),
        notify_socket: path("NOTIFY_SOCKET"),
        listen_fds: number("LISTEN_FDS").filter(|_| for_us).unwrap_or(0),
    }
}
