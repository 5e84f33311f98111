//! Builds of what is elsewhere: downloads, repositories, archives of every compression, contexts by their address.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use dhow_archive::hash::Hasher;
use dhow_archive::tar::{Content, Entry, Kind, Metadata, Writer};
use dhow_spec::Algorithm;

use crate::whole::{IMAGE, TestEngine, text};

/// Serves a directory's files to whoever asks, as a plain web server does.
fn serve(root: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let root = root.clone();
            std::thread::spawn(move || answer(stream, &root));
        }
    });
    address
}

fn answer(mut stream: TcpStream, root: &Path) {
    let mut reader = BufReader::new(stream.try_clone().expect("the same"));
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let mut header = String::new();
    while reader.read_line(&mut header).is_ok_and(|count| count > 2) {
        header.clear();
    }
    let path = line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    let name = match path {
        "/named" => "Content-Disposition: attachment; filename=\"called.txt\"\r\n",
        _ => "",
    };
    let read = fs::read(root.join(path.trim_start_matches('/')));
    let (status, body) = match read {
        _ if path == "/" => ("200 OK", b"no name\n".to_vec()),
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n{name}\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // Who has gone does not matter.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = reader.read_to_end(&mut Vec::new());
}

fn tar(name: &str, body: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let kind = Kind::File(Content::plain(body.len() as u64));
    let metadata = Metadata { mode: 0o644, ..Metadata::default() };
    let entry = Entry { path: name.as_bytes().to_vec(), kind, metadata };
    writer.append(&entry, body).expect("an entry");
    writer.finish().expect("an archive")
}

/// What a program of the host makes of some bytes; nothing where it is not installed.
fn packed(program: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    use std::process::Stdio;
    let mut command = Command::new(program);
    command.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take().expect("piped").write_all(bytes).expect("taken");
    let output = child.wait_with_output().expect("an end");
    output.status.success().then_some(output.stdout)
}

#[test]
fn downloads_and_archives() {
    let Some(engine) = TestEngine::start("downloads_and_archives") else { return };
    let web = engine.root.join("web");
    fs::create_dir(&web).expect("a directory");
    fs::write(web.join("named"), "once\n").expect("a file");
    fs::write(web.join("plain.txt"), "plain\n").expect("a file");
    fs::write(web.join("some.tar"), tar("unpacked", b"from a tar\n")).expect("a file");
    let at = serve(web.clone());
    let context = engine.root.join("context");
    fs::create_dir(&context).expect("a directory");
    // A compressed file that is no archive is copied as it is.
    fs::write(context.join("note.gz"), packed("gzip", b"note\n").expect("gzip")).expect("a file");
    let mut lines = String::new();
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        if let Some(bytes) = packed(program, &tar(program, b"inside\n")) {
            fs::write(context.join(format!("{program}.packed")), bytes).expect("a file");
            lines += &format!("ADD {program}.packed /archives/\n");
        }
    }
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(b"plain\n");
    let sum = hasher.finish().digest;
    let dockerfile = format!(
        "FROM {IMAGE}\nADD --checksum={sum} --chmod=640 --chown=7:8 http://{at}/plain.txt /a/\n\
         ADD http://{at}/named http://{at}/plain.txt?x=1 /b/\nADD http://{at}/plain.txt /c\n\
         ADD http://{at}/some.tar /kept/\nADD --unpack http://{at}/some.tar /d/\n\
         ADD note.gz /archives/\n{lines}"
    );
    fs::write(context.join("Dockerfile"), &dockerfile).expect("a file");
    let first = engine.ok(&["build", "-q", "-t", "app", text(&context)]);
    let script = "stat -c '%n %a %u:%g %Y' /a/plain.txt /b/called.txt; cat /b/* /c /d/unpacked; \
                  ls /kept; ls /archives; zcat /archives/note.gz; cat /archives/xz";
    let said = engine.ok(&["run", "--rm", "app", "sh", "-c", script]);
    let expected = [
        "/a/plain.txt 640 7:8 784111777",
        "/b/called.txt 600 0:0 784111777",
        "once",
        "plain",
        "plain",
        "from a tar",
        "some.tar",
    ];
    let found: Vec<&str> = said.lines().collect();
    assert_eq!(found[..expected.len()], expected, "{said}");
    for name in lines.lines().filter_map(|line| line.split([' ', '.']).nth(1)) {
        assert!(found.contains(&name), "{name}: {said}");
    }
    assert!(found.contains(&"note") && found.contains(&"inside"), "{said}");
    // The same bytes are the same layers, whatever their address says.
    let again = dockerfile.replace("?x=1", "?x=2");
    fs::write(context.join("Dockerfile"), again).expect("a file");
    let again = engine.dhow(&["build", text(&context)]);
    let steps = dockerfile.matches("ADD ").count();
    assert_eq!(again.err.matches(" CACHED").count(), steps, "{first}: {again:?}");

    for (line, expected) in [
        (format!("ADD --checksum={} http://{at}/named /", sum), "digest mismatch sha256:"),
        (format!("ADD --checksum=sha256:1 http://{at}/named /"), "invalid checksum"),
        (format!("ADD http://{at}/none /"), "404 Not Found"),
        (format!("ADD http://{at}/ /x/"), "no file name can be determined"),
        ("ADD http://127.0.0.1:1/x /".to_owned(), "cannot reach 127.0.0.1:1"),
    ] {
        fs::write(context.join("Dockerfile"), format!("FROM {IMAGE}\n{line}\n")).expect("a file");
        let failed = engine.dhow(&["build", text(&context)]);
        assert!(failed.code == 1 && failed.err.contains(expected), "{line}: {failed:?}");
    }

    // Contexts by their address: an archive, and a Dockerfile that stands for itself.
    let dockerfile = format!("FROM {IMAGE}\nCMD cat /plain.txt\nADD http://{at}/plain.txt /\n");
    fs::write(web.join("context.tar"), tar("Dockerfile", dockerfile.as_bytes())).expect("a file");
    fs::write(web.join("alone"), &dockerfile).expect("a file");
    let one = engine.ok(&["build", "-q", &format!("http://{at}/context.tar")]);
    assert_eq!(engine.ok(&["build", "-q", &format!("http://{at}/alone")]), one);
    let failed = engine.dhow(&["build", &format!("http://{at}/nothing")]);
    assert!(failed.err.contains("404 Not Found"), "{failed:?}");
    let fed = engine.fed(&["build", "-q", "-"], &tar("Dockerfile", dockerfile.as_bytes()));
    assert_eq!(fed.out.trim_end(), one, "{fed:?}");
}

fn git(place: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(place).args(["-c", "user.name=x", "-c", "user.email=x@x"]).args(words);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.output().expect("git");
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn repositories() {
    let test = "repositories";
    if Command::new("git").arg("--version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: git is not installed");
        return;
    }
    let Some(engine) = TestEngine::start(test) else { return };
    let tree = engine.root.join("tree");
    fs::create_dir_all(tree.join("sub")).expect("a directory");
    git(&tree, &["init", "-q", "-b", "main", "."]);
    fs::write(tree.join("sub/word"), "first\n").expect("a file");
    fs::write(tree.join("sub/Dockerfile"), format!("FROM {IMAGE}\nCOPY word /\nCMD cat /word\n"))
        .expect("a file");
    git(&tree, &["add", "."]);
    git(&tree, &["commit", "-q", "-m", "one"]);
    git(&tree, &["tag", "v1"]);
    let commit = git(&tree, &["rev-parse", "HEAD"]);
    fs::write(tree.join("sub/word"), "second\n").expect("a file");
    git(&tree, &["commit", "-q", "-a", "-m", "two"]);
    let web = engine.root.join("web");
    fs::create_dir(&web).expect("a directory");
    git(&web, &["clone", "-q", "--bare", text(&tree), "app.git"]);
    git(&web.join("app.git"), &["update-server-info"]);
    let at = serve(web);

    let context = engine.root.join("context");
    fs::create_dir(&context).expect("a directory");
    let dockerfile = format!(
        "FROM {IMAGE}\nADD --checksum={commit} http://{at}/app.git#v1 /a\n\
         ADD http://{at}/app.git#main:sub /b\nADD --keep-git-dir http://{at}/app.git#{commit} /c/\n\
         ADD http://{at}/app.git?ref=v1&subdir=sub /d\n"
    );
    fs::write(context.join("Dockerfile"), dockerfile).expect("a file");
    engine.ok(&["build", "-q", "-t", "app", text(&context)]);
    let script = "cat /a/sub/word /b/word /c/sub/word /d/word; ls -A /a; test -d /c/.git";
    let said = engine.ok(&["run", "--rm", "app", "sh", "-c", script]);
    assert_eq!(said, "first\nsecond\nfirst\nfirst\nsub");

    // As contexts, with a part of it as the root.
    let whole = format!("http://{at}/app.git#v1:sub");
    engine.ok(&["build", "-q", "-t", "old", &whole]);
    assert_eq!(engine.ok(&["run", "--rm", "old"]), "first");
    let flags = ["build", "-q", "-t", "new", "-f", "sub/Dockerfile"];
    let failed = engine.dhow(&[&flags[..], &[&format!("http://{at}/app.git")]].concat());
    assert!(failed.err.contains("word"), "the root is not the part: {failed:?}");

    for (line, expected) in [
        (format!("ADD http://{at}/app.git#nowhere /"), "has no nowhere"),
        (format!("ADD --checksum=1234567 http://{at}/app.git /"), "digest mismatch"),
        (format!("ADD http://{at}/app.git#main:../.. /"), "invalid git address"),
        (format!("ADD http://{at}/none.git /"), "not found"),
    ] {
        fs::write(context.join("Dockerfile"), format!("FROM {IMAGE}\n{line}\n")).expect("a file");
        let failed = engine.dhow(&["build", text(&context)]);
        assert!(failed.code == 1 && failed.err.contains(expected), "{line}: {failed:?}");
    }
    let left = fs::read_dir(engine.root.join("data/builds")).expect("a directory").count();
    assert_eq!(left, 0, "what was checked out is gone");
}
