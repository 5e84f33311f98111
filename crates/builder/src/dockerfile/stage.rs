//! A file as stages: what stands before the first `FROM`, and what belongs to each.
//!
//! Invariant: a stage has a `FROM`; only `ARG` stands before the first.

use super::directive::Directives;
use super::error::{ParseError, ParseFault};
use super::instruction::{Arg, From, Instruction, Kind};
use super::node::{Node, parse};
use super::typed::typed;

/// A Dockerfile, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// What its first comments decide.
    pub directives: Directives,
    /// Arguments before the first stage, with their lines.
    pub args: Vec<(usize, Arg)>,
    /// Its stages.
    pub stages: Vec<Stage>,
    /// Its instructions as words, for whoever judges how they are written.
    pub nodes: Vec<Node>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What it stands on, and its name.
    pub from: From,
    /// The text and line of that.
    pub text: String,
    /// First and last line of the `FROM`.
    pub lines: (usize, usize),
    /// What it does.
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// Reads a file, and refuses what can be known to be wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let parsed = parse(bytes)?;
        parsed.directives.check_syntax()?;
        let mut file = Self {
            directives: parsed.directives,
            args: Vec::new(),
            stages: Vec::new(),
            nodes: Vec::new(),
        };
        for node in &parsed.nodes {
            let error = |fault| ParseError::new(node.lines.0, fault);
            file.add(typed(node).map_err(error)?).map_err(error)?;
        }
        file.nodes = parsed.nodes;
        Ok(file)
    }

    fn add(&mut self, instruction: Instruction) -> Result<(), ParseFault> {
        let Instruction { kind, text, lines } = instruction;
        match (kind, self.stages.last_mut()) {
            (Kind::From(from), _) => {
                self.stages.push(Stage { from, text, lines, instructions: Vec::new() });
            }
            (kind, Some(stage)) => stage.instructions.push(Instruction { kind, text, lines }),
            (Kind::Arg(args), None) => self.args.extend(args.into_iter().map(|arg| (lines.0, arg))),
            (_, None) => return Err(ParseFault::NoStage),
        }
        Ok(())
    }

    /// The stage of that name or number, before `before`.
    pub fn stage(&self, name: &str, before: usize) -> Option<usize> {
        let lower = name.to_lowercase();
        let named = (0..before.min(self.stages.len()))
            .rev()
            .find(|place| self.stages[*place].from.name.as_deref() == Some(&*lower));
        named.or_else(|| name.parse().ok().filter(|number| *number < before.min(self.stages.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_found_by_name_and_number() {
        let file =
            Dockerfile::parse(b"ARG V=1\nFROM a AS One\nRUN x\nFROM one\nCOPY --from=0 a b\n")
                .expect("a file");
        assert_eq!(file.args.len(), 1);
        assert_eq!(file.stages.len(), 2);
        assert_eq!(file.stage("one", 1), Some(0));
        assert_eq!(file.stage("ONE", 2), Some(0));
        assert_eq!(file.stage("0", 1), Some(0));
        assert_eq!(file.stage("1", 1), None);
        assert_eq!(file.stage("two", 2), None);
    }

    #[test]
    fn refusals_know_their_line() {
        let refused = |text: &str| Dockerfile::parse(text.as_bytes()).expect_err(text).to_string();
        assert_eq!(refused(""), "file with no instructions");
        assert_eq!(
            refused("# syntax=docker/dockerfile:1\n\nRUN x"),
            "dockerfile parse error on line 3: no build stage in current context"
        );
        assert_eq!(
            refused("FROM a\nRUN <<EOF\nx\n"),
            "dockerfile parse error on line 2: unterminated heredoc EOF"
        );
        assert_eq!(
            refused("# syntax=other/thing\nFROM a"),
            "dockerfile parse error on line 1: the front end other/thing cannot be used: only docker/dockerfile, which is built in"
        );
    }

    #[test]
    fn heredocs_belong_to_their_instruction() {
        let file = Dockerfile::parse(
            b"FROM a\nCOPY <<x <<'y' /d/\n1$V\nx\n2\ny\nRUN <<-EOF cat > z\n\tq\n\tEOF\nUSER u\n",
        )
        .expect("a file");
        let kinds: Vec<_> = file.stages[0].instructions.iter().map(|one| &one.kind).collect();
        let [Kind::Copy(copy), Kind::Run(run), Kind::User(_)] = kinds[..] else {
            panic!("{kinds:?}")
        };
        assert_eq!(copy.sources.len(), 2);
        assert_eq!(run.heredocs[0].text(), "q\n");
        assert_eq!(file.stages[0].instructions[1].lines, (7, 9));
    }
}
