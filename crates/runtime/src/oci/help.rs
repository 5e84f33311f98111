//! Help texts: usage, a sentence, and what there is to choose from.

use std::fmt;

/// What `--help` says about one command, or about all of them.
pub(super) struct Help {
    /// The words after the command's name.
    pub(super) usage: &'static str,
    pub(super) about: &'static str,
    pub(super) topics: &'static [Topic],
}

/// A headed list.
pub(super) struct Topic {
    pub(super) title: &'static str,
    /// What to write, and what it does.
    pub(super) entries: &'static [(&'static str, &'static str)],
}

impl Help {
    /// The text, for the program or command called `name`.
    pub(super) fn text(&self, name: &str) -> String {
        let topics: String = self.topics.iter().map(ToString::to_string).collect();
        format!("Usage: {name} {}\n\n{}\n{topics}", self.usage, self.about)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{}:\n", self.title)?;
        let width = self.entries.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
        for (what, effect) in self.entries {
            writeln!(f, "  {what:width$}  {effect}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_aligned() {
        let help = Help {
            usage: "[OPTIONS] CONTAINER",
            about: "Does it.",
            topics: &[Topic { title: "OPTIONS", entries: &[("-a", "one"), ("--bcd N", "two")] }],
        };
        let text = "Usage: x do [OPTIONS] CONTAINER\n\nDoes it.\n\nOPTIONS:\n  -a       one\n  --bcd N  two\n";
        assert_eq!(help.text("x do"), text);
    }
}
