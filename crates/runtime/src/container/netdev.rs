//! `linux.netDevices`: devices of the host moved into the container.

use std::collections::BTreeMap;

use dhow_spec::runtime::NetDevice;
use rustix::process::Pid;

use crate::error::Error;

/// Moves each device into the network namespace of `pid`.
pub(super) fn move_in(devices: &BTreeMap<String, NetDevice>, _pid: Pid) -> Result<(), Error> {
    match devices.keys().next() {
        None => Ok(()),
        Some(name) => Err(Error::Refused {
            field: "linux.netDevices",
            value: name.clone(),
            reason: "moving network devices is not supported yet",
        }),
    }
}
