//! What the engine tells of long work: a line for each layer, moving on a terminal, plain elsewhere.
//!
//! Absent on purpose: judging what is said, but for the error that may stand at the end.

use std::io::{self, BufRead, BufReader, Read, Write};

use crate::failure::Failure;
use crate::json::Json;
use crate::units::human_size;

/// Where progress is shown.
pub(crate) enum Shown {
    /// On standard output, as `pull` and `load` do.
    Output,
    /// On standard error, as `run` does when it pulls.
    Error,
    /// Not at all.
    Nowhere,
}

/// Reads messages to their end and shows them; the error among them is ours.
pub(crate) fn show(
    source: impl Read,
    shown: &Shown,
    mut aux: impl FnMut(&Json),
) -> Result<(), Failure> {
    let (terminal, columns) = match shown {
        Shown::Output => (crate::session::stdout_is_terminal(), crate::session::stdout_columns()),
        Shown::Error => (crate::session::stderr_is_terminal(), crate::session::stderr_columns()),
        Shown::Nowhere => (false, 0),
    };
    let mut screen = Screen { terminal, columns, lines: Vec::new(), out: Vec::new() };
    let mut reader = BufReader::new(source);
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = reader
            .read_until(b'\n', &mut line)
            .map_err(Failure::io("read", "the engine's progress"))?;
        if count == 0 {
            return Ok(());
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let message = Json::parse(&line).map_err(|source| Failure::Answer { source })?;
        if let Some(failure) = failure(&message) {
            return Err(failure);
        }
        if !message.get("aux").is_null() {
            aux(message.get("aux"));
            continue;
        }
        screen.add(&message);
        let written = match shown {
            Shown::Output => io::stdout().lock().write_all(&screen.out),
            Shown::Error => io::stderr().write_all(&screen.out),
            Shown::Nowhere => Ok(()),
        };
        written.map_err(Failure::io("write", "progress"))?;
        screen.out.clear();
    }
}

fn failure(message: &Json) -> Option<Failure> {
    let detail = message.get("errorDetail").text("message");
    let text = if detail.is_empty() { message.text("error") } else { detail };
    let message = text.to_owned();
    (!text.is_empty()).then_some(Failure::Stream { message, code: 1 })
}

/// The lines that are on the screen, by their ids.
struct Screen {
    terminal: bool,
    columns: usize,
    lines: Vec<String>,
    out: Vec<u8>,
}

impl Screen {
    fn add(&mut self, message: &Json) {
        let id = message.text("id");
        let moving = !message.get("progressDetail").fields().is_empty()
            || !message.text("progress").is_empty();
        if moving && !self.terminal {
            return;
        }
        if id.is_empty() || message.find("progressDetail").is_none() || !self.terminal {
            // Docker ends a line that is not about a layer of its own; later ones begin below it.
            self.plain(message);
            return;
        }
        let place = self.lines.iter().position(|known| known == id);
        let up = match place {
            Some(place) => self.lines.len() - place,
            None => {
                self.lines.push(id.to_owned());
                self.out.extend_from_slice(b"\n");
                1
            }
        };
        let text = self.cut(&text(message, self.columns));
        // Up to the line, clear it, write, and down again.
        self.out.extend_from_slice(format!("\x1b[{up}A\x1b[2K\r{text}\r\x1b[{up}B").as_bytes());
    }

    fn plain(&mut self, message: &Json) {
        if message.find("stream").is_some() {
            self.out.extend_from_slice(message.text("stream").as_bytes());
            return;
        }
        self.lines.clear();
        self.out.extend_from_slice(format!("{}\n", text(message, self.columns)).as_bytes());
    }

    /// A line that wraps would be two, and the next one would overwrite the wrong place.
    fn cut(&self, text: &str) -> String {
        match self.columns {
            0 => text.to_owned(),
            columns => text.chars().take(columns.saturating_sub(1)).collect(),
        }
    }
}

fn text(message: &Json, columns: usize) -> String {
    let id = message.text("id");
    let prefix = if id.is_empty() { String::new() } else { format!("{id}: ") };
    let bar = bar(message.get("progressDetail"), columns);
    let gap = if bar.is_empty() { "" } else { " " };
    format!("{prefix}{}{gap}{bar}", message.text("status"))
}

/// `[====>     ]  1.5MB/3MB`.
fn bar(detail: &Json, columns: usize) -> String {
    let (current, total) = (detail.number("current"), detail.number("total"));
    if current <= 0.0 && total <= 0.0 {
        return String::new();
    }
    let units = detail.text("units");
    let amount = |value: f64| match units {
        "" => human_size(value, 4),
        units => format!("{value}{}{units}", if units.len() > 1 { " " } else { "" }),
    };
    if total <= 0.0 {
        return format!("{:>8}", amount(current));
    }
    let mut out = String::new();
    if columns > 110 || columns == 0 {
        let filled = ((current / total * 50.0) as usize).min(50);
        let head = if filled < 50 { ">" } else { "" };
        let rest = 50 - filled - head.len();
        out.push_str(&format!("[{}{head}{}]  ", "=".repeat(filled), " ".repeat(rest)));
    }
    if !detail.on("hidecounts") {
        let current = if current > total {
            format!("{:>8}", amount(current))
        } else {
            format!("{:>8}/{}", amount(current), amount(total))
        };
        out.push_str(&current);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(terminal: bool, lines: &[&str]) -> String {
        let mut screen = Screen { terminal, columns: 120, lines: Vec::new(), out: Vec::new() };
        for line in lines {
            screen.add(&Json::parse(line.as_bytes()).unwrap());
        }
        String::from_utf8(screen.out).unwrap()
    }

    const PULL: &[&str] = &[
        r#"{"status":"Pulling from library/debian","id":"12"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"abc"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":500,"total":1000},"id":"abc"}"#,
        r#"{"status":"Pull complete","progressDetail":{},"id":"abc"}"#,
        r#"{"status":"Digest: sha256:00"}"#,
    ];

    #[test]
    fn plain_lines_leave_the_bars_out() {
        assert_eq!(
            screen(false, PULL),
            "12: Pulling from library/debian\nabc: Pulling fs layer\nabc: Pull complete\nDigest: sha256:00\n"
        );
    }

    #[test]
    fn a_terminal_shows_bars_in_place() {
        let text = screen(true, PULL);
        let bar = format!("abc: Downloading [{}>{}]      500B/1kB", "=".repeat(25), " ".repeat(24));
        assert!(text.contains(&bar), "{text}");
        assert_eq!(text.matches('\n').count(), 3, "{text:?}");
        assert!(text.contains("\x1b[1A"), "{text:?}");
    }

    #[test]
    fn an_error_in_the_stream_is_the_result() {
        let lines =
            b"{\"status\":\"x\"}\n{\"errorDetail\":{\"message\":\"no\"},\"error\":\"no\"}\n";
        let error = show(&lines[..], &Shown::Nowhere, |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "no");
    }
}
