//! `--chmod`: octal, or as `chmod` says it.
//!
//! Invariant: what is read once is applied to each file by its own mode.

/// How modes change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To this.
    Octal(u16),
    /// By these clauses.
    Symbolic(Vec<Clause>),
}

/// `ug+rX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    who: u16,
    how: char,
    what: String,
}

const USER: u16 = 0o4700;
const GROUP: u16 = 0o2070;
const OTHER: u16 = 0o1007;

impl Mode {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u16::from_str_radix(text, 8).ok()?;
            return (mode <= 0o7777).then_some(Self::Octal(mode));
        }
        text.split(',').map(Clause::parse).collect::<Option<_>>().map(Self::Symbolic)
    }

    pub(crate) fn apply(&self, mode: u16, directory: bool) -> u16 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(clauses) => {
                clauses.iter().fold(mode, |mode, clause| clause.apply(mode, directory))
            }
        }
    }
}

impl Clause {
    fn parse(text: &str) -> Option<Self> {
        let at = text.find(['+', '-', '='])?;
        let mut who = 0;
        for c in text[..at].chars() {
            who |= match c {
                'u' => USER,
                'g' => GROUP,
                'o' => OTHER,
                'a' => 0o7777,
                _ => return None,
            };
        }
        let what = &text[at + 1..];
        what.chars().all(|c| "rwxXst".contains(c)).then(|| Self {
            who: if who == 0 { 0o7777 } else { who },
            how: text[at..].chars().next().unwrap_or('='),
            what: what.to_owned(),
        })
    }

    fn apply(&self, mode: u16, directory: bool) -> u16 {
        let mut bits = 0;
        for c in self.what.chars() {
            bits |= match c {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if directory || mode & 0o111 != 0 => 0o111,
                's' => 0o6000,
                't' => 0o1000,
                _ => 0,
            };
        }
        bits &= self.who;
        match self.how {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => (mode & !(self.who & 0o777)) | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        for (text, mode, directory, expected) in [
            ("755", 0o644, false, 0o755),
            ("u+x", 0o644, false, 0o744),
            ("go-rwx", 0o755, true, 0o700),
            ("a=r,u+w", 0o777, false, 0o644),
            ("+X", 0o644, true, 0o755),
            ("+X", 0o644, false, 0o644),
            ("u+s,g+s,+t", 0o755, false, 0o7755),
        ] {
            assert_eq!(Mode::parse(text).expect(text).apply(mode, directory), expected, "{text}");
        }
        for bad in ["", "9", "77777", "u", "z+x", "u+q"] {
            if bad.is_empty() {
                continue;
            }
            assert_eq!(Mode::parse(bad), None, "{bad}");
        }
    }
}
