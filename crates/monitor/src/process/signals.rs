//! What a process does about a signal, as the kernel tells it.

/// Whether a process would never notice `signal`: it is the first of a PID namespace of its own, where
/// signals without a handler are not delivered, and neither handles the signal nor blocks it to fetch it
/// (`sigwait`, `signalfd`).
pub(super) fn is_deaf(pid: i32, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    is_deaf_in(&status, signal)
}

fn is_deaf_in(status: &str, signal: i32) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let mask = |name: &str| {
        field(name).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(u64::MAX)
    };
    let Some(bit) = u32::try_from(signal - 1).ok().and_then(|shift| 1u64.checked_shl(shift)) else {
        return false;
    };
    let pids: Vec<&str> = field("NSpid:").unwrap_or_default().split_whitespace().collect();
    let is_first = pids.len() > 1 && pids.last() == Some(&"1");
    is_first && (mask("SigCgt:") | mask("SigBlk:")) & bit == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_first_process_without_a_handler_is_deaf() {
        let status = |pids: &str, blocked: &str, caught: &str| {
            format!("Name:\tx\nNSpid:\t{pids}\nSigBlk:\t{blocked}\nSigIgn:\t0\nSigCgt:\t{caught}\n")
        };
        assert!(is_deaf_in(&status("77\t1", "0", "0"), 15));
        assert!(!is_deaf_in(&status("77\t1", "0", "4000"), 15));
        assert!(!is_deaf_in(&status("77\t1", "4000", "0"), 15));
        assert!(is_deaf_in(&status("77\t1", "2000", "8000"), 15));
        assert!(!is_deaf_in(&status("77", "0", "0"), 15), "default actions work there");
        assert!(!is_deaf_in(&status("77\t5\t2", "0", "0"), 15));
        assert!(!is_deaf_in("", 15));
    }
}
