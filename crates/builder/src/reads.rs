//! Which files of a context a build may read, known before it begins; the others need not be sent.
//!
//! Invariant: rather too much than too little. Where a path has variables, or a base may have triggers, it is all.

use crate::context::Context;
use crate::copy::matching;
use crate::dockerfile::{CopySource, Dockerfile, Instruction, Kind, MountKind, Stage};
use crate::files::{clean, follow};

/// Paths, and what is below them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reads {
    /// Everything.
    All,
    /// These.
    Below(Vec<Vec<u8>>),
}

impl Reads {
    /// What the stages up to the target read; `may_trigger` says whether an image's own instructions may read too.
    pub fn of(
        file: &Dockerfile,
        target: Option<&str>,
        context: &Context,
        may_trigger: &dyn Fn(&str) -> bool,
    ) -> Self {
        let target = target.filter(|target| !target.is_empty());
        let last = target.and_then(|name| file.stage(name, file.stages.len()));
        let count = last.map_or(file.stages.len(), |last| last + 1);
        let mut paths = Vec::new();
        for (number, stage) in file.stages[..count].iter().enumerate() {
            let base = &stage.from.base;
            let is_number = base.parse::<usize>().is_ok();
            let triggers = match file.stage(base, number).filter(|_| !is_number) {
                Some(below) => {
                    let below = &file.stages[below].instructions;
                    below.iter().any(|one| matches!(one.kind, Kind::OnBuild(_)))
                }
                None if base == "scratch" => false,
                // On another platform the same name is another image.
                None if stage.from.platform.is_some() => true,
                None => has_words_to_replace(base) || may_trigger(base),
            };
            if triggers {
                return Self::All;
            }
            match of_stage(stage, context) {
                Some(more) => paths.extend(more),
                None => return Self::All,
            }
        }
        Self::Below(paths)
    }

    /// The files of these names, links followed.
    pub fn files(context: &Context, names: &[&str]) -> Self {
        let real = |name: &&str| follow(context, name.as_bytes(), true).ok();
        Self::Below(names.iter().filter_map(real).collect())
    }

    /// Adds a directory.
    pub fn add(&mut self, directory: &str) {
        if let Self::Below(paths) = self {
            paths.push(clean(directory.as_bytes()));
        }
    }

    /// Whether a file is among them.
    pub(crate) fn has(&self, path: &[u8]) -> bool {
        let Self::Below(paths) = self else { return true };
        paths.iter().any(|above| {
            above.is_empty()
                || path.strip_prefix(&above[..]).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        })
    }
}

/// What a stage reads of the context; nothing where that cannot be known.
fn of_stage(stage: &Stage, context: &Context) -> Option<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    for instruction in &stage.instructions {
        for word in sources(instruction) {
            if has_words_to_replace(word) {
                return None;
            }
            let path = clean(word.as_bytes());
            let found = match word.contains(['*', '?', '[']) {
                true => matching(context, &path).ok()?,
                false => vec![path],
            };
            for path in found {
                paths.push(follow(context, &path, true).ok()?);
            }
        }
    }
    Some(paths)
}

/// Whether a word is not yet what it will be.
fn has_words_to_replace(word: &str) -> bool {
    word.contains(['$', '\\', '"', '\'', '`'])
}

/// What an instruction takes from the context.
fn sources(instruction: &Instruction) -> Vec<&str> {
    match &instruction.kind {
        Kind::Copy(copy) if copy.from.is_none() => {
            let paths = copy.sources.iter().filter_map(|source| match source {
                CopySource::Path(path) => Some(path.as_str()),
                CopySource::Inline(_) => None,
            });
            paths.collect()
        }
        Kind::Run(run) => run
            .mounts
            .iter()
            .filter(|mount| mount.kind == MountKind::Bind && mount.from.is_none())
            .map(|mount| mount.source.as_deref().unwrap_or_default())
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::{file, read};
    use dhow_archive::tar::Kind as Entry;

    fn reads(text: &str, target: Option<&str>) -> Option<Vec<String>> {
        let link = ("link", Entry::Symlink { target: b"far/away".to_vec() }, &b""[..]);
        let context =
            read(&[file("src/a.c", b"a"), file("src/b.h", b"b"), file("far/away/x", b"x"), link])
                .expect("a context");
        let file = Dockerfile::parse(text.as_bytes()).expect("a file");
        match Reads::of(&file, target, &context, &|base| base == "with-triggers") {
            Reads::All => None,
            Reads::Below(paths) => {
                Some(paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect())
            }
        }
    }

    fn some(paths: &[&str]) -> Option<Vec<String>> {
        Some(paths.iter().map(|path| (*path).to_owned()).collect())
    }

    #[test]
    fn what_instructions_name_is_read() {
        assert_eq!(reads("FROM a\nRUN x\n", None), some(&[]));
        assert_eq!(reads("FROM a\nCOPY src/*.c ./link /\n", None), some(&["src/a.c", "far/away"]));
        assert_eq!(reads("FROM a\nADD https://x/y z/ /\n", None), some(&["https:/x/y", "z"]));
        assert_eq!(
            reads("FROM a\nRUN --mount=type=bind,source=src,target=/s x\n", None),
            some(&["src"])
        );
        assert_eq!(reads("FROM a\nRUN --mount=type=bind,target=/s x\n", None), some(&[""]));
        let stages = "FROM a AS one\nCOPY src /\nFROM one\nCOPY --from=one x /\nCOPY far /\n";
        assert_eq!(reads(stages, None), some(&["src", "far"]));
        assert_eq!(reads(stages, Some("one")), some(&["src"]));
    }

    #[test]
    fn what_cannot_be_known_is_all() {
        assert_eq!(reads("FROM a\nCOPY $x /\n", None), None);
        assert_eq!(reads("FROM $a\nRUN x\n", None), None);
        assert_eq!(reads("FROM --platform=linux/arm64 a\nRUN x\n", None), None);
        assert_eq!(reads("FROM with-triggers\nRUN x\n", None), None);
        let triggers = "FROM a AS b\nONBUILD COPY x /\nFROM b\nRUN x\n";
        assert_eq!(reads(triggers, None), None);
        assert_eq!(reads(triggers, Some("b")), some(&[]));
    }

    #[test]
    fn a_directory_has_what_is_below() {
        let reads = Reads::Below(vec![b"a/b".to_vec()]);
        assert!(reads.has(b"a/b") && reads.has(b"a/b/c"));
        assert!(!reads.has(b"a/bc") && !reads.has(b"a"));
        assert!(Reads::Below(vec![Vec::new()]).has(b"x"));
    }
}
