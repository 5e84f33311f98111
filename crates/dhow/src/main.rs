//! Picks a role by the program's name and first word, reads the environment, and hands over. What is no
//! role is a command of the client's.
//!
//! Absent on purpose: what any role does.

mod engine;
mod hello;
mod registry;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use dhow_runtime::Environment;

/// Under this name the program is an OCI runtime and nothing else, as engines want to call one.
const OCI_NAME: &str = "dhow-oci";

/// Under this name it is the first process of a container that has a small init.
const INIT_NAME: &str = "docker-init";

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name == OCI_NAME {
        return ExitCode::from(dhow_runtime::oci_main(OCI_NAME, &environment(), words));
    }
    if name == INIT_NAME {
        return ExitCode::from(dhow_monitor::init_main(words, std::env::vars_os()));
    }
    let role = words.next();
    match role.as_ref().and_then(|word| word.to_str()) {
        Some("oci") => ExitCode::from(dhow_runtime::oci_main("dhow oci", &environment(), words)),
        Some("monitor") => ExitCode::from(dhow_monitor::main(words)),
        Some("engine") => {
            let mut words = words.peekable();
            // With flags, or nothing, it is the role; what is done with a running one is the client's.
            match words.peek().is_none_or(|word| word.as_encoded_bytes().starts_with(b"-")) {
                true => engine::main(words),
                false => client(&name, role.into_iter().chain(words)),
            }
        }
        Some("registry") => registry::main(words, environment().listen_fds),
        Some("hello") => hello::main(),
        _ => client(&name, role.into_iter().chain(words)),
    }
}

fn client(name: &str, words: impl Iterator<Item = OsString>) -> ExitCode {
    ExitCode::from(dhow_cli::main(name, dhow_cli::Environment { variable }, words))
}

/// A variable of the environment, for the client.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
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
