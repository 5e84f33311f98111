//! dockerd's words that are taken and change nothing, each with the reason: a configuration that was written for
//! dockerd starts this engine, too, unless it asks for something that it would not get.
//!
//! Invariant: nothing stands here whose absence anybody would notice.

/// Which values are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Every one.
    Any,
    /// This one; any other asks for something that is not to be had.
    Only(&'static str),
}

use Taken::{Any, Only};

/// Name, which values, and why they change nothing.
pub(super) const WITHOUT_EFFECT: &[(&str, Taken, &str)] = &[
    ("allow-direct-routing", Only("false"), "containers are reached by their published ports"),
    ("bridge-accept-fwmark", Only(""), "no rule looks at marks"),
    ("builder", Any, "the build cache is collected by its own rules"),
    ("containerd", Any, "there is no containerd"),
    ("containerd-namespace", Any, "there is no containerd"),
    ("containerd-plugin-namespace", Any, "there is no containerd"),
    ("containerd-plugins-namespace", Any, "there is no containerd"),
    ("cpu-rt-period", Only("0"), "no cgroup gets real-time shares by default"),
    ("cpu-rt-runtime", Only("0"), "no cgroup gets real-time shares by default"),
    ("cri-containerd", Any, "there is no containerd"),
    ("default-cgroupns-mode", Only("private"), "containers have a cgroup namespace of their own"),
    ("default-ipc-mode", Only("private"), "containers have an IPC namespace of their own"),
    ("experimental", Any, "nothing is experimental in Docker's sense"),
    ("feature", Any, "there are no switches of that kind"),
    ("firewall-backend", Only("nftables"), "rules are nftables'"),
    ("init-path", Any, "the init of --init is built in"),
    ("ip-forward-no-drop", Any, "no policy of the host's is changed"),
    ("ip6tables", Only("true"), "rules are nftables' and always there"),
    ("iptables", Only("true"), "rules are nftables' and always there"),
    ("log-format", Only("text"), "what the engine says is text"),
    ("network-control-plane-mtu", Any, "it is swarm's"),
    ("node-generic-resource", Any, "it is swarm's"),
    ("raw-logs", Any, "what the engine says has no colours"),
    ("selinux-enabled", Only("false"), "labels are set where a container asks for them"),
    ("shutdown-timeout", Any, "containers do not end with the engine"),
    ("swarm-default-advertise-addr", Any, "it is swarm's"),
    ("userland-proxy", Any, "no process stands between a port and its container"),
    ("userland-proxy-path", Any, "no process stands between a port and its container"),
];

/// dockerd's words that are refused whatever they say, and why.
pub(super) const REFUSED: &[(&str, &str)] = &[
    ("authorization-plugin", "there are no plugins"),
    ("cdi-spec-dir", "devices of that kind are not built"),
    ("metrics-addr", "numbers for monitoring are not built"),
    ("rootless", "an engine of an ordinary user is not built"),
    ("storage-opt", "no storage driver has options"),
    ("tls", "TCP is served to clients with a certificate only: --tlsverify"),
    ("userns-remap", "user namespaces of containers are not built"),
];

/// Why a word is refused, if it is one of dockerd's that always are.
pub(super) fn refusal(name: &str) -> Option<&'static str> {
    let name = match name {
        "authorization-plugins" => "authorization-plugin",
        "cdi-spec-dirs" => "cdi-spec-dir",
        "storage-opts" => "storage-opt",
        name => name,
    };
    REFUSED.iter().find(|(known, _)| *known == name).map(|(_, why)| *why)
}

/// Words of Docker's own file that are dockerd's places and not ours.
pub(super) const DOCKERS_PLACES: &[&str] =
    &["containerd", "data-root", "exec-root", "graph", "group", "hosts", "pidfile"];

/// Whether a word is taken without effect; nothing for a word that is not of that kind.
pub(super) fn is_taken(name: &str, value: &str) -> Option<bool> {
    let (_, taken, _) = WITHOUT_EFFECT.iter().find(|(known, ..)| *known == name)?;
    Some(match taken {
        Any => true,
        Only(only) => value == *only,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_or_refused_by_their_value() {
        assert_eq!(is_taken("iptables", "true"), Some(true));
        assert_eq!(is_taken("iptables", "false"), Some(false));
        assert_eq!(is_taken("shutdown-timeout", "15"), Some(true));
        assert_eq!(is_taken("data-root", "/x"), None);
    }

    #[test]
    fn each_is_told_in_the_documentation() {
        let page = include_str!("../../../../docs/configuration.md");
        for (name, why) in REFUSED {
            assert!(page.contains(&format!("| `{name}` | {why} |")), "{name}");
        }
        for (name, _, why) in WITHOUT_EFFECT {
            assert!(page.contains(&format!("| `{name}` |")), "{name}");
            assert!(page.contains(why), "{why}");
        }
    }
}
