//! Signals as people write them: `KILL`, `SIGKILL`, `sigkill`, `9`, `SIGRTMIN+3`.
//!
//! A `Signal` that exists can be sent: 1 to 64. The numbers are those of every Linux architecture
//! but MIPS, SPARC, Alpha and PA-RISC, for which dhow is not built. `SIGRTMIN` is 34, as for the
//! programs that receive it: the C library keeps 32 and 33, which can only be had as numbers.

use super::WordError;

/// The lowest real-time signal that programs use.
const RTMIN: u8 = 34;
/// The highest signal.
const MAX: u8 = 64;

/// Names without `SIG`; where a number has two, the usual one comes first.
const NAMES: [(&str, u8); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
];

/// A signal's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signal(u8);

impl Signal {
    /// What a container gets where nobody said otherwise.
    pub(crate) const TERM: Self = Self(15);

    /// A number, or a name in either case with or without `SIG`.
    pub(crate) fn parse(word: &str) -> Result<Self, WordError> {
        match word.parse::<i64>() {
            Ok(number) => Self::from_number(number),
            Err(_) => Self::from_name(word).ok_or_else(|| WordError::unknown("signal", word)),
        }
    }

    /// The signal of this number; 0, which only asks whether a process is there, is none.
    pub(crate) fn from_number(number: i64) -> Result<Self, WordError> {
        match u8::try_from(number) {
            Ok(number @ 1..=MAX) => Ok(Self(number)),
            _ => Err(WordError::Range { kind: "signal", value: number, min: 1, max: MAX.into() }),
        }
    }

    fn from_name(word: &str) -> Option<Self> {
        let upper = word.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let fixed = NAMES.iter().find(|(known, _)| *known == name).map(|&(_, number)| number);
        fixed.or_else(|| real_time(name)).map(Self)
    }

    /// The number, as `kill(2)` takes it.
    pub(crate) fn number(self) -> i32 {
        self.0.into()
    }
}

/// `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`.
fn real_time(name: &str) -> Option<u8> {
    let distance = |rest: &str, sign: char| match rest {
        "" => Some(0),
        _ => rest.strip_prefix(sign)?.parse::<u8>().ok(),
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        RTMIN.checked_add(distance(rest, '+')?)?
    } else {
        MAX.checked_sub(distance(name.strip_prefix("RTMAX")?, '-')?)?
    };
    (RTMIN..=MAX).contains(&number).then_some(number)
}

/// What a program did that the kernel ends it for by this signal, if it was anything: the words of the C
/// library.
pub(crate) fn fault_of_signal(number: i32) -> Option<&'static str> {
    match number {
        4 => Some("illegal instruction"),
        6 => Some("aborted"),
        7 => Some("bus error"),
        8 => Some("floating point exception"),
        11 => Some("segmentation fault"),
        31 => Some("bad system call"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_numbers() {
        let words = [
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigkill", 9),
            ("9", 9),
            ("1", 1),
            ("64", 64),
            ("33", 33),
            ("SIGIOT", 6),
            ("chld", 17),
            ("SIGRTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMIN+30", 64),
            ("sigrtmax-14", 50),
            ("SIGRTMAX", 64),
            ("RTMAX-30", 34),
        ];
        for (word, number) in words {
            assert_eq!(Signal::parse(word).map(Signal::number), Ok(number), "{word}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for number in ["0", "65", "-9", "300"] {
            let error = Signal::parse(number).unwrap_err();
            assert!(matches!(error, WordError::Range { .. }), "{number}: {error}");
        }
        let words =
            ["", "SIG", "SIGFOO", "RTMIN+31", "RTMAX-31", "RTMIN-1", "RTMIN+", "RTMAX+1", "9x"];
        for word in words {
            assert_eq!(Signal::parse(word), Err(WordError::unknown("signal", word)));
        }
    }
}
