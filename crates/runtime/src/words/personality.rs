//! Execution domains for `personality(2)`.
//!
//! The specification has two domains and no flag yet: any flag is refused rather than dropped.

use super::{WordError, look_up};

const DOMAINS: [(&str, u32); 2] = [("LINUX", 0x0000), ("LINUX32", 0x0008)];

/// The number of `domain`; `flags` has to be empty.
pub(crate) fn personality<S: AsRef<str>>(domain: &str, flags: &[S]) -> Result<u32, WordError> {
    if let Some(flag) = flags.first() {
        return Err(WordError::unknown("personality flag", flag.as_ref()));
    }
    look_up("personality domain", &DOMAINS, domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [&str; 0] = [];

    #[test]
    fn two_domains_and_no_flag() {
        assert_eq!(personality("LINUX", &NONE), Ok(0));
        assert_eq!(personality("LINUX32", &NONE), Ok(8));
        for domain in ["linux", "LINUX64", ""] {
            let error = WordError::unknown("personality domain", domain);
            assert_eq!(personality(domain, &NONE), Err(error));
        }
        let error = WordError::unknown("personality flag", "ADDR_NO_RANDOMIZE");
        assert_eq!(personality("LINUX", &["ADDR_NO_RANDOMIZE"]), Err(error));
    }
}
