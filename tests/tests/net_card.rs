//! What the daemon does when a card of its is taken away.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::wait_for;
use farlan_tests::ns::trio::JOIN_LIMIT;
use farlan_tests::ns::{Nat, Node, Supernode, Wire, limit};

const LIMIT: Duration = Duration::from_secs(120);

/// What a program on a busy machine may take for something small.
const SOON: Duration = Duration::from_secs(10);

/// How long the daemon is watched.
const WATCHED: Duration = Duration::from_secs(3);

/// The processor time that a process has used, in the kernel's ticks of 10 ms.
fn ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // User and system time are the fields 14 and 15; the name, field 2, is in parentheses.
    let (_, behind) = stat.rsplit_once(')').context("no name")?;
    let fields: Vec<_> = behind.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

#[test]
fn a_card_that_somebody_deletes_is_let_go_of_and_the_daemon_rests() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let mut node = Node::new(lab, "a", &home.host, Some(supernode.link()))?;
        node.start()?;
        node.wait_registered(JOIN_LIMIT)?;
        node.host()?;
        let network = node.wait_addressed(JOIN_LIMIT)?;
        node.namespace().ip(&format!("link del {}", network.interface))?;
        wait_for("the daemon to notice", SOON, || {
            Ok(node.log().contains("the network card is gone").then_some(()))
        })?;
        let before = ticks(node.pid()?)?;
        thread::sleep(WATCHED);
        let used = ticks(node.pid()?)? - before;
        // A loop that does not let go uses all it gets of the 300 ticks.
        ensure!(used < 60, "{used} ticks in {WATCHED:?}");
        let told = node.log().matches("the network card is gone").count();
        ensure!(told == 1, "said {told} times:\n{}", node.log());
        ensure!(node.networks()?.len() == 1, "the network is left");
        Ok(())
    });
}
