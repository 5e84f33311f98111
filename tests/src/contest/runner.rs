//! Runs all cases, some at a time, each in a fresh process, and collects the cells.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::runtime::Runtime;
use super::solo::sweep;
use super::verdict::{Cell, Verdict};
use crate::scenarios::Scenario;

/// A contest to be held.
#[derive(Debug)]
pub struct Contest {
    /// The runtimes, a column each.
    pub runtimes: Vec<Runtime>,
    /// The scenarios, a row each.
    pub scenarios: Vec<&'static Scenario>,
    /// This program, which also runs the single cases.
    pub program: PathBuf,
    /// How many cases at a time.
    pub jobs: usize,
    /// Factor on all time limits.
    pub patience: u32,
    /// Whether loops are long.
    pub stress: bool,
}

impl Contest {
    /// Runs everything; `finished` is told each row when it and all before it are complete.
    pub fn hold(&self, finished: impl Fn(&[Cell]) + Sync) -> Vec<Vec<Cell>> {
        let columns = self.runtimes.len();
        let total = self.scenarios.len() * columns;
        let next = AtomicUsize::new(0);
        let rows = Mutex::new(Rows { cells: BTreeMap::new(), told: 0, columns });
        thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= total {
                            break;
                        }
                        let cell = self.run_one(index, index / columns, index % columns);
                        let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
                        rows.add(index, cell, &finished);
                    }
                });
            }
        });
        let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
        let cells: Vec<Cell> = rows.cells.into_values().collect();
        cells.chunks(columns.max(1)).map(<[Cell]>::to_vec).collect()
    }

    fn run_one(&self, index: usize, row: usize, column: usize) -> Cell {
        let scenario = self.scenarios[row];
        let runtime = &self.runtimes[column];
        let token = format!("dc{}n{index}", std::process::id());
        let dir = std::env::temp_dir().join(&token);
        let start = Instant::now();
        let result = fs::create_dir(&dir)
            .map_err(|e| format!("{}: {e}", dir.display()))
            .and_then(|()| self.run_case(scenario, runtime, &token, &dir));
        sweep(&token, &dir);
        result.unwrap_or_else(|reason| Cell {
            scenario: scenario.name(),
            runtime: runtime.name.clone(),
            verdict: Verdict::Fail(format!("the case itself failed: {reason}")),
            transcript: Vec::new(),
            took_ms: start.elapsed().as_millis() as u64,
        })
    }

    fn run_case(
        &self,
        scenario: &Scenario,
        runtime: &Runtime,
        token: &str,
        dir: &std::path::Path,
    ) -> Result<Cell, String> {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"])
            .args(["--mount-proc", "--"])
            .arg(&self.program)
            .args(["--case", &scenario.name(), "--runtime", &runtime.print()])
            .args(["--token", token, "--patience", &self.patience.to_string(), "--dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if runtime.hide_unified {
            command.args(["--hide-unified", &runtime.name]);
        }
        if self.stress {
            command.arg("--stress");
        }
        let limit = scenario.limit_s(self.stress) + 60;
        let child = command.spawn().map_err(|e| format!("unshare: {e}"))?;
        let pid = child.id();
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiter = thread::spawn(move || sender.send(child.wait_with_output()));
        let limit = Duration::from_secs(u64::from(limit * self.patience));
        let output = receiver.recv_timeout(limit);
        if output.is_err() {
            kill(pid);
        }
        // The thread ends with the process, which has ended or was just killed.
        let _ = waiter.join();
        let output = output.map_err(|_| format!("no answer after {limit:?}"))?;
        let output = output.map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut cell: Cell = serde_json::from_str(text.lines().last().unwrap_or(""))
            .map_err(|e| format!("{e}: {}", String::from_utf8_lossy(&output.stderr)))?;
        let panic = String::from_utf8_lossy(&output.stderr);
        cell.transcript.extend(panic.lines().map(str::to_owned));
        Ok(cell)
    }
}

fn kill(pid: u32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
        // Already gone is as good.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

struct Rows {
    cells: BTreeMap<usize, Cell>,
    told: usize,
    columns: usize,
}

impl Rows {
    fn add(&mut self, index: usize, cell: Cell, finished: &impl Fn(&[Cell])) {
        self.cells.insert(index, cell);
        loop {
            let first = self.told * self.columns;
            let row: Vec<Cell> =
                (first..first + self.columns).map_while(|i| self.cells.get(&i).cloned()).collect();
            if row.len() < self.columns {
                break;
            }
            finished(&row);
            self.told += 1;
        }
    }
}
