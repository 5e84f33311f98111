//! Devices: which are there, and which may be used.
//!
//! Invariant: rules end with what the request allows, so that it wins over what is denied before.
//! Absent on purpose: the nodes of the default devices, which every runtime makes.

use dhow_spec::runtime::{Device, DeviceKind, DeviceRule, DeviceRuleKind};

use super::facts::Found;
use crate::request::{CreateRequest, DeviceRuleText};

/// Devices that every container may use: zero, null, urandom, random, tty, console; not fuse.
const DEFAULT_RULES: &[(bool, i64, i64)] = &[
    (true, 1, 5),
    (true, 1, 3),
    (true, 1, 9),
    (true, 1, 8),
    (true, 5, 0),
    (true, 5, 1),
    (false, 10, 229),
];

/// The nodes to make and the rules to set.
pub(super) fn devices(request: &CreateRequest, found: &Found) -> (Vec<Device>, Vec<DeviceRule>) {
    let own = &request.host;
    if own.privileged {
        return privileged(request, found);
    }
    let mut nodes: Vec<Device> = Vec::new();
    let deny = DeviceRule { access: Some("rwm".to_owned()), ..DeviceRule::default() };
    let mut rules = vec![deny];
    rules.extend(DEFAULT_RULES.iter().map(|(allow, major, minor)| DeviceRule {
        allow: *allow,
        kind: Some(DeviceRuleKind::Char),
        major: Some(*major),
        minor: Some(*minor),
        access: Some("rwm".to_owned()),
    }));
    for asked in &own.resources.devices {
        let access = if asked.permissions.is_empty() { "rwm" } else { &asked.permissions };
        for node in moved(found, &asked.host_path, &asked.container_path) {
            rules.push(rule_of(&node, access));
            put(&mut nodes, node);
        }
    }
    rules.extend(own.resources.device_cgroup_rules.iter().map(rule_of_text));
    (nodes, rules)
}

fn privileged(request: &CreateRequest, found: &Found) -> (Vec<Device>, Vec<DeviceRule>) {
    let mut nodes = found.all_devices.clone();
    for asked in &request.host.resources.devices {
        for node in moved(found, &asked.host_path, &asked.container_path) {
            put(&mut nodes, node);
        }
    }
    let all = DeviceRule { allow: true, access: Some("rwm".to_owned()), ..DeviceRule::default() };
    (nodes, vec![all])
}

/// A later node stands in place of an earlier one.
fn put(nodes: &mut Vec<Device>, node: Device) {
    nodes.retain(|known| known.path != node.path);
    nodes.push(node);
}

/// The devices of a path of the host, as they are to be called in the container.
fn moved(found: &Found, from: &str, to: &str) -> Vec<Device> {
    let to = if to.is_empty() { from } else { to };
    let devices = found.devices.get(from).into_iter().flatten();
    let renamed = |device: &Device| {
        let rest = device.path.strip_prefix(from).unwrap_or_default();
        Device { path: format!("{}{rest}", to.trim_end_matches('/')), ..device.clone() }
    };
    devices.map(renamed).collect()
}

fn rule_of(device: &Device, access: &str) -> DeviceRule {
    let block = device.kind == DeviceKind::Block;
    DeviceRule {
        allow: true,
        kind: Some(if block { DeviceRuleKind::Block } else { DeviceRuleKind::Char }),
        major: Some(device.major),
        minor: Some(device.minor),
        access: Some(access.to_owned()),
    }
}

fn rule_of_text(text: &DeviceRuleText) -> DeviceRule {
    DeviceRule {
        allow: true,
        kind: Some(match text.kind {
            'b' => DeviceRuleKind::Block,
            'c' => DeviceRuleKind::Char,
            _ => DeviceRuleKind::All,
        }),
        major: Some(text.major.unwrap_or(-1)),
        minor: Some(text.minor.unwrap_or(-1)),
        access: Some(text.access.clone()),
    }
}
