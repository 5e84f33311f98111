//! Reads the words of a command with the rules of Go's pflag, which Docker's users know by heart.
//!
//! `--flag value`, `--flag=value`, `-abc`, `-pVALUE`, `-p=VALUE`, `--` ends the flags; a command that
//! runs another program stops at its first own word. A switch takes a value only behind `=`.

use super::flag::Flag;
use super::number::parse_bool;

/// Why the words cannot be taken; the texts are pflag's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Mistake {
    UnknownFlag { word: String },
    UnknownShort { letter: char, word: String },
    BadSyntax { word: String },
    ValueMissing { flag: String },
    ValueWrong { value: String, flag: String, why: String },
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Mistake::UnknownFlag { word } => write!(out, "unknown flag: {word}"),
            Mistake::UnknownShort { letter, word } => {
                write!(out, "unknown shorthand flag: '{letter}' in {word}")
            }
            Mistake::BadSyntax { word } => write!(out, "bad flag syntax: {word}"),
            Mistake::ValueMissing { flag } => write!(out, "flag needs an argument: {flag}"),
            Mistake::ValueWrong { value, flag, why } => {
                write!(out, "invalid argument {value:?} for {flag:?} flag: {why}")
            }
        }
    }
}

/// What a command line said.
#[derive(Debug)]
pub(crate) struct Matches {
    tables: &'static [&'static [Flag]],
    given: Vec<(&'static str, String)>,
    /// The words that are no flags.
    pub(crate) words: Vec<String>,
    /// `--help` was among the flags.
    pub(crate) help: bool,
}

impl Matches {
    /// The text of a flag, or its default.
    pub(crate) fn text(&self, long: &'static str) -> &str {
        match self.given.iter().rev().find(|(name, _)| *name == long) {
            Some((_, value)) => value,
            None => self.flag(long).default,
        }
    }

    /// The text of a flag unless it is empty.
    pub(crate) fn some(&self, long: &'static str) -> Option<&str> {
        Some(self.text(long)).filter(|text| !text.is_empty())
    }

    /// Whether a switch is on.
    pub(crate) fn on(&self, long: &'static str) -> bool {
        parse_bool(self.text(long)).unwrap_or(false)
    }

    /// A number that its check has let through.
    pub(crate) fn int(&self, long: &'static str) -> i64 {
        super::number::parse_int(self.text(long)).unwrap_or(0)
    }

    /// All values of a flag that repeats.
    pub(crate) fn list(&self, long: &'static str) -> Vec<&str> {
        debug_assert!(self.flag(long).repeats, "--{long} does not repeat");
        let ours = self.given.iter().filter(|(name, _)| *name == long);
        ours.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a command with a flag `--help` of its own was given it.
    pub(crate) fn asks_for_help(&self) -> bool {
        self.given.iter().any(|(name, value)| *name == "help" && value == "true")
    }

    /// Whether the flag was given at all.
    pub(crate) fn changed(&self, long: &'static str) -> bool {
        self.given.iter().any(|(name, _)| *name == long)
    }

    /// The flag called `long`; asking for one that the command lacks is our bug.
    fn flag(&self, long: &str) -> &'static Flag {
        let mut flags = self.tables.iter().flat_map(|table| table.iter());
        flags.find(|flag| flag.long == long).unwrap_or_else(|| panic!("no flag --{long} here"))
    }
}

/// Reads `words` by the flags of `tables`; with `stops`, the first other word ends the flags.
pub(crate) fn parse(
    tables: &'static [&'static [Flag]],
    stops: bool,
    words: impl IntoIterator<Item = String>,
) -> Result<Matches, Mistake> {
    let mut words = words.into_iter();
    let mut matches = Matches { tables, given: Vec::new(), words: Vec::new(), help: false };
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        if word.len() < 2 || !word.starts_with('-') {
            matches.words.push(word);
            if stops {
                break;
            }
            continue;
        }
        if word.starts_with("--") {
            long(&mut matches, &word, &mut words)?;
        } else {
            shorts(&mut matches, &word, &mut words)?;
        }
        if matches.help {
            return Ok(matches);
        }
    }
    matches.words.extend(words);
    Ok(matches)
}

fn long(
    matches: &mut Matches,
    word: &str,
    words: &mut impl Iterator<Item = String>,
) -> Result<(), Mistake> {
    let body = &word[2..];
    if body.starts_with(['-', '=']) {
        return Err(Mistake::BadSyntax { word: word.to_owned() });
    }
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (body, None),
    };
    let known = matches.tables.iter().flat_map(|table| table.iter()).find(|flag| flag.long == name);
    let Some(flag) = known else {
        if name == "help" {
            matches.help = value.as_deref().and_then(parse_bool).unwrap_or(true);
            return Ok(());
        }
        return Err(Mistake::UnknownFlag { word: format!("--{name}") });
    };
    let value = match value {
        Some(value) => value,
        None if flag.is_switch() => "true".to_owned(),
        None => words.next().ok_or_else(|| Mistake::ValueMissing { flag: format!("--{name}") })?,
    };
    take(matches, flag, value)
}

fn shorts(
    matches: &mut Matches,
    word: &str,
    words: &mut impl Iterator<Item = String>,
) -> Result<(), Mistake> {
    let mut rest = &word[1..];
    while let Some(letter) = rest.chars().next() {
        let whole = rest;
        rest = &rest[letter.len_utf8()..];
        let mut flags = matches.tables.iter().flat_map(|table| table.iter());
        let Some(flag) = flags.find(|flag| flag.short == Some(letter)) else {
            if letter == 'h' {
                matches.help = true;
                return Ok(());
            }
            return Err(Mistake::UnknownShort { letter, word: format!("-{whole}") });
        };
        if let Some(value) = rest.strip_prefix('=') {
            return take(matches, flag, value.to_owned());
        }
        if flag.is_switch() {
            take(matches, flag, "true".to_owned())?;
            continue;
        }
        if !rest.is_empty() {
            return take(matches, flag, rest.to_owned());
        }
        let missing = || Mistake::ValueMissing { flag: format!("'{letter}' in -{whole}") };
        let value = words.next().ok_or_else(missing)?;
        return take(matches, flag, value);
    }
    Ok(())
}

fn take(matches: &mut Matches, flag: &'static Flag, value: String) -> Result<(), Mistake> {
    if let Some(check) = flag.check
        && let Err(why) = check(&value)
    {
        return Err(Mistake::ValueWrong { value, flag: flag.display(), why });
    }
    matches.given.push((flag.stands_for.unwrap_or(flag.long), value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[&[Flag]] = &[&[
        Flag::switch("interactive", "").short('i'),
        Flag::switch("tty", "").short('t'),
        Flag::list("publish", "").short('p'),
        Flag::bytes("memory", "").short('m'),
        Flag::text("name", "").default("none"),
    ]];

    fn read(words: &[&str], stops: bool) -> Result<Matches, String> {
        let words = words.iter().map(|word| (*word).to_owned());
        parse(FLAGS, stops, words).map_err(|mistake| mistake.to_string())
    }

    #[test]
    fn all_spellings_of_a_value() {
        let matches =
            read(&["-it", "-p80", "-p=81", "-p", "82", "--publish=83", "--publish", "84"], true)
                .unwrap();
        assert!(matches.on("interactive") && matches.on("tty"));
        assert_eq!(matches.list("publish"), ["80", "81", "82", "83", "84"]);
        assert_eq!(matches.text("name"), "none");
        assert!(!matches.changed("name"));
    }

    #[test]
    fn switches_take_a_value_behind_an_equals_sign() {
        let matches = read(&["-it=false", "image"], true).unwrap();
        assert!(matches.on("interactive") && !matches.on("tty"));
        assert_eq!(
            read(&["--tty=x"], true).unwrap_err(),
            "invalid argument \"x\" for \"-t, --tty\" flag: strconv.ParseBool: parsing \"x\": invalid syntax"
        );
    }

    #[test]
    fn a_command_that_runs_a_program_leaves_its_flags_alone() {
        let matches = read(&["-i", "image", "ls", "-t"], true).unwrap();
        assert_eq!(matches.words, ["image", "ls", "-t"]);
        assert!(!matches.on("tty"));
        let matches = read(&["a", "-t", "--", "-i"], false).unwrap();
        assert_eq!(matches.words, ["a", "-i"]);
        assert!(matches.on("tty") && !matches.on("interactive"));
    }

    #[test]
    fn mistakes_in_pflag_s_words() {
        for (words, text) in [
            (&["--foo"][..], "unknown flag: --foo"),
            (&["-iZt"], "unknown shorthand flag: 'Z' in -Zt"),
            (&["--name"], "flag needs an argument: --name"),
            (&["-m"], "flag needs an argument: 'm' in -m"),
            (&["---x"], "bad flag syntax: ---x"),
            (&["-m", "x"], "invalid argument \"x\" for \"-m, --memory\" flag: invalid size: 'x'"),
        ] {
            assert_eq!(read(words, true).unwrap_err(), text);
        }
    }

    #[test]
    fn help_wins() {
        assert!(read(&["-i", "--help", "--foo"], true).unwrap().help);
    }
}
