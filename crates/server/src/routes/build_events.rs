//! A build as it happens, for clients that draw it: the JSON that BuildKit's `--progress=rawjson` has.
//!
//! A step is a *vertex* with a beginning and an end, its output *logs*. Invariants: of a vertex that was told, the
//! end is told too; a client that is slow holds up the build, not the memory.

use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dhow_engine::{BuildEvent, BuildObserver, BuildStage, OutputStream};
use dhow_spec::base64;
use dhow_spec::image::Timestamp;
use serde_json::{Value, json};

use crate::routes::build_lines::Line;

/// Tells a build as events.
pub(super) struct EventTeller {
    stages: Vec<BuildStage>,
    state: Mutex<State>,
}

struct State {
    lines: Option<SyncSender<Line>>,
    open: BTreeMap<usize, Vertex>,
    /// Vertices that stages have had so far.
    counts: BTreeMap<usize, usize>,
    number: u64,
}

/// A step that has begun.
struct Vertex {
    digest: String,
    name: String,
    started: String,
}

impl EventTeller {
    pub(super) fn new(stages: Vec<BuildStage>, lines: SyncSender<Line>) -> Self {
        let state =
            State { lines: Some(lines), open: BTreeMap::new(), counts: BTreeMap::new(), number: 0 };
        Self { stages, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `[build 2/5] RUN make`.
    fn name(&self, stage: usize, count: usize, text: &str) -> String {
        let Some(known) = self.stages.get(stage) else { return text.to_owned() };
        let words = [&known.platform, &known.name];
        let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
        let gap = if words.is_empty() { "" } else { " " };
        format!("[{}{gap}{count}/{}] {}", words.join(" "), known.steps, text.trim())
    }

    /// Closes the stream; what is still open ended with the build, for `reason` where it failed.
    pub(super) fn finish(&self, reason: Option<&str>) {
        let mut state = self.lock();
        let open = std::mem::take(&mut state.open);
        for vertex in open.into_values() {
            let mut value = vertex.value();
            value["completed"] = now().into();
            value["error"] = reason.unwrap_or("canceled").into();
            state.send(json!({ "vertexes": [value] }));
        }
        state.lines = None;
    }
}

impl Vertex {
    fn value(&self) -> Value {
        json!({ "digest": self.digest, "name": self.name, "started": self.started })
    }
}

impl State {
    fn send(&mut self, value: Value) {
        // Nobody there: the build is being ended.
        if self.lines.as_ref().is_some_and(|lines| lines.send(Line::Event(value)).is_err()) {
            self.lines = None;
        }
    }

    fn begin(&mut self, stage: usize, name: String) -> Value {
        self.number += 1;
        let digest = format!("sha256:{:064x}", self.number);
        let vertex = Vertex { digest, name, started: now() };
        let value = vertex.value();
        self.open.insert(stage, vertex);
        value
    }

    fn end(&mut self, stage: usize, cached: bool) {
        let Some(vertex) = self.open.remove(&stage) else { return };
        let mut value = vertex.value();
        value["completed"] = now().into();
        if cached {
            value["cached"] = true.into();
        }
        self.send(json!({ "vertexes": [value] }));
    }

    fn log(&mut self, stage: usize, stream: u8, bytes: &[u8]) {
        let vertex = self.open.get(&stage).map(|vertex| vertex.digest.clone());
        let log = json!({
            "vertex": vertex.unwrap_or_default(),
            "stream": stream,
            "data": base64::encode(bytes),
            "timestamp": now(),
        });
        self.send(json!({ "logs": [log] }));
    }
}

impl BuildObserver for EventTeller {
    fn event(&self, event: &BuildEvent<'_>) {
        let mut state = self.lock();
        match *event {
            BuildEvent::Step { stage, text, .. } => {
                if !is_shown(text) {
                    return;
                }
                let count = state.counts.entry(stage).or_default();
                *count += 1;
                let name = self.name(stage, *count, text);
                let value = state.begin(stage, name);
                state.send(json!({ "vertexes": [value] }));
            }
            BuildEvent::Output { stage, stream, bytes } => {
                state.log(stage, if stream == OutputStream::Error { 2 } else { 1 }, bytes);
            }
            BuildEvent::Warning { stage, text } if state.open.contains_key(&stage) => {
                state.log(stage, 2, text.as_bytes());
            }
            // Between the steps: a step of its own.
            BuildEvent::Warning { stage, text } => {
                let vertex = state.begin(stage, "[internal] note".to_owned());
                state.send(json!({ "vertexes": [vertex] }));
                state.log(stage, 2, text.as_bytes());
                state.end(stage, false);
            }
            BuildEvent::Done { stage, cached, .. } => state.end(stage, cached),
            BuildEvent::Begin { .. } | BuildEvent::Running { .. } | BuildEvent::End { .. } => {}
        }
    }
}

/// Whether a step does more than to change the configuration, as BuildKit shows it.
fn is_shown(text: &str) -> bool {
    let word = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    matches!(word.as_str(), "FROM" | "RUN" | "COPY" | "ADD" | "WORKDIR")
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
    let stamp = Timestamp::from_unix(seconds, since.subsec_nanos());
    stamp.map(|stamp| stamp.as_str().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_vertices() {
        let stage = |name: Option<&str>| BuildStage {
            name: name.map(str::to_owned),
            platform: None,
            steps: 2,
        };
        let (sender, lines) = crate::routes::build_lines::lines();
        let teller = EventTeller::new(vec![stage(Some("make")), stage(Some("stage-1"))], sender);
        let step = |stage, text| BuildEvent::Step { stage, step: 1, total: 4, text };
        teller.event(&step(0, "FROM x AS make"));
        teller.event(&BuildEvent::Done { stage: 0, cached: false, ran: false, id: "1" });
        teller.event(&step(0, "ENV a=b"));
        teller.event(&BuildEvent::Done { stage: 0, cached: false, ran: false, id: "2" });
        teller.event(&step(0, "RUN y"));
        teller.event(&BuildEvent::Output {
            stage: 0,
            stream: OutputStream::Output,
            bytes: b"said\n",
        });
        teller.event(&BuildEvent::Done { stage: 0, cached: true, ran: true, id: "3" });
        teller.event(&step(1, "COPY a b"));
        teller.finish(Some("it broke"));
        let value = |line| if let Line::Event(value) = line { value } else { Value::Null };
        let lines: Vec<Value> = lines.into_iter().map(value).collect();
        let names: Vec<&str> =
            lines.iter().filter_map(|line| line["vertexes"][0]["name"].as_str()).collect();
        assert_eq!(
            names,
            [
                "[make 1/2] FROM x AS make",
                "[make 1/2] FROM x AS make",
                "[make 2/2] RUN y",
                "[make 2/2] RUN y",
                "[stage-1 1/2] COPY a b",
                "[stage-1 1/2] COPY a b",
            ]
        );
        assert_eq!(lines[3]["logs"][0]["data"], "c2FpZAo=");
        assert_eq!(lines[3]["logs"][0]["vertex"], lines[2]["vertexes"][0]["digest"]);
        assert_eq!(lines[4]["vertexes"][0]["cached"], true);
        assert_eq!(lines[6]["vertexes"][0]["error"], "it broke");
    }
}
