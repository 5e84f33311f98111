//! Which of a host's engines one is: the mark on all that it makes.
//!
//! Engines with different data roots have different marks, so that none takes another's bridge or table
//! for its own.

use std::fmt;
use std::net::Ipv6Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::address::{Mac, Subnet};

/// An engine among those of a host, told by its data root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance(u32);

impl Instance {
    /// The one with this data root, which is an absolute path without links.
    pub fn of(data_root: &Path) -> Self {
        // FNV-1a: a mark that stays the same for ever, not a secret.
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for byte in data_root.as_os_str().as_bytes() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self((hash ^ (hash >> 32)) as u32)
    }

    /// The default network's device: 13 of the 15 bytes that a name may have.
    pub(crate) fn bridge(self) -> String {
        format!("dhow-{self}")
    }

    /// The table of all rules.
    pub(crate) fn table(self) -> String {
        format!("dhow-{self}")
    }

    /// Addresses of IPv6 that nobody routes to from far away, as every organization may choose for itself.
    pub(crate) fn unique_local(self) -> Subnet {
        let global = u128::from(self.0) << 8 | u128::from(self.0 % 251);
        let first = Ipv6Addr::from_bits(0xfd << 120 | global << 80);
        Subnet::around(first, 48).unwrap_or_else(|| unreachable!("48 bits are fewer than 128"))
    }

    /// The bridge's link address, said when it is made, so that nothing has a reason to change it later.
    pub(crate) fn bridge_mac(self) -> Mac {
        Mac::local(0x42 << 32 | u64::from(self.0))
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_differ_and_marks_stay() {
        let default = Instance::of(Path::new("/var/lib/dhow"));
        assert_ne!(default, Instance::of(Path::new("/var/lib/dhow2")));
        // A new mark would be a new engine, which knows nothing of what runs.
        assert_eq!(default.to_string(), "37fb1812");
    }
}
