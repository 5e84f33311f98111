//! The classic builder's text: steps, output, ids, as clients look for them.
//!
//! Invariant: one stage is told at a time; what later stages say meanwhile waits, up to a bound.

use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dhow_engine::{BuildEvent, BuildObserver, OutputStream};
use dhow_wire::JsonMessage;

use crate::routes::build_lines::Line;

/// Bytes of a stage that waits for its turn; what is more is left out, and that is told.
const HELD_BYTES_MAX: usize = 1 << 20;

/// What commands say on standard error is red in the classic builder's text, terminal or not.
const RED: &str = "\x1b[91m";
const PLAIN: &str = "\x1b[0m";

/// Tells a build as text.
pub(super) struct Teller {
    quiet: bool,
    state: Mutex<State>,
}

struct State {
    lines: Option<SyncSender<Line>>,
    /// Stages that have begun and not ended.
    open: BTreeMap<usize, Held>,
    /// Stages that have ended, and wait for one before them.
    ended: BTreeMap<usize, Held>,
}

#[derive(Default)]
struct Held {
    texts: Vec<String>,
    bytes: usize,
    clipped: bool,
}

impl Teller {
    pub(super) fn new(quiet: bool, lines: SyncSender<Line>) -> Self {
        let state = State { lines: Some(lines), open: BTreeMap::new(), ended: BTreeMap::new() };
        Self { quiet, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what is left, and closes the stream.
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        for (_, held) in std::mem::take(&mut state.open) {
            state.tell_all(held);
        }
        for (_, held) in std::mem::take(&mut state.ended) {
            state.tell_all(held);
        }
        state.lines = None;
    }

    fn say(&self, stage: usize, text: String) {
        if self.quiet || text.is_empty() {
            return;
        }
        let mut state = self.lock();
        if state.first() == Some(stage) {
            return state.send(text);
        }
        let held = state.open.entry(stage).or_default();
        if held.bytes + text.len() > HELD_BYTES_MAX {
            if !std::mem::replace(&mut held.clipped, true) {
                held.texts.push("[output of this stage clipped]\n".to_owned());
            }
            return;
        }
        held.bytes += text.len();
        held.texts.push(text);
    }

    fn begin(&self, stage: usize) {
        self.lock().open.entry(stage).or_default();
    }

    fn end(&self, stage: usize) {
        let mut state = self.lock();
        let held = state.open.remove(&stage).unwrap_or_default();
        state.ended.insert(stage, held);
        // Those whose turn has come.
        while let Some((first, _)) = state.ended.first_key_value() {
            let first = *first;
            if state.open.first_key_value().is_some_and(|(open, _)| *open < first) {
                break;
            }
            let held = state.ended.remove(&first).unwrap_or_default();
            state.tell_all(held);
        }
        if let Some(first) = state.first() {
            let held = state.open.insert(first, Held::default()).unwrap_or_default();
            state.tell_all(held);
        }
    }
}

impl State {
    /// The stage that is told as it happens.
    fn first(&self) -> Option<usize> {
        let open = self.open.keys().next().copied()?;
        let waiting = self.ended.keys().next().is_some_and(|ended| *ended < open);
        (!waiting).then_some(open)
    }

    fn send(&mut self, text: String) {
        let line = JsonMessage { stream: text, ..JsonMessage::default() };
        let line = Line::Message(Box::new(line));
        // Nobody there: the build is being ended.
        if self.lines.as_ref().is_some_and(|lines| lines.send(line).is_err()) {
            self.lines = None;
        }
    }

    fn tell_all(&mut self, held: Held) {
        for text in held.texts {
            self.send(text);
        }
    }
}

impl BuildObserver for Teller {
    fn event(&self, event: &BuildEvent<'_>) {
        match *event {
            BuildEvent::Begin { stages } => stages.iter().for_each(|stage| self.begin(*stage)),
            BuildEvent::Step { stage, step, total, text } => {
                let text = text.replace('\n', " ");
                self.say(stage, format!("Step {step}/{total} : {text}\n"));
            }
            BuildEvent::Running { stage } => self.say(stage, " ---> Running\n".to_owned()),
            BuildEvent::Output { stage, stream, bytes } => {
                let text = String::from_utf8_lossy(bytes);
                self.say(
                    stage,
                    match stream {
                        OutputStream::Output => text.into_owned(),
                        OutputStream::Error => format!("{RED}{text}{PLAIN}"),
                    },
                );
            }
            BuildEvent::Warning { stage, text } => self.say(stage, text.to_owned()),
            BuildEvent::Done { stage, cached, id, .. } => {
                let cached = if cached { " ---> Using cache\n" } else { "" };
                self.say(stage, format!("{cached} ---> {id}\n"));
            }
            BuildEvent::End { stage } => self.end(stage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(stage: usize, text: &str) -> BuildEvent<'_> {
        BuildEvent::Step { stage, step: 1, total: 2, text }
    }

    fn said(stage: usize, stream: OutputStream, bytes: &[u8]) -> BuildEvent<'_> {
        BuildEvent::Output { stage, stream, bytes }
    }

    #[test]
    fn stages_are_told_one_after_the_other() {
        let (sender, lines) = crate::routes::build_lines::lines();
        let teller = Teller::new(false, sender);
        teller.event(&BuildEvent::Begin { stages: &[0, 1] });
        teller.event(&step(0, "FROM a"));
        teller.event(&step(1, "FROM b"));
        teller.event(&said(1, OutputStream::Output, b"second\n"));
        teller.event(&said(0, OutputStream::Error, b"first\n"));
        teller.event(&BuildEvent::End { stage: 1 });
        teller.event(&BuildEvent::Done { stage: 0, cached: true, ran: false, id: "abc" });
        teller.event(&BuildEvent::End { stage: 0 });
        teller.finish();
        let text = |line| if let Line::Message(line) = line { line.stream } else { String::new() };
        let texts: Vec<String> = lines.into_iter().map(text).collect();
        assert_eq!(
            texts.concat(),
            "Step 1/2 : FROM a\n\x1b[91mfirst\n\x1b[0m ---> Using cache\n ---> abc\nStep 1/2 : FROM b\nsecond\n"
        );
    }

    #[test]
    fn quiet_says_nothing() {
        let (sender, lines) = crate::routes::build_lines::lines();
        let teller = Teller::new(true, sender);
        teller.event(&step(0, "FROM a"));
        teller.finish();
        assert_eq!(lines.into_iter().count(), 0);
    }
}
