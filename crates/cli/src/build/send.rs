//! How a build is asked for: of a directory, what it holds is told first, and what the engine wants of that is sent.
//!
//! Invariant: an engine that knows no listings gets an archive of everything.

use std::collections::BTreeSet;
use std::io::{self, Read};

use super::input::Sent;
use super::query::Pairs;
use crate::client::{Answer, Client, Payload, Request, query};
use crate::context::Context;
use crate::failure::Failure;
use crate::json::Json;

/// The status of an answer that asks for files.
const WANTED: u16 = 428;
/// The header that says that a listing was understood.
const LISTED: &str = "x-dhow-context";
/// How often what was told of may change under our hands.
const ROUNDS_MAX: usize = 4;

/// What goes with every request.
type Headers = Vec<(&'static str, String)>;

/// Asks for a build.
pub(crate) fn send(
    client: &Client,
    sent: &mut Sent,
    pairs: &Pairs,
    headers: &Headers,
) -> Result<Answer, Failure> {
    let payload = match sent {
        Sent::Directory(context) => return directory(client, context, pairs, headers),
        Sent::Archive(archive) => Payload::Stream(&mut **archive),
        Sent::Nothing => Payload::Empty,
    };
    client.send(request(pairs, headers, payload))
}

fn request<'a>(pairs: &Pairs, headers: &Headers, payload: Payload<'a>) -> Request<'a> {
    let path = format!("/build{}", query(pairs.iter().cloned()));
    Request { method: "POST", path, headers: headers.clone(), payload }
}

fn directory(
    client: &Client,
    context: &Context,
    pairs: &Pairs,
    headers: &Headers,
) -> Result<Answer, Failure> {
    let listing = context.listing();
    let mut named = pairs.clone();
    named.push(("context", context.name()));
    let mut wanted = BTreeSet::new();
    for _ in 0..ROUNDS_MAX {
        let files: Box<dyn Read> = match wanted.is_empty() {
            true => Box::new(io::empty()),
            false => Box::new(context.files(&wanted)),
        };
        let mut body = listing.chain(files);
        let answer = client.ask(request(&named, headers, Payload::Stream(&mut body)))?;
        if answer.head.header(LISTED).is_none() {
            // What an older engine says of it need not be told, unless it is that it is older.
            client.step_down_for(answer)?;
            break;
        }
        if answer.head.status != WANTED {
            return client.accept(answer);
        }
        wanted.extend(numbers(&client.document(answer)?, context.len()));
    }
    client.send(request(pairs, headers, Payload::Stream(&mut context.archive())))
}

/// What the engine asks for, as first and last numbers of runs of files.
fn numbers(said: &Json, count: u32) -> Vec<u32> {
    let number = |json: Option<&Json>| json.and_then(|json| u32::try_from(json.as_int()).ok());
    let runs = said.get("Wanted").items().iter().filter_map(|run| {
        let ends = run.items();
        let end = number(ends.get(1))?.checked_add(1)?;
        Some(number(ends.first())?..end.min(count))
    });
    runs.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_sent_than_there_is() {
        let said = br#"{"Wanted":[[0,1],[3,3],[5,4294967294],[7],"x",[9,8]]}"#;
        let said = Json::parse(said).expect("a document");
        assert_eq!(numbers(&said, 7), [0, 1, 3, 5, 6]);
        assert_eq!(numbers(&Json::Null, 7), [0; 0]);
    }
}
