//! The two checked-in lists: skips that are allowed, and faults that are known.
//!
//! A line of `allowed-skips.txt` is `PATTERN: REASON` and lets scenarios skip whose own reason contains
//! that text; it keeps the number of skips from growing unseen. A line of `known-faults.txt` is
//! `RUNTIME PATTERN: REASON` and explains a red cell of another runtime. Patterns may end in `*`.
//! The runtime named `dhow` has no known faults.

/// Skips that may happen.
#[derive(Debug, Default)]
pub struct AllowedSkips(Vec<(String, String)>);

impl AllowedSkips {
    /// The checked-in list.
    pub fn checked_in() -> Self {
        Self::parse(include_str!("../../allowed-skips.txt"))
    }

    /// Parses a list.
    pub fn parse(text: &str) -> Self {
        AllowedSkips(
            lines(text)
                .filter_map(|l| split(l))
                .map(|(p, r)| (p.to_owned(), r.to_owned()))
                .collect(),
        )
    }

    /// Whether a scenario may skip for this reason.
    pub fn allow(&self, scenario: &str, reason: &str) -> bool {
        self.0.iter().any(|(pattern, text)| matches(pattern, scenario) && reason.contains(text))
    }
}

/// Faults of other runtimes.
#[derive(Debug, Default)]
pub struct KnownFaults(Vec<(String, String, String)>);

impl KnownFaults {
    /// The checked-in list.
    pub fn checked_in() -> Self {
        Self::parse(include_str!("../../known-faults.txt"))
    }

    /// Parses a list.
    pub fn parse(text: &str) -> Self {
        KnownFaults(
            lines(text)
                .filter_map(|l| {
                    let (runtime, rest) = l.split_once(' ')?;
                    let (pattern, reason) = split(rest)?;
                    Some((runtime.to_owned(), pattern.to_owned(), reason.to_owned()))
                })
                .filter(|(runtime, _, _)| runtime != "dhow")
                .collect(),
        )
    }

    /// Why a runtime is known to fail a scenario.
    pub fn explain(&self, runtime: &str, scenario: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(r, pattern, _)| r == runtime && matches(pattern, scenario))
            .map(|(_, _, reason)| reason.as_str())
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'))
}

/// Splits at the first colon that a blank follows; `::` stays in the name.
fn split(line: &str) -> Option<(&str, &str)> {
    let (pattern, reason) = line.split_once(": ")?;
    Some((pattern.trim(), reason.trim()))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_by_pattern_and_reason() {
        let list = AllowedSkips::parse("# c\n\ncgroups::rdma: no rdma\nrootless::*: refuses\n");
        assert!(list.allow("cgroups::rdma", "no rdma controller here"));
        assert!(!list.allow("cgroups::rdma", "tired"));
        assert!(list.allow("rootless::run", "the host refuses it"));
        assert!(!list.allow("cgroups::other", "no rdma"));
    }

    #[test]
    fn faults_by_runtime() {
        let list = KnownFaults::parse("crun a::b: old\ndhow a::b: never\n");
        assert_eq!(list.explain("crun", "a::b"), Some("old"));
        assert_eq!(list.explain("runc", "a::b"), None);
        assert_eq!(list.explain("dhow", "a::b"), None);
    }

    #[test]
    fn checked_in_lists_name_scenarios_that_exist() {
        let skips = AllowedSkips::checked_in().0.into_iter().map(|(p, _)| p);
        let faults = KnownFaults::checked_in().0.into_iter().map(|(_, p, _)| p);
        for pattern in skips.chain(faults) {
            // A name without colons is that of a test, not of a scenario.
            if !pattern.contains("::") {
                continue;
            }
            let found = crate::scenarios::matching("").iter().any(|s| matches(&pattern, &s.name()));
            assert!(found, "no scenario is called {pattern}");
        }
    }
}
