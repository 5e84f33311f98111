//! A registry of a test's own, in this process, below a directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use dhow_registry::{Config, Log, Options, Place, Registry};
use dhow_store::{Clock, Steps};
use tokio::sync::oneshot;

/// "pass word", as cheap to check as bcrypt can be.
pub(crate) const HASH: &str = "$2y$04$jgc9Ob8vPwLlSxJrEfZUiO1kyOo0hu1DC8DMEaTExUuCYxf82VnnK";

/// A registry; it ends, with all that it keeps, with the value.
pub(crate) struct Server {
    pub(crate) registry: Registry,
    pub(crate) address: SocketAddr,
    pub(crate) log: Arc<Mutex<Vec<String>>>,
    pub(crate) scratch: Scratch,
    /// By how much its clock is ahead.
    ahead_ms: Arc<AtomicI64>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A directory that is removed with everything in it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dhow-registry-suite-{}-{number}", std::process::id());
        // Syncing costs nothing in memory, and these tests cut no power.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(name);
        std::fs::create_dir(&path).expect("a directory that nobody else has");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Server {
    /// One that everybody may write to.
    pub(crate) fn open() -> Self {
        Self::with("{}")
    }

    /// One with that configuration; `DIR` in it is a directory of its own.
    pub(crate) fn with(config: &str) -> Self {
        let scratch = Scratch::new();
        let htpasswd = format!("ann:{HASH}\nbob:{HASH}\n");
        std::fs::write(scratch.path().join("htpasswd"), htpasswd).expect("a file");
        Self::over(scratch, config)
    }

    /// One over what another has left.
    pub(crate) fn over(scratch: Scratch, config: &str) -> Self {
        let place = scratch.path().display().to_string();
        let config = Config::parse(&config.replace("DIR", &place)).expect("a configuration");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = log.clone();
        let ahead_ms = Arc::new(AtomicI64::new(0));
        let (ahead, system) = (ahead_ms.clone(), Clock::system());
        let registry = Registry::open(Options {
            root: scratch.path().join("root"),
            config,
            log: Log::new(move |line| lines.lock().expect("no panic").push(line.to_owned())),
            clock: Clock::new(move || system.now_ms() + ahead.load(Ordering::Relaxed)),
            steps: Steps::unwatched(),
        })
        .expect("a registry");
        let (end, ended) = oneshot::channel();
        let (tell, hear) = mpsc::channel();
        let served = registry.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .max_blocking_threads(8)
                .enable_all()
                .build()
                .expect("a runtime");
            let place = Place::Address("127.0.0.1:0".to_owned());
            let ready =
                move |addresses: &[SocketAddr]| tell.send(addresses[0]).expect("a listener");
            let end = async {
                let _ = ended.await;
            };
            runtime.block_on(served.serve(vec![place], ready, end)).expect("served");
            // The next test may want the root.
            runtime.shutdown_timeout(Duration::from_secs(10));
        });
        let address = hear.recv().expect("an address");
        let (end, thread) = (Some(end), Some(thread));
        Self { registry, address, log, scratch, ahead_ms, end, thread }
    }

    /// Lets its time go on.
    pub(crate) fn later(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).expect("a short time");
        self.ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Ends it; gives the directory, for another one.
    pub(crate) fn end(mut self) -> Scratch {
        self.stop();
        let empty = Scratch(PathBuf::new());
        std::mem::replace(&mut self.scratch, empty)
    }

    fn stop(&mut self) {
        self.end.take().map(|end| end.send(()));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
