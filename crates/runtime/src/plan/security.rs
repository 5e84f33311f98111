//! Which security modules the host runs: a process's label for one that does not run is refused by name.

use rustix::fs::Access;

use crate::error::Error;

/// Whether AppArmor is on.
pub(super) fn apparmor_is_on() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|word| word.starts_with('Y'))
}

/// Whether SELinux is on: its file system is mounted wherever a policy is loaded.
pub(super) fn selinux_is_on() -> bool {
    rustix::fs::access("/sys/fs/selinux/enforce", Access::EXISTS).is_ok()
}

/// Fails unless SELinux is on, naming the field that needs it.
pub(super) fn need_selinux(field: &'static str, label: &str) -> Result<(), Error> {
    if selinux_is_on() {
        return Ok(());
    }
    Err(Error::Refused {
        field,
        value: label.to_owned(),
        reason: "selinux is not enabled on this host",
    })
}
