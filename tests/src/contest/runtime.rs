//! A runtime under test: a name, a program, and arguments before every subcommand.

use std::path::PathBuf;

/// Given on the command line as `NAME=PATH[,ARG…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// The column's heading; the one named `dhow` decides the exit code.
    pub name: String,
    /// The program.
    pub path: PathBuf,
    /// Global arguments, before those of the harness.
    pub args: Vec<String>,
    /// Whether to run it where `/sys/fs/cgroup/unified` is unmounted.
    pub hide_unified: bool,
}

impl Runtime {
    /// Parses `NAME=PATH[,ARG…]`; nothing if a part is missing.
    pub fn parse(text: &str) -> Option<Runtime> {
        let (name, rest) = text.split_once('=')?;
        let mut parts = rest.split(',');
        let path = parts.next().filter(|p| !p.is_empty())?;
        if name.is_empty() {
            return None;
        }
        Some(Runtime {
            name: name.to_owned(),
            path: PathBuf::from(path),
            args: parts.map(str::to_owned).collect(),
            hide_unified: false,
        })
    }

    /// What `parse` takes.
    pub fn print(&self) -> String {
        let mut text = format!("{}={}", self.name, self.path.display());
        for arg in &self.args {
            text.push(',');
            text.push_str(arg);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints() {
        for text in ["crun=/usr/bin/crun", "dhow=/x/dhow,oci", "a=b,--debug,--x=y"] {
            let runtime = Runtime::parse(text).expect("a runtime");
            assert_eq!(runtime.print(), text);
        }
        assert_eq!(Runtime::parse("crun"), None);
        assert_eq!(Runtime::parse("=x"), None);
        assert_eq!(Runtime::parse("x="), None);
    }
}
