//! The only module that runs programs of the host: `newuidmap` and `newgidmap`, which hold the
//! administrator's permission that we lack, `ps`, whose columns are its own, and `criu`.
//!
//! Each is found as a shell would find it, gets its arguments as they are and nothing on its standard
//! input; what it says on standard error becomes the error's text.
//! Absent on purpose: hooks (they run in other namespaces and under a clock) and the container's program.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::process::{Command, Output, Stdio};

use dhow_spec::runtime::IdMapping;

use crate::error::Error;

/// Maps ids of the process `pid`'s user namespace by `newuidmap` or `newgidmap`.
pub(crate) fn map_ids(name: &'static str, pid: i32, mappings: &[IdMapping]) -> Result<(), Error> {
    let numbers = mappings.iter().flat_map(|one| [one.container_id, one.host_id, one.size]);
    let arguments =
        std::iter::once(pid.to_string()).chain(numbers.map(|number| number.to_string()));
    run(name, OsStr::new(name), arguments.map(OsString::from)).map(drop)
}

/// What `ps` prints when called with `arguments`.
pub(crate) fn list_processes(arguments: &[OsString]) -> Result<String, Error> {
    let output = run("ps", OsStr::new("ps"), arguments.iter().cloned())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `program`, to be called `name` in errors, until its end.
#[expect(clippy::disallowed_methods, reason = "this is the module that may")]
fn run(
    name: &'static str,
    program: &OsStr,
    arguments: impl Iterator<Item = OsString>,
) -> Result<Output, Error> {
    let failed = |said: String| Error::Program { name, said };
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(|error| {
            match error.kind() {
                ErrorKind::NotFound => failed("not installed".to_owned()),
                _ => failed(error.to_string()),
            }
        })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    match said.trim() {
        "" => Err(failed(output.status.to_string())),
        said => Err(failed(said.lines().map(str::trim).collect::<Vec<_>>().join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_listed_with_the_options_that_are_asked_for() {
        let text = list_processes(&["-o".into(), "pid,comm".into(), "-A".into()]).unwrap();
        assert!(text.lines().next().unwrap().contains("PID"), "{text}");
        let own = std::process::id().to_string();
        assert!(text.lines().any(|line| line.trim_start().starts_with(&own)), "{text}");
    }

    #[test]
    fn a_failure_is_told_in_the_programs_own_words() {
        let error = map_ids("newuidmap", i32::MAX, &[]).unwrap_err().to_string();
        assert!(error.starts_with("newuidmap: ") && !error.contains('\n'), "{error}");
        let error = run("nowhere", OsStr::new("/nowhere"), std::iter::empty()).unwrap_err();
        assert_eq!(error.to_string(), "nowhere: not installed");
        let arguments = ["-c", "exit 3"].map(OsString::from).into_iter();
        let error = run("sh", OsStr::new("sh"), arguments).unwrap_err();
        assert_eq!(error.to_string(), "sh: exit status: 3");
    }
}
