//! An instruction's flags: known ones taken out one by one, whatever is left refused by name.

use super::error::ParseFault;

/// The flags of one instruction.
pub(super) struct Flags {
    left: Vec<(String, Option<String>)>,
}

impl Flags {
    pub(super) fn new(flags: &[String]) -> Self {
        let split = |flag: &String| {
            let flag = flag.strip_prefix("--").unwrap_or(flag);
            match flag.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (flag.to_owned(), None),
            }
        };
        Self { left: flags.iter().map(split).collect() }
    }

    /// All values of a flag that may be there more than once.
    pub(super) fn all(&mut self, name: &str) -> Result<Vec<String>, ParseFault> {
        let (own, others) = self.left.drain(..).partition(|(found, _)| found == name);
        self.left = others;
        let own: Vec<(String, Option<String>)> = own;
        let value =
            |(flag, value): (String, Option<String>)| value.ok_or(ParseFault::FlagValue { flag });
        own.into_iter().map(value).collect()
    }

    /// The value of a flag.
    pub(super) fn value(&mut self, name: &str) -> Result<Option<String>, ParseFault> {
        let mut values = self.all(name)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(ParseFault::FlagTwice { flag: name.to_owned() }),
        }
    }

    /// A flag that is `true` without a value.
    pub(super) fn switch(&mut self, name: &str) -> Result<Option<bool>, ParseFault> {
        for (found, value) in &mut self.left {
            if found == name && value.is_none() {
                *value = Some("true".to_owned());
            }
        }
        let Some(value) = self.value(name)? else { return Ok(None) };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(ParseFault::BadValue {
                flag: name.to_owned(),
                value,
                expected: "must be true or false",
            }),
        }
    }

    /// A length of time in nanoseconds; zero where it is not there.
    pub(super) fn duration(&mut self, name: &str) -> Result<i64, ParseFault> {
        let Some(value) = self.value(name)? else { return Ok(0) };
        let bad = |expected| ParseFault::BadValue {
            flag: name.to_owned(),
            value: value.clone(),
            expected,
        };
        let ns = duration_ns(&value).ok_or_else(|| bad("a duration such as 30s or 1m30s"))?;
        match ns {
            ns if ns < 0 => Err(bad("cannot be negative")),
            ns if ns != 0 && ns < 1_000_000 => Err(bad("cannot be less than 1ms")),
            ns => Ok(ns),
        }
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), ParseFault> {
        match self.left.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(ParseFault::UnknownFlag { flag: format!("--{name}") }),
        }
    }
}

/// Go's durations: `1h2m3.5s`.
fn duration_ns(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[end..];
    }
    if total > i64::MAX as f64 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    let whole = total as i64;
    Some(if negative { -whole } else { whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        assert_eq!(duration_ns("1h1m1.5s"), Some(3_661_500_000_000));
        assert_eq!(duration_ns("5ms"), Some(5_000_000));
        assert_eq!(duration_ns("0"), Some(0));
        assert_eq!(duration_ns("-1s"), Some(-1_000_000_000));
        for bad in ["", "5", "s", "1d", "1s2"] {
            assert_eq!(duration_ns(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_nobody_takes_is_refused() {
        let flags = |words: &[&str]| {
            Flags::new(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        let mut all = flags(&["--link", "--chown=a", "--exclude=x", "--exclude=y"]);
        assert_eq!(all.switch("link"), Ok(Some(true)));
        assert_eq!(all.value("chown"), Ok(Some("a".into())));
        assert_eq!(all.all("exclude"), Ok(vec!["x".into(), "y".into()]));
        all.finish().expect("nothing left");
        flags(&["--a=1", "--a=2"]).value("a").expect_err("twice");
        flags(&["--a"]).value("a").expect_err("no value");
        assert_eq!(
            flags(&["--bogus=1"]).finish(),
            Err(ParseFault::UnknownFlag { flag: "--bogus".into() })
        );
    }
}
