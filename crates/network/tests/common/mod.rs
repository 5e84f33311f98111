//! A machine of its own for each test: a network and a mount namespace that a thread enters, with a run
//! directory in memory. Nothing of it is seen from outside, and all of it is gone with the thread.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dhow_network::{
    DEFAULT_NETWORK, DefaultNetwork, EndpointRequest, Host, HostOptions, Instance, PortMapping,
    Protocol, Sandbox, SandboxId, SandboxRequest, Steps,
};
use dhow_sys::Namespaces;
use rustix::mount::{MountFlags, MountPropagationFlags};

/// Runs `work` there, with the directory in memory; as anybody but root it says so and does nothing.
pub(crate) fn alone(test: &str, work: impl FnOnce(&Path) + Send) {
    if !rustix::process::geteuid().is_root() {
        return skip(test, "needs root");
    }
    let dir = scratch();
    let result = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(&dir);
            work(&dir);
        });
        thread.join()
    });
    std::fs::remove_dir(&dir).expect("nothing is left");
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Says that a test cannot be here, and why.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

fn enter(dir: &Path) {
    dhow_sys::unshare(Namespaces::NETWORK.with(Namespaces::MOUNT)).expect("a machine");
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).expect("a private tree");
    rustix::mount::mount("dhow-test", dir, "tmpfs", MountFlags::empty(), c"").expect("a disk");
    dhow_sys::loopback_up().expect("a loopback device");
}

fn scratch() -> PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("dhow-network-{}-{number}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir(&dir).expect("a mount point");
    dir
}

/// An engine's networks with nothing special about them.
pub(crate) fn host(dir: &Path) -> Host {
    Host::open(options(dir)).expect("networks")
}

/// What [`host`] is opened with.
pub(crate) fn options(dir: &Path) -> HostOptions {
    HostOptions {
        exec_root: dir.join("run"),
        instance: Instance::of(&dir.join("lib")),
        default: DefaultNetwork::standard(),
        pools: Vec::new(),
        networks: Vec::new(),
        lock: dir.join("lock"),
        ready_max: 0,
        forwarding: true,
        steps: Steps::unwatched(),
    }
}

pub(crate) fn id(text: &str) -> SandboxId {
    text.parse().expect("an id")
}

/// A sandbox without a network.
pub(crate) fn none(text: &str) -> SandboxRequest {
    SandboxRequest { id: id(text), name: text.to_owned(), endpoints: Vec::new(), ports: Vec::new() }
}

/// A sandbox on the default network that publishes ports.
pub(crate) fn bridged(text: &str, ports: &[PortMapping]) -> SandboxRequest {
    let endpoints = vec![at(DEFAULT_NETWORK)];
    SandboxRequest { endpoints, ports: ports.to_vec(), ..none(text) }
}

/// A place in a network of which nothing special is asked.
pub(crate) fn at(key: &str) -> EndpointRequest {
    EndpointRequest { network: key.to_owned(), ..EndpointRequest::default() }
}

/// `-p [HOST_IP:]HOST_PORT:CONTAINER_PORT`
pub(crate) fn tcp(host_ip: Option<&str>, host_port: u16, container_port: u16) -> PortMapping {
    PortMapping {
        container_port,
        protocol: Protocol::Tcp,
        host_ip: host_ip.map(|text| text.parse().expect("an address")),
        host_port: Some((host_port, host_port)),
    }
}

/// Runs `work` on a thread in another network namespace.
pub(crate) fn inside<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> T {
    let namespace = std::fs::File::open(path).expect("a namespace");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            dhow_sys::set_namespace(namespace.as_fd(), Namespaces::NETWORK).expect("inside");
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The one machine outside, at 192.0.2.2 and 2001:db8::2; the host is 192.0.2.1 and 2001:db8::1 to it, and its
/// way to everywhere.
pub(crate) fn outside(networks: &Host) -> Sandbox {
    let outside = networks.sandbox(&none("outside")).expect("a machine");
    ip("link add out0 type veth peer name out1");
    ip(&format!("link set out1 netns {}", outside.path.display()));
    ip("addr add 192.0.2.1/24 dev out0");
    ip("addr add 2001:db8::1/64 dev out0 nodad");
    ip("link set out0 up");
    inside(&outside.path, || {
        ip("addr add 192.0.2.2/24 dev out1");
        ip("addr add 2001:db8::2/64 dev out1 nodad");
        ip("link set out1 up");
        ip("route add default via 192.0.2.1");
        ip("-6 route add default via 2001:db8::1");
        // Looking makes the kernel look; it loses packets before.
        ip("-brief link show dev out1");
    });
    ip("-brief link show dev out0");
    outside
}

/// A server in a namespace, until it is dropped.
pub(crate) struct Server {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

/// Begins to tell each client the address that it is seen under.
#[must_use]
pub(crate) fn serve(path: &Path, port: u16) -> Server {
    inside(path, || {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a port");
        let own = listener.try_clone().expect("a listener");
        let thread = std::thread::spawn(move || {
            while let Ok((mut stream, from)) = own.accept() {
                let from = from.ip().to_canonical().to_string();
                let _ = stream.write_all(from.as_bytes());
            }
        });
        Server { listener, thread: Some(thread) }
    })
}

impl Drop for Server {
    fn drop(&mut self) {
        let shutdown = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Read);
        shutdown.expect("nobody is accepted any more");
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// What such a server says, if it is reached at all.
pub(crate) fn ask(address: &str, port: u16) -> Option<String> {
    ask_within(Duration::from_secs(5), address, port)
}

/// Whether nobody answers there, as far as a moment can tell.
pub(crate) fn is_closed(address: &str, port: u16) -> bool {
    ask_within(Duration::from_millis(500), address, port).is_none()
}

fn ask_within(limit: Duration, address: &str, port: u16) -> Option<String> {
    let to = SocketAddr::new(address.parse().expect("an address"), port);
    let mut stream = TcpStream::connect_timeout(&to, limit).ok()?;
    stream.set_read_timeout(Some(limit)).expect("a limit");
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Runs the program `ip`, for what belongs to the test's machine and not to the engine.
pub(crate) fn ip(arguments: &str) {
    ip_told(arguments);
}

/// What the program `ip` says.
pub(crate) fn ip_told(arguments: &str) -> String {
    program("ip", arguments)
}

/// Runs the program `nft`, for rules that are somebody else's.
pub(crate) fn nft(arguments: &str) {
    nft_told(arguments);
}

/// What the program `nft` says.
pub(crate) fn nft_told(arguments: &str) -> String {
    program("nft", arguments)
}

#[expect(clippy::disallowed_methods, reason = "a test's machine is made and seen by programs")]
fn program(name: &str, arguments: &str) -> String {
    let output = std::process::Command::new(name).args(arguments.split(' ')).output();
    let output = output.unwrap_or_else(|error| panic!("the program {name}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The devices there are.
pub(crate) fn devices() -> BTreeSet<String> {
    let mut links = dhow_sys::Links::open().expect("a socket");
    let links = links.list().expect("devices");
    links.into_iter().map(|link| link.name.to_string_lossy().into_owned()).collect()
}

/// Waits until it is so.
pub(crate) fn wait(until: impl Fn() -> bool) {
    let begin = Instant::now();
    while !until() {
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", devices());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Begins this test program's test `child` with a task, which is an engine that will be killed.
#[expect(clippy::disallowed_methods, reason = "only a process can be killed")]
pub(crate) fn run_child(variable: &str, dir: &Path, nth: usize) {
    let program = std::env::current_exe().expect("this program");
    let mut child = std::process::Command::new(program);
    let task = format!("{}:{nth}", dir.display());
    child.args(["--exact", "child", "--nocapture"]).env(variable, task);
    let output = child.output().expect("a child");
    let killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
    assert!(
        killed || output.status.success(),
        "{nth}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A child's task: its directory, and steps that kill it at the one that is named; nothing for whoever is none.
pub(crate) fn child_task(variable: &str) -> Option<(PathBuf, Steps)> {
    #[expect(clippy::disallowed_methods, reason = "how a test talks to its child")]
    let task = std::env::var(variable).ok()?;
    let (dir, nth) = task.rsplit_once(':').expect("directory and step");
    let nth: usize = nth.parse().expect("a number");
    let count = std::sync::atomic::AtomicUsize::new(0);
    let steps = Steps::watched(move |_| {
        if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == nth {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).expect("a signal");
        }
        Ok(())
    });
    Some((PathBuf::from(dir), steps))
}
