//! What sandboxes and ports cost: `cargo run --release -p dhow-network --example cost`.
//!
//! As root, on a machine of its own (a network and a mount namespace), with an idle gap before each round
//! as a user at a prompt leaves one: a tight loop hides what the kernel puts off.

use std::error::Error;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use dhow_network::{
    DEFAULT_NETWORK, DefaultNetwork, EndpointRequest, Host, HostOptions, Instance, PortMapping,
    Protocol, SandboxId, SandboxRequest, Steps,
};
use dhow_sys::Namespaces;
use rustix::mount::{MountFlags, MountPropagationFlags};

const ROUNDS: usize = 60;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("dhow-network-cost-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    dhow_sys::unshare(Namespaces::NETWORK.with(Namespaces::MOUNT))?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    rustix::mount::mount("dhow-cost", &dir, "tmpfs", MountFlags::empty(), c"")?;
    dhow_sys::loopback_up()?;
    let result = measure(&dir);
    rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::DETACH)?;
    std::fs::remove_dir(&dir)?;
    result
}

fn measure(dir: &Path) -> Result<(), Box<dyn Error>> {
    for gap in [Duration::from_millis(50), Duration::ZERO] {
        say(&format!("idle gap {gap:?}"));
        let options = |ready_max| HostOptions {
            exec_root: dir.join("run"),
            instance: Instance::of(dir),
            default: DefaultNetwork::standard(),
            pools: Vec::new(),
            networks: Vec::new(),
            lock: dir.join("lock"),
            ready_max,
            forwarding: true,
            steps: Steps::unwatched(),
        };
        let host = Host::open(options(0))?;
        rounds(&host, "none", gap, |id| request(id, None))?;
        rounds(&host, "bridge, nothing ready", gap, |id| request(id, Some(Vec::new())))?;
        rounds(&host, "the same, 1 port", gap, |id| request(id, Some(vec![any()])))?;
        drop(host);
        let host = Host::open(options(8))?;
        rounds(&host, "none, ready", gap, |id| request(id, None))?;
        rounds(&host, "bridge, ready", gap, |id| request(id, Some(Vec::new())))?;
        rounds(&host, "the same, 1 port", gap, |id| request(id, Some(vec![any()])))?;
        drop(host);
    }
    ports(dir)
}

/// Many ports of one sandbox, and one more beside them.
fn ports(dir: &Path) -> Result<(), Box<dyn Error>> {
    let host = Host::open(HostOptions {
        exec_root: dir.join("run"),
        instance: Instance::of(dir),
        default: DefaultNetwork::standard(),
        pools: Vec::new(),
        networks: Vec::new(),
        lock: dir.join("lock"),
        ready_max: 0,
        forwarding: true,
        steps: Steps::unwatched(),
    })?;
    for (name, count) in [("a", 1), ("b", 1000), ("c", 10_000)] {
        let base = 10_000 + 1_001 * u16::from(name == "c") + u16::from(name == "b");
        let mappings = (0..count).map(|n| PortMapping {
            host_ip: Some(Ipv4Addr::LOCALHOST.into()),
            host_port: Some((base + n, base + n)),
            ..any()
        });
        let request = request(name.parse()?, Some(mappings.collect()));
        let begin = Instant::now();
        host.sandbox(&request)?;
        let made = begin.elapsed();
        let one = self::request("one".parse()?, Some(vec![any()]));
        let mut beside = Vec::new();
        for _ in 0..20 {
            let begin = Instant::now();
            host.sandbox(&one)?;
            host.release(&one.id)?;
            beside.push(begin.elapsed());
        }
        let beside = median(&mut beside);
        let begin = Instant::now();
        host.release(&request.id)?;
        let back = begin.elapsed();
        say(&format!("{count} ports: {made:?}, back {back:?}; beside them one and back {beside}"));
    }
    host.dismantle()?;
    Ok(())
}

fn rounds(
    host: &Host,
    what: &str,
    gap: Duration,
    request: impl Fn(SandboxId) -> SandboxRequest,
) -> Result<(), Box<dyn Error>> {
    let (mut made, mut released) = (Vec::new(), Vec::new());
    // The first makes the bridge.
    let first = request("first".parse()?);
    host.sandbox(&first)?;
    host.release(&first.id)?;
    std::thread::sleep(Duration::from_millis(200));
    for round in 0..ROUNDS {
        let request = request(format!("round-{round}").parse()?);
        std::thread::sleep(gap);
        let begin = Instant::now();
        host.sandbox(&request)?;
        made.push(begin.elapsed());
        let begin = Instant::now();
        host.release(&request.id)?;
        released.push(begin.elapsed());
    }
    say(&format!("{what}: make {}, release {}", median(&mut made), median(&mut released)));
    Ok(())
}

fn median(times: &mut [Duration]) -> String {
    times.sort();
    let at = |part: usize| times[times.len() * part / 10];
    format!("{:?} (p90 {:?})", at(5), at(9))
}

fn request(id: SandboxId, ports: Option<Vec<PortMapping>>) -> SandboxRequest {
    let endpoints = ports.iter().map(|_| EndpointRequest {
        network: DEFAULT_NETWORK.to_owned(),
        ..EndpointRequest::default()
    });
    let endpoints = endpoints.collect();
    SandboxRequest { name: id.to_string(), id, endpoints, ports: ports.unwrap_or_default() }
}

fn any() -> PortMapping {
    PortMapping { container_port: 80, protocol: Protocol::Tcp, host_ip: None, host_port: None }
}

#[expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]
fn say(text: &str) {
    println!("{text}");
}
