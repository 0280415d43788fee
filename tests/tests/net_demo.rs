//! The demo succeeds, and fails when its supernode is dead.

use std::process::Command;
use std::time::Duration;

use farlan_tests::ns::command;

/// The demo's own limit and some time for its cleaning up.
const LIMIT: Duration = Duration::from_secs(120);

fn demo(arguments: &[&str]) -> command::Finished {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_farlan-demo"));
    demo.args(arguments);
    command::finish(demo, LIMIT, None).expect("the demo ends in time")
}

#[test]
fn the_demo_succeeds() {
    let finished = demo(&[]);
    assert_eq!(finished.code, Some(0), "{finished}");
    for word in ["ping", "TCP", "broadcast"] {
        assert!(finished.stdout.contains(word), "no {word} in: {finished}");
    }
}

#[test]
fn the_demo_fails_without_its_supernode() {
    let finished = demo(&["--kill-supernode"]);
    assert_eq!(finished.code, Some(1), "{finished}");
    assert!(finished.stderr.contains("register at the supernode"), "{finished}");
}
