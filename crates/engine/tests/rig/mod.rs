//! An engine for tests: roots of its own below a temporary directory, an image of the host's busybox, and a
//! network and mount namespace that nobody else sees.
//!
//! Invariant: nothing is left behind: what runs is killed, what was mounted goes with the namespace.

#![allow(dead_code, reason = "each file of tests uses a part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dhow_archive::tar::{Content, Entry, Kind, Metadata, Writer};
use dhow_distribution::{Client, Config, SystemResolver};
use dhow_engine::plan::Defaults;
use dhow_engine::request::{CreateRequest, NetworkMode};
use dhow_engine::{Engine, EngineOptions, ListRequest, LogsRequest, RemoveRequest, Status};
use dhow_runtime::{Container, ContainerId, StateRoot};
use dhow_spec::image::{History, ImageConfig, RunConfig};
use dhow_spec::{Platform, Reference};
use dhow_store::{Import, LeaseId, LoadLimits};
use dhow_sys::Namespaces;

pub(crate) struct Rig {
    /// Nothing while it is closed.
    engine: Mutex<Option<Engine>>,
    pub(crate) root: PathBuf,
}

/// A request for a container that runs a shell's text.
pub(crate) fn sh(text: &str) -> CreateRequest {
    let mut request = CreateRequest::default();
    request.config.image = "busybox".to_owned();
    request.config.cmd = Some(["sh", "-c", text].map(str::to_owned).into());
    request.host.network = NetworkMode::None;
    request
}

impl Rig {
    /// Runs a test; says so where it cannot.
    pub(crate) fn run(test: &str, body: impl AsyncFnOnce(&Rig) + Send) {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED {test}: needs root");
            return;
        }
        let program = program();
        assert!(program.exists(), "{} is not there: `cargo build` comes first", program.display());
        // Threads that the runtime makes inherit what this one has; other tests' threads do not.
        std::thread::scope(|scope| {
            let done = scope.spawn(|| {
                enter_namespaces();
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async {
                    let rig = Self::open(root(), program).await;
                    body(&rig).await;
                    rig.clear().await;
                });
            });
            if let Err(panic) = done.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    pub(crate) async fn open(root: PathBuf, program: PathBuf) -> Self {
        let engine = Engine::open(options(&root, program)).await.expect("an engine");
        let rig = Self { engine: Mutex::new(Some(engine)), root };
        if rig.engine().store().images().list().expect("a list").is_empty() {
            rig.make_image();
        }
        rig
    }

    /// The image `busybox`: the host's, under its names.
    fn make_image(&self) {
        let engine = self.engine();
        let store = engine.store();
        let lease = LeaseId::parse("test").expect("a word");
        store.lease(&lease, None).expect("a lease");
        let config = ImageConfig {
            config: Some(RunConfig {
                env: vec!["PATH=/bin".to_owned()],
                cmd: vec!["sh".to_owned()],
                ..RunConfig::default()
            }),
            ..ImageConfig::new(&Platform::of_build())
        };
        let name = Some(Reference::parse("busybox").expect("a reference"));
        let import = Import { name, config, step: History::default() };
        let compression = dhow_archive::compress::Limits::NONE;
        let limits = LoadLimits { bytes_max: 1 << 30, compression };
        store.import(&lease, &*layer(), import, limits).expect("an image");
        store.end_lease(&lease).expect("ended");
    }

    /// Makes a container and starts it.
    pub(crate) async fn start(&self, name: &str, request: CreateRequest) {
        self.engine().create(Some(name), request).await.expect("created");
        self.engine().start(name).await.expect("started");
    }

    pub(crate) async fn status(&self, name: &str) -> Status {
        self.engine().inspect(name, false).await.expect("details").state.status
    }

    /// The lines of a log; those of standard error with a mark.
    pub(crate) async fn logs(&self, name: &str, request: LogsRequest) -> Vec<String> {
        let request = LogsRequest { stdout: true, stderr: true, ..request };
        let mut log = self.engine().logs(name, request).await.expect("a log");
        let mut lines = Vec::new();
        while let Some(line) = log.next().await.expect("a line") {
            let text = String::from_utf8_lossy(&line.bytes).into_owned();
            lines.push(if line.stderr { format!("2:{text}") } else { text });
        }
        lines.sort_by_key(|line| line.starts_with("2:"));
        lines
    }

    /// Waits until something is there.
    pub(crate) async fn until<T>(&self, look: impl Fn() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < end, "it takes too long");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The same for what has to be asked for.
    pub(crate) async fn until_async<T>(&self, look: impl AsyncFn() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < end, "it takes too long");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn kill_all(&self) {
        let Ok(state) = StateRoot::open(&self.root.join("run/oci")) else { return };
        let entries = std::fs::read_dir(self.root.join("run/oci")).into_iter().flatten();
        for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
            if let Some(monitor) = monitor_of(&name) {
                kill(monitor);
            }
            if let Ok(id) = ContainerId::parse(&name)
                && let Ok(container) = Container::load(&state, &id)
            {
                let _ = container.delete(&state, true);
            }
        }
    }

    /// The cgroup above all of ours, in every hierarchy.
    fn remove_cgroups(&self) {
        let name = self.root.file_name().expect("a name");
        let _ = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(name));
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
        for hierarchy in hierarchies.filter_map(Result::ok) {
            let _ = std::fs::remove_dir(hierarchy.path().join(name));
        }
    }

    /// The engine that is open.
    pub(crate) fn engine(&self) -> Engine {
        self.engine.lock().expect("no panic").clone().expect("an open engine")
    }

    /// Closes the engine; containers go on.
    pub(crate) async fn close(&self) {
        let engine = self.engine.lock().expect("no panic").take();
        if let Some(engine) = engine {
            assert!(engine.close().await, "somebody keeps the engine");
        }
    }

    /// Opens the roots again, by another engine.
    pub(crate) async fn reopen(&self) {
        self.close().await;
        let engine = Engine::open(options(&self.root, program())).await.expect("an engine");
        *self.engine.lock().expect("no panic") = Some(engine);
    }

    pub(crate) async fn id(&self, name: &str) -> String {
        self.engine().inspect(name, false).await.expect("details").id
    }

    pub(crate) async fn pid(&self, name: &str) -> u32 {
        self.engine().inspect(name, false).await.expect("details").state.pid
    }

    pub(crate) async fn until_status(&self, name: &str, status: Status) {
        self.until_async(async || (self.status(name).await == status).then_some(())).await;
    }

    async fn clear(&self) {
        let all = ListRequest { all: true, ..ListRequest::default() };
        for container in self.engine().list(all).await.expect("a list") {
            let request = RemoveRequest { force: true, volumes: true };
            self.engine().remove(&container.id, request).await.expect("removed");
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // What a test that failed has left running.
        self.kill_all();
        let _ = std::fs::remove_dir_all(&self.root);
        self.remove_cgroups();
    }
}

pub(crate) fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    // It may have ended by itself.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// The monitor of a container, by its command line.
pub(crate) fn monitor_of(id: &str) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").expect("processes");
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    processes.filter_map(|entry| number(entry.ok()?)).find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.get(1) == Some(&b"monitor".as_slice()) && words.get(2) == Some(&id.as_bytes())
    })
}

pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let target = test.parent().and_then(|deps| deps.parent()).expect("a target directory");
    target.join("dhow")
}

pub(crate) fn root() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::SeqCst);
    let name = format!("dhow-life-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).expect("a directory");
    path.canonicalize().expect("a directory")
}

pub(crate) fn options(root: &Path, program: PathBuf) -> EngineOptions {
    let client = Client::new(Config::new("dhow/test", Vec::new()), Arc::new(SystemResolver));
    let parent = root.file_name().expect("a name").to_string_lossy().into_owned();
    EngineOptions {
        data_root: root.join("data"),
        exec_root: root.join("run"),
        storage_driver: None,
        client: client.expect("a client"),
        default_network: dhow_network::DefaultNetwork::standard(),
        address_pools: Vec::new(),
        network_options: Default::default(),
        forwarding: false,
        network_lock: root.join("network.lock"),
        defaults: Defaults::new(parent, program),
        systemd_cgroups: false,
        told: Default::default(),
        downloads_max: None,
        discard_unpacked_layers: false,
        uploads_max: None,
    }
}

fn enter_namespaces() {
    use rustix::mount::{MountPropagationFlags, mount_change};
    dhow_sys::unshare(Namespaces::NETWORK.with(Namespaces::MOUNT)).expect("namespaces");
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).expect("a private tree");
}

/// The host's static busybox and its names, as one layer.
fn layer() -> Vec<u8> {
    let program = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .find_map(|path| std::fs::read(path).ok())
        .expect("busybox, static");
    let mut tar = Writer::new(Vec::new());
    let mut put = |path: &str, kind: Kind, mode: u16, bytes: &[u8]| {
        let metadata = Metadata { mode, ..Metadata::default() };
        tar.append(&Entry { path: path.as_bytes().to_vec(), kind, metadata }, bytes)
            .expect("an entry");
    };
    for directory in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        put(directory, Kind::Directory, 0o755, &[]);
    }
    let file = |bytes: &[u8]| Kind::File(Content { size: bytes.len() as u64, map: None });
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
    let group = b"root:x:0:\nnogroup:x:65534:\n";
    put("etc/passwd", file(passwd), 0o644, passwd);
    put("etc/group", file(group), 0o644, group);
    put("bin/busybox", file(&program), 0o755, &program);
    for name in ["sh", "sleep", "echo", "cat", "true", "false", "kill", "ls", "touch", "seq", "id"]
    {
        put(&format!("bin/{name}"), Kind::Symlink { target: b"busybox".to_vec() }, 0o777, &[]);
    }
    tar.finish().expect("an end")
}
