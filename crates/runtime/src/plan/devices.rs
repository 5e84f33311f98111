//! `/dev`: the nodes and links that every container has, and those that the configuration adds.

use dhow_spec::runtime::{Device, DeviceKind, Mount};
use rustix::fs::FileType;
use rustix::process::{Gid, Uid};

use crate::error::Error;
use crate::init::{Link, Node, Step};
use crate::text::{c_string, clean};

/// The nodes that the specification promises (config-linux, "Default Devices"), all of them 0666.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const DEFAULT_MODE: u32 = 0o666;

/// The symlinks that the specification promises.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
];

/// Whether the runtime furnishes `/dev`: not where the configuration mounts somebody else's there.
pub(super) fn is_ours(mounts: &[Mount]) -> bool {
    !mounts.iter().any(|mount| {
        clean(&mount.destination) == "dev"
            && (mount.kind.as_deref() == Some("bind")
                || mount.options.iter().any(|option| option == "bind" || option == "rbind"))
    })
}

/// Nodes and links. `bind` mounts the host's nodes instead, for user namespaces, where the kernel
/// makes none.
pub(super) fn steps(devices: &[Device], bind: bool, core: bool) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    for device in devices {
        let step = configured(device, bind)?;
        push(&mut steps, step);
    }
    let named =
        |name: &str| devices.iter().any(|device| clean(&device.path) == format!("dev/{name}"));
    for (name, major, minor) in DEFAULT {
        if !named(name) {
            let node = Node {
                name: c_string(name),
                kind: FileType::CharacterDevice,
                device: rustix::fs::makedev(major, minor),
                mode: DEFAULT_MODE,
                owner: None,
                bind: bind.then(|| c_string(format!("/dev/{name}"))),
            };
            push(&mut steps, (c_string("dev"), node));
        }
    }
    steps.push(Step::Links(links(core)));
    Ok(steps)
}

/// Nodes of one directory make one step.
fn push(steps: &mut Vec<Step>, (dir, node): (std::ffi::CString, Node)) {
    match steps.last_mut() {
        Some(Step::Devices { dir: last, nodes }) if *last == dir => nodes.push(node),
        _ => steps.push(Step::Devices { dir, nodes: vec![node] }),
    }
}

fn configured(device: &Device, bind: bool) -> Result<(std::ffi::CString, Node), Error> {
    let path = clean(&device.path);
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
    if name.is_empty() {
        return Err(Error::Refused {
            field: "linux.devices",
            value: device.path.clone(),
            reason: "not the path of a device",
        });
    }
    let kind = match device.kind {
        DeviceKind::Char | DeviceKind::UnbufferedChar => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    };
    let number = |value: i64| {
        u32::try_from(value).map_err(|_| Error::Refused {
            field: "linux.devices",
            value: device.path.clone(),
            reason: "its major or minor number is out of range",
        })
    };
    let fifo = kind == FileType::Fifo;
    let node = Node {
        name: c_string(name),
        kind,
        device: if fifo {
            0
        } else {
            rustix::fs::makedev(number(device.major)?, number(device.minor)?)
        },
        mode: device.file_mode.unwrap_or(DEFAULT_MODE) & 0o7777,
        owner: (device.uid.is_some() || device.gid.is_some()).then(|| {
            (
                Uid::from_raw(device.uid.unwrap_or_default()),
                Gid::from_raw(device.gid.unwrap_or_default()),
            )
        }),
        bind: (bind && !fifo).then(|| c_string(device.path.as_str())),
    };
    Ok((c_string(dir), node))
}

fn links(core: bool) -> Vec<Link> {
    let link = |target: &str, name: &str, replace| Link {
        target: c_string(target),
        dir: c_string("dev"),
        name: c_string(name),
        replace,
    };
    let mut links: Vec<Link> =
        LINKS.iter().map(|(target, name)| link(target, name, false)).collect();
    if core {
        links.push(link("/proc/kcore", "core", false));
    }
    // An image's own ptmx would open the host's terminals.
    links.push(link("pts/ptmx", "ptmx", true));
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Listing;

    fn device(path: &str) -> Device {
        Device {
            path: path.to_owned(),
            kind: DeviceKind::Char,
            major: 10,
            minor: 229,
            file_mode: Some(0o600),
            uid: None,
            gid: None,
        }
    }

    #[test]
    fn nodes_of_one_directory_are_one_step() {
        let steps = steps(&[device("/dev/fuse"), device("/srv/x")], false, false).unwrap();
        assert_eq!(
            Listing(&steps).to_string(),
            "make devices in /dev: fuse\n\
             make devices in /srv: x\n\
             make devices in /dev: null zero full random urandom tty\n\
             make links /dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/ptmx\n"
        );
    }

    #[test]
    fn a_configured_node_takes_the_place_of_a_default_one() {
        let steps = steps(&[device("/dev/null")], false, true).unwrap();
        assert_eq!(
            Listing(&steps).to_string(),
            "make devices in /dev: null zero full random urandom tty\n\
             make links /dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/core /dev/ptmx\n"
        );
    }

    #[test]
    fn a_directory_is_no_device() {
        assert!(steps(&[device("/")], false, false).is_err());
    }
}
