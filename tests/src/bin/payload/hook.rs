//! The payload as an OCI hook: records how and where it was called.
//!
//! One JSON line is appended per call, so that the order of hooks is the order of lines. Words after
//! the name change what it does: `fail`, `hang`, `touch PATH`.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::thread;

use serde_json::{Value, json};

/// Records the call in `log` under `name`, then does what `rest` says.
pub(crate) fn run(log: &str, name: &str, rest: &[&str]) -> io::Result<u8> {
    let mut input = String::new();
    io::stdin().read_to_string(&mut input)?;
    let report = dhow_tests::gather(Vec::new());
    let line = json!({
        "name": name,
        "state": serde_json::from_str::<Value>(&input).unwrap_or(Value::String(input)),
        "namespaces": report.namespaces,
        "hostname": report.hostname,
        "cwd": report.cwd,
        "env": report.env,
        "fds": report.fds,
        "root": std::fs::read_dir("/")?.flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "argv": std::env::args().collect::<Vec<_>>(),
        "mounts": report.mounts.iter().map(|m| m.point.clone()).collect::<Vec<_>>(),
    });
    let mut file = OpenOptions::new().append(true).create(true).open(log)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    match *rest {
        ["fail"] => {
            eprintln!("hook {name} fails as it was told");
            Ok(3)
        }
        ["hang"] => {
            thread::sleep(super::LONGEST);
            Ok(0)
        }
        _ => Ok(0),
    }
}
