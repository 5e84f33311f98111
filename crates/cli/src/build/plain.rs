//! A build line by line, as BuildKit's plain mode has it: `#5 [2/3] RUN make`, `#5 0.123 …`, `#5 DONE 0.2s`.
//!
//! Invariant: lines of steps that run side by side are told apart by their numbers, and a change from one to the
//! other is seen.

use super::view::{Change, Graph};

/// What was said so far.
#[derive(Default)]
pub(super) struct Plain {
    /// The step that spoke last.
    current: Option<usize>,
    /// Steps that have been named.
    named: usize,
}

impl Plain {
    /// What changes come to as lines.
    pub(super) fn lines(&mut self, graph: &Graph, changes: &[Change]) -> String {
        let mut text = String::new();
        for change in changes {
            match change {
                Change::Began(place) => self.turn_to(graph, *place, &mut text),
                Change::Said(place, lines) => {
                    if !lines.is_empty() {
                        self.turn_to(graph, *place, &mut text);
                    }
                    for (at, line) in lines {
                        text.push_str(&format!("#{} {:.3} {line}\n", place + 1, at.as_secs_f64()));
                    }
                }
                Change::Ended(place) => {
                    self.turn_to(graph, *place, &mut text);
                    let vertex = &graph.vertices[*place];
                    let took = vertex.took.unwrap_or_default().as_secs_f64();
                    let end = match &vertex.error {
                        Some(error) if error == "canceled" => "CANCELED".to_owned(),
                        Some(error) => format!("ERROR: {error}"),
                        None if vertex.cached => "CACHED".to_owned(),
                        None => format!("DONE {took:.1}s"),
                    };
                    text.push_str(&format!("#{} {end}\n\n", place + 1));
                    self.current = None;
                }
            }
        }
        text
    }

    /// Names the step that speaks, if another one did before.
    fn turn_to(&mut self, graph: &Graph, place: usize, text: &mut String) {
        if self.current == Some(place) {
            return;
        }
        if let Some(before) = self.current {
            text.push_str(&format!("#{} ...\n\n", before + 1));
        }
        text.push_str(&format!("#{} {}\n", place + 1, graph.vertices[place].name));
        self.current = Some(place);
        self.named = self.named.max(place + 1);
    }

    /// The last step of all.
    pub(super) fn exported(&self, lines: &[String]) -> String {
        let number = self.named + 1;
        let mut text = format!("#{number} exporting to image\n");
        for line in lines {
            text.push_str(&format!("#{number} {line}\n"));
        }
        text + &format!("#{number} DONE 0.0s\n")
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::graph;
    use super::*;

    #[test]
    fn steps_side_by_side_are_told_apart() {
        let (graph, changes) = graph(&[
            r#"{"vertexes":[{"digest":"1","name":"[a 1/1] FROM x","started":"t"}]}"#,
            r#"{"vertexes":[{"digest":"2","name":"[b 1/1] FROM y","started":"t"}]}"#,
            r#"{"logs":[{"vertex":"1","data":"b25lCg=="}]}"#,
            r#"{"vertexes":[{"digest":"1","name":"","completed":"t","cached":true}]}"#,
            r#"{"vertexes":[{"digest":"2","name":"","completed":"t","error":"no"}]}"#,
        ]);
        let mut plain = Plain::default();
        let text: String = changes.iter().map(|changes| plain.lines(&graph, changes)).collect();
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines[..4], ["#1 [a 1/1] FROM x", "#1 ...", "#2 [b 1/1] FROM y", "#2 ..."]);
        assert_eq!(lines[4], "#1 [a 1/1] FROM x");
        assert!(lines[5].starts_with("#1 0.") && lines[5].ends_with(" one"), "{}", lines[5]);
        assert_eq!(lines[6..], ["#1 CACHED", "#2 [b 1/1] FROM y", "#2 ERROR: no"]);
        assert!(plain.exported(&["x done".to_owned()]).starts_with("#3 exporting to image\n#3 x"));
    }
}
