//! Two registries of ours, one of which mirrors the other, an engine that knows the mirror, and what clients need.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::bench::pack_busybox;
use crate::child;
use crate::task::{At, TaskError, find_program, release_dir};

pub(super) const USER: &str = "ann";
pub(super) const PASSWORD: &str = "pass word";
/// The password, as cheap to check as bcrypt can be.
const HASH: &str = "$2y$04$jgc9Ob8vPwLlSxJrEfZUiO1kyOo0hu1DC8DMEaTExUuCYxf82VnnK";
const POLLS: usize = 500;

/// Where everything happens.
pub(super) struct Place {
    pub(super) dir: PathBuf,
    /// The registry that asks who one is.
    pub(super) origin: SocketAddr,
    /// The one that shows everybody what the first has.
    pub(super) mirror: SocketAddr,
    pub(super) dhow: PathBuf,
    /// An archive of an image, as `docker save` makes it.
    pub(super) image: PathBuf,
    _processes: Vec<Process>,
}

/// One that ends with the value.
struct Process(Child);

/// The cgroup of the engine's containers.
pub(super) fn cgroup() -> String {
    format!("dhow-clients.{}", std::process::id())
}

impl Place {
    pub(super) fn make(dir: &Path, program: Option<PathBuf>) -> Result<Self, TaskError> {
        let debug = release_dir().with_file_name("debug").join("dhow");
        let built = [release_dir().join("dhow"), debug];
        let candidates = program.map_or(built.to_vec(), |path| vec![path]);
        let dhow = candidates.into_iter().find(|path| path.is_file());
        let dhow = dhow.ok_or(TaskError::Absent { what: "dhow", remedy: "cargo build -p dhow" })?;
        let packed = dir.join("packed");
        fs::create_dir(&packed).at("create", &packed)?;
        let image = pack_busybox(&packed)?;
        let (origin, mirror) = (free_port()?, free_port()?);
        write(&dir.join("htpasswd"), &format!("{USER}:{HASH}\n"))?;
        write(&dir.join("password"), PASSWORD)?;
        write(&dir.join("auth.json"), "{}")?;
        let users = dir.join("htpasswd");
        let origin_config = serde_json::json!({
            "access": { "htpasswd": users, "rules": [
                { "repositories": ["**"], "users": [USER], "allow": ["pull", "push", "delete"] },
            ] },
        });
        let mirror_config = serde_json::json!({
            "mirrors": [{
                "repositories": ["**"], "upstream": origin.to_string(), "plain-http": true,
                "username": USER, "password-file": dir.join("password"), "fresh": "0s",
            }],
        });
        let mut place =
            Self { dir: dir.to_owned(), origin, mirror, dhow, image, _processes: Vec::new() };
        for (name, address, config) in
            [("origin", origin, origin_config), ("mirror", mirror, mirror_config)]
        {
            let registry = place.registry(name, address, &config)?;
            place._processes.push(registry);
        }
        let engine = place.engine()?;
        place._processes.push(engine);
        Ok(place)
    }

    fn registry(
        &self,
        name: &str,
        address: SocketAddr,
        config: &serde_json::Value,
    ) -> Result<Process, TaskError> {
        let file = self.dir.join(format!("{name}.json"));
        write(&file, &config.to_string())?;
        let mut command = Command::new(&self.dhow);
        command.args(["registry", "serve", "--addr", &address.to_string(), "--root"]);
        command.arg(self.dir.join(name)).arg("--config").arg(file);
        self.start(name, command, || TcpStream::connect(address).is_ok())
    }

    fn engine(&self) -> Result<Process, TaskError> {
        let socket = self.dir.join("engine.sock");
        let mut command = Command::new(&self.dhow);
        command.args(["engine", "--group", "", "--cgroup-parent", &cgroup()]);
        command.arg("--data-root").arg(self.dir.join("data"));
        command.arg("--exec-root").arg(self.dir.join("run"));
        command.arg("--host").arg(self.host());
        command.args(["--registry-mirror", &format!("http://{}", self.mirror)]);
        self.start("engine", command, || std::os::unix::net::UnixStream::connect(&socket).is_ok())
    }

    /// Where the engine is.
    pub(super) fn host(&self) -> String {
        format!("unix://{}", self.dir.join("engine.sock").display())
    }

    fn start(
        &self,
        name: &str,
        mut command: Command,
        answers: impl Fn() -> bool,
    ) -> Result<Process, TaskError> {
        let log = self.dir.join(format!("{name}.log"));
        let file = File::create(&log).at("create", &log)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let process = Process(command.spawn().at("start", command.get_program())?);
        for _ in 0..POLLS {
            if answers() {
                return Ok(process);
            }
            sleep(Duration::from_millis(20));
        }
        eprint!("{}", fs::read_to_string(log).unwrap_or_default());
        Err(TaskError::Absent { what: "a server", remedy: "see its log above" })
    }

    /// A program with a home of its own; `None` if it is not there.
    pub(super) fn program(&self, name: &str) -> Option<Command> {
        let home = std::env::var("HOME").unwrap_or_default();
        let by_go = Path::new(&home).join("go/bin").join(name);
        let program = find_program(name).or_else(|| by_go.is_file().then_some(by_go))?;
        Some(self.at_home(&program))
    }

    pub(super) fn at_home(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("HOME", &self.dir).env("DOCKER_CONFIG", self.dir.join("docker"));
        command.env("REGISTRY_AUTH_FILE", self.dir.join("auth.json"));
        command.env("CONTAINERS_REGISTRIES_CONF", self.dir.join("registries.conf"));
        command.current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    /// The password as a command's input.
    pub(super) fn password(&self) -> Result<File, TaskError> {
        let path = self.dir.join("password");
        File::open(&path).at("open", &path)
    }

    /// What a repository of the first registry is called.
    pub(super) fn origin(&self, name: &str) -> String {
        format!("{}/{name}", self.origin)
    }

    /// The same by way of the mirror.
    pub(super) fn mirror(&self, name: &str) -> String {
        format!("{}/{name}", self.mirror)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, TaskError> {
        let path = self.dir.join(name);
        write(&path, text)?;
        Ok(path)
    }
}

fn write(path: &Path, text: &str) -> Result<(), TaskError> {
    fs::write(path, text).at("write", path)
}

fn free_port() -> Result<SocketAddr, TaskError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).at("listen on", "loopback")?;
    listener.local_addr().at("listen on", "loopback")
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        // Whoever does not end in time is killed.
        let _ = child::wait(&mut self.0, Duration::from_secs(20));
    }
}
