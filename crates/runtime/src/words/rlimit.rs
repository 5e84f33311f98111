//! Resource limits: `RLIMIT_…` names and rustix's resources.
//!
//! All sixteen of Linux are known. Absent: the values, and what this kernel lets us raise.

use super::{WordError, look_up};
use rustix::process::Resource;

const NAMES: [(&str, Resource); 16] = [
    ("RLIMIT_AS", Resource::As),
    ("RLIMIT_CORE", Resource::Core),
    ("RLIMIT_CPU", Resource::Cpu),
    ("RLIMIT_DATA", Resource::Data),
    ("RLIMIT_FSIZE", Resource::Fsize),
    ("RLIMIT_LOCKS", Resource::Locks),
    ("RLIMIT_MEMLOCK", Resource::Memlock),
    ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
    ("RLIMIT_NICE", Resource::Nice),
    ("RLIMIT_NOFILE", Resource::Nofile),
    ("RLIMIT_NPROC", Resource::Nproc),
    ("RLIMIT_RSS", Resource::Rss),
    ("RLIMIT_RTPRIO", Resource::Rtprio),
    ("RLIMIT_RTTIME", Resource::Rttime),
    ("RLIMIT_SIGPENDING", Resource::Sigpending),
    ("RLIMIT_STACK", Resource::Stack),
];

/// The resource of a full name such as `RLIMIT_NOFILE`.
pub(crate) fn rlimit_resource(word: &str) -> Result<Resource, WordError> {
    look_up("rlimit", &NAMES, word)
}

/// The full name of a resource, for messages.
pub(crate) fn rlimit_word(resource: Resource) -> &'static str {
    NAMES.iter().find(|(_, known)| *known == resource).map_or("rlimit", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernel_s_numbers() {
        let numbers = [
            ("RLIMIT_CPU", 0),
            ("RLIMIT_STACK", 3),
            ("RLIMIT_NPROC", 6),
            ("RLIMIT_NOFILE", 7),
            ("RLIMIT_LOCKS", 10),
            ("RLIMIT_NICE", 13),
            ("RLIMIT_RTTIME", 15),
        ];
        for (name, number) in numbers {
            assert_eq!(rlimit_resource(name).unwrap() as u32, number, "{name}");
        }
        for (name, resource) in NAMES {
            assert_eq!(rlimit_word(resource), name);
        }
    }

    #[test]
    fn unknown_names_are_named() {
        for word in ["NOFILE", "RLIMIT_nofile", "RLIMIT_", ""] {
            assert_eq!(rlimit_resource(word).unwrap_err(), WordError::unknown("rlimit", word));
        }
    }
}
