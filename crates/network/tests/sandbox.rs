//! Sandboxes from their making to their end, on the real kernel.

mod common;

use std::collections::HashSet;

use common::{alone, host, id, none};
use dhow_network::NetworkError;

#[test]
fn a_sandbox_outlives_the_engine_and_is_given_back_once() {
    alone("a_sandbox_outlives_the_engine_and_is_given_back_once", |dir| {
        let first = host(dir);
        let made = first.sandbox(&none("one")).expect("a sandbox");
        assert!(matches!(first.sandbox(&none("one")), Err(NetworkError::SandboxExists { .. })));
        drop(first);

        let second = host(dir);
        assert_eq!(second.adopt(&id("one")).expect("the same"), made);
        second.release(&id("one")).expect("an end");
        second.release(&id("one")).expect("no error");
        assert!(matches!(second.adopt(&id("one")), Err(NetworkError::UnknownSandbox { .. })));
        assert!(!made.path.exists());
        assert!(host(dir).adopt(&id("one")).is_err());
    });
}

#[test]
fn only_what_is_known_stays() {
    alone("only_what_is_known_stays", |dir| {
        let networks = host(dir);
        for name in ["a", "b", "c"] {
            networks.sandbox(&none(name)).expect("a sandbox");
        }
        let known = HashSet::from([id("b")]);
        let mut gone = networks.prune(&known).expect("an end");
        gone.sort();
        assert_eq!(gone, [id("a"), id("c")]);
        assert!(networks.adopt(&id("b")).is_ok());
    });
}
