//! Terminals: handed over a console socket, or relayed by a runtime in the foreground.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use serde_json::json;

use super::scenarios;
use crate::contest::{Case, Config, Container, Outcome, Stop, check, check_eq, receive_fd};
use crate::inside::Report;

/// The master side of a terminal, read in the background as long as anybody writes.
struct Screen<'c> {
    case: &'c Case,
    master: File,
    text: Arc<Mutex<Vec<u8>>>,
}

impl<'c> Screen<'c> {
    fn new(case: &'c Case, master: OwnedFd) -> Outcome<Self> {
        let master = File::from(master);
        let text = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, shared) = (master.try_clone()?, Arc::clone(&text));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO is how a terminal says that the other side was closed.
            while let Ok(length) = reader.read(&mut buffer) {
                let mut text = shared.lock().unwrap_or_else(PoisonError::into_inner);
                text.extend_from_slice(&buffer[..length]);
                if length == 0 {
                    break;
                }
            }
        });
        Ok(Screen { case, master, text })
    }

    fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).replace('\r', "")
    }

    fn wait(&self, text: &str) -> Outcome {
        self.case
            .wait_until(&format!("the terminal shows {text:?}"), || Ok(self.text().contains(text)))
            .map_err(|_| Stop::Fail(format!("no {text:?} on the terminal: {:?}", self.text())))
    }

    fn type_in(&self, text: &str) -> Outcome {
        (&self.master).write_all(text.as_bytes())?;
        Ok(())
    }

    /// The last report on the screen, once there are `count`.
    fn report(&self, count: usize) -> Outcome<Report> {
        let complete =
            |t: &str| t.lines().filter(|l| l.starts_with('{') && l.ends_with('}')).count() >= count;
        self.case
            .wait_until("a report on the terminal", || Ok(complete(&self.text())))
            .map_err(|_| Stop::Fail(format!("no report on the terminal: {:?}", self.text())))?;
        let text = self.text();
        let line = text.lines().filter(|l| l.starts_with('{')).nth(count - 1).unwrap_or("");
        Ok(serde_json::from_str(line)?)
    }
}

fn socket(c: &Case) -> Outcome<(PathBuf, UnixListener)> {
    let path = c.dir.join("console.sock");
    let listener = UnixListener::bind(&path)?;
    Ok((path, listener))
}

fn with_terminal(c: &Case) -> Config {
    c.config()
        .set("/process/terminal", true)
        .set("/process/consoleSize", json!({ "height": 40, "width": 123 }))
}

/// Creates a container whose terminal comes over a console socket.
fn create<'c>(c: &'c Case, config: &Config) -> Outcome<(Container<'c>, Screen<'c>)> {
    let (path, listener) = socket(c)?;
    c.bundle.configure(config)?;
    c.remember(&c.token);
    let (bundle, path) = (c.bundle.dir.display().to_string(), path.display().to_string());
    let call =
        c.call(&["create", "--console-socket", &path, "--bundle", &bundle, &c.token]).spawn()?;
    let message = receive_fd(c, &listener)?;
    let container = Container::adopt(c, &c.token, &call.finish()?.ok()?);
    Ok((container, Screen::new(c, message.fd)?))
}

/// The three streams are the terminal, which has the configured size.
fn console_socket(c: &Case) -> Outcome {
    let (container, screen) = create(c, &with_terminal(c).payload(&["report"]))?;
    container.start()?;
    let report = screen.report(1)?;
    check_eq!(report.terminals, [true; 3], "terminals");
    check_eq!(report.window, Some((40, 123)), "rows and columns");
    container.wait_status("stopped")?;
    container.delete()
}

/// It is the controlling terminal of a new session, with the program in its foreground.
fn controlling_terminal(c: &Case) -> Outcome {
    let (container, screen) = create(c, &with_terminal(c).payload(&["report"]))?;
    container.start()?;
    let report = screen.report(1)?;
    check_eq!(report.stat(6), Some(1), "session");
    check!(report.stat(7).is_some_and(|tty| tty != 0), "no controlling terminal");
    check_eq!(report.stat(8), report.stat(5), "foreground process group");
    container.wait_status("stopped")?;
    container.delete()
}

/// What is typed reaches the program, also its signals.
fn typing(c: &Case) -> Outcome {
    let (container, screen) = create(c, &with_terminal(c).payload(&["ask"]))?;
    let pid = container.pid()?;
    container.start()?;
    screen.wait("ready")?;
    screen.type_in("hello\n")?;
    screen.wait("heard hello")?;
    screen.type_in("quit\n")?;
    check_eq!(container.wait_exit(pid)?, 0, "exit code");
    container.wait_status("stopped")?;
    container.delete()
}

/// `/dev/console` is the terminal.
fn console_device(c: &Case) -> Outcome {
    let program = ["try", "stat", "/dev/console", "--", "write", "/dev/console", "to-console"];
    let (container, screen) = create(c, &with_terminal(c).payload(&program))?;
    container.start()?;
    screen.wait("\"errno\":null}]")?;
    let text = screen.text();
    check!(text.contains("char"), "/dev/console is no character device: {text}");
    check!(text.contains("to-console"), "what was written to it did not come: {text}");
    container.wait_status("stopped")?;
    container.delete()
}

/// The terminal belongs to the program's user.
fn owner(c: &Case) -> Outcome {
    let config = with_terminal(c)
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .payload(&["try", "stat", "/proc/self/fd/0"]);
    let (container, screen) = create(c, &config)?;
    container.start()?;
    screen.wait("\"errno\":null}]")?;
    let text = screen.text();
    check!(text.contains(" 1000 "), "the terminal's owner: {text}");
    container.wait_status("stopped")?;
    container.delete()
}

/// It works in a user namespace.
fn in_user_namespace(c: &Case) -> Outcome {
    let config = with_terminal(c).user_namespace(100_000, 65_536).payload(&["report"]);
    let (container, screen) = create(c, &config)?;
    container.start()?;
    check_eq!(screen.report(1)?.terminals, [true; 3], "terminals");
    container.wait_status("stopped")?;
    container.delete()
}

/// `exec --tty` gets a terminal of its own.
fn exec(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let (path, listener) = socket(c)?;
    let file = c.dir.join("pid").display().to_string();
    let path = path.display().to_string();
    let options = ["-d", "--tty", "--pid-file", &file, "--console-socket", &path];
    let call = container.exec_call(&options, &["/bin/payload", "ask"]).spawn()?;
    let screen = Screen::new(c, receive_fd(c, &listener)?.fd)?;
    call.finish()?.ok()?;
    screen.wait("ready")?;
    screen.type_in("report\n")?;
    let report = screen.report(1)?;
    check_eq!(report.terminals, [true; 3], "terminals");
    check!(report.stat(7).is_some_and(|tty| tty != 0), "no controlling terminal");
    screen.type_in("quit\n")?;
    let pid = std::fs::read_to_string(&file)?.parse().unwrap_or(0);
    check_eq!(container.wait_exit(pid)?, 0, "exit code");
    container.delete_force()
}

/// In the foreground `exec --tty` relays.
fn exec_foreground(c: &Case) -> Outcome {
    let container = c.start_waiting(&c.config())?;
    let outer = Outer::open(33, 99)?;
    let screen = Screen::new(c, outer.master.try_clone()?)?;
    c.wrap(&["setsid", "--ctty", "--wait"]);
    let call = container.exec_call(&["-t"], &["/bin/payload", "ask"]);
    let running =
        call.stdin(outer.slave.try_clone()?).output_to(outer.slave.try_clone()?).spawn()?;
    c.wrap(&[]);
    screen.wait("ready")?;
    screen.type_in("report\n")?;
    check_eq!(screen.report(1)?.terminals, [true; 3], "terminals");
    screen.type_in("quit\n")?;
    running.finish()?.ok()?;
    container.delete_force()
}

/// A terminal outside, for the runtime itself.
struct Outer {
    master: OwnedFd,
    slave: File,
}

impl Outer {
    fn open(rows: u16, columns: u16) -> Outcome<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags)?;
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let slave = File::options().read(true).write(true).open(name.to_string_lossy().as_ref())?;
        let outer = Outer { master, slave };
        outer.resize(rows, columns)?;
        Ok(outer)
    }

    fn resize(&self, rows: u16, columns: u16) -> Outcome {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.master, size)?;
        Ok(())
    }
}

/// In the foreground the runtime relays between its own terminal and the container's.
fn foreground(c: &Case) -> Outcome {
    let outer = Outer::open(33, 99)?;
    let screen = Screen::new(c, outer.master.try_clone()?)?;
    c.wrap(&["setsid", "--ctty", "--wait"]);
    let config = c.config().set("/process/terminal", true).payload(&["ask"]);
    let call = c.run_call(&config)?;
    let running =
        call.stdin(outer.slave.try_clone()?).output_to(outer.slave.try_clone()?).spawn()?;
    screen.wait("ready")?;
    screen.type_in("report\n")?;
    let report = screen.report(1)?;
    check_eq!(report.terminals, [true; 3], "terminals");
    check_eq!(report.window, Some((33, 99)), "rows and columns");
    outer.resize(44, 111)?;
    let mut window = None;
    for round in 2..50 {
        screen.type_in("report\n")?;
        window = screen.report(round)?.window;
        if window == Some((44, 111)) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    check_eq!(window, Some((44, 111)), "rows and columns after the change");
    screen.type_in("quit\n")?;
    running.finish()?.ok()?;
    Ok(())
}

/// The runtime leaves its terminal as it found it.
fn foreground_restores(c: &Case) -> Outcome {
    let outer = Outer::open(24, 80)?;
    let modes = |t: &rustix::termios::Termios| {
        (t.input_modes, t.output_modes, t.control_modes, t.local_modes)
    };
    let before = modes(&rustix::termios::tcgetattr(&outer.slave)?);
    let _screen = Screen::new(c, outer.master.try_clone()?)?;
    c.wrap(&["setsid", "--ctty", "--wait"]);
    let config = c.config().set("/process/terminal", true).payload(&["exit", "7"]);
    let call = c.run_call(&config)?;
    call.stdin(outer.slave.try_clone()?).output_to(outer.slave.try_clone()?).go()?.code_is(7)?;
    let after = modes(&rustix::termios::tcgetattr(&outer.slave)?);
    check!(before == after, "modes before {before:?}, after {after:?}");
    Ok(())
}

/// A console socket without a terminal is refused.
fn socket_without_terminal(c: &Case) -> Outcome {
    let (path, _listener) = socket(c)?;
    c.bundle.configure(&c.config().payload(&["wait"]))?;
    c.remember(&c.token);
    let (bundle, path) = (c.bundle.dir.display().to_string(), path.display().to_string());
    let done = c.runtime(&["create", "--console-socket", &path, "--bundle", &bundle, &c.token])?;
    done.fails_naming(&["console|terminal"])?;
    c.nothing_left()
}

scenarios![
    console_socket,
    controlling_terminal,
    typing,
    console_device,
    owner,
    in_user_namespace,
    exec,
    exec_foreground,
    foreground,
    foreground_restores,
    socket_without_terminal,
];
