//! A program as text, a step a line: what a plan's test compares.

use std::fmt;

use dhow_sys::MountAttr;

use super::step::{MountStep, Source, Step, Tree};
use crate::text::lossy;

/// The text of these steps.
pub(crate) struct Listing<'a>(pub(crate) &'a [Step]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.0 {
            match step {
                Step::Mount(mount) => detail(mount, f)?,
                other => write!(f, "{other}")?,
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A mount with every detail.
fn detail(step: &MountStep, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{step}")?;
    match &step.source {
        Source::FileSystem { source, flags, data, .. } => {
            write!(f, " from {} flags {:#x}", lossy(source), flags.bits())?;
            if let Some(data) = data {
                write!(f, " data {}", lossy(data))?;
            }
        }
        Source::Tree(Tree { map: Some(map), .. }) => {
            write!(f, " id-mapped{}", if map.recursive { " rec" } else { "" })?;
        }
        Source::Tree(_) => {}
    }
    attributes(f, "attr", &step.attr)?;
    attributes(f, "rattr", &step.recursive_attr)?;
    for (propagation, recursive) in &step.propagation {
        write!(f, " propagation {propagation:#x}{}", if *recursive { " rec" } else { "" })?;
    }
    if step.copy_up {
        write!(f, " copy-up")?;
    }
    Ok(())
}

fn attributes(f: &mut fmt::Formatter<'_>, word: &str, attr: &MountAttr) -> fmt::Result {
    if attr.set != 0 {
        write!(f, " {word}+{:#x}", attr.set)?;
    }
    if attr.clear != 0 {
        write!(f, " {word}-{:#x}", attr.clear)?;
    }
    Ok(())
}
