//! NUMA memory policies: mode, flags and node list for `set_mempolicy(2)`.
//!
//! A `MemoryPolicy` that exists is one whose mode goes with its nodes and flags as far as the
//! kernel's own rules say; whether the nodes are there, only the kernel knows.

use super::cpulist::each_number;
use super::{WordError, look_up};

/// Nodes that a mask has room for: the kernel's largest `MAX_NUMNODES`.
const NODES_MAX: usize = 1024;

/// One bit for every node, as `set_mempolicy(2)` reads it.
pub(crate) type NodeMask = [u64; NODES_MAX / 64];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nodes {
    /// The mode takes none.
    None,
    /// The mode works with or without.
    Any,
    /// The mode needs one at least.
    Some,
}

const MODES: [(&str, (u32, Nodes)); 7] = [
    ("MPOL_DEFAULT", (0, Nodes::None)),
    ("MPOL_PREFERRED", (1, Nodes::Any)),
    ("MPOL_BIND", (MODE_BIND, Nodes::Some)),
    ("MPOL_INTERLEAVE", (3, Nodes::Some)),
    ("MPOL_LOCAL", (4, Nodes::None)),
    ("MPOL_PREFERRED_MANY", (MODE_PREFERRED_MANY, Nodes::Some)),
    ("MPOL_WEIGHTED_INTERLEAVE", (6, Nodes::Some)),
];
const MODE_BIND: u32 = 2;
const MODE_PREFERRED_MANY: u32 = 5;

const FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", FLAG_NUMA_BALANCING),
    ("MPOL_F_RELATIVE_NODES", FLAG_RELATIVE_NODES),
    ("MPOL_F_STATIC_NODES", FLAG_STATIC_NODES),
];
const FLAG_NUMA_BALANCING: u32 = 1 << 13;
const FLAG_RELATIVE_NODES: u32 = 1 << 14;
const FLAG_STATIC_NODES: u32 = 1 << 15;

/// What `set_mempolicy(2)` is called with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryPolicy {
    /// Mode and flags in one number, as the kernel takes them.
    pub(crate) mode: u32,
    /// The nodes, all zero where the mode takes none.
    pub(crate) nodes: NodeMask,
}

impl MemoryPolicy {
    /// Reads the specification's words; combinations that the kernel only answers with "invalid
    /// argument" are refused here with their reason.
    pub(crate) fn parse<S: AsRef<str>>(
        mode: &str,
        nodes: &str,
        flags: &[S],
    ) -> Result<Self, WordError> {
        let (mode, wanted) = look_up("memory policy mode", &MODES, mode)?;
        let mut mask: NodeMask = [0; NODES_MAX / 64];
        each_number("memory policy nodes", nodes, NODES_MAX - 1, |node| {
            mask[node / 64] |= 1 << (node % 64);
        })?;
        check_nodes(wanted, mask != [0; NODES_MAX / 64])?;
        let flags = flags.iter().try_fold(0, |set, flag| {
            look_up("memory policy flag", &FLAGS, flag.as_ref()).map(|flag| set | flag)
        })?;
        check_flags(mode, wanted, flags)?;
        Ok(Self { mode: mode | flags, nodes: mask })
    }
}

fn check_nodes(wanted: Nodes, given: bool) -> Result<(), WordError> {
    let beside = "this memory policy mode";
    match (wanted, given) {
        (Nodes::None, true) => Err(WordError::Senseless { field: "nodes", beside }),
        (Nodes::Some, false) => Err(WordError::Missing { field: "nodes", beside }),
        _ => Ok(()),
    }
}

fn check_flags(mode: u32, wanted: Nodes, flags: u32) -> Result<(), WordError> {
    const PLACED: u32 = FLAG_STATIC_NODES | FLAG_RELATIVE_NODES;
    if flags & PLACED == PLACED {
        let (field, beside) = ("MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES");
        return Err(WordError::Senseless { field, beside });
    }
    if flags & PLACED != 0 && wanted == Nodes::None {
        let (field, beside) = ("a flag about nodes", "a mode that takes none");
        return Err(WordError::Senseless { field, beside });
    }
    if flags & FLAG_NUMA_BALANCING != 0 && mode != MODE_BIND && mode != MODE_PREFERRED_MANY {
        let (field, beside) = ("MPOL_F_NUMA_BALANCING", "this memory policy mode");
        return Err(WordError::Senseless { field, beside });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [&str; 0] = [];

    #[test]
    fn words_become_what_the_kernel_takes() {
        let policy = MemoryPolicy::parse("MPOL_BIND", "0,64-65", &["MPOL_F_STATIC_NODES"]).unwrap();
        assert_eq!(policy.mode, 2 | 1 << 15);
        assert_eq!(policy.nodes[..3], [1, 3, 0]);
        let balanced = ["MPOL_F_NUMA_BALANCING"];
        let policy = MemoryPolicy::parse("MPOL_PREFERRED_MANY", "1", &balanced).unwrap();
        assert_eq!((policy.mode, policy.nodes[0]), (5 | 1 << 13, 2));
        assert_eq!(MemoryPolicy::parse("MPOL_PREFERRED", "", &NONE).unwrap().mode, 1);
        assert_eq!(MemoryPolicy::parse("MPOL_LOCAL", "", &NONE).unwrap().mode, 4);
        assert_eq!(MemoryPolicy::parse("MPOL_WEIGHTED_INTERLEAVE", "0", &NONE).unwrap().mode, 6);
    }

    #[test]
    fn nodes_have_to_suit_the_mode() {
        for mode in ["MPOL_DEFAULT", "MPOL_LOCAL"] {
            let error = MemoryPolicy::parse(mode, "0", &NONE).unwrap_err();
            assert!(matches!(error, WordError::Senseless { field: "nodes", .. }), "{mode}");
        }
        for mode in ["MPOL_BIND", "MPOL_INTERLEAVE"] {
            let error = MemoryPolicy::parse(mode, "", &NONE).unwrap_err();
            assert!(matches!(error, WordError::Missing { field: "nodes", .. }), "{mode}");
        }
    }

    #[test]
    fn wrong_words_are_refused() {
        assert!(MemoryPolicy::parse("MPOL_NEAR", "0", &NONE).is_err());
        assert!(MemoryPolicy::parse("MPOL_BIND", "1024", &NONE).is_err());
        assert!(MemoryPolicy::parse("MPOL_BIND", "x", &NONE).is_err());
        assert!(MemoryPolicy::parse("MPOL_BIND", "0", &["MPOL_F_OTHER"]).is_err());
        let both = ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"];
        assert!(MemoryPolicy::parse("MPOL_BIND", "0", &both).is_err());
        assert!(MemoryPolicy::parse("MPOL_LOCAL", "", &["MPOL_F_STATIC_NODES"]).is_err());
        assert!(MemoryPolicy::parse("MPOL_INTERLEAVE", "0", &["MPOL_F_NUMA_BALANCING"]).is_err());
    }
}
