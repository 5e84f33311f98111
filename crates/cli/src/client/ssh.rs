//! Engines behind `ssh`: a program of the user's that reaches the other machine, where dhow or Docker connects
//! its input and output to the engine.
//!
//! Invariant: no word of an address becomes an option of ssh's. Absent on purpose: keys and passwords: what ssh
//! asks, it asks the user's terminal.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use super::endpoint::SshHost;

/// Starts `ssh`; our end of its input and output. It ends with the connection.
#[expect(clippy::disallowed_methods, reason = "ssh is a program of the user's own")]
pub(super) fn connect(host: &SshHost) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let input: OwnedFd = theirs.try_clone()?.into();
    let output: OwnedFd = theirs.into();
    let spawned = Command::new("ssh")
        .args(arguments(host))
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .spawn();
    spawned.map_err(|error| io::Error::new(error.kind(), format!("run ssh: {error}")))?;
    Ok(ours)
}

fn arguments(host: &SshHost) -> Vec<String> {
    let mut words: Vec<String> = ["-o", "ConnectTimeout=30", "-T"].map(str::to_owned).into();
    if let Some(user) = &host.user {
        words.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = host.port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    let at = host.socket.as_ref().map(|path| format!(" --host unix://{}", quoted(path)));
    let dial = format!("{} system dial-stdio", at.unwrap_or_default());
    let script = format!(
        "if command -v dhow >/dev/null 2>&1; then exec dhow{dial}; else exec docker{dial}; fi"
    );
    words.extend(["--".to_owned(), host.host.clone(), format!("sh -c {}", quoted(&script))]);
    words
}

/// For a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_an_address_are_no_options() {
        let host = SshHost {
            user: Some("me".to_owned()),
            host: "box".to_owned(),
            port: Some(22),
            socket: Some("/run/o'k.sock".to_owned()),
        };
        let words = arguments(&host);
        assert_eq!(
            words[..9],
            ["-o", "ConnectTimeout=30", "-T", "-l", "me", "-p", "22", "--", "box"]
        );
        assert!(words[9].starts_with("sh -c '") && words[9].contains("system dial-stdio"));
        assert_eq!(quoted("o'k"), r"'o'\''k'");
    }
}
