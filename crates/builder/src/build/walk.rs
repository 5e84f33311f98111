//! A stage's instructions, one after the other.
//!
//! Invariant: an instruction sees one state of the variables, the one before it.

use dhow_archive::tar::Time;
use dhow_spec::image::{HealthCheck as ImageHealthCheck, Timestamp};
use dhow_spec::{Digest, Platform};

use super::Ask;
use super::graph::{BaseOf, Graph};
use super::key::Key;
use super::scope::{Scope, set_env};
use super::shared::Shared;
use super::state::State;
use crate::copy::{Picked, Target, write};
use crate::dockerfile::{
    Arg, Command, HealthCheck, Instruction, Kind, Pair, Stage, instruction_of,
};
use crate::error::{BuildError, Fault};
use crate::files::clean;
use crate::observer::{Event, OutputStream};
use crate::worker::{Base, Once, Record, WorkError};

/// Walks a stage and tells what came of it.
pub(super) fn stage(shared: &Shared<'_>, number: usize) {
    // A bug of ours must not leave others waiting.
    let walked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| walk(shared, number)));
    let end = walked.unwrap_or_else(|_| Err(Fault::Work(WorkError::Cancelled).into()));
    shared.end(number, end);
}

fn walk(shared: &Shared<'_>, number: usize) -> Result<State, BuildError> {
    let own = &shared.ask.file.stages[number];
    let mut walker = Walker {
        shared,
        ask: shared.ask,
        graph: &shared.graph,
        number,
        step: shared.graph.before[number],
        state: State::scratch(&shared.graph.platforms[number]),
        scope: Scope::default(),
        ran: false,
    };
    let at = |fault| BuildError { line: Some(own.lines.0), text: own.text.clone(), fault };
    let triggers = walker.from(own).map_err(at)?;
    for trigger in triggers {
        let at = |fault| BuildError { line: Some(own.lines.0), text: trigger.clone(), fault };
        let escape = shared.ask.file.directives.escape;
        let instruction =
            instruction_of(&trigger, escape).map_err(|fault| at(Fault::OnBuild(fault)))?;
        walker.instruction(&instruction).map_err(at)?;
    }
    for instruction in &own.instructions {
        walker.step += 1;
        walker.begin(&instruction.text);
        walker.instruction(instruction).map_err(|fault| BuildError {
            line: Some(instruction.lines.0),
            text: instruction.text.clone(),
            fault,
        })?;
    }
    if number == shared.graph.target {
        walker.add_labels()?;
    }
    Ok(walker.state)
}

/// One stage on its way.
pub(super) struct Walker<'a> {
    pub(super) shared: &'a Shared<'a>,
    pub(super) ask: &'a Ask<'a>,
    pub(super) graph: &'a Graph,
    pub(super) number: usize,
    step: usize,
    pub(super) state: State,
    pub(super) scope: Scope,
    /// The step under way has run a command.
    pub(super) ran: bool,
}

impl Walker<'_> {
    fn begin(&mut self, text: &str) {
        self.ran = false;
        let (stage, step, total) = (self.number, self.step, self.graph.total);
        self.ask.observer.event(&Event::Step { stage, step, total, text });
    }

    fn done(&self, cached: bool) {
        let id = self.state.short_id();
        let event = Event::Done { stage: self.number, cached, ran: self.ran, id: &id };
        self.ask.observer.event(&event);
    }

    /// What the stage stands on; gives what that had put off.
    fn from(&mut self, own: &Stage) -> Result<Vec<String>, Fault> {
        self.step += 1;
        self.begin(&own.text);
        let platform = &self.graph.platforms[self.number];
        self.state = match &self.graph.bases[self.number] {
            BaseOf::Scratch => State::scratch(platform),
            BaseOf::Stage(base) => self.shared.wait(*base)?.next(),
            BaseOf::Image(reference) => State::of(self.base(reference, platform)?),
        };
        self.done(false);
        Ok(std::mem::take(&mut self.state.run.on_build))
    }

    /// An image, ready to stand on or to read from; what is said of it meanwhile is the step's.
    pub(super) fn base(&self, reference: &str, platform: &Platform) -> Result<Base, Fault> {
        let mut say = |text: &str| {
            let (stage, stream, bytes) = (self.number, OutputStream::Output, text.as_bytes());
            self.ask.observer.event(&Event::Output { stage, stream, bytes });
        };
        Ok(self.ask.worker.base(reference, platform, &mut say)?)
    }

    /// Whether nothing that was done before counts.
    pub(super) fn is_fresh(&self) -> bool {
        let name = self.ask.file.stages[self.number].from.name.as_deref();
        self.ask.no_cache || name.is_some_and(|name| self.ask.no_cache_stages.contains(name))
    }

    pub(super) fn expand(&self, word: &str) -> Result<String, Fault> {
        let escape = self.ask.file.directives.escape;
        Ok(self.scope.expand(&self.state.run.env, escape, false, word)?.text)
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), Fault> {
        if self.ask.worker.is_cancelled() {
            return Err(Fault::Work(WorkError::Cancelled));
        }
        match &instruction.kind {
            Kind::Run(run) => return self.run(run, &instruction.text),
            Kind::Copy(copy) => return self.copy(copy, &instruction.text),
            Kind::Workdir(path) => return self.workdir(path),
            Kind::Arg(args) => return self.args(args),
            _ => {}
        }
        let before = self.state.to_json();
        let created_by = self.configure(instruction)?;
        let key = Key::new("config").text(&before).text(&created_by).finish();
        self.note(&key, created_by)
    }

    /// A step that changes the configuration alone.
    fn note(&mut self, key: &Digest, created_by: String) -> Result<(), Fault> {
        let now = self.ask.worker.now();
        let once = self.ask.worker.once(
            key,
            &self.state.layers,
            &created_by,
            self.is_fresh(),
            &mut || Ok(Record { created: now.clone(), layer: None }),
        )?;
        self.take(&once, created_by);
        Ok(())
    }

    /// Takes over what a step came to.
    pub(super) fn take(&mut self, once: &Once, created_by: String) {
        let epoch = self.epoch().and_then(|seconds| Timestamp::from_unix(seconds, 0));
        self.state.add(&once.record, created_by, epoch.as_ref());
        self.done(once.cached);
    }

    /// No time in the image is later, if the user says so.
    pub(super) fn epoch(&self) -> Option<i64> {
        self.ask.args.get("SOURCE_DATE_EPOCH")?.parse().ok()
    }

    pub(super) fn now(&self) -> Time {
        let now = self.ask.worker.now();
        Time { seconds: now.unix_seconds(), nanoseconds: now.subsecond_nanoseconds() }
    }

    /// Applies an instruction to the configuration; gives its line of history.
    fn configure(&mut self, instruction: &Instruction) -> Result<String, Fault> {
        match &instruction.kind {
            Kind::Env(pairs) => {
                let pairs = self.pairs(pairs)?;
                for (name, value) in &pairs {
                    set_env(&mut self.state.run.env, name, value);
                }
                Ok(said("ENV", &pairs))
            }
            Kind::Label(pairs) => {
                let pairs = self.pairs(pairs)?;
                self.state.run.labels.extend(pairs.iter().cloned());
                Ok(said("LABEL", &pairs))
            }
            Kind::Cmd(command) => {
                let words = self.command(command);
                self.state.has_cmd = true;
                let text = format!("CMD {}", list(&words));
                self.state.run.cmd = words;
                Ok(text)
            }
            Kind::Entrypoint(command) => {
                let words = self.command(command);
                // The base's arguments were meant for its own entry point.
                if !self.state.has_cmd {
                    self.state.run.cmd.clear();
                }
                let text = format!("ENTRYPOINT {}", list(&words));
                self.state.run.entrypoint = words;
                Ok(text)
            }
            Kind::Expose(ports) => {
                let ports = self.ports(ports)?;
                let text = format!("EXPOSE [{}]", ports.join(" "));
                self.state.run.exposed_ports.extend(ports);
                Ok(text)
            }
            Kind::Volume(paths) => {
                let paths: Vec<String> =
                    paths.iter().map(|path| self.expand(path)).collect::<Result<_, _>>()?;
                let text = format!("VOLUME [{}]", paths.join(" "));
                self.state.run.volumes.extend(paths);
                Ok(text)
            }
            Kind::User(user) => {
                let user = self.expand(user)?;
                let text = format!("USER {user}");
                self.state.run.user = Some(user).filter(|user| !user.is_empty());
                Ok(text)
            }
            Kind::StopSignal(signal) => {
                let signal = self.expand(signal)?;
                let plausible = signal.parse::<u8>().is_ok_and(|number| number > 0)
                    || signal
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"+-".contains(&byte));
                if signal.is_empty() || !plausible {
                    return Err(Fault::Value { what: "signal", value: signal });
                }
                let text = format!("STOPSIGNAL {signal}");
                self.state.run.stop_signal = Some(signal);
                Ok(text)
            }
            Kind::Shell(words) => {
                self.state.run.shell.clone_from(words);
                Ok(format!("SHELL {}", list(words)))
            }
            Kind::OnBuild(text) => {
                self.state.run.on_build.push(text.clone());
                Ok(format!("ONBUILD {text}"))
            }
            Kind::HealthCheck(check) => {
                let check = self.health_check(check);
                let text = format!("HEALTHCHECK {}", list(&check.test));
                self.state.run.healthcheck = Some(check);
                Ok(text)
            }
            Kind::Maintainer(author) => {
                self.state.set_author(author.clone());
                Ok(format!("MAINTAINER {author}"))
            }
            other => Err(Fault::Unsupported { what: other.name().to_owned() }),
        }
    }

    fn pairs(&self, pairs: &[Pair]) -> Result<Vec<(String, String)>, Fault> {
        let pair = |pair: &Pair| Ok((self.expand(&pair.name)?, self.expand(&pair.value)?));
        pairs.iter().map(pair).collect()
    }

    fn command(&self, command: &Command) -> Vec<String> {
        if !command.shell {
            return command.words.clone();
        }
        self.state.shell().into_iter().chain(command.words.iter().cloned()).collect()
    }

    fn ports(&self, words: &[String]) -> Result<Vec<String>, Fault> {
        let escape = self.ask.file.directives.escape;
        let mut ports = Vec::new();
        for word in words {
            for word in self.scope.expand(&self.state.run.env, escape, false, word)?.words {
                let bad = || Fault::Value { what: "containerPort", value: word.clone() };
                let (range, protocol) = word.split_once('/').unwrap_or((&word, "tcp"));
                let protocol = protocol.to_ascii_lowercase();
                // A port of the host in front means nothing here.
                let range = range.rsplit(':').next().unwrap_or_default();
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let first: u16 = first.parse().map_err(|_| bad())?;
                let last: u16 = last.parse().map_err(|_| bad())?;
                if last < first || !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
                    return Err(bad());
                }
                ports.extend((first..=last).map(|port| format!("{port}/{protocol}")));
            }
        }
        Ok(ports)
    }

    fn health_check(&self, check: &HealthCheck) -> ImageHealthCheck {
        match check {
            HealthCheck::None => {
                ImageHealthCheck { test: vec!["NONE".to_owned()], ..ImageHealthCheck::default() }
            }
            HealthCheck::Check {
                command,
                interval,
                timeout,
                start_period,
                start_interval,
                retries,
            } => {
                let kind = if command.shell { "CMD-SHELL" } else { "CMD" };
                let words = command.words.iter().cloned();
                ImageHealthCheck {
                    test: std::iter::once(kind.to_owned()).chain(words).collect(),
                    interval: *interval,
                    timeout: *timeout,
                    start_period: *start_period,
                    start_interval: *start_interval,
                    retries: *retries,
                }
            }
        }
    }

    fn args(&mut self, args: &[Arg]) -> Result<(), Fault> {
        let before = self.state.to_json();
        let mut said = Vec::new();
        for arg in args {
            self.shared.use_arg(&arg.name);
            let default = arg.default.as_deref().map(|word| self.expand(word)).transpose()?;
            let global = self.graph.globals.args.get(&arg.name).cloned().flatten();
            let own = self.graph.globals.platforms.get(&arg.name).cloned();
            let value = self.ask.args.get(&arg.name).cloned().or(default).or(global).or(own);
            said.push(match &value {
                Some(value) => format!("{}={value}", arg.name),
                None => arg.name.clone(),
            });
            self.scope.declare(&arg.name, value);
        }
        let created_by = format!("ARG {}", said.join(" "));
        let key = Key::new("config").text(&before).text(&created_by).finish();
        self.note(&key, created_by)
    }

    fn workdir(&mut self, path: &str) -> Result<(), Fault> {
        let path = self.expand(path)?;
        let absolute = self.state.absolute(&path);
        let inside = clean(absolute.as_bytes());
        let directory = format!("/{}", String::from_utf8_lossy(&inside));
        let user = self.state.run.user.clone().unwrap_or_default();
        let created_by = format!("WORKDIR {path}");
        let key =
            Key::new("workdir").layers(&self.state.layers).text(&directory).text(&user).finish();
        let (worker, layers) = (self.ask.worker, &self.state.layers);
        let once = worker.once(&key, layers, &created_by, self.is_fresh(), &mut || {
            let created = worker.now();
            let files = worker.files(layers)?;
            let real = crate::files::follow(&*files, directory.as_bytes(), true)?;
            if real.is_empty() || files.look(&real)?.is_some() {
                return Ok(Record { created, layer: None });
            }
            let owner = match user.as_str() {
                "" => None,
                user => Some(worker.owner(layers, user)?),
            };
            let target = Target {
                below: Some(&*files),
                to: directory.clone(),
                owner,
                own_in_archives: false,
                mode: None,
                now: self.now(),
                epoch: self.epoch(),
            };
            let nothing =
                [Picked { tree: None, name: Vec::new(), contents: true, entries: Vec::new() }];
            let layer = worker
                .layer(layers, &mut |sink| write(self.ask.context, &nothing, &target, sink))?;
            Ok(Record { created, layer: Some(layer) })
        })?;
        self.state.run.working_dir = Some(directory);
        self.take(&once, created_by);
        Ok(())
    }

    /// What the user adds at the end.
    fn add_labels(&mut self) -> Result<(), BuildError> {
        if self.ask.labels.is_empty() {
            return Ok(());
        }
        let before = self.state.to_json();
        let created_by = said("LABEL", &self.ask.labels);
        self.step += 1;
        self.begin(&created_by);
        self.state.run.labels.extend(self.ask.labels.iter().cloned());
        let key = Key::new("config").text(&before).text(&created_by).finish();
        self.note(&key, created_by)?;
        Ok(())
    }
}

fn said(name: &str, pairs: &[(String, String)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{name} {}", pairs.join(" "))
}

/// As Go prints a list of texts in quotes.
fn list(words: &[String]) -> String {
    let words: Vec<String> =
        words.iter().map(|word| serde_json::Value::from(word.as_str()).to_string()).collect();
    format!("[{}]", words.join(" "))
}
