//! One suite for all drivers: what a snapshot promises, on the real kernel.
//!
//! A case is a function over a [`Rig`]; each driver runs all of them, one after the other, on a disk of its
//! own. Adding a driver means adding a test below.

mod layers;
mod limits;
mod programs;
mod rig;
mod special;
mod tell;
mod writing;

use std::path::Path;

use self::rig::{Rig, alone};

/// A case's name, and what it does.
type Case = (&'static str, fn(&Rig));

/// Every case, by name.
const CASES: &[Case] = &[
    ("everything_comes_through", layers::everything_comes_through),
    ("removed_and_made_again", layers::removed_and_made_again),
    ("opaque_directories", layers::opaque_directories),
    ("kinds_that_change", layers::kinds_that_change),
    ("directories_nobody_spoke_of", layers::directories_nobody_spoke_of),
    ("links_to_lower_layers", layers::links_to_lower_layers),
    ("links_to_nothing", layers::links_to_nothing),
    ("long_chains", layers::long_chains),
    ("very_deep_trees", layers::very_deep_trees),
    ("bare_layers", layers::bare_layers),
    ("attributes_of_overlay", layers::attributes_of_overlay),
    ("names_and_kinds_of_changes", writing::names_and_kinds_of_changes),
    ("a_diff_is_a_layer", writing::a_diff_is_a_layer),
    ("an_export_is_all_of_it", writing::an_export_is_all_of_it),
    ("a_diff_is_the_same_twice", writing::a_diff_is_the_same_twice),
    ("nothing_changed_is_nothing", writing::nothing_changed_is_nothing),
    ("changes_that_hide", writing::changes_that_hide),
    ("hard_links_across_copies", writing::hard_links_across_copies),
    ("files_without_names", writing::files_without_names),
    ("committed_by_writing", writing::committed_by_writing),
    ("maps_of_files", programs::maps_of_files),
    ("those_who_watch", programs::those_who_watch),
    ("many_files", programs::many_files),
    ("lives_apart", limits::lives_apart),
    ("wrong_calls", limits::wrong_calls),
    ("broken_layers", limits::broken_layers),
    ("usage", limits::usage),
];

fn run(rig: impl Fn(&Path) -> Option<Rig>, disk: &Path) {
    let Some(rig) = rig(disk) else { return };
    let mut failed = Vec::new();
    for (name, case) in CASES {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&rig)));
        if result.is_err() {
            failed.push(*name);
        }
        for number in rig.driver.walk().expect("walked").into_iter().rev() {
            rig.driver.remove(number).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert_eq!(rig.driver.walk().expect("walked"), [], "{name}: nothing is left");
    }
    assert_eq!(failed, [""; 0], "{} of {} cases failed", failed.len(), CASES.len());
}

#[test]
fn overlay2() {
    alone("overlay2", "8g", |disk| run(|disk| Some(Rig::overlay2(disk)), disk));
}

#[test]
fn overlay2_of_a_user() {
    alone("overlay2_of_a_user", "8g", |disk| run(|disk| Some(Rig::overlay2_of_a_user(disk)), disk));
}

#[test]
fn vfs() {
    alone("vfs", "8g", |disk| run(|disk| Some(Rig::vfs(disk)), disk));
}

#[test]
fn btrfs() {
    alone("btrfs", "2g", |disk| run(|disk| Rig::btrfs("btrfs", disk), disk));
}
