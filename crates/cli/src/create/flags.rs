//! The flags of `run` and `create`: all of Docker's, in one table.

use super::{devices, mounts, networks, text};
use crate::args::{Flag, bytes_or_unlimited, cpus, uint16, uint64};

fn check_ulimit(value: &str) -> Result<(), String> {
    devices::ulimit(value).map(drop)
}

fn check_gpus(value: &str) -> Result<(), String> {
    devices::gpus(value).map(drop)
}

fn check_weight(value: &str) -> Result<(), String> {
    devices::weight(value).map(drop)
}

fn check_rate_bytes(value: &str) -> Result<(), String> {
    devices::rate_bytes(value).map(drop)
}

fn check_rate_count(value: &str) -> Result<(), String> {
    devices::rate_count(value).map(drop)
}

/// What `run` has and `create` has not.
pub(crate) const RUN: &[Flag] = &[
    Flag::switch("detach", "Leave the container in the background and print its ID").short('d'),
    Flag::text("detach-keys", "Keys that leave the container running, such as ctrl-p,ctrl-q"),
    Flag::switch("sig-proxy", "Hand signals on to the container (default true)").default("true"),
];

/// What both have.
pub(crate) const CREATE: &[Flag] = &[
    Flag::list("add-host", "One more line of /etc/hosts (host:ip)").checked(text::check_extra_host),
    Flag::map("annotation", "Annotation for the OCI runtime"),
    Flag::list("attach", "Attach to STDIN, STDOUT or STDERR")
        .short('a')
        .checked(text::check_stream),
    Flag::int("blkio-weight", "Share of block I/O, 10 to 1000, or 0 for none").of("uint16", uint16),
    Flag::list("blkio-weight-device", "Share of one device's I/O").checked(check_weight),
    Flag::list("cap-add", "Capability to add"),
    Flag::list("cap-drop", "Capability to take away"),
    Flag::text("cgroup-parent", "Parent of the container's cgroup"),
    Flag::text("cgroupns", "Cgroup namespace: host or private"),
    Flag::text("cidfile", "File to write the container's ID to"),
    Flag::int("cpu-count", "Number of CPUs (Windows only)").hidden(),
    Flag::int("cpu-percent", "Percentage of CPU (Windows only)").hidden(),
    Flag::int("cpu-period", "Period of the CPU quota, in microseconds"),
    Flag::int("cpu-quota", "CPU time in each period, in microseconds"),
    Flag::int("cpu-rt-period", "Period of real-time scheduling, in microseconds"),
    Flag::int("cpu-rt-runtime", "Real-time CPU time in each period, in microseconds"),
    Flag::int("cpu-shares", "CPU share relative to other containers").short('c'),
    Flag::text("cpus", "Number of CPUs").of("decimal", cpus),
    Flag::text("cpuset-cpus", "CPUs to run on (0-3, 0,1)"),
    Flag::text("cpuset-mems", "Memory nodes to use (0-3, 0,1)"),
    Flag::list("device", "Device of the host for the container"),
    Flag::list("device-cgroup-rule", "Rule about devices for the cgroup")
        .checked(devices::check_rule),
    Flag::list("device-read-bps", "Bytes a second read from a device").checked(check_rate_bytes),
    Flag::list("device-read-iops", "Reads a second from a device").checked(check_rate_count),
    Flag::list("device-write-bps", "Bytes a second written to a device").checked(check_rate_bytes),
    Flag::list("device-write-iops", "Writes a second to a device").checked(check_rate_count),
    Flag::switch("disable-content-trust", "Skip the check of image signatures (default true)")
        .default("true"),
    Flag::list("dns", "DNS server").checked(text::check_ip),
    Flag::list("dns-opt", "").stands_for("dns-option"),
    Flag::list("dns-option", "Option of the resolver"),
    Flag::list("dns-search", "Search domain").checked(text::check_domain),
    Flag::text("domainname", "NIS domain of the container"),
    Flag::text("entrypoint", "Program in place of the image's entrypoint"),
    Flag::list("env", "Environment variable").short('e').checked(text::check_variable),
    Flag::list("env-file", "File of environment variables"),
    Flag::list("expose", "Port, or range of ports, to expose"),
    Flag::list("gpus", "GPUs for the container (all of them: 'all')").of("gpu-request", check_gpus),
    Flag::list("group-add", "One more group of the process"),
    Flag::text("health-cmd", "Command that tells whether the container is well"),
    Flag::duration("health-interval", "Time between two checks (ms|s|m|h)"),
    Flag::int("health-retries", "Checks in a row that must fail"),
    Flag::duration("health-start-interval", "Time between checks while it starts (ms|s|m|h)"),
    Flag::duration("health-start-period", "Time to start before failures count (ms|s|m|h)"),
    Flag::duration("health-timeout", "Time that one check may take (ms|s|m|h)"),
    Flag::switch("help", "Print usage"),
    Flag::text("hostname", "Host name of the container").short('h'),
    Flag::switch("init", "Run an init that forwards signals and reaps processes"),
    Flag::switch("interactive", "Keep standard input open even if not attached").short('i'),
    Flag::bytes("io-maxbandwidth", "Bandwidth of the system drive (Windows only)").hidden(),
    Flag::int("io-maxiops", "Operations of the system drive (Windows only)")
        .of("uint", uint64)
        .hidden(),
    Flag::text("ip", "IPv4 address (e.g., 172.30.100.104)"),
    Flag::text("ip6", "IPv6 address (e.g., 2001:db8::33)"),
    Flag::text("ipc", "IPC namespace to use"),
    Flag::text("isolation", "Technology of isolation"),
    Flag::bytes("kernel-memory", "Limit of kernel memory").hidden(),
    Flag::list("label", "Label of the container").short('l').checked(text::check_label),
    Flag::list("label-file", "File of labels, one a line"),
    Flag::list("link", "Link to another container").checked(text::check_link),
    Flag::list("link-local-ip", "Link-local address"),
    Flag::text("log-driver", "Where the container's output is kept"),
    Flag::list("log-opt", "Option of the log driver"),
    Flag::text("mac-address", "MAC address (e.g., 92:d0:c6:0a:29:33)"),
    Flag::bytes("memory", "Limit of memory").short('m'),
    Flag::bytes("memory-reservation", "Memory that is left to it under pressure"),
    Flag::text("memory-swap", "Limit of memory and swap together, -1 for none")
        .of("bytes", bytes_or_unlimited),
    Flag::int("memory-swappiness", "Readiness to swap, 0 to 100").default("-1"),
    Flag::list("mount", "Mount a file system in the container").of("mount", mounts::check_mount),
    Flag::text("name", "Name of the container"),
    Flag::list("net", "").of("network", networks::check_network).stands_for("network"),
    Flag::list("net-alias", "").stands_for("network-alias"),
    Flag::list("network", "Network of the container").of("network", networks::check_network),
    Flag::list("network-alias", "Name of the container in its network"),
    Flag::switch("no-healthcheck", "Do without the image's health check"),
    Flag::switch("oom-kill-disable", "Keep the OOM killer away"),
    Flag::int("oom-score-adj", "Place in the OOM killer's order, -1000 to 1000"),
    Flag::text("pid", "PID namespace to use"),
    Flag::int("pids-limit", "Number of processes, -1 for any"),
    Flag::text("platform", "Platform, if the image has several"),
    Flag::switch("privileged", "Give the container all that the host has"),
    Flag::list("publish", "Port of the container on the host").short('p'),
    Flag::switch("publish-all", "Publish all exposed ports on random ones").short('P'),
    Flag::text("pull", "Pull the image first: \"always\", \"missing\" or \"never\"")
        .default("missing"),
    Flag::switch("quiet", "Say nothing of the pull").short('q'),
    Flag::switch("read-only", "Root file system that cannot be written"),
    Flag::text("restart", "When to start it again after it ends").default("no"),
    Flag::switch("rm", "Remove the container and its anonymous volumes when it ends"),
    Flag::text("runtime", "OCI runtime for the container"),
    Flag::list("security-opt", "Option of its confinement"),
    Flag::bytes("shm-size", "Size of /dev/shm"),
    Flag::text("stop-signal", "Signal that asks it to stop"),
    Flag::int("stop-timeout", "Seconds to wait for it to stop"),
    Flag::list("storage-opt", "Option of the storage driver"),
    Flag::map("sysctl", "Kernel setting for its namespaces").checked(text::check_sysctl),
    Flag::list("time-offset", "Seconds by which its clocks differ ([monotonic=|boottime=]SECONDS)"),
    Flag::list("tmpfs", "Directory in memory"),
    Flag::switch("tty", "Give it a terminal").short('t'),
    Flag::list("ulimit", "Limit of a resource").of("ulimit", check_ulimit),
    Flag::switch("use-api-socket", "Let it use this engine's socket"),
    Flag::text("user", "User name or ID (<name|uid>[:<group|gid>])").short('u'),
    Flag::text("userns", "User namespace to use"),
    Flag::text("uts", "UTS namespace to use"),
    Flag::list("volume", "Bind a path of the host, or a volume").short('v'),
    Flag::text("volume-driver", "Driver of its volumes"),
    Flag::list("volumes-from", "Take over another container's mounts"),
    Flag::text("workdir", "Working directory inside").short('w'),
];
