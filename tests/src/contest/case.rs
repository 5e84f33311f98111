//! What one scenario works with: a runtime, a directory of its own, ids, and calls under a limit.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::config::Config;
use super::container::Container;
use super::host::Before;
use super::process::{Call, Children, Done};
use super::runtime::Runtime;
use super::verdict::{Outcome, Stop, check, fail};
use crate::inside::{Attempt, Report};
use crate::machine::Program;

/// A bundle: a directory with a `config.json` and a root file system.
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    pub(crate) dir: PathBuf,
    pub(crate) rootfs: PathBuf,
}

impl Bundle {
    fn create(dir: PathBuf, payload: &Path) -> Outcome<Self> {
        let rootfs = dir.join("rootfs");
        for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(name))?;
        }
        fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        fs::copy(payload, rootfs.join("bin/payload"))?;
        fs::write(
            rootfs.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/home/guest:/bin/sh\n",
        )?;
        fs::write(rootfs.join("etc/group"), "root:x:0:\nguest:x:1000:\n")?;
        Ok(Bundle { dir, rootfs })
    }

    /// Writes `config.json`.
    pub(crate) fn configure(&self, config: &Config) -> Outcome {
        let text = serde_json::to_string_pretty(config.value())?;
        fs::write(self.dir.join("config.json"), text)?;
        Ok(())
    }

    /// Puts a machine-code program at `/bin/<name>`.
    pub(crate) fn program(&self, name: &str, program: &Program) -> Outcome {
        self.executable(&format!("bin/{name}"), &program.build())
    }

    /// Puts an executable file into the root file system.
    pub(crate) fn executable(&self, path: &str, bytes: &[u8]) -> Outcome {
        let path = self.rootfs.join(path);
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Puts a file into the root file system, with the directories on the way.
    pub(crate) fn file(&self, path: &str, text: &str) -> Outcome {
        let path = self.rootfs.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
        Ok(())
    }
}

/// The state of one scenario with one runtime.
pub(crate) struct Case {
    pub(crate) runtime: Runtime,
    /// A tmpfs, gone with the case.
    pub(crate) dir: PathBuf,
    /// The first bundle; most scenarios need no other.
    pub(crate) bundle: Bundle,
    /// The runtime's state root.
    pub(crate) root: PathBuf,
    /// The first container's id; all names that leave the directory begin with it.
    pub(crate) token: String,
    /// Whether to take the long way round.
    pub(crate) stress: bool,
    pub(crate) children: Arc<Children>,
    before: Before,
    patience: u32,
    payload: PathBuf,
    count: AtomicU32,
    user: AtomicU32,
    wrapper: Mutex<Vec<String>>,
    ids: Mutex<Vec<String>>,
    transcript: Mutex<Vec<String>>,
}

/// What a case is made from.
pub(crate) struct CaseParts {
    pub(crate) runtime: Runtime,
    pub(crate) dir: PathBuf,
    pub(crate) token: String,
    pub(crate) payload: PathBuf,
    pub(crate) patience: u32,
    pub(crate) stress: bool,
}

impl Case {
    pub(crate) fn create(parts: CaseParts) -> Outcome<Self> {
        let CaseParts { runtime, dir, token, payload, patience, stress } = parts;
        let bundle = Bundle::create(dir.join("b"), &payload)?;
        let root = dir.join("s");
        fs::create_dir(&root)?;
        fs::create_dir(dir.join("o"))?;
        Ok(Case {
            runtime,
            dir,
            bundle,
            root,
            token,
            stress,
            children: Arc::default(),
            before: Before::now(),
            patience,
            payload,
            count: AtomicU32::new(0),
            user: AtomicU32::new(0),
            wrapper: Mutex::default(),
            ids: Mutex::default(),
            transcript: Mutex::default(),
        })
    }

    /// The default configuration for the first container.
    pub(crate) fn config(&self) -> Config {
        self.config_for(&self.token)
    }

    /// The default configuration for another container, in a cgroup of that container's name.
    pub(crate) fn config_for(&self, id: &str) -> Config {
        if self.uses_systemd() {
            Config::new(&format!("system.slice:contest:{id}"))
        } else {
            Config::new(&format!("/{id}"))
        }
    }

    /// Whether the runtime is told to leave cgroups to systemd.
    pub(crate) fn uses_systemd(&self) -> bool {
        self.runtime.args.iter().any(|a| a == "--systemd-cgroup")
    }

    /// A second bundle.
    pub(crate) fn new_bundle(&self, name: &str) -> Outcome<Bundle> {
        Bundle::create(self.dir.join(name), &self.payload)
    }

    /// The payload's file outside of any container.
    pub(crate) fn payload(&self) -> &Path {
        &self.payload
    }

    /// Seconds on a quick machine, stretched for slow ones.
    pub(crate) fn limit(&self, seconds: u32) -> Duration {
        Duration::from_secs(u64::from(seconds * self.patience))
    }

    /// Fresh names for standard output and error.
    pub(crate) fn output_files(&self) -> (PathBuf, PathBuf) {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        (self.dir.join(format!("o/{n}.out")), self.dir.join(format!("o/{n}.err")))
    }

    /// From now on the runtime is called by this user, who owns the bundle and the state root.
    pub(crate) fn become_user(&self, id: u32) -> Outcome {
        let chown = Call::new(
            self,
            Path::new("chown"),
            &["-R".into(), format!("{id}:{id}"), self.dir.display().to_string()],
        );
        chown.go()?.ok()?;
        self.user.store(id, Ordering::Relaxed);
        Ok(())
    }

    /// From now on the runtime is called by root again.
    pub(crate) fn become_root(&self) {
        self.user.store(0, Ordering::Relaxed);
    }

    /// Makes a cgroup of this case's name in each hierarchy and gives it, and a child `runner`, away.
    pub(crate) fn delegate_cgroups(&self, user: u32) -> Outcome<Vec<PathBuf>> {
        let dirs = super::cgroup::roots();
        let dirs: Vec<PathBuf> = dirs.iter().map(|d| d.join(&self.token)).collect();
        let mut args = vec!["-R".to_owned(), format!("{user}:{user}")];
        for dir in &dirs {
            super::cgroup::create(dir)?;
            super::cgroup::create(&dir.join("runner"))?;
            args.push(dir.display().to_string());
        }
        Call::new(self, Path::new("chown"), &args).go()?.ok()?;
        Ok(dirs)
    }

    /// From now on the runtime is called by this program.
    pub(crate) fn wrap(&self, wrapper: &[&str]) {
        *self.wrapper.lock().unwrap_or_else(PoisonError::into_inner) =
            wrapper.iter().map(|w| (*w).to_owned()).collect();
    }

    /// A call of the runtime, with its state root.
    pub(crate) fn call(&self, args: &[&str]) -> Call<'_> {
        let mut all = self.wrapper.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.push(self.runtime.path.display().to_string());
        all.extend(self.runtime.args.iter().cloned());
        all.extend(["--root".to_owned(), self.root.display().to_string()]);
        all.extend(args.iter().map(|a| (*a).to_owned()));
        let call = Call::new(self, Path::new(&all[0]), &all[1..]).env("HOME", "/root");
        match self.user.load(Ordering::Relaxed) {
            0 => call,
            id => call.user(id).env("XDG_RUNTIME_DIR", &self.dir.join("s").display().to_string()),
        }
    }

    /// A call of the runtime, to its end.
    pub(crate) fn runtime(&self, args: &[&str]) -> Outcome<Done> {
        self.call(args).go()
    }

    /// A call of another program, to its end.
    pub(crate) fn program(&self, program: &str, args: &[&str]) -> Outcome<Done> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        Call::new(self, Path::new(program), &args).go()
    }

    /// A call of another program.
    pub(crate) fn other(&self, program: &str, args: &[&str]) -> Call<'_> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        Call::new(self, Path::new(program), &args)
    }

    /// `run` in the foreground, to the container's end.
    pub(crate) fn run(&self, config: &Config) -> Outcome<Done> {
        self.run_call(config)?.go()
    }

    /// `run` in the foreground, to be started.
    pub(crate) fn run_call(&self, config: &Config) -> Outcome<Call<'_>> {
        self.bundle.configure(config)?;
        self.remember(&self.token);
        Ok(self.call(&["run", "--bundle", &self.bundle.dir.display().to_string(), &self.token]))
    }

    /// Runs the payload's `report` and gives what it saw.
    pub(crate) fn report(&self, config: &Config) -> Outcome<Report> {
        self.run(config)?.ok()?.json()
    }

    /// Runs the payload's `try` with these operations and gives their outcomes.
    pub(crate) fn attempts(&self, config: &Config, ops: &[&[&str]]) -> Outcome<Vec<Attempt>> {
        let config = config.clone().payload(&try_args(ops));
        let attempts: Vec<Attempt> = self.run(&config)?.ok()?.json()?;
        check!(attempts.len() == ops.len(), "the payload made {} attempts", attempts.len());
        Ok(attempts)
    }

    /// Runs a machine-code program and gives its results.
    pub(crate) fn results(&self, config: &Config, program: &Program) -> Outcome<Vec<i64>> {
        self.bundle.program("machine", program)?;
        self.run(&config.clone().args(&["/bin/machine"]))?.ok()?.results()
    }

    /// `create`, which must work.
    pub(crate) fn create_container(&self, config: &Config) -> Outcome<Container<'_>> {
        Container::create(self, &self.token, &self.bundle, config)
    }

    /// `create` and `start` of a container that waits.
    pub(crate) fn start_waiting(&self, config: &Config) -> Outcome<Container<'_>> {
        let container = self.create_container(&config.clone().payload(&["wait"]))?;
        container.start()?;
        container.wait_output("ready")?;
        Ok(container)
    }

    /// Has a container deleted at the end if the scenario does not.
    pub(crate) fn remember(&self, id: &str) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if !ids.iter().any(|i| i == id) {
            ids.push(id.to_owned());
        }
    }

    /// Waits for something to become true.
    pub(crate) fn wait_until(
        &self,
        what: &str,
        mut holds: impl FnMut() -> Outcome<bool>,
    ) -> Outcome {
        let start = Instant::now();
        let limit = self.limit(5);
        while start.elapsed() < limit {
            if holds()? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        fail!("{what}: not within {limit:?}");
    }

    /// Fails if anything is left of this case's containers.
    pub(crate) fn nothing_left(&self) -> Outcome {
        let leaks = self.before.leaks(self);
        check!(leaks.is_empty(), "left behind: {}", leaks.join(", "));
        Ok(())
    }

    /// Deletes what the scenario did not, and says what is left all the same.
    pub(crate) fn clean_up(&self) -> Vec<String> {
        self.wrap(&[]);
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for id in &ids {
            if self.before.leaves_nothing(self) {
                return Vec::new();
            }
            // What it does not remove is found below.
            let _ = self.runtime(&["delete", "--force", id]);
        }
        self.before.leaks(self)
    }

    /// Keeps a call for the transcript.
    pub(crate) fn note(&self, done: &Done) {
        let mut transcript = self.transcript.lock().unwrap_or_else(PoisonError::into_inner);
        transcript.push(done.summary());
    }

    pub(crate) fn transcript(&self) -> Vec<String> {
        self.transcript.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state of a container, by `state`.
    pub(crate) fn state_of(&self, id: &str) -> Outcome<Value> {
        let done = self.runtime(&["state", id])?.ok()?;
        serde_json::from_str(&done.out).map_err(|e| Stop::Fail(format!("state: {e}: {}", done.out)))
    }
}

/// The payload's arguments for a list of operations.
pub(crate) fn try_args<'a>(ops: &[&[&'a str]]) -> Vec<&'a str> {
    let mut args = vec!["try"];
    for (index, op) in ops.iter().enumerate() {
        if index > 0 {
            args.push("--");
        }
        args.extend(*op);
    }
    args
}
