//! What a registry answers to who has not said who he is: `WWW-Authenticate`, RFC 7235.
//!
//! Invariant: never fails; what cannot be read is left out, since another challenge beside it may do.
//! Absent on purpose: answering (see `auth`).

/// One challenge: a scheme and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// In lower case: `bearer`, `basic`.
    pub scheme: String,
    /// Names in lower case, values without quotes.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All challenges of one header: several may share it, separated by the same commas that
    /// separate the parameters.
    pub fn parse_all(header: &str) -> Vec<Self> {
        let mut reader = Reader { rest: header };
        let mut challenges: Vec<Self> = Vec::new();
        loop {
            reader.skip(|c| c == ',' || c.is_ascii_whitespace());
            let Some(word) = reader.token() else {
                // Nothing that we know begins here: go on behind the next comma.
                if !reader.skip_past_comma() {
                    return challenges;
                }
                continue;
            };
            let spaced = reader.skip(|c| c.is_ascii_whitespace());
            match (reader.peek(), challenges.last_mut()) {
                // `name=value` belongs to the challenge before it; `name==` would be a token68.
                (Some('='), Some(challenge)) => {
                    reader.skip_one();
                    reader.skip(|c| c.is_ascii_whitespace());
                    if let Some(value) = reader.value() {
                        challenge.parameters.push((word.to_ascii_lowercase(), value));
                    }
                }
                (Some('='), None) => {}
                _ => {
                    let scheme = word.to_ascii_lowercase();
                    challenges.push(Self { scheme, parameters: Vec::new() });
                    if spaced {
                        reader.skip_token68();
                    }
                }
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn skip_one(&mut self) {
        let mut chars = self.rest.chars();
        chars.next();
        self.rest = chars.as_str();
    }

    fn skip(&mut self, known: impl Fn(char) -> bool) -> bool {
        let before = self.rest.len();
        self.rest = self.rest.trim_start_matches(known);
        self.rest.len() < before
    }

    fn skip_past_comma(&mut self) -> bool {
        match self.rest.find(',') {
            Some(at) => {
                self.rest = &self.rest[at + 1..];
                true
            }
            None => false,
        }
    }

    /// A scheme may be followed by one long word instead of parameters; nobody in our field does.
    fn skip_token68(&mut self) {
        let known = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        let behind = self.rest.trim_start_matches(known).trim_start_matches('=');
        let blank = behind.trim_start_matches([' ', '\t']);
        if blank.is_empty() || blank.starts_with(',') {
            self.rest = blank;
        }
    }

    fn token(&mut self) -> Option<&'a str> {
        let known = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.rest.find(|c| !known(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// A quoted text, or everything up to the next comma or space: tokens are often left unquoted
    /// though they hold slashes and colons.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([',', ' ', '\t']).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(value.to_owned());
        };
        let mut value = String::new();
        let mut chars = quoted.chars();
        while let Some(char) = chars.next() {
            match char {
                '"' => {
                    self.rest = chars.as_str();
                    return Some(value);
                }
                '\\' => value.extend(chars.next()),
                other => value.push(other),
            }
        }
        self.rest = "";
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(header: &str, expected: &[(&str, &[(&str, &str)])]) {
        let read = Challenge::parse_all(header);
        let expected: Vec<_> = expected
            .iter()
            .map(|(scheme, parameters)| Challenge {
                scheme: (*scheme).to_owned(),
                parameters: parameters
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            })
            .collect();
        assert_eq!(read, expected, "{header}");
    }

    #[test]
    fn challenges_of_the_field() {
        check(
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
            &[(
                "bearer",
                &[
                    ("realm", "https://auth.example/token"),
                    ("service", "registry.example"),
                    ("scope", "repository:a/b:pull,push"),
                ],
            )],
        );
        check(r#"Basic realm="a \"b\", c""#, &[("basic", &[("realm", "a \"b\", c")])]);
        check("BASIC Realm = x", &[("basic", &[("realm", "x")])]);
        check(
            r#"Negotiate, NTLM TlRMTVNTUAAB==, Basic realm="x", Bearer realm=https://h/t,service=s"#,
            &[
                ("negotiate", &[]),
                ("ntlm", &[]),
                ("basic", &[("realm", "x")]),
                ("bearer", &[("realm", "https://h/t"), ("service", "s")]),
            ],
        );
    }

    #[test]
    fn nonsense_is_left_out() {
        check("", &[]);
        check(",,, ,", &[]);
        check("=x, Basic realm=y", &[("basic", &[("realm", "y")])]);
        check(r#"Bearer realm="never ends"#, &[("bearer", &[])]);
        check("\u{e9}, Basic", &[("basic", &[])]);
        check("realm=x", &[]);
    }

    proptest! {
        /// No header keeps us from the good challenge behind it, unless it never closes its quote.
        #[test]
        fn what_is_behind_nonsense_is_found(nonsense in r#"[a-zA-Z =,;/\\é-]{0,40}"#) {
            let read = Challenge::parse_all(&format!("{nonsense}, Bearer realm=\"x\""));
            let last = read.last().expect("at least the last");
            prop_assert_eq!((last.scheme.as_str(), last.get("realm")), ("bearer", Some("x")));
        }

        #[test]
        fn quoted_texts_come_back(text in r#"[a-z "\\,=]{0,20}"#) {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            let read = Challenge::parse_all(&format!("Basic a=\"{quoted}\", b=c"));
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(read[0].get("a"), Some(text.as_str()));
            prop_assert_eq!(read[0].get("b"), Some("c"));
        }

        #[test]
        fn anything_is_read(text in "\\PC{0,60}") {
            Challenge::parse_all(&text);
        }
    }
}
