//! Signals as people write them: `KILL`, `SIGKILL`, `sigkill`, `9`, `SIGRTMIN+3`.
//!
//! A `Signal` that exists can be sent: 1 to 64. What the C library keeps for itself, 32 and 33, can
//! only be had as numbers.

use dhow_spec::{SIGNAL_MAX, signal_number};

use super::WordError;

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
            Err(_) => {
                let number = signal_number(word).map(Self);
                number.ok_or_else(|| WordError::unknown("signal", word))
            }
        }
    }

    /// The signal of this number; 0, which only asks whether a process is there, is none.
    pub(crate) fn from_number(number: i64) -> Result<Self, WordError> {
        match u8::try_from(number) {
            Ok(number @ 1..=SIGNAL_MAX) => Ok(Self(number)),
            _ => Err(WordError::Range {
                kind: "signal",
                value: number,
                min: 1,
                max: SIGNAL_MAX.into(),
            }),
        }
    }

    /// The number, as `kill(2)` takes it.
    pub(crate) fn number(self) -> i32 {
        self.0.into()
    }
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
