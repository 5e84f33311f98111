//! Credential helpers: programs of the user's that keep his passwords.
//!
//! Absent on purpose: keeping anything ourselves (`config` does that).

use std::io::Write;
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::json::{Json, object};

/// A helper says this when it knows no login; that is no error.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The login for `server` that the helper `name` keeps.
pub(crate) fn ask(name: &str, server: &str) -> Result<Option<Json>, Failure> {
    let Some(output) = run(name, "get", server)? else { return Ok(None) };
    let answer = Json::parse(&output).map_err(|source| Failure::Answer { source })?;
    let (user, secret) = (answer.text("Username"), answer.text("Secret"));
    Ok(Some(match user {
        "<token>" => object([("identitytoken", secret)]),
        user => object([("username", user), ("password", secret)]),
    }))
}

/// Has the helper keep a login.
pub(crate) fn store(name: &str, server: &str, user: &str, secret: &str) -> Result<(), Failure> {
    let login = object([("ServerURL", server), ("Username", user), ("Secret", secret)]);
    run(name, "store", &login.compact()).map(drop)
}

/// Has the helper forget a login.
pub(crate) fn erase(name: &str, server: &str) -> Result<(), Failure> {
    run(name, "erase", server).map(drop)
}

/// One word to a helper; nothing if it knows no such login.
#[expect(clippy::disallowed_methods, reason = "credential helpers are programs of the user's own")]
fn run(name: &str, word: &str, input: &str) -> Result<Option<Vec<u8>>, Failure> {
    let program = format!("docker-credential-{name}");
    let failed = |source| Failure::Io { doing: "run", object: program.clone(), source };
    let mut child = Command::new(&program)
        .arg(word)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    if text.trim() == NOT_FOUND {
        return Ok(None);
    }
    Err(Failure::Invalid(format!("{program}: {}", text.trim())))
}
