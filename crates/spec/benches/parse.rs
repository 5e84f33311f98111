//! How long reading a configuration takes, as a container engine writes one (seccomp profile
//! included): `cargo bench -p dhow-spec`.
//!
//! Prints the best and the median of many rounds; nothing here can fail, since time is no test.

#![allow(clippy::print_stdout, reason = "printing is all it does")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use dhow_spec::runtime::Spec;

const CONFIG: &[u8] = include_bytes!("../tests/data/engine-config.json");

fn main() {
    let spec = Spec::parse(CONFIG).expect("the configuration at hand");
    report("parse", || drop(black_box(Spec::parse(black_box(CONFIG)))));
    report("print", || drop(black_box(black_box(&spec).to_json())));
    report("refuse", || {
        let truncated = &CONFIG[..CONFIG.len() - 9];
        drop(black_box(Spec::parse(black_box(truncated))));
    });
}

fn report(what: &str, work: impl Fn()) {
    let mut rounds: Vec<Duration> = (0..2000)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    rounds.sort();
    let (best, median) = (rounds[0], rounds[rounds.len() / 2]);
    println!("{what:8} {} bytes: best {best:?}, median {median:?}", CONFIG.len());
}
