//! Device rules in order: what each is about, the ones that every container has, and what they decide.
//!
//! The last rule that names an access decides about it, for each of reading, writing and making a node by
//! itself; what no rule names is refused. Every other form (the version 1 list, the eBPF program, systemd's
//! properties) is made from this one.

use dhow_spec::runtime::{DeviceRule, DeviceRuleKind};

use crate::cgroup::error::CgroupError;

/// Which nodes a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cgroup) enum Kind {
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// Reading, writing, making a node: a set of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::cgroup) struct Access(u8);

impl Access {
    pub(in crate::cgroup) const MKNOD: Access = Access(1);
    pub(in crate::cgroup) const READ: Access = Access(2);
    pub(in crate::cgroup) const WRITE: Access = Access(4);
    pub(in crate::cgroup) const ALL: Access = Access(7);

    /// The kernel's bits, which eBPF programs see.
    pub(super) fn bits(self) -> u8 {
        self.0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn and(self, other: Access) -> Access {
        Access(self.0 & other.0)
    }

    pub(super) fn or(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    pub(super) fn without(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }

    /// As the kernel's files and the specification write it.
    pub(super) fn parse(letters: &str) -> Option<Access> {
        letters.chars().try_fold(Access::default(), |all, letter| {
            Some(all.or(match letter {
                'r' => Access::READ,
                'w' => Access::WRITE,
                'm' => Access::MKNOD,
                'a' => Access::default(),
                _ => return None,
            }))
        })
    }

    pub(in crate::cgroup) fn letters(self) -> String {
        let each = [(Access::READ, 'r'), (Access::WRITE, 'w'), (Access::MKNOD, 'm')];
        each.iter()
            .filter(|(one, _)| !self.and(*one).is_empty())
            .map(|(_, letter)| letter)
            .collect()
    }
}

/// One rule; absent means every.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cgroup) struct Rule {
    pub(in crate::cgroup) allow: bool,
    pub(in crate::cgroup) kind: Option<Kind>,
    pub(in crate::cgroup) major: Option<u32>,
    pub(in crate::cgroup) minor: Option<u32>,
    pub(in crate::cgroup) access: Access,
}

const fn character(major: u32, minor: Option<u32>) -> Rule {
    let access = Access::ALL;
    Rule { allow: true, kind: Some(Kind::Char), major: Some(major), minor, access }
}

const fn any_node(kind: Kind) -> Rule {
    Rule { allow: true, kind: Some(kind), major: None, minor: None, access: Access::MKNOD }
}

/// What every container may do, after the configuration's own rules.
///
/// Nodes may be made, since a node alone opens nothing. The console is not here: a container's console is
/// a pseudo-terminal (major 136), and 5:1 would be the host's.
const ALWAYS: [Rule; 11] = [
    any_node(Kind::Char),
    any_node(Kind::Block),
    character(1, Some(3)),    // null
    character(1, Some(5)),    // zero
    character(1, Some(7)),    // full
    character(1, Some(8)),    // random
    character(1, Some(9)),    // urandom
    character(5, Some(0)),    // tty
    character(5, Some(2)),    // ptmx
    character(136, None),     // pts/*
    character(10, Some(200)), // net/tun
];

impl Rule {
    /// Whether it decides about everything at once, so that no rule before it matters.
    pub(super) fn is_about_all(&self) -> bool {
        self.kind.is_none()
            && self.major.is_none()
            && self.minor.is_none()
            && self.access == Access::ALL
    }

    /// Reads one of the configuration's.
    fn from_spec(rule: &DeviceRule) -> Result<Rule, CgroupError> {
        let fault = || CgroupError::Device { rule: describe(rule) };
        let number = |number: Option<i64>| match number {
            None | Some(-1) => Ok(None),
            Some(number) => u32::try_from(number).map(Some).map_err(|_| fault()),
        };
        let access = rule.access.as_deref().filter(|letters| !letters.is_empty());
        Ok(Rule {
            allow: rule.allow,
            kind: match rule.kind {
                None | Some(DeviceRuleKind::All) => None,
                Some(DeviceRuleKind::Char) => Some(Kind::Char),
                Some(DeviceRuleKind::Block) => Some(Kind::Block),
            },
            major: number(rule.major)?,
            minor: number(rule.minor)?,
            access: access.map_or(Some(Access::ALL), Access::parse).ok_or_else(fault)?,
        })
    }
}

/// As the kernel's files would write it, right or wrong.
fn describe(rule: &DeviceRule) -> String {
    let number = |number: Option<i64>| number.map_or("*".to_owned(), |number| number.to_string());
    format!(
        "{} {} {}:{} {}",
        if rule.allow { "allow" } else { "deny" },
        rule.kind.map_or("a", |kind| match kind {
            DeviceRuleKind::All => "a",
            DeviceRuleKind::Char => "c",
            DeviceRuleKind::Block => "b",
        }),
        number(rule.major),
        number(rule.minor),
        rule.access.as_deref().unwrap_or("rwm"),
    )
}

/// The configuration's rules, without those that a later one makes void.
pub(in crate::cgroup) fn configured(rules: &[DeviceRule]) -> Result<Vec<Rule>, CgroupError> {
    let mut list = Vec::with_capacity(rules.len() + ALWAYS.len());
    for rule in rules {
        let rule = Rule::from_spec(rule)?;
        if rule.is_about_all() {
            list.clear();
        }
        list.push(rule);
    }
    Ok(list)
}

/// The configuration's rules and those that every container has.
pub(in crate::cgroup) fn complete(rules: &[DeviceRule]) -> Result<Vec<Rule>, CgroupError> {
    let mut list = configured(rules)?;
    if !allows_all(&list) {
        list.extend(ALWAYS);
    }
    Ok(list)
}

/// Whether the rules refuse nothing.
pub(in crate::cgroup) fn allows_all(rules: &[Rule]) -> bool {
    rules.first().is_some_and(|rule| rule.allow && rule.is_about_all())
        && rules.iter().all(|rule| rule.allow)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What the rules mean, said as simply as possible: the judge of every other form.
    pub(in crate::cgroup::devices) fn decide(
        rules: &[Rule],
        kind: Kind,
        major: u32,
        minor: u32,
        access: Access,
    ) -> bool {
        let each = [Access::MKNOD, Access::READ, Access::WRITE];
        each.into_iter().filter(|one| !access.and(*one).is_empty()).all(|one| {
            let last = rules.iter().rev().find(|rule| {
                rule.kind.is_none_or(|wanted| wanted == kind)
                    && rule.major.is_none_or(|wanted| wanted == major)
                    && rule.minor.is_none_or(|wanted| wanted == minor)
                    && !rule.access.and(one).is_empty()
            });
            last.is_some_and(|rule| rule.allow)
        })
    }

    fn spec(text: &str) -> Vec<DeviceRule> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn without_rules_a_container_has_the_usual_devices_and_no_others() {
        let rules = complete(&[]).unwrap();
        let may = |kind, major, minor, letters| {
            decide(&rules, kind, major, minor, Access::parse(letters).unwrap())
        };
        assert!(may(Kind::Char, 1, 3, "rwm") && may(Kind::Char, 136, 7, "rw"));
        assert!(may(Kind::Block, 8, 0, "m") && !may(Kind::Block, 8, 0, "r"));
        assert!(!may(Kind::Char, 5, 1, "w") && !may(Kind::Block, 1, 3, "r"));
    }

    #[test]
    fn a_rule_about_everything_makes_those_before_it_void() {
        let rules = configured(&spec(
            r#"[{"allow": true, "type": "c", "major": 4}, {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "r"}]"#,
        ))
        .unwrap();
        assert_eq!(rules.len(), 2);
        assert!(!decide(&rules, Kind::Char, 4, 0, Access::READ));
        assert!(decide(&rules, Kind::Char, 1, 5, Access::READ));
        assert!(!decide(&rules, Kind::Char, 1, 5, Access::WRITE));
    }

    #[test]
    fn a_privileged_container_has_one_rule() {
        let rules = complete(&spec(r#"[{"allow": true, "access": "rwm"}]"#)).unwrap();
        assert!(allows_all(&rules) && rules.len() == 1);
    }

    #[test]
    fn wrong_numbers_and_letters_are_told_with_the_rule() {
        let error = |text| configured(&spec(text)).unwrap_err().to_string();
        assert_eq!(
            error(r#"[{"allow": true, "type": "c", "major": 5000000000, "minor": 1}]"#),
            "device rule \"allow c 5000000000:1 rwm\" is none that the kernel knows"
        );
        assert_eq!(
            error(r#"[{"allow": false, "type": "b", "major": -2, "access": "r"}]"#),
            "device rule \"deny b -2:* r\" is none that the kernel knows"
        );
    }
}
