//! Credential helpers: programs of the user's that keep his passwords.
//!
//! Absent on purpose: storing anything with them.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::json::{Json, object};

/// A helper says this when it knows no login; that is no error.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The login for `server` that the helper `name` keeps.
#[expect(clippy::disallowed_methods, reason = "credential helpers are programs of the user's own")]
pub(crate) fn ask(name: &str, server: &str) -> Result<Option<Json>, Failure> {
    let program = format!("docker-credential-{name}");
    let failed = |source| Failure::Io { doing: "run", object: program.clone(), source };
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(server.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        if text.trim() == NOT_FOUND {
            return Ok(None);
        }
        return Err(Failure::Invalid(format!("{program}: {}", text.trim())));
    }
    let answer = Json::parse(&output.stdout).map_err(|source| Failure::Answer { source })?;
    let (user, secret) = (answer.text("Username"), answer.text("Secret"));
    Ok(Some(match user {
        "<token>" => object([("identitytoken", secret)]),
        user => object([("username", user), ("password", secret)]),
    }))
}
