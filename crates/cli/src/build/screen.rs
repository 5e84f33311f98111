//! A build in place, on a terminal: a line for each step, and below those that run the last they said.
//!
//! Invariant: a picture is never higher than the terminal nor its lines wider, or the next one would not find it.

use std::time::Duration;

use super::view::{Graph, Vertex};

/// Lines that are shown of what a running step says.
const TAIL: usize = 6;
const BLUE: &str = "\x1b[34m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// One more picture over the one of `drawn` lines; gives its own number of lines.
pub(super) fn picture(graph: &Graph, drawn: usize) -> (String, usize) {
    let [rows, columns] = crate::session::stderr_size();
    let lines = lines(graph, columns.max(20), rows.max(4) - 1, true);
    (over(drawn, &lines), lines.len())
}

/// The last picture: every step, whatever the terminal's height.
pub(super) fn last(graph: &Graph, drawn: usize) -> String {
    let [_, columns] = crate::session::stderr_size();
    over(drawn, &lines(graph, columns.max(20), usize::MAX, false))
}

/// What the end of a build says below the steps.
pub(super) fn exported(lines: &[String]) -> String {
    let mut text = format!("{BLUE} => exporting to image{PLAIN}\n");
    for line in lines {
        text.push_str(&format!("{BLUE} => => {line}{PLAIN}\n"));
    }
    text
}

fn over(drawn: usize, lines: &[String]) -> String {
    let mut text = match drawn {
        0 => String::new(),
        drawn => format!("\x1b[{drawn}A\r"),
    };
    for line in lines {
        text.push_str("\x1b[2K");
        text.push_str(line);
        text.push('\n');
    }
    // A picture that became smaller leaves nothing of the one before.
    text + "\x1b[0J"
}

fn lines(graph: &Graph, columns: usize, rows: usize, moving: bool) -> Vec<String> {
    let (ended, all) = (graph.ended(), graph.vertices.len());
    let word = if moving { "" } else { " FINISHED" };
    let took = graph.began.elapsed().as_secs_f64();
    let head = format!("[+] Building {took:.1}s ({ended}/{all}){word}");
    let mut body = Vec::new();
    for vertex in &graph.vertices {
        body.push(line(vertex, columns));
        if moving && vertex.took.is_none() {
            let skipped = vertex.lines.len().saturating_sub(TAIL);
            for (_, said) in vertex.lines.iter().skip(skipped) {
                let text = cut(&format!(" => => # {}", clean(said)), columns);
                body.push(format!("{DIM}{text}{PLAIN}"));
            }
        }
    }
    let over = (body.len() + 1).saturating_sub(rows);
    body.drain(..over);
    std::iter::once(cut(&head, columns)).chain(body).collect()
}

fn line(vertex: &Vertex, columns: usize) -> String {
    let (color, word) = match (&vertex.error, vertex.took) {
        (Some(error), _) if error == "canceled" => (RED, "CANCELED "),
        (Some(_), _) => (RED, "ERROR "),
        (None, Some(_)) if vertex.cached => (BLUE, "CACHED "),
        (None, Some(_)) => (BLUE, ""),
        (None, None) => ("", ""),
    };
    let took: Duration = vertex.took.unwrap_or_else(|| vertex.began.elapsed());
    let time = format!("{:.1}s", took.as_secs_f64());
    let room = columns.saturating_sub(time.len() + 2);
    let text = cut(&format!(" => {word}{}", clean(&vertex.name)), room);
    let gap = " ".repeat(room.saturating_sub(text.chars().count()) + 1);
    format!("{color}{text}{gap}{time}{PLAIN}")
}

/// Without what would move the cursor.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

/// What is wider than the terminal would be two lines.
fn cut(text: &str, columns: usize) -> String {
    text.chars().take(columns.saturating_sub(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::graph;
    use super::*;

    #[test]
    fn a_picture_fits() {
        let (graph, _) = graph(&[
            r#"{"vertexes":[{"digest":"1","name":"[1/2] FROM a-very-long-name-of-an-image","started":"t"}]}"#,
            r#"{"vertexes":[{"digest":"1","name":"","completed":"t","cached":true}]}"#,
            r#"{"vertexes":[{"digest":"2","name":"[2/2] RUN y","started":"t"}]}"#,
            r#"{"logs":[{"vertex":"2","data":"G1szMW1vbmUKdHdvCg=="}]}"#,
        ]);
        let lines = lines(&graph, 30, 24, true);
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert!(lines[0].contains("(1/2)"), "{lines:?}");
        assert!(lines[1].contains("CACHED [1/2]"), "{lines:?}");
        assert!(lines[3].contains("=> => # [31mone"), "{lines:?}");
        for line in &lines {
            let bare = line.replace(BLUE, "").replace(DIM, "").replace(PLAIN, "");
            assert!(bare.chars().count() < 31, "{bare:?}");
        }
        let small = super::lines(&graph, 30, 3, true);
        assert_eq!(small.len(), 3);
        assert!(small[2].contains("two"), "{small:?}");
        assert!(over(3, &small).starts_with("\x1b[3A\r\x1b[2K[+] Building"));
        let end = super::lines(&graph, 30, usize::MAX, false);
        assert_eq!(end.len(), 3, "what was said is no part of the last picture");
    }
}
