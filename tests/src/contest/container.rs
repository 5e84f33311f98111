//! A container that a scenario created and now drives.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::case::{Bundle, Case, try_args};
use super::cgroup;
use super::config::Config;
use super::process::{Call, Done};
use super::verdict::{Outcome, Stop, check, check_eq};
use crate::inside::{Attempt, Report};

/// Created, perhaps started; deleted by the case at the latest.
pub(crate) struct Container<'c> {
    case: &'c Case,
    pub(crate) id: String,
    out: PathBuf,
}

impl<'c> Container<'c> {
    /// `create`, which must work.
    pub(crate) fn create(
        case: &'c Case,
        id: &str,
        bundle: &Bundle,
        config: &Config,
    ) -> Outcome<Self> {
        Self::made_by(case, id, bundle, config, &["create"])
    }

    /// `create` or `run -d` with options, which must work.
    pub(crate) fn made_by(
        case: &'c Case,
        id: &str,
        bundle: &Bundle,
        config: &Config,
        command: &[&str],
    ) -> Outcome<Self> {
        bundle.configure(config)?;
        case.remember(id);
        let dir = bundle.dir.display().to_string();
        let done = case.runtime(&[command, &["--bundle", &dir, id]].concat())?.ok()?;
        Ok(Container { case, id: id.to_owned(), out: done.out_file })
    }

    /// One that a call of the scenario's own has made.
    pub(crate) fn adopt(case: &'c Case, id: &str, done: &Done) -> Self {
        case.remember(id);
        Container { case, id: id.to_owned(), out: done.out_file.clone() }
    }

    /// A subcommand with options before the id.
    pub(crate) fn call(&self, command: &[&str]) -> Outcome<Done> {
        self.case.runtime(&[command, &[self.id.as_str()]].concat())
    }

    pub(crate) fn start(&self) -> Outcome {
        self.call(&["start"])?.ok()?;
        Ok(())
    }

    pub(crate) fn state(&self) -> Outcome<Value> {
        self.case.state_of(&self.id)
    }

    pub(crate) fn status(&self) -> Outcome<String> {
        Ok(self.state()?["status"].as_str().unwrap_or("").to_owned())
    }

    /// Fails unless `state` says this status.
    pub(crate) fn check_status(&self, status: &str) -> Outcome {
        check_eq!(self.status()?, status, "status of the container");
        Ok(())
    }

    pub(crate) fn wait_status(&self, status: &str) -> Outcome {
        self.case.wait_until(&format!("the container is {status}"), || Ok(self.status()? == status))
    }

    /// The first process, as seen from the host.
    pub(crate) fn pid(&self) -> Outcome<i32> {
        let state = self.state()?;
        let pid = state["pid"].as_i64().unwrap_or(0) as i32;
        check!(pid > 0, "the state has no pid: {state}");
        Ok(pid)
    }

    pub(crate) fn kill(&self, signal: &str) -> Outcome {
        self.case.runtime(&["kill", &self.id, signal])?.ok()?;
        Ok(())
    }

    /// Kills the first process and waits until `state` knows.
    pub(crate) fn stop(&self) -> Outcome {
        self.kill("KILL")?;
        self.wait_status("stopped")
    }

    pub(crate) fn delete(&self) -> Outcome {
        self.call(&["delete"])?.ok()?;
        Ok(())
    }

    pub(crate) fn delete_force(&self) -> Outcome {
        self.call(&["delete", "--force"])?.ok()?;
        Ok(())
    }

    /// What the container has printed so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    pub(crate) fn wait_output(&self, text: &str) -> Outcome {
        self.case.wait_until(&format!("the container prints {text:?}"), || {
            Ok(self.output().contains(text))
        })
    }

    /// Waits for the exit of the process `pid`, an orphan that the case inherited.
    pub(crate) fn wait_exit(&self, pid: i32) -> Outcome<i32> {
        let mut code = None;
        self.case.wait_until("the container's process exits", || {
            code = self.case.children.exit_code(pid);
            Ok(code.is_some())
        })?;
        code.ok_or_else(|| Stop::Fail("no exit code".into()))
    }

    /// A call of `exec` with options, then the program.
    pub(crate) fn exec_call(&self, options: &[&str], program: &[&str]) -> Call<'c> {
        self.case.call(&[&["exec"], options, &[self.id.as_str()], program].concat())
    }

    /// Executes a program to its end.
    pub(crate) fn exec(&self, options: &[&str], program: &[&str]) -> Outcome<Done> {
        self.exec_call(options, program).go()
    }

    /// Executes the payload's `report`.
    pub(crate) fn exec_report(&self, options: &[&str]) -> Outcome<Report> {
        self.exec(options, &["/bin/payload", "report"])?.ok()?.json()
    }

    /// Executes the payload's `try`.
    pub(crate) fn exec_attempts(&self, ops: &[&[&str]]) -> Outcome<Vec<Attempt>> {
        let args = [&["/bin/payload"][..], &try_args(ops)].concat();
        self.exec(&[], &args)?.ok()?.json()
    }

    /// The first process's cgroup directory for a controller.
    pub(crate) fn cgroup_dir(&self, controller: &str) -> Outcome<PathBuf> {
        cgroup::dir(self.pid()?, controller)
    }

    /// The trimmed text of a file there.
    pub(crate) fn cgroup_file(&self, controller: &str, file: &str) -> Outcome<String> {
        let path = self.cgroup_dir(controller)?.join(file);
        fs::read_to_string(&path)
            .map(|t| t.trim().to_owned())
            .map_err(|e| Stop::Fail(format!("{}: {e}", path.display())))
    }
}
