//! Signals by name or number, as Docker's clients write them.
//!
//! Invariant: a parsed signal is one that the kernel has.

use dhow_spec::{SIGNAL_MAX, signal_number};

use super::error::{Field, RequestError};

/// The number of `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3` or `SIGRTMAX-1`.
pub fn parse_signal(text: &str) -> Result<i32, RequestError> {
    let number = match text.parse::<i32>() {
        Ok(number) => Some(number).filter(|number| (1..=SIGNAL_MAX.into()).contains(number)),
        Err(_) => signal_number(text).map(i32::from),
    };
    number.ok_or_else(|| RequestError::word(Field::Signal, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_many_spellings() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGKILL", 9),
            ("sigquit", 3),
            ("15", 15),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("RTMIN", 34),
        ] {
            assert_eq!(parse_signal(text), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "-1", "TERMINATE", "RTMIN+31", "RTMIN-1", "SIGSIGTERM"] {
            let refusal = parse_signal(text).expect_err(text).to_string();
            assert_eq!(refusal, format!("invalid signal: {text}"));
        }
    }
}
