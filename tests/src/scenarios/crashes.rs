//! Runtimes that are killed in the middle of their work: `delete --force` must find everything.

use std::time::Duration;

use super::scenarios;
use crate::contest::{Call, Case, Container, Outcome, check};

/// Kills `victim` after a while, `count` times, each time a bit later, and cleans up by `delete --force`.
fn kill_sweep(
    c: &Case,
    count: u32,
    run: impl Fn() -> Outcome<Duration>,
    mut victim: impl FnMut(Duration) -> Outcome,
) -> Outcome {
    let usual = run()?;
    for index in 0..count {
        victim(usual * index / count)?;
        let done = c.runtime(&["delete", "--force", &c.token])?;
        check!(done.code == 0, "delete --force after kill {index} of {count}: {}", done.err);
        // A first process that lost its maker between clone and exec notices by itself.
        c.nothing_left().map_err(|e| match e {
            crate::contest::Stop::Fail(text) => crate::contest::Stop::Fail(format!(
                "killed after {} of {count} parts of {usual:?}: {text}",
                index
            )),
            other => other,
        })?;
    }
    Ok(())
}

fn sweep_count(c: &Case) -> u32 {
    if c.stress { 400 } else { 24 }
}

/// A runtime killed at any moment of `create` leaves nothing that `delete --force` does not remove.
fn killed_in_create(c: &Case) -> Outcome {
    let config = c
        .config()
        .set("/linux/resources/pids/limit", 20)
        .mount("tmpfs", "tmpfs", "/mnt", &[])
        .payload(&["wait"]);
    c.bundle.configure(&config)?;
    c.remember(&c.token);
    let bundle = c.bundle.dir.display().to_string();
    let create = || c.call(&["create", "--bundle", &bundle, &c.token]);
    kill_sweep(
        c,
        sweep_count(c),
        || {
            let took = create().go()?.ok()?.took;
            c.runtime(&["delete", "--force", &c.token])?.ok()?;
            Ok(took)
        },
        |delay| {
            let running = create().spawn()?;
            std::thread::sleep(delay);
            running.kill()?;
            Ok(())
        },
    )
}

/// The same for `run` in the foreground.
fn killed_in_run(c: &Case) -> Outcome {
    c.bundle.configure(&c.config().payload(&["exit", "0"]))?;
    c.remember(&c.token);
    let bundle = c.bundle.dir.display().to_string();
    let run = || c.call(&["run", "--bundle", &bundle, &c.token]);
    kill_sweep(
        c,
        sweep_count(c),
        || Ok(run().go()?.ok()?.took),
        |delay| {
            let running = run().spawn()?;
            std::thread::sleep(delay);
            running.kill()?;
            Ok(())
        },
    )
}

fn later<'c>(container: &Container<'c>, c: &'c Case, command: &str) -> Call<'c> {
    match command {
        "exec" => container.exec_call(&[], &["/bin/payload", "exit", "0"]),
        "delete" => c.call(&["delete", "--force", &c.token]),
        other => c.call(&[other, &c.token]),
    }
}

/// The same for `start`, `exec` and `delete`.
fn killed_later(c: &Case) -> Outcome {
    for command in ["start", "exec", "delete"] {
        let create = || -> Outcome<Container<'_>> {
            let container = c.create_container(&c.config().payload(&["wait"]))?;
            if command != "start" {
                container.start()?;
            }
            Ok(container)
        };
        kill_sweep(
            c,
            sweep_count(c) / 3,
            || {
                let container = create()?;
                let took = later(&container, c, command).go()?.ok()?.took;
                c.runtime(&["delete", "--force", &c.token])?.ok()?;
                Ok(took)
            },
            |delay| {
                let container = create()?;
                let running = later(&container, c, command).spawn()?;
                std::thread::sleep(delay);
                running.kill()?;
                Ok(())
            },
        )?;
    }
    Ok(())
}

/// `delete --force` copes with a container that forks as fast as it may.
fn many_processes(c: &Case) -> Outcome {
    let config = c.config().set("/linux/resources/pids/limit", 200);
    let container = c.create_container(&config.payload(&["spawn-and-wait", "150"]))?;
    container.start()?;
    container.wait_output("ready")?;
    container.delete_force()?;
    c.nothing_left()
}

scenarios![
    killed_in_create(90, 600),
    killed_in_run(90, 600),
    killed_later(120, 900),
    many_processes,
];
