//! Lists as Docker prints them: a table, a template for each row, or a line of JSON for each.
//!
//! A [`Row`] has all columns that a command knows, by the names that templates use; which of them are
//! shown, the format says. Absent on purpose: where rows come from.

use super::template::{Format, FormatError, LABELS};
use crate::json::Json;

/// The columns of one line, by their names in templates.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    fields: Vec<(String, Json)>,
}

impl Row {
    pub(crate) fn with(mut self, name: &str, value: impl Into<Json>) -> Row {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// The labels of the object, for `.Labels` and `.Label "name"`.
    pub(crate) fn labels(self, labels: &Json) -> Row {
        let pair = |(key, value): &(String, Json)| format!("{key}={}", value.as_str());
        let mut pairs: Vec<String> = labels.fields().iter().map(pair).collect();
        pairs.sort_unstable();
        let object = Json::Object(labels.fields().to_vec());
        self.with("Labels", pairs.join(",")).with(LABELS, object)
    }

    fn json(mut self) -> Json {
        self.fields.sort_by(|left, right| left.0.cmp(&right.0));
        Json::Object(self.fields)
    }
}

/// The column heads of a list, by the columns' names.
pub(crate) type Heads = &'static [(&'static str, &'static str)];

/// All rows in the given format: `table …`, `json`, or a template.
pub(crate) fn render(format: &str, heads: Heads, rows: Vec<Row>) -> Result<String, FormatError> {
    let table = format.strip_prefix("table");
    let source = match format {
        "json" => "{{json .}}",
        format => table.unwrap_or(format),
    };
    let source = source.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
    let template = Format::row(&source)?;
    let mut out = String::new();
    if table.is_some() {
        let names = heads.iter().map(|(name, head)| ((*name).to_owned(), Json::from(*head)));
        out.push_str(&Format::header(&source)?.fill(&Json::Object(names.collect()))?);
        out.push('\n');
    }
    for row in rows {
        out.push_str(&template.fill(&row.json())?);
        out.push('\n');
    }
    Ok(if table.is_some() { super::tabs::align(&out) } else { out })
}

/// The first twelve digits of an id, whatever algorithm stands before.
pub(crate) fn short_id(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..12).unwrap_or(digits)
}

/// `text` in at most `width` places, ended by an ellipsis if it is cut.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    let total: usize = text.chars().map(super::tabs::char_width).sum();
    if total <= width {
        return text.to_owned();
    }
    let mut taken = 0;
    let fits = |letter: &char| {
        taken += super::tabs::char_width(*letter);
        taken < width
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short
}

/// `text` in Go's double quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter.is_control() => out.push_str(&format!("\\x{:02x}", letter as u32)),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: Heads = &[("ID", "CONTAINER ID"), ("Names", "NAMES")];

    fn rows() -> Vec<Row> {
        vec![Row::default().with("ID", "0123456789ab").with("Names", "web")]
    }

    #[test]
    fn three_kinds_of_format() {
        let table = render("table {{.ID}}\\t{{.Names}}", HEADS, rows()).unwrap();
        assert_eq!(table, "CONTAINER ID   NAMES\n0123456789ab   web\n");
        assert_eq!(render("{{.Names}}", HEADS, rows()).unwrap(), "web\n");
        let json = render("json", HEADS, rows()).unwrap();
        assert_eq!(json, "{\"ID\":\"0123456789ab\",\"Names\":\"web\"}\n");
        assert!(render("{{.Foo}}", HEADS, rows()).is_err());
    }

    #[test]
    fn heads_pass_through_functions() {
        let table = render("table {{upper .Names}}", HEADS, rows()).unwrap();
        assert_eq!(table, "NAMES\nWEB\n");
    }

    #[test]
    fn short_forms() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("abc"), "abc");
        assert_eq!(ellipsis("/bin/sh -c 'sleep 1000'", 20), "/bin/sh -c 'sleep 1…");
        assert_eq!(ellipsis("short", 20), "short");
        assert_eq!(quoted("a\"b\n"), "\"a\\\"b\\n\"");
    }
}
