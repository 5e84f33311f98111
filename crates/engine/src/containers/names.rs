//! What containers are called: names that users give, and names that we find.
//!
//! Invariant: a [`Name`] that exists may be given. Found names are made of this file's words.

use std::fmt;

use super::random;
use crate::error::Error;

/// A container's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name(String);

/// How it is.
const HOW: &[&str] = &[
    "amber", "ample", "apt", "ardent", "astute", "balmy", "blithe", "bold", "brave", "breezy",
    "bright", "brisk", "calm", "candid", "canny", "clear", "clever", "coastal", "cool", "coral",
    "cosmic", "crisp", "curious", "daring", "deft", "earnest", "easy", "fair", "fleet", "fond",
    "fresh", "gentle", "glad", "golden", "grand", "happy", "hardy", "hearty", "humble", "jolly",
    "keen", "kind", "limber", "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mild",
    "modest", "neat", "nimble", "noble", "patient", "placid", "plucky", "polite", "proud", "quick",
    "quiet", "ready", "robust", "rosy", "salty", "serene", "sharp", "shiny", "silver", "sleek",
    "snug", "sober", "solid", "spry", "steady", "stout", "sturdy", "sunny", "swift", "tidal",
    "tidy", "trim", "true", "upbeat", "valiant", "vivid", "warm", "wise", "witty", "zesty",
];

/// Whom it is called after: people who sailed, mapped, counted stars or built.
const WHO: &[&str] = &[
    "almeida",
    "amundsen",
    "barents",
    "baret",
    "battuta",
    "beaufort",
    "bellingshausen",
    "bering",
    "bligh",
    "boyd",
    "brunel",
    "bougainville",
    "cabot",
    "cabral",
    "cartier",
    "chichester",
    "columbus",
    "cook",
    "coronelli",
    "cousteau",
    "dampier",
    "darwin",
    "dias",
    "drake",
    "elcano",
    "erikson",
    "fitzroy",
    "flinders",
    "franklin",
    "galileo",
    "gilbert",
    "grotius",
    "hadley",
    "halley",
    "harrison",
    "heyerdahl",
    "hipparchus",
    "hooke",
    "hudson",
    "humboldt",
    "idrisi",
    "jansz",
    "kepler",
    "kidd",
    "kupe",
    "livingstone",
    "magellan",
    "maury",
    "mercator",
    "moitessier",
    "nansen",
    "nearchus",
    "nelson",
    "nobile",
    "ortelius",
    "park",
    "parry",
    "pytheas",
    "quiros",
    "raleigh",
    "ross",
    "scoresby",
    "shackleton",
    "slocum",
    "smith",
    "sverdrup",
    "tasman",
    "tharp",
    "torres",
    "tupaia",
    "vancouver",
    "verrazzano",
    "vespucci",
    "waldseemuller",
    "wallis",
    "weddell",
    "xuande",
    "zacuto",
    "zarco",
    "zheng",
];

impl Name {
    /// Takes what Docker takes; a slash before it does not count.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let name = text.strip_prefix('/').unwrap_or(text);
        let mut characters = name.chars();
        let first = characters.next().is_some_and(|first| first.is_ascii_alphanumeric());
        let rest = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
        if first && name.len() >= 2 && characters.all(rest) {
            return Ok(Self(name.to_owned()));
        }
        Err(Error::InvalidName { name: name.to_owned() })
    }

    /// Finds one; from the `attempt`th on with a number behind it.
    pub(crate) fn find(attempt: u32) -> Result<Self, Error> {
        let bytes = random::<8>()?;
        let pick = |list: &[&'static str], at: usize| {
            list[usize::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]])) % list.len()]
        };
        let (how, who) = (pick(HOW, 0), pick(WHO, 2));
        match attempt {
            0..4 => Ok(Self(format!("{how}_{who}"))),
            _ => {
                let number = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
                Ok(Self(format!("{how}_{who}{number}")))
            }
        }
    }

    /// The text, without a slash.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_given() {
        for good in ["web", "/web", "a.b-c_d", "0x"] {
            Name::parse(good).expect(good);
        }
        for bad in ["", "/", "a", "_a", "-a", "a b", "a/b", "é1", "//a"] {
            Name::parse(bad).expect_err(bad);
        }
        let error = Name::parse("a b").expect_err("a space").to_string();
        assert_eq!(
            error,
            "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        );
    }

    #[test]
    fn every_name_that_we_find_may_be_given() {
        for how in HOW {
            for who in WHO {
                Name::parse(&format!("{how}_{who}")).expect("a name");
            }
        }
        let later = Name::find(9).expect("a name");
        assert!(later.as_str().ends_with(|last: char| last.is_ascii_digit()), "{later}");
    }
}
