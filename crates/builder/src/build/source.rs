//! `COPY` and `ADD`: where the files come from, and the step that they make.
//!
//! Invariant: a copy's key holds what the files are, not where they were; files of a stage that was built again and
//! came out the same are found again.

use std::io::Read;
use std::sync::Arc;

use dhow_archive::ignore::Patterns;
use dhow_spec::Digest;

use super::Named;
use super::graph::find;
use super::key::Key;
use super::state::State;
use super::walk::Walker;
use crate::context::Context;
use crate::copy::{Mode, Picked, Picking, Target, add_to_key, pick, write};
use crate::dockerfile::{Copy, CopySource};
use crate::error::Fault;
use crate::files::Files;
use crate::worker::{Layer, Record};

/// Another root that a stage reads from.
pub(super) enum Root<'a> {
    /// What was sent.
    Context,
    /// Files by another name.
    Files(&'a Context),
    /// A stage's or an image's.
    Layers(Vec<Layer>),
}

impl<'a> Walker<'a> {
    /// What `--from` means.
    pub(super) fn root(&self, from: Option<&str>) -> Result<Root<'a>, Fault> {
        let Some(name) = from else { return Ok(Root::Context) };
        if let Some(stage) = find(self.ask, self.number, name)? {
            let state: Arc<State> = self.shared.wait(stage)?;
            return Ok(Root::Layers(state.layers.clone()));
        }
        let image = match self.ask.contexts.get(name) {
            Some(Named::Files(files)) => return Ok(Root::Files(files)),
            Some(Named::Image(image)) => image.as_str(),
            None => name,
        };
        let platform = &self.graph.platforms[self.number];
        Ok(Root::Layers(self.base(image, platform)?.layers))
    }

    /// `COPY` and `ADD`.
    pub(super) fn copy(&mut self, copy: &Copy, text: &str) -> Result<(), Fault> {
        let escape = self.ask.file.directives.escape;
        let env = &self.state.run.env;
        let text_of =
            |word: &String| self.scope.expand(env, escape, false, word).map(|found| found.text);
        let to = self.state.absolute(&text_of(&copy.to)?);
        let to = if copy.to.ends_with("/.") || copy.to == "." { format!("{to}/") } else { to };
        let chown = copy.chown.as_ref().map(text_of).transpose()?;
        let chmod = copy.chmod.as_ref().map(text_of).transpose()?;
        let mode = match &chmod {
            None => None,
            Some(text) => Some(
                Mode::parse(text)
                    .ok_or_else(|| Fault::Value { what: "chmod parameter", value: text.clone() })?,
            ),
        };
        let exclude = copy.exclude.iter().map(text_of).collect::<Result<Vec<_>, _>>()?;
        let exclude = Patterns::new(&exclude)?;
        let root = self.root(copy.from.as_deref())?;
        let files: Box<dyn Files + '_> = match &root {
            Root::Context => Box::new(Borrowed(self.ask.context)),
            Root::Files(files) => Box::new(Borrowed(*files)),
            Root::Layers(layers) => self.ask.worker.files(layers)?,
        };
        let picking = Picking {
            files: &*files,
            parents: copy.parents,
            exclude: &exclude,
            unpack: copy.add && copy.unpack != Some(false),
            owners: matches!(root, Root::Layers(_)) && chown.is_none(),
        };
        // What is measured at length is remembered by where it was.
        let picked = self.pick_all(copy, &picking)?;
        if picked.len() > 1 && !to.ends_with('/') {
            return Err(Fault::ToDirectory);
        }
        let created_by = history(text, copy.add);
        let owners = picking.owners;
        let below = if copy.link { &[][..] } else { &self.state.layers[..] };
        let key = Key::new(if copy.link { "link" } else { "copy" })
            .layers(below)
            .text(&to)
            .texts(&[chown.clone().unwrap_or_default(), chmod.clone().unwrap_or_default()])
            .text(&self.epoch().map(|epoch| epoch.to_string()).unwrap_or_default())
            .with(|hasher| add_to_key(hasher, &picked, owners))
            .finish();
        let once = self.copy_once(&key, copy, &created_by, &mut || {
            let worker = self.ask.worker;
            let created = worker.now();
            let root = if copy.link { None } else { Some(worker.files(&self.state.layers)?) };
            let owner = match &chown {
                // What was sent belongs to whoever runs the build there, which means nothing here.
                None if !owners => Some((0, 0)),
                None => None,
                Some(text) => Some(worker.owner(&self.state.layers, text)?),
            };
            let target = Target {
                below: root.as_deref(),
                to: to.clone(),
                owner,
                own_in_archives: chown.is_none(),
                mode: mode.clone(),
                now: self.now(),
                epoch: self.epoch(),
            };
            let layer = worker.layer(below, &mut |sink| write(&*files, &picked, &target, sink))?;
            Ok(Record { created, layer: Some(layer) })
        })?;
        drop(files);
        self.take(&once, created_by);
        Ok(())
    }

    fn copy_once(
        &self,
        key: &Digest,
        copy: &Copy,
        created_by: &str,
        make: &mut dyn FnMut() -> Result<Record, Fault>,
    ) -> Result<crate::worker::Once, Fault> {
        let below = if copy.link { &[][..] } else { &self.state.layers[..] };
        let once = self.ask.worker.once(key, below, created_by, self.is_fresh(), make)?;
        if let (true, Some(layer)) = (copy.link, &once.record.layer) {
            self.ask.worker.stack(&self.state.layers, layer)?;
        }
        Ok(once)
    }

    fn pick_all(&self, copy: &Copy, picking: &Picking<'_>) -> Result<Vec<Picked>, Fault> {
        let escape = self.ask.file.directives.escape;
        let (mut picked, mut unmatched) = (Vec::new(), None);
        for source in &copy.sources {
            match source {
                CopySource::Inline(heredoc) => {
                    let mut text = heredoc.text();
                    if heredoc.expand {
                        text = self.scope.expand(&self.state.run.env, escape, true, &text)?.text;
                    }
                    picked.push(Picked::inline(&heredoc.name, text.into_bytes(), 0o644));
                }
                CopySource::Path(word) => {
                    let path = self.expand(word)?;
                    let remote = match copy.add {
                        true => self.remote(copy, &path, picking.exclude)?,
                        false => None,
                    };
                    if let Some(more) = remote {
                        picked.extend(more);
                        continue;
                    }
                    match pick(picking, &path) {
                        Ok(more) => picked.extend(more),
                        // A pattern may match nothing as long as others match something, as in Docker.
                        Err(fault @ Fault::NoSource { ignored: true, .. }) => {
                            unmatched = Some(fault);
                        }
                        Err(fault) => return Err(fault),
                    }
                }
            }
        }
        match unmatched {
            Some(fault) if picked.is_empty() => Err(fault),
            _ => Ok(picked),
        }
    }
}

/// A line of history: what the file says.
pub(super) fn history(text: &str, add: bool) -> String {
    let rest = text.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim());
    format!("{} {rest} # buildkit", if add { "ADD" } else { "COPY" })
}

/// A tree that somebody else has.
struct Borrowed<'a>(&'a dyn Files);

impl Files for Borrowed<'_> {
    fn look(
        &self,
        path: &[u8],
    ) -> Result<Option<crate::files::FileInfo>, crate::files::FilesError> {
        self.0.look(path)
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, crate::files::FilesError> {
        self.0.names(path)
    }

    fn open(&self, path: &[u8]) -> Result<Box<dyn Read + '_>, crate::files::FilesError> {
        self.0.open(path)
    }
}
