//! The scenarios: small functions, one claim each, in a module per noun.
//!
//! A scenario takes a `Case`, drives the runtime, and ends early with what is wrong. Its name and doc
//! comment state the claim. It may use whatever the specification or runc's command line promises, and
//! nothing that only one runtime does. Each module ends in a table of its scenarios.

mod capabilities;
mod cgroups;
mod cli;
mod control;
mod crashes;
mod devices;
mod errors;
mod exec;
mod features;
mod hooks;
mod hostile;
mod idmaps;
mod leaks;
mod lifecycle;
mod mounts;
mod namespaces;
mod process;
mod propagation;
mod rootfs;
mod rootless;
mod seccomp;
mod signals;
mod terminal;

use crate::contest::{Case, Outcome};

/// One claim to be checked.
#[derive(Debug)]
pub struct Scenario {
    module: &'static str,
    function: &'static str,
    pub(crate) run: fn(&Case) -> Outcome,
    /// Seconds on a quick machine: as a rule, and with long loops.
    limits_s: (u32, u32),
}

impl Scenario {
    pub(crate) const fn new(
        module: &'static str,
        function: &'static str,
        run: fn(&Case) -> Outcome,
    ) -> Self {
        Scenario { module, function, run, limits_s: (30, 60) }
    }

    /// With other time limits.
    pub(crate) const fn limits(mut self, usual_s: u32, stress_s: u32) -> Self {
        self.limits_s = (usual_s, stress_s);
        self
    }

    /// `module::function`.
    pub fn name(&self) -> String {
        let module = self.module.rsplit("::").next().unwrap_or("");
        format!("{module}::{}", self.function)
    }

    /// How long it may take.
    pub(crate) fn limit_s(&self, stress: bool) -> u32 {
        if stress { self.limits_s.1 } else { self.limits_s.0 }
    }
}

/// The table at the end of a module.
macro_rules! scenarios {
    ($($function:ident $(($usual:literal, $stress:literal))?),* $(,)?) => {
        pub(crate) const ALL: &[$crate::scenarios::Scenario] = &[$(
            $crate::scenarios::Scenario::new(module_path!(), stringify!($function), $function)
                $(.limits($usual, $stress))?
        ),*];
    };
}
use scenarios;

const MODULES: &[&[Scenario]] = &[
    namespaces::ALL,
    mounts::ALL,
    idmaps::ALL,
    propagation::ALL,
    rootfs::ALL,
    process::ALL,
    capabilities::ALL,
    seccomp::ALL,
    cgroups::ALL,
    devices::ALL,
    control::ALL,
    hooks::ALL,
    terminal::ALL,
    lifecycle::ALL,
    signals::ALL,
    exec::ALL,
    errors::ALL,
    hostile::ALL,
    leaks::ALL,
    crashes::ALL,
    rootless::ALL,
    features::ALL,
    cli::ALL,
];

/// The scenarios whose name contains `pattern`, or equals it if it begins with `=`.
pub fn matching(pattern: &str) -> Vec<&'static Scenario> {
    MODULES
        .iter()
        .flat_map(|m| m.iter())
        .filter(|s| match pattern.strip_prefix('=') {
            Some(name) => s.name() == name,
            None => s.name().contains(pattern),
        })
        .collect()
}

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    matching(&format!("={name}")).pop()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let all = matching("");
        let names: BTreeSet<String> = all.iter().map(|s| s.name()).collect();
        assert_eq!(names.len(), all.len());
    }
}
