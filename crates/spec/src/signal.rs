//! Signals by name: `KILL`, `SIGKILL`, `sigkill`, `SIGRTMIN+3`.
//!
//! Invariant: a name's number can be sent: 1 to 64. The numbers are those of every Linux
//! architecture but MIPS, SPARC, Alpha and PA-RISC, for which dhow is not built. `SIGRTMIN` is 34,
//! as for the programs that receive it: the C library keeps 32 and 33, which have no name.
//! Absent on purpose: numbers as words, whose bounds and refusals differ from caller to caller.

/// The lowest real-time signal that programs use.
const RTMIN: u8 = 34;
/// The highest signal that Linux has.
pub const SIGNAL_MAX: u8 = 64;

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

/// The number of a signal's name, in either case and with or without `SIG`.
pub fn signal_number(name: &str) -> Option<u8> {
    let upper = name.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let fixed = NAMES.iter().find(|(known, _)| *known == name).map(|&(_, number)| number);
    fixed.or_else(|| real_time(name))
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
        SIGNAL_MAX.checked_sub(distance(name.strip_prefix("RTMAX")?, '-')?)?
    };
    (RTMIN..=SIGNAL_MAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_many_spellings() {
        for (name, number) in [
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigkill", 9),
            ("SIGIOT", 6),
            ("chld", 17),
            ("SIGRTMIN", 34),
            ("RTMIN+3", 37),
            ("sigrtmax-14", 50),
            ("RTMAX-30", 34),
        ] {
            assert_eq!(signal_number(name), Some(number), "{name}");
        }
    }

    #[test]
    fn other_words_are_no_signals() {
        for word in
            ["", "9", "SIG", "SIGFOO", "RTMIN+31", "RTMAX-31", "RTMIN-1", "RTMIN+", "RTMAX+1"]
        {
            assert_eq!(signal_number(word), None, "{word}");
        }
    }
}
