//! `RUN`: the command, what it sees, and what identifies it.
//!
//! Invariant: no secret is in a key, a line of history or a layer; options that do not change what a command does
//! are not in its key.

use dhow_archive::ignore::Patterns;
use dhow_archive::tar::Time;

use super::key::Key;
use super::scope::proxies;
use super::source::Root;
use super::walk::Walker;
use crate::context::Context;
use crate::copy::{Picked, Picking, Target, add_to_key, pick, write};
use crate::dockerfile::{Heredoc, Mount, MountKind, Network, Run, Security};
use crate::error::Fault;
use crate::files::{Files, clean};
use crate::observer::Event;
use crate::worker::{
    AgentMount, Bind, CacheMount, Layer, Ran, Record, RunStep, SecretMount, TmpfsMount,
};

/// A mount before its files are there.
struct Planned<'a> {
    target: String,
    source: Source<'a>,
    path: Vec<u8>,
    writable: bool,
}

/// Where the files of a mount come from.
enum Source<'a> {
    /// A stage or an image.
    Layers(Vec<Layer>),
    /// Files that become a layer if the command is run.
    Files(Vec<Picked>, &'a Context),
}

impl<'a> Walker<'a> {
    /// `RUN`.
    pub(super) fn run(&mut self, run: &Run, text: &str) -> Result<(), Fault> {
        if run.security == Security::Insecure && !self.ask.insecure {
            return Err(Fault::Forbidden { what: "security.insecure" });
        }
        if run.network == Network::Host && !self.ask.host_network {
            return Err(Fault::Forbidden { what: "network.host" });
        }
        let (args, script) = self.arguments(run);
        let mut planned = Vec::new();
        if let Some(script) = script {
            planned.push(script);
        }
        let mut step = RunStep {
            args,
            env: self.environment(),
            user: self.state.run.user.clone().unwrap_or_default(),
            cwd: self.state.working_dir().to_owned(),
            network: run.network,
            privileged: run.security == Security::Insecure,
            platform: self.state.platform.clone(),
            binds: Vec::new(),
            caches: Vec::new(),
            tmpfs: Vec::new(),
            secrets: Vec::new(),
            agents: Vec::new(),
            epoch: self.epoch(),
        };
        let mut secret_env = Vec::new();
        let mut named = Vec::new();
        let mut seeds = Vec::new();
        for mount in &run.mounts {
            let target = mount.target.as_deref().map(|word| self.target(word)).transpose()?;
            match mount.kind {
                MountKind::Bind => planned.push(self.bind(mount, target.unwrap_or_default())?),
                MountKind::Cache => {
                    let target = target.unwrap_or_default();
                    let (cache, seed) = self.cache(mount, target)?;
                    seeds.push(seed);
                    step.caches.push(cache);
                }
                MountKind::Tmpfs => {
                    let target = target.unwrap_or_default();
                    step.tmpfs.push(TmpfsMount { target, size: mount.size });
                }
                MountKind::Secret => {
                    named.push(self.secret(mount, target, &mut step, &mut secret_env)?);
                }
                MountKind::Ssh => {
                    named.push(self.agent(mount, target, &mut step, &mut secret_env)?);
                }
            }
        }
        let key = self.key(&step, &planned, &named);
        step.env.extend(proxies(self.ask));
        step.env.extend(secret_env);
        let created_by = self.created_by(run, text);
        let (worker, layers, stage) = (self.ask.worker, &self.state.layers, self.number);
        let mut ran = false;
        let once = worker.once(&key, layers, &created_by, self.is_fresh(), &mut || {
            let created = worker.now();
            let mut step = step.clone();
            for one in &planned {
                step.binds.push(self.ready(one)?);
            }
            for (cache, seed) in step.caches.iter_mut().zip(&seeds) {
                cache.seed = seed.as_ref().map(|one| self.ready(one)).transpose()?;
            }
            self.ask.observer.event(&Event::Running { stage });
            ran = true;
            let mut output = |stream, bytes: &[u8]| {
                self.ask.observer.event(&Event::Output { stage, stream, bytes });
            };
            match worker.run(layers, &step, &mut output)? {
                Ran::Layer(layer) => Ok(Record { created, layer: Some(layer) }),
                Ran::Failed { code, layer } => {
                    let kept = layer.map(|layer| Box::new(self.state.with(created, layer)));
                    Err(Fault::Command { command: step.args.join(" "), code, kept })
                }
            }
        })?;
        self.ran = ran;
        self.take(&once, created_by);
        Ok(())
    }

    /// Program and arguments; a script that stands in the file becomes a file.
    fn arguments(&self, run: &Run) -> (Vec<String>, Option<Planned<'a>>) {
        if !run.command.shell {
            return (run.command.words.clone(), None);
        }
        let shell = self.state.shell();
        let with = |text: String| shell.iter().cloned().chain([text]).collect();
        let text = run.command.words.first().cloned().unwrap_or_default();
        match run.heredocs.as_slice() {
            [] => (with(text), None),
            [one] if is_alone(&text, one) => {
                let content = one.text();
                if !content.starts_with("#!") {
                    return (with(content), None);
                }
                let target = format!("/dev/pipes/{}", clean_name(&one.name));
                let mut file = Picked::inline("script", content.into_bytes(), 0o755);
                // The same script is the same layer.
                file.entries[0].info.metadata.modified = Time { seconds: 1, nanoseconds: 0 };
                let source = Source::Files(vec![file], self.ask.context);
                let path = b"script".to_vec();
                let script = Planned { target: target.clone(), source, path, writable: false };
                (vec![target], Some(script))
            }
            many => {
                let mut whole = text;
                for heredoc in many {
                    whole.push('\n');
                    whole.push_str(&heredoc.content);
                    whole.push_str(&heredoc.name);
                }
                (with(whole), None)
            }
        }
    }

    /// What a command finds as its environment, without what must be in no key.
    fn environment(&self) -> Vec<String> {
        let mut env = self.scope.environment(&self.state.run.env);
        env.extend(self.state.run.env.iter().cloned());
        env
    }

    fn target(&self, word: &str) -> Result<String, Fault> {
        let path = self.state.absolute(&self.expand(word)?);
        Ok(format!("/{}", String::from_utf8_lossy(&clean(path.as_bytes()))))
    }

    fn bind(&self, mount: &Mount, target: String) -> Result<Planned<'a>, Fault> {
        let source = mount.source.as_deref().map(|word| self.expand(word)).transpose()?;
        let source = source.unwrap_or_default();
        let writable = mount.readonly == Some(false);
        match self.root(mount.from.as_deref())? {
            Root::Layers(layers) => {
                let files = self.ask.worker.files(&layers)?;
                let path = crate::files::follow(&*files, source.as_bytes(), true)?;
                if files.look(&path)?.is_none() && !path.is_empty() {
                    return Err(Fault::NoSource { path: source, ignored: false });
                }
                Ok(Planned { target, source: Source::Layers(layers), path, writable })
            }
            root @ (Root::Context | Root::Files(_)) => {
                let files = match root {
                    Root::Files(files) => files,
                    _ => self.ask.context,
                };
                let nothing = Patterns::default();
                let picking = Picking {
                    files,
                    parents: false,
                    exclude: &nothing,
                    unpack: false,
                    owners: false,
                };
                let mut picked = pick(&picking, &source)?;
                let path = name_file(&mut picked);
                let source = Source::Files(picked, files);
                Ok(Planned { target, source, path, writable })
            }
        }
    }

    fn cache(
        &self,
        mount: &Mount,
        target: String,
    ) -> Result<(CacheMount, Option<Planned<'a>>), Fault> {
        let id = match &mount.id {
            Some(id) => self.expand(id)?,
            None => target.clone(),
        };
        let namespace = self.ask.args.get("BUILDKIT_CACHE_MOUNT_NS");
        let id = match namespace {
            Some(namespace) => format!("{namespace}/{id}"),
            None => id,
        };
        let seed = match &mount.from {
            Some(_) => Some(self.bind(mount, target.clone())?),
            None => None,
        };
        let owner = (mount.mode.unwrap_or(0o755), mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
        let writable = mount.readonly != Some(true);
        let cache = CacheMount { target, id, sharing: mount.sharing, writable, seed: None, owner };
        Ok((cache, seed))
    }

    /// Gives what of the secret is in the key: how it is seen, and never what it is.
    fn secret(
        &self,
        mount: &Mount,
        target: Option<String>,
        step: &mut RunStep,
        env: &mut Vec<String>,
    ) -> Result<String, Fault> {
        let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let id = match (&mount.id, &target) {
            (Some(id), _) => self.expand(id)?,
            (None, Some(target)) => base(target),
            (None, None) => {
                return Err(Fault::Missing { what: "secret", id: String::new() });
            }
        };
        let target = match (target, &mount.env) {
            (Some(target), _) => Some(target),
            (None, Some(_)) => None,
            (None, None) => Some(format!("/run/secrets/{}", base(&id))),
        };
        let seen = format!(
            "{id}\0{}\0{}",
            target.clone().unwrap_or_default(),
            mount.env.clone().unwrap_or_default()
        );
        let Some(bytes) = self.ask.secrets.get(&id) else {
            return match mount.required {
                true => Err(Fault::Missing { what: "secret", id }),
                false => Ok(seen),
            };
        };
        if let Some(name) = &mount.env {
            env.push(format!("{name}={}", String::from_utf8_lossy(bytes)));
        }
        if let Some(target) = target {
            let owner =
                (mount.mode.unwrap_or(0o400), mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
            step.secrets.push(SecretMount { target, bytes: bytes.clone(), owner });
        }
        Ok(seen)
    }

    /// The same for an agent; one that is not there and need not be is simply not there.
    fn agent(
        &self,
        mount: &Mount,
        target: Option<String>,
        step: &mut RunStep,
        env: &mut Vec<String>,
    ) -> Result<String, Fault> {
        let id = mount.id.as_deref().map(|word| self.expand(word)).transpose()?;
        let id = id.unwrap_or_else(|| "default".to_owned());
        let number = step.agents.len();
        let target = target.unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{number}"));
        let seen = format!("ssh\0{id}\0{target}");
        if !self.ask.agents.contains(&id) {
            return match mount.required {
                true => Err(Fault::Missing { what: "ssh", id }),
                false => Ok(seen),
            };
        }
        if number == 0 {
            env.push(format!("SSH_AUTH_SOCK={target}"));
        }
        let owner = (mount.mode.unwrap_or(0o600), mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
        step.agents.push(AgentMount { target, id, owner });
        Ok(seen)
    }

    fn key(
        &self,
        step: &RunStep,
        planned: &[Planned<'_>],
        secrets: &[String],
    ) -> dhow_spec::Digest {
        let mut key = Key::new("run")
            .layers(&self.state.layers)
            .texts(&step.args)
            .texts(&step.env)
            .texts(&[&step.user, &step.cwd, &super::scope::text(&step.platform)])
            .text(match step.network {
                Network::Default => "",
                Network::None => "none",
                Network::Host => "host",
            })
            .text(if step.privileged { "insecure" } else { "" })
            .text(&step.epoch.map(|epoch| epoch.to_string()).unwrap_or_default())
            .texts(secrets);
        for one in planned {
            key = key.text(&one.target).bytes(&one.path).text(if one.writable { "w" } else { "r" });
            key = match &one.source {
                Source::Layers(layers) => key.layers(layers),
                Source::Files(picked, _) => key.with(|hasher| add_to_key(hasher, picked, false)),
            };
        }
        for cache in &step.caches {
            let how = if cache.writable { "w" } else { "r" };
            key = key.texts(&[&cache.target, &cache.id, how]);
        }
        for tmpfs in &step.tmpfs {
            key = key.text(&tmpfs.target);
        }
        key.finish()
    }

    /// Files that a command is to see, made ready.
    fn ready(&self, one: &Planned<'_>) -> Result<Bind, Fault> {
        let layers = match &one.source {
            Source::Layers(layers) if one.path.is_empty() => layers.clone(),
            Source::Layers(layers) => return self.part(one, layers),
            Source::Files(picked, files) => {
                vec![self.lay_out(*files, picked, Some((0, 0)))?]
            }
        };
        let (target, path, writable) = (one.target.clone(), one.path.clone(), one.writable);
        Ok(Bind { target, layers, path, writable })
    }

    /// A part of a root: no mount shows that of several layers, so it is laid out as one.
    fn part(&self, one: &Planned<'_>, layers: &[Layer]) -> Result<Bind, Fault> {
        let files = self.ask.worker.files(layers)?;
        let nothing = Patterns::default();
        let picking = Picking {
            files: &*files,
            parents: false,
            exclude: &nothing,
            unpack: false,
            owners: true,
        };
        let mut picked = pick(&picking, &literal(&one.path))?;
        let path = name_file(&mut picked);
        let layers = vec![self.lay_out(&*files, &picked, None)?];
        Ok(Bind { target: one.target.clone(), layers, path, writable: one.writable })
    }

    /// Files as one layer upon nothing.
    fn lay_out(
        &self,
        files: &dyn Files,
        picked: &[Picked],
        owner: Option<(u32, u32)>,
    ) -> Result<Layer, Fault> {
        let target = Target {
            below: None,
            to: "/".to_owned(),
            owner,
            own_in_archives: false,
            mode: None,
            now: Time { seconds: 1, nanoseconds: 0 },
            epoch: None,
        };
        self.ask.worker.layer(&[], &mut |sink| write(files, picked, &target, sink))
    }

    /// As BuildKit words it, with the arguments that were in force.
    fn created_by(&self, run: &Run, text: &str) -> String {
        let args = self.scope.environment(&self.state.run.env);
        let prefix = match args.len() {
            0 => String::new(),
            count => format!("|{count} {} ", args.join(" ")),
        };
        let command = if run.command.shell {
            let command = run.command.words.join(" ");
            let mut command = format!("{} {command}", self.state.shell().join(" "));
            for heredoc in &run.heredocs {
                command.push('\n');
                command.push_str(&heredoc.content);
                command.push_str(&heredoc.name);
            }
            command
        } else if run.command.words.is_empty() {
            text.to_owned()
        } else {
            run.command.words.join(" ")
        };
        format!("RUN {prefix}{command} # buildkit")
    }
}

/// Whether the command is nothing but the here-document.
fn is_alone(text: &str, heredoc: &Heredoc) -> bool {
    let word = text.trim();
    word.starts_with("<<") && !word.contains(char::is_whitespace) && word.contains(&heredoc.name)
}

/// Gives one file a name of ours; gives that, or nothing for what a directory holds.
fn name_file(picked: &mut [Picked]) -> Vec<u8> {
    match picked.first_mut() {
        Some(one) if one.is_file() => {
            one.name = b"file".to_vec();
            for entry in &mut one.entries {
                entry.below.clear();
            }
            b"file".to_vec()
        }
        _ => Vec::new(),
    }
}

/// A path in which no character means anything else.
pub(super) fn literal(path: &[u8]) -> String {
    let mut text = String::from("/");
    for c in String::from_utf8_lossy(path).chars() {
        if "*?[]\\".contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// A name that is one component of a path.
fn clean_name(name: &str) -> String {
    let name: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    if name.is_empty() || name.starts_with('.') { format!("x{name}") } else { name }
}
