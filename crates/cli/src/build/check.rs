//! What could be better in a Dockerfile, for people: in short at the end of a build, at length with `--check`.

use crate::json::Json;
use dhow_spec::base64;

/// Lines around the ones that are meant.
const AROUND: usize = 2;

/// The whole answer to `--check`.
pub(crate) fn show(lint: &Json) -> String {
    let warnings = lint.get("warnings").items();
    let mut text = match warnings.len() {
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    let source = lint.get("sources").items().first().cloned().unwrap_or_default();
    let bytes = base64::decode(source.text("data")).unwrap_or_default();
    let file = String::from_utf8_lossy(&bytes);
    for warning in warnings {
        text.push_str(&format!(
            "\nWARNING: {} - {}\n{}\n{}",
            warning.text("ruleName"),
            warning.text("url"),
            warning.text("detail"),
            frame(source.text("filename"), &file, lines_of(warning)),
        ));
    }
    text
}

/// What stands at the end of a build.
pub(crate) fn summary(lint: &Json) -> String {
    let warnings = lint.get("warnings").items();
    let mut text = match warnings.len() {
        0 => return String::new(),
        1 => "\n 1 warning found (use --check to expand):\n".to_owned(),
        count => format!("\n {count} warnings found (use --check to expand):\n"),
    };
    for warning in warnings {
        let (rule, detail) = (warning.text("ruleName"), warning.text("detail"));
        text.push_str(&format!(" - {rule}: {detail} (line {})\n", lines_of(warning).0));
    }
    text
}

fn lines_of(warning: &Json) -> (usize, usize) {
    let range = warning.get("location").get("ranges").items().first().cloned().unwrap_or_default();
    let line = |name: &str| usize::try_from(range.get(name).int("line")).unwrap_or(0);
    (line("start"), line("end"))
}

/// The lines that are meant, with those around them.
pub(super) fn frame(name: &str, source: &str, (first, last): (usize, usize)) -> String {
    const RULE: &str = "--------------------\n";
    let mut text = format!("{name}:{first}\n{RULE}");
    let lines = source.lines().enumerate().map(|(number, line)| (number + 1, line));
    for (number, line) in
        lines.filter(|(number, _)| *number + AROUND >= first && *number <= last.max(first) + AROUND)
    {
        let mark = if (first..=last.max(first)).contains(&number) { ">>>" } else { "   " };
        text.push_str(format!("{number:>4} | {mark} {line}").trim_end());
        text.push('\n');
    }
    text + RULE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_in_their_place() {
        let lint = Json::parse(
            br#"{"warnings":[{"ruleName":"FromAsCasing","url":"https://x/","detail":"it differs",
                "location":{"ranges":[{"start":{"line":2},"end":{"line":2}}]}}],
                "sources":[{"filename":"Dockerfile","data":"IyBhCkZST00geCBhcyB5CgpSVU4gegpDTUQgdw=="}]}"#,
        )
        .expect("JSON");
        assert_eq!(
            show(&lint),
            "Check complete, 1 warning has been found!\n\n\
             WARNING: FromAsCasing - https://x/\nit differs\nDockerfile:2\n--------------------\n\
             \u{20}  1 |     # a\n   2 | >>> FROM x as y\n   3 |\n   4 |     RUN z\n--------------------\n"
        );
        assert_eq!(
            summary(&lint),
            "\n 1 warning found (use --check to expand):\n - FromAsCasing: it differs (line 2)\n"
        );
        assert_eq!(show(&Json::default()), "Check complete, no warnings found.\n");
    }
}
