//! The built-in profile, read from a table of facts.
//!
//! Invariant: the table is part of the program, and a test reads all of it; it is read once, when the
//! first container asks for it.

use std::sync::OnceLock;

use dhow_spec::runtime::{SeccompAction, SeccompArch, SeccompArg, SeccompOperator};

use super::profile::{Conditions, Profile, Rule};

static TABLE: &str = include_str!("default.txt");

/// Docker's default profile.
pub(super) fn profile() -> &'static Profile {
    static READ: OnceLock<Profile> = OnceLock::new();
    READ.get_or_init(|| read(TABLE).expect("the table is ours"))
}

fn read(table: &str) -> Option<Profile> {
    let mut profile = Profile::empty(SeccompAction::Errno);
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(names) = line.strip_prefix("    ") {
            let rule = profile.rules.last_mut()?;
            rule.names.extend(names.split(' ').map(str::to_owned));
            continue;
        }
        let mut words = line.split(' ');
        match words.next()? {
            "default" => profile.default_errno = errno(&mut words),
            "machine" => {
                let machines: Option<Vec<_>> = words.map(machine).collect();
                profile.machines.push(machines?);
            }
            word => profile.rules.push(rule(word, words)?),
        }
    }
    Some(profile)
}

fn errno<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<u32> {
    words.find(|word| *word != "errno")?.parse().ok()
}

fn machine(word: &str) -> Option<SeccompArch> {
    format!("SCMP_ARCH_{word}").parse().ok()
}

fn rule<'a>(action: &str, mut words: impl Iterator<Item = &'a str>) -> Option<Rule> {
    let (action, errno) = match action {
        "allow" => (SeccompAction::Allow, None),
        "errno" => (SeccompAction::Errno, Some(words.next()?.parse().ok()?)),
        _ => return None,
    };
    let mut rule = Rule {
        names: Vec::new(),
        action,
        errno,
        args: Vec::new(),
        includes: Conditions::default(),
        excludes: Conditions::default(),
    };
    while let Some(word) = words.next() {
        if word == "arg" {
            rule.args.push(argument(&mut words)?);
            continue;
        }
        let (side, kind) = word.split_once('-')?;
        let conditions = if side == "if" { &mut rule.includes } else { &mut rule.excludes };
        let value = words.next()?;
        match kind {
            "cap" => conditions.caps.push(value.to_owned()),
            "arch" => conditions.arches.extend(value.split(',').map(str::to_owned)),
            "kernel" => conditions.min_kernel = Some(super::profile::kernel(value)?),
            _ => return None,
        }
    }
    Some(rule)
}

fn argument<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<SeccompArg> {
    let index = words.next()?.parse().ok()?;
    let op = match words.next()? {
        "lt" => SeccompOperator::Less,
        "eq" => SeccompOperator::Equal,
        "gt" => SeccompOperator::Greater,
        "masked" => SeccompOperator::MaskedEqual,
        _ => return None,
    };
    Some(SeccompArg { index, value: words.next()?.parse().ok()?, value_two: 0, op })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_whole() {
        let profile = read(TABLE).expect("the table");
        assert_eq!((profile.machines.len(), profile.default_errno), (9, Some(1)));
        assert_eq!(profile.rules.len(), 33);
        let names: usize = profile.rules.iter().map(|rule| rule.names.len()).sum();
        assert_eq!(
            names,
            TABLE
                .lines()
                .filter(|line| line.starts_with("    "))
                .map(|line| line.split_whitespace().count())
                .sum::<usize>()
        );
        assert!(read("allow fly\n    x").is_none());
    }
}
