//! `features`: what this program can do, for engines that ask before they use it.

use dhow_spec::runtime::{
    CgroupFeatures, Features, HookKind, IntelRdtFeatures, LinuxFeatures, MemoryPolicyFeatures,
    MemoryPolicyFlag, MemoryPolicyMode, MountExtensions, NamespaceKind, Switch, VERSION,
};

use super::arguments::{Arguments, unexpected};
use super::help::Help;
use super::{Command, Context, Failure, print};
use crate::seccomp;
use crate::words::{Capability, MountOptions};

pub(super) const COMMAND: Command = Command { name: "features", help: &HELP, failure: 1, run };

const HELP: Help = Help {
    usage: "",
    about: "Prints what this program can do as JSON, whether or not this host allows it.",
    topics: &[],
};

fn run(_: &Context<'_>, mut arguments: Arguments) -> Result<u8, Failure> {
    if let Some(argument) = arguments.next()? {
        return Err(unexpected(argument).into());
    }
    print(&(features().to_json_pretty() + "\n"))?;
    Ok(0)
}

fn features() -> Features {
    Features {
        oci_version_min: "1.0.0".to_owned(),
        oci_version_max: VERSION.to_owned(),
        hooks: HookKind::ALL.iter().map(ToString::to_string).collect(),
        mount_options: MountOptions::known_words().map(str::to_owned).collect(),
        linux: Some(linux()),
        annotations: [("dhow.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
        potentially_unsafe_config_annotations: Vec::new(),
    }
}

fn linux() -> LinuxFeatures {
    let yes = Some(Switch { enabled: Some(true) });
    LinuxFeatures {
        namespaces: NamespaceKind::ALL.to_vec(),
        capabilities: Capability::all().map(Capability::name).collect(),
        cgroup: Some(CgroupFeatures {
            v1: Some(true),
            v2: Some(true),
            systemd: Some(true),
            systemd_user: Some(true),
            rdma: Some(true),
        }),
        seccomp: Some(seccomp::features(dhow_sys::seccomp_flags_supported)),
        apparmor: yes,
        selinux: yes,
        intel_rdt: Some(IntelRdtFeatures {
            enabled: Some(true),
            schemata: Some(true),
            monitoring: Some(true),
        }),
        memory_policy: Some(MemoryPolicyFeatures {
            modes: MemoryPolicyMode::ALL.to_vec(),
            flags: MemoryPolicyFlag::ALL.to_vec(),
        }),
        mount_extensions: Some(MountExtensions { idmap: yes }),
        net_devices: yes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_what_engines_look_for() {
        let text = features().to_json_pretty();
        assert_eq!(Features::parse(text.as_bytes()).unwrap(), features());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["linux"]["mountExtensions"]["idmap"]["enabled"], true);
        assert_eq!(value["linux"]["seccomp"]["enabled"], true);
        assert_eq!(value["linux"]["namespaces"].as_array().unwrap().len(), 8);
        let options = value["mountOptions"].as_array().unwrap();
        for option in ["rro", "rbind", "idmap", "tmpcopyup"] {
            assert!(options.iter().any(|word| word == option), "{option}");
        }
        assert_eq!(value["ociVersionMax"], VERSION);
    }
}
