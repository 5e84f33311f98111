//! Capabilities: `CAP_…` names and the kernel's bits.
//!
//! A `Capability` is always one of the 41 that Linux knows up to 6.18; a `CapSet` holds only such
//! bits. Absent: what the running kernel or this process has of them (`cap_last_cap`, the bounding
//! set), which is asked where a set is applied.

use dhow_spec::CAPABILITY_NAMES as NAMES;

/// One capability, by its bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Capability(u8);

impl Capability {
    /// The capability of a full name such as `CAP_NET_ADMIN`; the case and the prefix matter, as
    /// they do to the specification.
    fn parse(word: &str) -> Option<Self> {
        let rest = word.strip_prefix("CAP_")?;
        NAMES.iter().position(|name| *name == rest).map(|bit| Self(bit as u8))
    }

    /// The name with its prefix.
    pub(crate) fn name(self) -> String {
        format!("CAP_{}", NAMES[usize::from(self.0)])
    }

    /// Every capability, lowest bit first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..NAMES.len() as u8).map(Self)
    }
}

/// The names of all capabilities, for who gives a process everything.
pub fn capability_names() -> Vec<String> {
    Capability::all().map(Capability::name).collect()
}

/// A set of capabilities, in the bits that `capset(2)` takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CapSet(u64);

impl CapSet {
    /// No capability.
    pub(crate) const EMPTY: Self = Self(0);
    /// Every capability that has a name.
    pub(crate) const FULL: Self = Self((1 << NAMES.len()) - 1);

    /// The set of these names; one that is none goes to `unknown`, once.
    pub(crate) fn from_words(words: &[String], unknown: &mut Vec<String>) -> Self {
        let mut set = Self::EMPTY;
        for word in words {
            match Capability::parse(word) {
                Some(capability) => set = set.with(capability),
                None if unknown.contains(word) => {}
                None => unknown.push(word.clone()),
            }
        }
        set
    }

    /// The set of the kernel's bits, without those that have no name.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits & Self::FULL.0)
    }

    /// The kernel's bits.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// Whether `capability` is in it.
    pub(crate) fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// This set and one more.
    pub(crate) fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability.0)
    }

    /// Its members, lowest bit first.
    pub(crate) fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::all().filter(move |&capability| self.has(capability))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_agree_with_the_kernel() {
        let bits = [
            ("CAP_CHOWN", 0),
            ("CAP_SETPCAP", 8),
            ("CAP_NET_ADMIN", 12),
            ("CAP_SYS_ADMIN", 21),
            ("CAP_MKNOD", 27),
            ("CAP_SETFCAP", 31),
            ("CAP_MAC_OVERRIDE", 32),
            ("CAP_AUDIT_READ", 37),
            ("CAP_CHECKPOINT_RESTORE", 40),
        ];
        for (name, bit) in bits {
            let capability = Capability::parse(name).unwrap();
            assert_eq!(capability.0, bit, "{name}");
            assert_eq!(capability.name(), name);
        }
    }

    #[test]
    fn rustix_has_the_same_bits() {
        use rustix::thread::CapabilitySet;
        assert_eq!(CapabilitySet::all().iter_names().count(), NAMES.len());
        for (name, flag) in CapabilitySet::all().iter_names() {
            let ours = Capability::parse(&format!("CAP_{name}")).unwrap();
            assert_eq!(1 << ours.0, flag.bits(), "{name}");
        }
    }

    fn set(words: &[&str]) -> (CapSet, Vec<String>) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut unknown = Vec::new();
        (CapSet::from_words(&words, &mut unknown), unknown)
    }

    #[test]
    fn an_unknown_name_is_told_once() {
        for word in ["CAP_FLY", "NET_ADMIN", "cap_net_admin", "CAP_", ""] {
            let (set, unknown) = set(&[word, "CAP_CHOWN", word]);
            assert_eq!((set.bits(), unknown.as_slice()), (1, &[word.to_owned()][..]));
        }
    }

    #[test]
    fn sets_hold_named_bits_only() {
        assert_eq!(CapSet::from_bits(u64::MAX), CapSet::FULL);
        assert_eq!(CapSet::FULL.bits(), 0x1ff_ffff_ffff);
        let (set, unknown) = set(&["CAP_KILL", "CAP_CHOWN", "CAP_KILL"]);
        assert!(unknown.is_empty());
        let names: Vec<_> = set.iter().map(Capability::name).collect();
        assert_eq!(names, ["CAP_CHOWN", "CAP_KILL"]);
    }
}
