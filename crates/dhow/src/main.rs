//! Picks a role.
fn main() {}
