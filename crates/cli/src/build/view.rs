//! A build as it is seen: its steps, when they began and ended, what they said last.
//!
//! Invariant: what is said is kept to a bound. The picture is drawn by whoever the user wants: line by line
//! (`plain`), or in place (`screen`), from a thread of its own that only draws.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::check;
use super::plain::Plain;
use super::screen;
use super::stream::Place;
use crate::failure::Failure;
use crate::json::Json;
use dhow_spec::base64;

/// Lines of a step that are kept.
const LINES_MAX: usize = 40;
/// Bytes of a line that are kept.
const LINE_BYTES_MAX: usize = 4 << 10;
/// How often a picture is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// How a build is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Line by line.
    Plain,
    /// In place.
    Screen,
    /// The events as they come.
    Raw,
    /// Not at all.
    Quiet,
}

/// All steps so far.
pub(super) struct Graph {
    pub(super) began: Instant,
    pub(super) vertices: Vec<Vertex>,
}

/// One step.
pub(super) struct Vertex {
    digest: String,
    pub(super) name: String,
    pub(super) began: Instant,
    pub(super) took: Option<Duration>,
    pub(super) cached: bool,
    pub(super) error: Option<String>,
    /// The last lines, with when they were said.
    pub(super) lines: VecDeque<(Duration, String)>,
    /// A line that has no end yet.
    partial: Vec<u8>,
}

/// What an event has changed.
pub(super) enum Change {
    Began(usize),
    Said(usize, Vec<(Duration, String)>),
    Ended(usize),
}

/// Shows a build.
pub(crate) struct View {
    mode: Mode,
    graph: Arc<Mutex<Graph>>,
    plain: Plain,
    ticker: Option<(Arc<AtomicBool>, JoinHandle<usize>)>,
}

impl View {
    pub(crate) fn new(mode: Mode) -> Self {
        let graph = Graph { began: Instant::now(), vertices: Vec::new() };
        let graph = Arc::new(Mutex::new(graph));
        let ticker = (mode == Mode::Screen).then(|| {
            let (stop, seen) = (Arc::new(AtomicBool::new(false)), graph.clone());
            let stopped = stop.clone();
            (stop, std::thread::spawn(move || tick(&seen, &stopped)))
        });
        Self { mode, graph, plain: Plain::default(), ticker }
    }

    /// Something happened; `line` is how it was said.
    pub(super) fn event(&mut self, event: &Json, line: &[u8]) -> Result<(), Failure> {
        if self.mode == Mode::Raw {
            let written = io::stdout().lock().write_all(line);
            return written.map_err(Failure::io("write", "progress"));
        }
        let mut graph = lock(&self.graph);
        let changes = graph.take(event);
        if self.mode == Mode::Plain {
            let text = self.plain.lines(&graph, &changes);
            drop(graph);
            say(&text)?;
        }
        Ok(())
    }

    /// The build has failed: what the step said last, and where it stands.
    pub(super) fn fail(&mut self, place: Option<&Place>) {
        self.stop_drawing();
        if matches!(self.mode, Mode::Raw | Mode::Quiet) {
            return;
        }
        let graph = lock(&self.graph);
        let failed = graph
            .vertices
            .iter()
            .rev()
            .find(|vertex| vertex.error.as_deref().is_some_and(|error| error != "canceled"));
        let mut text = String::new();
        if let Some(vertex) = failed {
            text.push_str(&format!("------\n > {}:\n", vertex.name));
            let skipped = vertex.lines.len().saturating_sub(20);
            for (at, line) in vertex.lines.iter().skip(skipped) {
                text.push_str(&format!("{:.3} {line}\n", at.as_secs_f64()));
            }
            text.push_str("------\n");
        }
        if let Some(place) = place.filter(|place| place.line > 0) {
            let lines = (place.line, place.line);
            text.push_str(&check::frame(&place.dockerfile, &place.source, lines));
        }
        drop(graph);
        // Standard error that is closed has nobody to tell.
        let _ = say(&text);
    }

    /// The build has ended well: what is called what, and what could be better.
    pub(crate) fn succeed(&mut self, id: &str, names: &[&str], lint: &Json) -> Result<(), Failure> {
        self.stop_drawing();
        let mut lines = vec![format!("writing image {id} done")];
        lines.extend(names.iter().map(|name| format!("naming to {name} done")));
        let text = match self.mode {
            Mode::Raw | Mode::Quiet => return Ok(()),
            Mode::Plain => self.plain.exported(&lines),
            Mode::Screen => screen::exported(&lines),
        };
        say(&(text + &check::summary(lint)))
    }

    fn stop_drawing(&mut self) {
        let Some((stop, thread)) = self.ticker.take() else { return };
        stop.store(true, Ordering::SeqCst);
        // A thread that only draws cannot fail in a way that matters.
        let drawn = thread.join().unwrap_or(0);
        let graph = lock(&self.graph);
        let _ = say(&screen::last(&graph, drawn));
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.stop_drawing();
    }
}

fn lock(graph: &Mutex<Graph>) -> MutexGuard<'_, Graph> {
    graph.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say(text: &str) -> Result<(), Failure> {
    io::stderr().write_all(text.as_bytes()).map_err(Failure::io("write", "progress"))
}

/// Draws until it is over; gives how many lines the last picture had.
fn tick(graph: &Mutex<Graph>, stop: &AtomicBool) -> usize {
    let mut drawn = 0;
    while !stop.load(Ordering::SeqCst) {
        let (text, lines) = screen::picture(&lock(graph), drawn);
        if say(&text).is_err() {
            return 0;
        }
        drawn = lines;
        std::thread::sleep(FRAME);
    }
    drawn
}

impl Graph {
    fn take(&mut self, event: &Json) -> Vec<Change> {
        let mut changes = Vec::new();
        for said in event.get("vertexes").items() {
            let digest = said.text("digest");
            let known = self.vertices.iter().position(|vertex| vertex.digest == digest);
            let place = known.unwrap_or_else(|| {
                self.vertices.push(Vertex::new(digest, said.text("name")));
                changes.push(Change::Began(self.vertices.len() - 1));
                self.vertices.len() - 1
            });
            if !said.text("completed").is_empty() {
                let vertex = &mut self.vertices[place];
                let rest = vertex.end(said);
                if !rest.is_empty() {
                    changes.push(Change::Said(place, rest));
                }
                changes.push(Change::Ended(place));
            }
        }
        for said in event.get("logs").items() {
            let Some(bytes) = base64::decode(said.text("data")) else { continue };
            let digest = said.text("vertex");
            let place = self.vertices.iter().position(|vertex| vertex.digest == digest);
            let place = place.or_else(|| self.vertices.len().checked_sub(1));
            if let Some(place) = place {
                let lines = self.vertices[place].say(&bytes);
                changes.push(Change::Said(place, lines));
            }
        }
        changes
    }

    /// How many steps have ended.
    pub(super) fn ended(&self) -> usize {
        self.vertices.iter().filter(|vertex| vertex.took.is_some()).count()
    }
}

impl Vertex {
    fn new(digest: &str, name: &str) -> Self {
        Self {
            digest: digest.to_owned(),
            name: name.replace('\n', " "),
            began: Instant::now(),
            took: None,
            cached: false,
            error: None,
            lines: VecDeque::new(),
            partial: Vec::new(),
        }
    }

    fn end(&mut self, said: &Json) -> Vec<(Duration, String)> {
        self.took = Some(self.began.elapsed());
        self.cached = said.on("cached");
        self.error = Some(said.text("error").to_owned()).filter(|error| !error.is_empty());
        match self.partial.is_empty() {
            true => Vec::new(),
            false => self.say(b"\n"),
        }
    }

    /// Takes what was said; gives the lines that are whole now.
    fn say(&mut self, bytes: &[u8]) -> Vec<(Duration, String)> {
        let at = self.began.elapsed();
        let mut whole = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.partial);
                    // A line that was written over shows what stood there last.
                    let line = line.strip_suffix(b"\r").unwrap_or(&line);
                    let line = line.rsplit(|byte| *byte == b'\r').next().unwrap_or_default();
                    whole.push((at, String::from_utf8_lossy(line).into_owned()));
                }
                _ if self.partial.len() >= LINE_BYTES_MAX => {}
                byte => self.partial.push(*byte),
            }
        }
        self.lines.extend(whole.iter().cloned());
        let over = self.lines.len().saturating_sub(LINES_MAX);
        self.lines.drain(..over);
        whole
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn graph(events: &[&str]) -> (Graph, Vec<Vec<Change>>) {
        let mut graph = Graph { began: Instant::now(), vertices: Vec::new() };
        let take = |event: &&str| graph.take(&Json::parse(event.as_bytes()).expect("JSON"));
        let changes = events.iter().map(take).collect();
        (graph, changes)
    }

    #[test]
    fn steps_begin_say_something_and_end() {
        let (graph, _) = graph(&[
            r#"{"vertexes":[{"digest":"1","name":"[1/2] FROM x","started":"t"}]}"#,
            r#"{"vertexes":[{"digest":"1","name":"[1/2] FROM x","completed":"t","cached":true}]}"#,
            r#"{"vertexes":[{"digest":"2","name":"[2/2] RUN y","started":"t"}]}"#,
            r#"{"logs":[{"vertex":"2","data":"b25lCnR3"}]}"#,
            r#"{"logs":[{"vertex":"2","data":"bwoxJQ0yJQpsYXN0"}]}"#,
            r#"{"vertexes":[{"digest":"2","name":"","completed":"t","error":"no"}]}"#,
        ]);
        assert_eq!((graph.vertices.len(), graph.ended()), (2, 2));
        assert!(graph.vertices[0].cached);
        let lines: Vec<&str> =
            graph.vertices[1].lines.iter().map(|(_, line)| line.as_str()).collect();
        assert_eq!(lines, ["one", "two", "2%", "last"]);
        assert_eq!(graph.vertices[1].error.as_deref(), Some("no"));
    }
}
