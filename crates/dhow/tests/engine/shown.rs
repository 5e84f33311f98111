//! Builds as they are looked at: on a terminal, to their end or to ctrl-c, by older clients; and results that go on
//! from the store.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use dhow_archive::tar::{Content, Entry, Kind, Metadata, Writer};

use crate::life::{is_readable, terminal};
use crate::registry::Registry;
use crate::whole::{IMAGE, TestEngine, text, until};

fn context(engine: &TestEngine, steps: &str) -> PathBuf {
    let place = engine.root.join("context");
    fs::create_dir_all(&place).expect("a directory");
    fs::write(place.join("Dockerfile"), format!("FROM {IMAGE}\n{steps}")).expect("a file");
    place
}

/// Starts a build that has a terminal for its own; gives it and the user's end of that.
fn build_on_terminal(engine: &TestEngine, words: &[&str]) -> (Child, File) {
    let (ours, theirs) = terminal();
    let command = engine.command(words);
    // Which terminal is whose is the kernel's to say, and this program's to ask. Whoever runs tests in the background
    // leaves them a ctrl-c that is ignored.
    let mut own = Command::new("setsid");
    own.args(["--ctty", "env", "--default-signal=INT"]);
    own.arg(command.get_program()).args(command.get_args()).env_clear();
    own.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let end = || Stdio::from(theirs.try_clone().expect("the same end"));
    let child = own.stdin(end()).stdout(end()).stderr(end()).spawn().expect("a client");
    (child, File::from(ours))
}

/// What is drawn until that is there.
fn drawn_until(terminal: &mut File, wanted: &str) -> String {
    let mut seen = Vec::new();
    loop {
        assert!(is_readable(terminal), "{wanted:?} is not in {}", String::from_utf8_lossy(&seen));
        let mut buffer = [0; 4096];
        // The last one to have the other end open is gone.
        let count = terminal.read(&mut buffer).unwrap_or(0);
        seen.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&seen);
        if text.contains(wanted) {
            return text.into_owned();
        }
        assert!(count > 0, "{wanted:?} is not in {text}");
    }
}

#[test]
fn a_build_is_drawn_and_ends_with_ctrl_c() {
    let Some(engine) = TestEngine::start("a_build_is_drawn_and_ends_with_ctrl_c") else { return };
    let place = context(&engine, "RUN echo one >/one\nRUN echo began; sleep 1000; echo over\n");
    let (mut child, mut terminal) = build_on_terminal(&engine, &["build", text(&place)]);
    // The step's own words come below it while it runs.
    let drawn = drawn_until(&mut terminal, " => => # began");
    for expected in ["[+] Building ", " => [2/3] RUN echo one", "\x1b["] {
        assert!(drawn.contains(expected), "{expected:?}: {drawn:?}");
    }
    assert!(engine.processes().len() > 2, "engine, client, and the monitor of the command");
    terminal.write_all(b"\x03").expect("ctrl-c");
    let ended = child.wait().expect("an end");
    assert!(!ended.success(), "{ended:?}");
    until("the command ends with its build", || (engine.processes().len() == 1).then_some(()));
    // What was done is remembered, what was not is not.
    let place = context(&engine, "RUN echo one >/one\nRUN echo began; sleep 1000; echo over\n");
    let (mut child, mut terminal) = build_on_terminal(&engine, &["build", text(&place)]);
    let drawn = drawn_until(&mut terminal, " => => # began");
    assert!(drawn.contains(" => CACHED [2/3] RUN echo one"), "{drawn:?}");
    assert!(!drawn.contains(" => CACHED [3/3]"), "{drawn:?}");
    terminal.write_all(b"\x03").expect("ctrl-c");
    child.wait().expect("an end");
    let place = context(&engine, "RUN echo one >/one\n");
    let words = ["build", "-t", "shown", text(&place)];
    let (mut child, mut terminal) = build_on_terminal(&engine, &words);
    let drawn = drawn_until(&mut terminal, "naming to ");
    assert!(drawn.contains("(2/2) FINISHED"), "{drawn:?}");
    assert!(child.wait().expect("an end").success());
}

#[test]
fn results_go_on_from_the_store() {
    let Some(engine) = TestEngine::start("results_go_on_from_the_store") else { return };
    let place = context(&engine, "RUN echo told >/told\n");
    let kept = || engine.ok(&["images", "-aq"]);
    let before = kept();
    // Done, remembered, and not kept.
    engine.ok(&["build", "-q", "--output=type=cacheonly", text(&place)]);
    assert_eq!(kept(), before);
    let again = engine.dhow(&["build", "--output=type=docker,name=given", text(&place)]);
    assert_eq!((again.code, again.err.matches(" CACHED").count()), (0, 1), "{again:?}");
    let says = |name: &str| engine.ok(&["run", "--rm", name, "cat", "/told"]);
    assert_eq!(says("given"), "told");
    let archive = engine.root.join("image.tar").display().to_string();
    let output = format!("--output=type=docker,name=travels:1,dest={archive}");
    engine.ok(&["build", "-q", &output, text(&place)]);
    assert_eq!(engine.ok(&["images", "-q", "travels"]), "");
    engine.ok(&["load", "-q", "-i", &archive]);
    assert_eq!(says("travels:1"), "told");
    let untagged = engine.dhow(&["build", "--push", text(&place)]);
    assert!(untagged.code != 0 && untagged.err.contains("tag is needed"), "{untagged:?}");
    let Some(registry) = Registry::start("results_go_on_from_the_store", None) else { return };
    let name = registry.name("team/pushed:1");
    engine.ok(&["build", "-q", "--push", "-t", &name, text(&place)]);
    engine.ok(&["rmi", &name]);
    assert_eq!(says(&name), "told");
    // A base that is not here is pulled, and that is seen.
    engine.ok(&["rmi", &name]);
    fs::write(place.join("Dockerfile"), format!("FROM {name}\nRUN cat /told\n")).expect("it");
    let built = engine.dhow(&["build", text(&place)]);
    assert_eq!(built.code, 0, "{built:?}");
    for expected in [" told\n", &format!("pulling {name}"), ": 2 layers, ", " (2/2)\n"] {
        assert!(built.err.contains(expected), "{expected}: {built:?}");
    }
}

#[test]
fn classic_builders_are_told_in_their_own_way() {
    let test = "classic_builders_are_told_in_their_own_way";
    let Some(engine) = TestEngine::start(test) else { return };
    let dockerfile = format!("FROM {IMAGE}\nRUN echo out; echo bad >&2\nENV A=b\n");
    let mut tar = Writer::new(Vec::new());
    let kind = Kind::File(Content::plain(dockerfile.len() as u64));
    let metadata = Metadata { mode: 0o644, ..Metadata::default() };
    let entry = Entry { path: b"Dockerfile".to_vec(), kind, metadata };
    tar.append(&entry, dockerfile.as_bytes()).expect("an entry");
    let tar = String::from_utf8(tar.finish().expect("an archive")).expect("plain letters");
    let build = |query: &str| {
        let path = format!("/v1.43/build?networkmode=none&{query}");
        engine.ask("POST", &path, &tar).expect("an answer")
    };
    let first = build("t=one");
    for expected in
        ["Step 2/3 : RUN echo out", "\"out\\n\"", r"\u001b[91mbad\n\u001b[0m", "Successfully built"]
    {
        assert!(first.contains(expected), "{expected}: {first}");
    }
    let cached = |query: &str| build(query).matches("Using cache").count();
    assert_eq!(cached("t=two"), 2);
    assert_eq!(cached("t=two&cachefrom=%5B%22one%22%5D"), 2);
    // What is known here counts only where one of these images has it.
    assert_eq!(cached("t=two&cachefrom=%5B%22nosuch%3Atag%22%5D"), 0);
}
