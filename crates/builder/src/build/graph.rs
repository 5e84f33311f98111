//! Which stages there are, what each stands on, and which are needed.
//!
//! Invariant: a stage needs only stages before it, so that nothing can wait for itself.

use std::collections::BTreeSet;

use dhow_spec::Platform;

use super::scope::Globals;
use super::{Ask, Named};
use crate::dockerfile::{Copy, Instruction, Kind, MountKind, ParseError, ParseFault, Stage};
use crate::error::{BuildError, Fault};

/// The stages of a build.
pub(super) struct Graph {
    /// What every stage stands on.
    pub(super) bases: Vec<BaseOf>,
    /// For which platform each is.
    pub(super) platforms: Vec<Platform>,
    /// Which are needed, in order.
    pub(super) needed: Vec<usize>,
    /// Which one is wanted.
    pub(super) target: usize,
    /// What stands before the first stage.
    pub(super) globals: Globals,
    /// Steps of all needed stages together, and how many come before each stage.
    pub(super) total: usize,
    pub(super) before: Vec<usize>,
}

/// What a stage stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BaseOf {
    /// Nothing.
    Scratch,
    /// Another stage.
    Stage(usize),
    /// An image.
    Image(String),
}

impl Graph {
    pub(super) fn new(ask: &Ask<'_>) -> Result<Self, BuildError> {
        let stages = &ask.file.stages;
        if stages.is_empty() {
            return Err(Fault::Parse(ParseError { line: 0, fault: ParseFault::NoStage }).into());
        }
        let globals = Globals::new(ask)?;
        let mut bases = Vec::new();
        let mut platforms = Vec::new();
        for (number, stage) in stages.iter().enumerate() {
            let at =
                |fault| BuildError { line: Some(stage.lines.0), text: stage.text.clone(), fault };
            bases.push(base(ask, &globals, number, stage).map_err(at)?);
            platforms.push(platform(ask, &globals, stage).map_err(at)?);
        }
        let target = match ask.target.as_deref().filter(|target| !target.is_empty()) {
            None => stages.len() - 1,
            Some(name) => ask
                .file
                .stage(name, stages.len())
                .ok_or_else(|| Fault::NoTarget { target: name.to_owned() })?,
        };
        let mut graph = Self {
            bases,
            platforms,
            needed: Vec::new(),
            target,
            globals,
            total: 0,
            before: vec![0; stages.len()],
        };
        graph.needed = graph.find_needed(ask)?;
        for stage in graph.needed.clone() {
            graph.before[stage] = graph.total;
            graph.total += 1 + stages[stage].instructions.len();
        }
        // Notes that the user adds are one more step.
        graph.total += usize::from(!ask.labels.is_empty());
        Ok(graph)
    }

    fn find_needed(&self, ask: &Ask<'_>) -> Result<Vec<usize>, BuildError> {
        let mut needed = BTreeSet::new();
        let mut todo = vec![self.target];
        while let Some(stage) = todo.pop() {
            if !needed.insert(stage) {
                continue;
            }
            if let BaseOf::Stage(base) = self.bases[stage] {
                todo.push(base);
            }
            for instruction in &ask.file.stages[stage].instructions {
                for name in sources(instruction) {
                    let found = find(ask, stage, name).map_err(|fault| BuildError {
                        line: Some(instruction.lines.0),
                        text: instruction.text.clone(),
                        fault,
                    })?;
                    todo.extend(found);
                }
            }
        }
        Ok(needed.into_iter().collect())
    }
}

/// The stage that a name means for a stage, if it means one.
pub(super) fn find(ask: &Ask<'_>, stage: usize, name: &str) -> Result<Option<usize>, Fault> {
    if let Some(found) = ask.file.stage(name, stage) {
        return Ok(Some(found));
    }
    if ask.file.stages[stage].from.name.as_deref() == Some(&*name.to_lowercase()) {
        let value = name.to_owned();
        return Err(Fault::Value { what: "stage, circular dependency detected on stage", value });
    }
    if let Ok(number) = name.parse::<usize>() {
        return Err(Fault::Value { what: "from flag value", value: number.to_string() });
    }
    Ok(None)
}

/// What an instruction reads from.
fn sources(instruction: &Instruction) -> Vec<&str> {
    match &instruction.kind {
        Kind::Copy(Copy { from: Some(from), .. }) => vec![from],
        Kind::Run(run) => run
            .mounts
            .iter()
            .filter(|mount| matches!(mount.kind, MountKind::Bind | MountKind::Cache))
            .filter_map(|mount| mount.from.as_deref())
            .collect(),
        _ => Vec::new(),
    }
}

fn base(ask: &Ask<'_>, globals: &Globals, number: usize, stage: &Stage) -> Result<BaseOf, Fault> {
    let name = globals.expand(ask, &stage.from.base)?;
    if name.is_empty() {
        return Err(Fault::NoBase);
    }
    if let Some(found) = ask.file.stage(&name, number).filter(|_| name.parse::<usize>().is_err()) {
        return Ok(BaseOf::Stage(found));
    }
    match ask.contexts.get(&name) {
        Some(Named::Image(image)) => return Ok(BaseOf::Image(image.clone())),
        Some(Named::Files(_)) => {
            let what = format!("FROM {name}, which is a context of files,");
            return Err(Fault::Unsupported { what });
        }
        None => {}
    }
    Ok(match name.as_str() {
        "scratch" => BaseOf::Scratch,
        _ => BaseOf::Image(name),
    })
}

fn platform(ask: &Ask<'_>, globals: &Globals, stage: &Stage) -> Result<Platform, Fault> {
    let Some(text) = &stage.from.platform else { return Ok(ask.platform.clone()) };
    let text = globals.expand(ask, text)?;
    Platform::parse(&text, &ask.platform).map_err(|_| Fault::Platform { text })
}
