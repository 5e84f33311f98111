//! What two runs of one command can never have alike: ids, times, sizes, and the width of columns.
//!
//! Invariant: masked text of two runs that say the same is the same text. Nothing else is hidden.

/// Units and fillers of Docker's relative times.
const UNITS: &[&str] = &["second", "seconds", "minute", "minutes", "hour", "hours"];
const FILLERS: &[&str] = &["Less", "than", "About", "a", "an"];

/// The text with everything replaced that changes from run to run.
pub(super) fn mask(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let words: Vec<String> = line.split_whitespace().map(masked_pieces).collect();
        relative(words).join(" ")
    });
    lines.map(|line| line + "\n").collect()
}

/// One word between blanks; quotes and commas in it stay.
fn masked_pieces(word: &str) -> String {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_-.:+/".contains(letter);
    let (mut out, mut piece) = (String::new(), String::new());
    for letter in word.chars() {
        if is_part(letter) {
            piece.push(letter);
            continue;
        }
        out.push_str(masked(&piece));
        piece.clear();
        out.push(letter);
    }
    out.push_str(masked(&piece));
    out
}

fn masked(piece: &str) -> &str {
    let bare = piece.strip_prefix("sha256:").unwrap_or(piece);
    let hex = bare.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if hex && matches!(bare.len(), 12 | 64) {
        return "ID";
    }
    let is_time = bare.len() >= 10
        && bare.starts_with("20")
        && bare.as_bytes()[4] == b'-'
        && bare.as_bytes()[7] == b'-';
    if is_time {
        return "TIME";
    }
    let number = bare.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = &bare[number.len()..];
    let is_number =
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match unit {
        "B" | "kB" | "KB" | "MB" | "GB" | "KiB" | "MiB" | "GiB" if is_number => "SIZE",
        _ => piece,
    }
}

/// `Up 2 seconds` and `About a minute ago` become `Up SPAN` and `SPAN ago`.
fn relative(words: Vec<String>) -> Vec<String> {
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let mut out: Vec<String> = Vec::new();
    for word in words {
        let is_unit = UNITS.contains(&word.as_str());
        let is_filler = FILLERS.contains(&word.as_str());
        match out.last().map(String::as_str) {
            Some("SPAN") if is_unit || is_filler || is_number(&word) => {}
            Some(before) if is_unit && is_number(before) => {
                out.pop();
                out.push("SPAN".to_owned());
            }
            _ if matches!(word.as_str(), "Less" | "About") => out.push("SPAN".to_owned()),
            _ => out.push(word),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_masked() {
        let check = |text: &str, expected: &str| assert_eq!(mask(text), expected, "{text}");
        check("0123456789ab  x   Up 2 seconds", "ID x Up SPAN\n");
        check("Less than a second ago 1.5MB", "SPAN ago SIZE\n");
        check("\"sha256:0123456789ab\",", "\"ID\",\n");
        check("2026-11-22T22:00:00Z ok", "TIME ok\n");
        check("About a minute ago   12 things", "SPAN ago 12 things\n");
        check("deadbeef 3 a", "deadbeef 3 a\n");
    }
}
