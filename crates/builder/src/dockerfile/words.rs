//! How the rest of an instruction's line falls into words.
//!
//! Invariant: quotes and escapes stay in the words; taking them away is expansion's. Flags are the exception, for
//! nothing expands them again.

use super::error::ParseFault;

/// What an instruction's rest is read as.
pub(super) fn json_list(rest: &str) -> Result<Option<Vec<String>>, ParseFault> {
    if !rest.trim_start().starts_with('[') {
        return Ok(None);
    }
    let Ok(serde_json::Value::Array(values)) = serde_json::from_str(rest.trim()) else {
        return Ok(None);
    };
    let texts = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    });
    texts.collect::<Option<Vec<String>>>().map(Some).ok_or(ParseFault::NotStrings)
}

/// Words with their quotes and escapes.
pub(super) fn words(rest: &str, escape: char) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut blank_counts = false;
    let mut quote = None;
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if blank_counts || !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
                blank_counts = false;
            }
            None if c == escape => {
                // The last character of all stands for nothing.
                if let Some(next) = chars.next() {
                    word.extend([c, next]);
                }
            }
            None => {
                if c == '\'' || c == '"' {
                    quote = Some(c);
                    blank_counts = true;
                }
                word.push(c);
            }
            Some(open) if c == escape && open != '\'' => {
                if let Some(next) = chars.next() {
                    word.extend([c, next]);
                }
            }
            Some(open) => {
                if c == open {
                    quote = None;
                }
                word.push(c);
            }
        }
    }
    if blank_counts || !word.is_empty() {
        found.push(word);
    }
    found
}

/// The flags that a line begins with, without quotes and escapes, and what follows them.
pub(super) fn flags(line: &str) -> (Vec<String>, &str) {
    let mut found = Vec::new();
    let mut rest = line.trim_start();
    while rest.starts_with("--") {
        let (word, behind) = flag_word(rest);
        rest = behind.trim_start();
        if word == "--" {
            break;
        }
        found.push(word);
    }
    (found, rest.trim())
}

fn flag_word(line: &str) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, &line[at..]),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == '\\' => word.extend(chars.next().map(|(_, next)| next)),
            _ => word.push(c),
        }
    }
    (word, "")
}

/// Splits once or always at Docker's idea of white space, which knows no others than these.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(
            words(r#"a="b c" d=e\ f 'x\' "" g\"#, '\\'),
            [r#"a="b c""#, r"d=e\ f", r"'x\'", r#""""#, "g"]
        );
        assert_eq!(words("a=`  b", '`'), ["a=` ", "b"]);
    }

    #[test]
    fn flags_end_at_the_first_word_that_is_none() {
        assert_eq!(
            flags("--a=1 --b='x y' c --d"),
            (vec!["--a=1".into(), "--b=x y".into()], "c --d")
        );
        assert_eq!(flags("--a -- --c"), (vec!["--a".into()], "--c"));
        assert_eq!(flags("-- foo"), (vec![], "foo"));
    }

    #[test]
    fn lists_are_of_texts() {
        assert_eq!(json_list(r#" [ "a", "b" ]"#), Ok(Some(vec!["a".into(), "b".into()])));
        assert_eq!(json_list("[ 'a' ]"), Ok(None));
        assert_eq!(json_list("echo [1]"), Ok(None));
        assert_eq!(json_list("[1]"), Err(ParseFault::NotStrings));
    }
}
