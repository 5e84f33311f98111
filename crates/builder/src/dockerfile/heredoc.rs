//! Here-documents: files and scripts that stand in the Dockerfile itself.
//!
//! Invariant: a word is one only if it is nothing else: `<<EOF`, `<<-EOF`, `3<<"EOF"`.

/// One here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, and the name of the file that it makes.
    pub name: String,
    /// Whether variables in it are replaced: not if the word was quoted.
    pub expand: bool,
    /// Whether tabs at the beginnings of its lines do not count (`<<-`).
    pub chomp: bool,
    /// Its lines.
    pub content: String,
}

impl Heredoc {
    /// What a word announces, if anything.
    pub(super) fn announced(word: &str) -> Option<Self> {
        let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
        let (chomp, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if rest.is_empty() || rest.contains('<') {
            return None;
        }
        let mut name = String::new();
        let mut expand = true;
        let mut quote = None;
        let mut chars = rest.chars();
        while let Some(c) = chars.next() {
            match (c, quote) {
                ('\'' | '"', None) => (quote, expand) = (Some(c), false),
                (c, Some(open)) if c == open => quote = None,
                ('\\', None) => {
                    expand = false;
                    name.extend(chars.next());
                }
                (c, _) => name.push(c),
            }
        }
        (!name.is_empty()).then(|| Self { name, expand, chomp, content: String::new() })
    }

    /// Whether a line is its end.
    pub(super) fn ends_at(&self, line: &str) -> bool {
        let line = line.trim_end_matches(['\r', '\n']);
        let line = if self.chomp { line.trim_start_matches('\t') } else { line };
        line == self.name
    }

    /// Its lines as they are meant.
    pub fn text(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_announce() {
        let seen = |word| Heredoc::announced(word).map(|one| (one.name, one.expand, one.chomp));
        assert_eq!(seen("<<EOF"), Some(("EOF".into(), true, false)));
        assert_eq!(seen("3<<-'E F'"), Some(("E F".into(), false, true)));
        assert_eq!(seen("<<\"EOF\""), Some(("EOF".into(), false, false)));
        assert_eq!(seen("<<"), None);
        assert_eq!(seen("<<<x"), None);
        assert_eq!(seen("a<<EOF"), None);
    }

    #[test]
    fn tabs_are_left_out() {
        let mut one = Heredoc::announced("<<-E").expect("one");
        one.content = "\ta\n\t\tb\n c\n".into();
        assert_eq!(one.text(), "a\nb\n c\n");
        assert!(one.ends_at("\tE\r\n"));
        assert!(!one.ends_at(" E"));
    }
}
