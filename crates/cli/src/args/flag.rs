//! Flags as values: what a command takes, said in tables that cost nothing at start.
//!
//! A flag's type is the one that Docker's help names, its check runs while the line is read, as pflag
//! does it. Absent on purpose: what a value means; commands ask for that later.

/// What is wrong with one value, in the words that follow `invalid argument "x" for "--flag" flag: `.
pub(crate) type Check = fn(&str) -> Result<(), String>;

/// One flag of one command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) long: &'static str,
    /// The one-letter form, if there is one.
    pub(crate) short: Option<char>,
    /// The word of Docker's help: `string`, `list`, `bytes`; empty for a switch.
    pub(crate) kind: &'static str,
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
    /// May be given more than once; all values count.
    pub(crate) repeats: bool,
    pub(crate) hidden: bool,
    /// An older name: what is given counts for the flag of this name.
    pub(crate) stands_for: Option<&'static str>,
    pub(crate) check: Option<Check>,
}

impl Flag {
    const fn new(long: &'static str, kind: &'static str, help: &'static str) -> Flag {
        Flag {
            long,
            short: None,
            kind,
            default: "",
            help,
            repeats: false,
            hidden: false,
            stands_for: None,
            check: None,
        }
    }

    /// A switch that is off unless given.
    pub(crate) const fn switch(long: &'static str, help: &'static str) -> Flag {
        Flag { check: Some(super::number::boolean), ..Flag::new(long, "", help) }
    }

    /// One text; the last one given counts.
    pub(crate) const fn text(long: &'static str, help: &'static str) -> Flag {
        Flag::new(long, "string", help)
    }

    /// Texts that add up.
    pub(crate) const fn list(long: &'static str, help: &'static str) -> Flag {
        Flag { repeats: true, ..Flag::new(long, "list", help) }
    }

    /// `key=value` pairs that add up.
    pub(crate) const fn map(long: &'static str, help: &'static str) -> Flag {
        Flag { repeats: true, ..Flag::new(long, "map", help) }
    }

    /// `key=value` conditions.
    pub(crate) const fn filter(help: &'static str) -> Flag {
        Flag {
            repeats: true,
            check: Some(super::number::filter),
            ..Flag::new("filter", "filter", help)
        }
    }

    /// A whole number of 64 bits.
    pub(crate) const fn int(long: &'static str, help: &'static str) -> Flag {
        Flag { default: "0", check: Some(super::number::int), ..Flag::new(long, "int", help) }
    }

    /// A size in bytes, with a unit or without.
    pub(crate) const fn bytes(long: &'static str, help: &'static str) -> Flag {
        Flag { check: Some(super::number::bytes), ..Flag::new(long, "bytes", help) }
    }

    /// A span of time as Go writes it.
    pub(crate) const fn duration(long: &'static str, help: &'static str) -> Flag {
        Flag {
            default: "0s",
            check: Some(super::number::span),
            ..Flag::new(long, "duration", help)
        }
    }

    /// The same flag with another type name and check.
    pub(crate) const fn of(self, kind: &'static str, check: Check) -> Flag {
        Flag { kind, check: Some(check), ..self }
    }

    pub(crate) const fn checked(self, check: Check) -> Flag {
        Flag { check: Some(check), ..self }
    }

    pub(crate) const fn short(self, short: char) -> Flag {
        Flag { short: Some(short), ..self }
    }

    pub(crate) const fn default(self, default: &'static str) -> Flag {
        Flag { default, ..self }
    }

    /// An older name of `long`, which help does not show.
    pub(crate) const fn stands_for(self, long: &'static str) -> Flag {
        Flag { hidden: true, stands_for: Some(long), ..self }
    }

    pub(crate) const fn hidden(self) -> Flag {
        Flag { hidden: true, ..self }
    }

    pub(crate) const fn is_switch(&self) -> bool {
        self.kind.is_empty()
    }

    /// As pflag names a flag in its complaints: `-m, --memory`.
    pub(crate) fn display(&self) -> String {
        match self.short {
            Some(short) => format!("-{short}, --{}", self.long),
            None => format!("--{}", self.long),
        }
    }
}
