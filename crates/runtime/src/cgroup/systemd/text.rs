//! Values of unit properties as annotations write them: GVariant's text form, as far as properties need it.
//!
//! `true`, `5`, `uint64 5`, `'text'`, `['a', 'b']`, `@as []`. A bare number is an `int32`.

use super::value::Value;

/// Reads one value; `None` if there is none, or something after it.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut parser = Parser { rest: text.trim() };
    let value = parser.value(None)?;
    parser.rest.trim().is_empty().then_some(value)
}

struct Parser<'a> {
    rest: &'a str,
}

/// Types by the word that may stand before a number.
const WORDS: [(&str, char); 9] = [
    ("byte", 'y'),
    ("int16", 'n'),
    ("uint16", 'q'),
    ("int32", 'i'),
    ("uint32", 'u'),
    ("int64", 'x'),
    ("uint64", 't'),
    ("double", 'd'),
    ("boolean", 'b'),
];

impl Parser<'_> {
    /// `wanted` is the signature that the value has to have, where one was given before it.
    fn value(&mut self, wanted: Option<&str>) -> Option<Value> {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next()? {
            '\'' | '"' => {
                wanted.is_none_or(|wanted| wanted == "s").then_some(())?;
                self.quoted().map(Value::Text)
            }
            '[' => self.array(wanted),
            '@' => {
                let (signature, rest) = self.rest[1..].split_once(char::is_whitespace)?;
                self.rest = rest;
                self.value(Some(signature))
            }
            _ => self.word(wanted),
        }
    }

    fn quoted(&mut self) -> Option<String> {
        let mut chars = self.rest.chars();
        let quote = chars.next()?;
        let mut text = String::new();
        loop {
            match chars.next()? {
                '\\' => text.push(match chars.next()? {
                    'n' => '\n',
                    't' => '\t',
                    other => other,
                }),
                end if end == quote => {
                    self.rest = chars.as_str();
                    return Some(text);
                }
                other => text.push(other),
            }
        }
    }

    fn array(&mut self, wanted: Option<&str>) -> Option<Value> {
        let element = match wanted {
            Some(signature) => Some(signature.strip_prefix('a')?.to_owned()),
            None => None,
        };
        self.rest = &self.rest[1..];
        let mut values: Vec<Value> = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if let Some(after) = self.rest.strip_prefix(']') {
                self.rest = after;
                break;
            }
            values.push(self.value(element.as_deref())?);
            self.rest = self.rest.trim_start();
            match self.rest.strip_prefix(',') {
                Some(after) => self.rest = after,
                None if self.rest.starts_with(']') => {}
                None => return None,
            }
        }
        let element = element.or_else(|| values.first().map(Value::signature))?;
        let alike = values.iter().all(|value| value.signature() == element);
        alike.then_some(Value::Array(element, values))
    }

    fn word(&mut self, wanted: Option<&str>) -> Option<Value> {
        let end = self.rest.find(|c: char| c.is_whitespace() || ",]".contains(c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        if let Some((_, kind)) = WORDS.iter().find(|(name, _)| *name == word) {
            return self.value(Some(kind.encode_utf8(&mut [0; 4])));
        }
        let default = match word {
            "true" | "false" => "b",
            word if word.contains('.') => "d",
            _ => "i",
        };
        Some(match wanted.unwrap_or(default) {
            "b" => Value::Bool(word.parse().ok()?),
            "y" => Value::Byte(word.parse().ok()?),
            "n" => Value::Int16(word.parse().ok()?),
            "q" => Value::Uint16(word.parse().ok()?),
            "i" => Value::Int32(word.parse().ok()?),
            "u" => Value::Uint32(word.parse().ok()?),
            "x" => Value::Int64(word.parse().ok()?),
            "t" => Value::Uint64(word.parse().ok()?),
            "d" => Value::Double(word.parse().ok()?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_refused_or_read_and_nothing_else() {
        let pieces =
            ["'", "\"", "[", "]", ",", "@", " ", "5", "true", "uint64", "a", "s", "\\", "é", "-"];
        for number in 0..pieces.len().pow(4) {
            let piece = |power| pieces[number / pieces.len().pow(power) % pieces.len()];
            let _ = parse(&[0, 1, 2, 3].map(piece).concat());
        }
    }

    #[test]
    fn values_are_read_in_the_types_that_they_show_or_are_given() {
        let strings = |list: &[&str]| {
            Value::Array("s".to_owned(), list.iter().map(|text| Value::text(*text)).collect())
        };
        let table = [
            ("true", Value::Bool(true)),
            ("5", Value::Int32(5)),
            ("uint64 5000000000", Value::Uint64(5_000_000_000)),
            ("@t 7", Value::Uint64(7)),
            ("-1.5", Value::Double(-1.5)),
            ("'inactive-or-failed'", Value::text("inactive-or-failed")),
            (r#""it's \"so\"""#, Value::text("it's \"so\"")),
            ("['a', \"b\"]", strings(&["a", "b"])),
            ("@as []", strings(&[])),
        ];
        for (text, value) in &table {
            assert_eq!(parse(text).as_ref(), Some(value), "{text}");
        }
        for bad in ["", "[]", "'open", "5 6", "[1, 'a']", "@s 5", "uint32 -1", "nonsense"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
