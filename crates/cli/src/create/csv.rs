//! Fields of one line of CSV, in which `--mount`, `--network` and `--gpus` are written.
//!
//! A field in double quotes may hold commas, and a doubled quote for one. Absent on purpose: more than
//! one line.

/// Why a line is none.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum CsvError {
    /// A quote inside a field that does not begin with one.
    BareQuote {
        column: usize,
    },
    /// A quoted field that does not end, or goes on behind its end.
    Quote {
        column: usize,
    },
    Empty,
}

impl std::fmt::Display for CsvError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CsvError::BareQuote { column } => {
                write!(out, "parse error on line 1, column {column}: bare \" in non-quoted-field")
            }
            CsvError::Quote { column } => write!(
                out,
                "parse error on line 1, column {column}: extraneous or missing \" in quoted-field"
            ),
            CsvError::Empty => out.write_str("EOF"),
        }
    }
}

pub(super) fn fields(line: &str) -> Result<Vec<String>, CsvError> {
    if line.is_empty() {
        return Err(CsvError::Empty);
    }
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let column = line.len() - rest.len();
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted).ok_or(CsvError::Quote { column: column + 1 })?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if let Some(place) = rest[..end].find('"') {
                    return Err(CsvError::BareQuote { column: column + place + 1 });
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None if after.is_empty() => return Ok(fields),
            None => return Err(CsvError::Quote { column: line.len() - after.len() + 1 }),
        }
    }
}

/// A field behind its first quote, and what follows its last one.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Some((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_commas() {
        assert_eq!(fields("a=b,c").unwrap(), ["a=b", "c"]);
        assert_eq!(fields("a,\"b=1,2\",c").unwrap(), ["a", "b=1,2", "c"]);
        assert_eq!(fields("\"a\"\"b\"").unwrap(), ["a\"b"]);
        assert_eq!(fields("a,").unwrap(), ["a", ""]);
    }

    #[test]
    fn wrong_quotes() {
        assert_eq!(fields("a\"b"), Err(CsvError::BareQuote { column: 2 }));
        assert!(matches!(fields("\"a"), Err(CsvError::Quote { .. })));
        assert!(matches!(fields("\"a\"b"), Err(CsvError::Quote { .. })));
        assert_eq!(fields(""), Err(CsvError::Empty));
    }
}
