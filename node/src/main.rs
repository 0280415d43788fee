//! The `farlan` program.
fn main() {}
