//! Messages: on standard error, or in the file of `--log` in the form that engines parse.
//!
//! Without `--log` a message is one line of text on standard error, as runc prints it. With `--log` it
//! goes to the file, and errors are repeated on standard error in plain words. containerd takes the last
//! entry of level `error`, Podman and CRI-O the last line; each entry has `level`, `msg` and `time`.
//! The file is opened when there is something to say, which for most commands is never.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::container::timestamp;

/// The form of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `time="…" level=error msg="…"`
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`
    Json,
}

/// How much an entry matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Debug,
    Warning,
    Error,
}

/// Where messages go.
#[derive(Debug)]
pub(super) struct Log {
    /// Standard error if absent.
    pub(super) file: Option<PathBuf>,
    pub(super) format: Format,
    pub(super) debug: bool,
}

/// The process has one log, as it has one standard error.
static LOG: OnceLock<Log> = OnceLock::new();

/// Begins to log; what was said before is lost.
pub(super) fn start(log: Log) {
    // Only the command line's main calls this, and once.
    let _ = LOG.set(log);
}

/// Says what is no failure, but worth knowing.
pub(super) fn warn(message: &str) {
    if let Some(log) = LOG.get() {
        log.write(Level::Warning, message);
    }
}

/// Says what only `--debug` wants to know.
pub(super) fn debug(message: impl FnOnce() -> String) {
    if let Some(log) = LOG.get().filter(|log| log.debug) {
        log.write(Level::Debug, &message());
    }
}

/// The same for text that is there already.
pub(super) fn detail(message: &str) {
    debug(|| message.to_owned());
}

/// Says why the command failed.
pub(super) fn error(message: &str) {
    match LOG.get() {
        Some(log) => {
            log.write(Level::Error, message);
            if log.file.is_some() {
                to_stderr(&format!("{message}\n"));
            }
        }
        None => to_stderr(&format!("{message}\n")),
    }
}

impl Log {
    fn write(&self, level: Level, message: &str) {
        let entry = entry(self.format, level, message, &timestamp());
        let Some(path) = &self.file else { return to_stderr(&entry) };
        let appended = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(entry.as_bytes()));
        if let Err(failure) = appended {
            to_stderr(&format!("write log {}: {failure}\n{entry}", path.display()));
        }
    }
}

fn entry(format: Format, level: Level, message: &str, time: &str) -> String {
    let level = match level {
        Level::Debug => "debug",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    // A JSON string is also what the text form wants: quoted, on one line.
    let message = serde_json::Value::from(message);
    match format {
        Format::Text => format!("time=\"{time}\" level={level} msg={message}\n"),
        Format::Json => {
            format!("{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{time}\"}}\n")
        }
    }
}

fn to_stderr(text: &str) {
    // If nobody takes it there is nobody to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_lines_whatever_the_message() {
        let time = "2026-11-22T05:41:07.000000001Z";
        let message = "open \"a\nb\": no";
        assert_eq!(
            entry(Format::Text, Level::Error, message, time),
            "time=\"2026-11-22T05:41:07.000000001Z\" level=error msg=\"open \\\"a\\nb\\\": no\"\n"
        );
        let json = entry(Format::Json, Level::Warning, message, time);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value, serde_json::json!({"level": "warning", "msg": message, "time": time}));
        assert!(json.ends_with("}\n") && json.lines().count() == 1);
    }

    #[test]
    fn a_log_file_is_made_and_appended_to() {
        let path = std::env::temp_dir().join(format!("dhow-log-{}", std::process::id()));
        let log = Log { file: Some(path.clone()), format: Format::Json, debug: false };
        log.write(Level::Warning, "one");
        log.write(Level::Error, "two");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let messages: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|entry| entry["msg"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(messages, ["one", "two"]);
    }
}
