//! Version 1's device list: one default and its exceptions, and the way from one list to another.
//!
//! The kernel gives its order no meaning, so a rule that takes part of what an earlier one gave by wildcard
//! cannot be expressed. The kernel would drop it without a word; here it is refused.

use std::fmt::Write;

use super::rules::{Access, Kind, Rule};
use crate::cgroup::error::CgroupError;

/// Kind, major and minor number; `None` is every number.
type Key = (Kind, Option<u32>, Option<u32>);

/// What `devices.list` shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct DeviceList {
    /// What happens to a device that is no exception.
    pub(super) allow: bool,
    exceptions: Exceptions,
}

/// Each key once, in the order in which they came: the list reads as the configuration was written.
type Exceptions = Vec<(Key, Access)>;

/// One write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) file: &'static str,
    pub(super) line: String,
}

impl DeviceList {
    /// No exception to anything.
    pub(super) fn of_all() -> DeviceList {
        DeviceList { allow: true, exceptions: Vec::new() }
    }

    /// The list with the same decisions as `rules`.
    pub(super) fn from_rules(rules: &[Rule]) -> Result<DeviceList, CgroupError> {
        let mut list = DeviceList::default();
        for rule in rules {
            if rule.is_about_all() {
                list = DeviceList { allow: rule.allow, ..DeviceList::default() };
                continue;
            }
            for kind in [Kind::Block, Kind::Char] {
                if rule.kind.is_none_or(|wanted| wanted == kind) {
                    list.add((kind, rule.major, rule.minor), rule)?;
                }
            }
        }
        Ok(list)
    }

    /// Reads `devices.list`.
    pub(super) fn parse(text: &str) -> Option<DeviceList> {
        let mut list = DeviceList::default();
        for line in text.lines() {
            let [kind, numbers, letters] = line.split(' ').collect::<Vec<_>>()[..] else {
                return None;
            };
            let number = |text: &str| match text {
                "*" => Some(None),
                digits => digits.parse().ok().map(Some),
            };
            let (major, minor) = numbers.split_once(':')?;
            let kind = match kind {
                "a" => return Some(DeviceList { allow: true, ..DeviceList::default() }),
                "b" => Kind::Block,
                "c" => Kind::Char,
                _ => return None,
            };
            let key = (kind, number(major)?, number(minor)?);
            list.exceptions.push((key, Access::parse(letters)?));
        }
        Some(list)
    }

    fn add(&mut self, key: Key, rule: &Rule) -> Result<(), CgroupError> {
        if rule.allow != self.allow {
            match self.exceptions.iter_mut().find(|(known, _)| *known == key) {
                Some((_, access)) => *access = access.or(rule.access),
                None => self.exceptions.push((key, rule.access)),
            }
            return Ok(());
        }
        for (known, access) in &mut self.exceptions {
            if covers(key, *known) {
                *access = access.without(rule.access);
            } else if overlaps(key, *known) && !access.and(rule.access).is_empty() {
                let word = if rule.allow { "allow" } else { "deny" };
                return Err(CgroupError::DeviceHole {
                    rule: format!("{word} {}", line(key, rule.access)),
                    wider: line(*known, *access),
                });
            }
        }
        self.exceptions.retain(|(_, access)| !access.is_empty());
        Ok(())
    }

    /// The writes that turn this list into `wanted`, and nothing that both have in between.
    pub(super) fn changes_to(&self, wanted: &DeviceList) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut now = self.clone();
        let (give, take) = match wanted.allow {
            true => ("devices.deny", "devices.allow"),
            false => ("devices.allow", "devices.deny"),
        };
        if now.allow != wanted.allow {
            changes.push(Change { file: take, line: "a".to_owned() });
            now = DeviceList { allow: wanted.allow, ..DeviceList::default() };
        }
        let missing = differences(&wanted.exceptions, &now.exceptions);
        let surplus = differences(&now.exceptions, &wanted.exceptions);
        changes.extend(missing.map(|(key, access)| Change { file: give, line: line(key, access) }));
        changes.extend(surplus.map(|(key, access)| Change { file: take, line: line(key, access) }));
        changes
    }

    /// The exceptions as `DeviceAllow=` takes them, which knows single nodes, all nodes of a driver (by the
    /// names of `/proc/devices`) and all of a kind; what is neither is left out.
    pub(super) fn for_systemd(&self, drivers: &str) -> Vec<(String, String)> {
        let name = |(kind, major, minor): Key| {
            let word = match kind {
                Kind::Block => "block",
                Kind::Char => "char",
            };
            match (major, minor) {
                (Some(major), Some(minor)) => Some(format!("/dev/{word}/{major}:{minor}")),
                (Some(major), None) => Some(format!("{word}-{}", driver(drivers, kind, major)?)),
                (None, None) => Some(format!("{word}-*")),
                (None, Some(_)) => None,
            }
        };
        let entries = self.exceptions.iter();
        entries.filter_map(|(key, access)| Some((name(*key)?, access.letters()))).collect()
    }

    /// Whether `change` gives something that this list gives too.
    pub(super) fn shares(&self, change: &Change) -> bool {
        self.exceptions.iter().any(|(key, access)| line(*key, *access) == change.line)
    }
}

/// The name that `/proc/devices` has for a major number.
fn driver(text: &str, kind: Kind, major: u32) -> Option<&str> {
    let (characters, blocks) = text.split_once("Block devices:").unwrap_or((text, ""));
    let part = match kind {
        Kind::Block => blocks,
        Kind::Char => characters,
    };
    part.lines().find_map(|line| {
        let (number, name) = line.trim_start().split_once(' ')?;
        (number.parse() == Ok(major)).then_some(name.trim())
    })
}

/// What `left` has more than `right`.
fn differences<'a>(
    left: &'a Exceptions,
    right: &'a Exceptions,
) -> impl Iterator<Item = (Key, Access)> + 'a {
    left.iter().filter_map(|(key, access)| {
        let had = right.iter().find(|(known, _)| known == key).map(|(_, access)| *access);
        let more = access.without(had.unwrap_or_default());
        (!more.is_empty()).then_some((*key, more))
    })
}

fn covers(wide: Key, narrow: Key) -> bool {
    let number = |wide: Option<u32>, narrow: Option<u32>| wide.is_none() || wide == narrow;
    wide.0 == narrow.0 && number(wide.1, narrow.1) && number(wide.2, narrow.2)
}

fn overlaps(one: Key, other: Key) -> bool {
    let number =
        |one: Option<u32>, other: Option<u32>| one.is_none() || other.is_none() || one == other;
    one.0 == other.0 && number(one.1, other.1) && number(one.2, other.2)
}

/// `c 1:* rwm`
fn line((kind, major, minor): Key, access: Access) -> String {
    let mut text = String::from(match kind {
        Kind::Block => "b ",
        Kind::Char => "c ",
    });
    for (number, after) in [(major, ':'), (minor, ' ')] {
        match number {
            Some(number) => _ = write!(text, "{number}{after}"),
            None => text.extend(['*', after]),
        }
    }
    text + &access.letters()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, text: &str) -> Rule {
        let all = Rule { allow, kind: None, major: None, minor: None, access: Access::ALL };
        if text == "a" {
            return all;
        }
        let list = DeviceList::parse(text).unwrap();
        let ((kind, major, minor), access) = list.exceptions.into_iter().next().unwrap();
        Rule { allow, kind: Some(kind), major, minor, access }
    }

    fn list(rules: &[(bool, &str)]) -> Result<DeviceList, String> {
        let rules: Vec<Rule> = rules.iter().map(|(allow, text)| rule(*allow, text)).collect();
        DeviceList::from_rules(&rules).map_err(|error| error.to_string())
    }

    fn changes(from: &DeviceList, to: &DeviceList) -> Vec<String> {
        from.changes_to(to).iter().map(|c| format!("{} {}", &c.file[8..], c.line)).collect()
    }

    #[test]
    fn rules_fold_into_a_default_and_exceptions() {
        let folded = list(&[
            (false, "a"),
            (true, "c 1:3 rw"),
            (true, "c 1:3 m"),
            (true, "c 4:* rwm"),
            (false, "c *:* w"),
        ]);
        assert_eq!(folded, Ok(DeviceList::parse("c 1:3 rm\nc 4:* rm\n").unwrap()));
        let backwards = list(&[(true, "a"), (false, "b 8:0 rwm"), (true, "b 8:0 r")]).unwrap();
        assert!(backwards.allow);
        assert_eq!(
            changes(&DeviceList::parse("a *:* rwm\n").unwrap(), &backwards),
            ["deny b 8:0 wm"]
        );
    }

    #[test]
    fn a_hole_in_a_wildcard_is_refused_unless_it_takes_nothing() {
        assert_eq!(
            list(&[(true, "c 10:* rw"), (false, "c 10:200 rwm")]).unwrap_err(),
            "device rule \"deny c 10:200 rwm\" takes part of \"c 10:* rw\": cgroup version 1 cannot do that"
        );
        assert!(list(&[(true, "c *:* m"), (false, "c 10:200 rw")]).is_ok());
    }

    #[test]
    fn only_what_differs_is_written() {
        let old = DeviceList::parse("c 1:3 rwm\nc 1:5 rwm\nb *:* m\n").unwrap();
        assert_eq!(changes(&old, &old), [""; 0]);
        let new = DeviceList::parse("c 1:3 r\nc 5:0 rw\nb *:* m\n").unwrap();
        assert_eq!(changes(&old, &new), ["allow c 5:0 rw", "deny c 1:3 wm", "deny c 1:5 rwm"]);
        let all = DeviceList::parse("a *:* rwm").unwrap();
        assert_eq!(changes(&old, &all), ["allow a"]);
        assert_eq!(
            changes(&all, &old),
            ["deny a", "allow c 1:3 rwm", "allow c 1:5 rwm", "allow b *:* m"]
        );
    }

    #[test]
    fn systemd_knows_nodes_drivers_and_kinds() {
        let drivers = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  1 ramdisk\n";
        let text = "c 1:3 rw\nc 136:* rwm\nb 1:* r\nb *:* m\nc *:7 r\nc 99:* r\n";
        let mut found = DeviceList::parse(text).unwrap().for_systemd(drivers);
        found.sort();
        let pair = |node: &str, letters: &str| (node.to_owned(), letters.to_owned());
        let wanted = [
            pair("/dev/char/1:3", "rw"),
            pair("block-*", "m"),
            pair("block-ramdisk", "r"),
            pair("char-pts", "rwm"),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn nonsense_is_not_a_list() {
        for text in ["x 1:3 r", "c 1 r", "c 1:3", "c 1:x r", "c 1:3 q"] {
            assert_eq!(DeviceList::parse(text), None, "{text}");
        }
    }
}
