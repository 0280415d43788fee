//! The `farlan-supernode` program.
fn main() {}
