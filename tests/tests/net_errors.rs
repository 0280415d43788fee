//! What goes wrong is said, with the exit code that scripts rely on.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::{self, Finished};
use farlan_tests::ns::trio::JOIN_LIMIT;
use farlan_tests::ns::{Lab, Nat, Node, Supernode, Wire, limit, program};

const LIMIT: Duration = Duration::from_secs(90);

/// How long a program that must fail may take to do so.
const FAILURE_LIMIT: Duration = Duration::from_secs(20);

fn lonely_node(lab: &mut Lab) -> Result<Node> {
    let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
    Node::new(lab, "a", &home.host, None)
}

fn fails(command: Command, code: i32) -> Result<Finished> {
    command::finish(command, FAILURE_LIMIT, None)?.expect_code(code)
}

fn says(finished: &Finished, words: &str) -> Result<()> {
    ensure!(
        finished.stderr.contains(words),
        "wanted {words:?} on standard error: {finished}"
    );
    Ok(())
}

#[test]
fn without_a_daemon_commands_end_with_3() {
    limit::test(LIMIT, |lab| {
        let node = lonely_node(lab)?;
        for words in [&["status"][..], &["networks", "--json"], &["peers"]] {
            node.cli(words)?.expect_code(3)?;
        }
        Ok(())
    });
}

#[test]
fn wrong_usage_ends_with_2() {
    limit::test(LIMIT, |lab| {
        let mut node = lonely_node(lab)?;
        node.cli(&["frobnicate"])?.expect_code(2)?;
        node.start()?;
        node.cli(&["join", "farlan:not-a-link"])?.expect_code(2)?;
        Ok(())
    });
}

#[test]
fn without_a_supernode_no_name_can_be_joined_and_nothing_hosted_at_supernodes() {
    limit::test(LIMIT, |lab| {
        let mut node = lonely_node(lab)?;
        node.start()?;
        for words in [&["join", "earth"][..], &["host", "--no-serve"]] {
            let finished = node.cli(words)?.expect_code(1)?;
            says(&finished, "farlan supernode add")?;
            ensure!(finished.stdout.is_empty(), "{finished}");
        }
        Ok(())
    });
}

#[test]
fn a_second_daemon_on_one_state_directory_is_refused() {
    limit::test(LIMIT, |lab| {
        let mut node = lonely_node(lab)?;
        node.start()?;
        let state = node.state_directory().to_str().context("strange path")?.to_owned();
        let mut second = node.namespace().command(program::released("farlan")?);
        let socket = lab.directory().join("second.sock");
        second
            .args(["up", "--state-dir", &state, "--port", "9700", "--socket"])
            .arg(socket);
        let finished = fails(second, 1)?;
        says(&finished, &state)?;
        node.status().context("the first daemon went down")?;
        Ok(())
    });
}

#[test]
fn a_mistake_in_the_configuration_is_shown_with_its_line() {
    limit::test(LIMIT, |lab| {
        let node = lonely_node(lab)?;
        let file = lab.directory().join("farlan.toml");
        for (text, key) in [
            ("# a comment\nprot = 9600\n", "prot"),
            ("# a comment\nport = \"many\"\n", "many"),
        ] {
            fs::write(&file, text)?;
            let mut command = node.daemon_command();
            command.arg("--config").arg(&file);
            let finished = fails(command, 2)?;
            says(&finished, key)?;
            says(&finished, "farlan.toml:2")?;
        }
        Ok(())
    });
}

#[test]
fn a_dead_supernode_is_shown_as_not_registered() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let mut supernode = Supernode::start(lab, &public)?;
        supernode.process().kill()?;
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let mut node = Node::new(lab, "a", &home.host, Some(supernode.link()))?;
        node.start()?;
        let waited = node.wait_registered(Duration::from_secs(3));
        ensure!(waited.is_err(), "registered at a dead supernode");
        let listed = node
            .status()?
            .get("supernodes")
            .and_then(|all| all.as_array())
            .map_or(0, Vec::len);
        ensure!(listed == 1, "{listed} supernodes listed");
        Ok(())
    });
}

#[test]
fn a_supernode_that_comes_back_is_found_again() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let mut supernode = Supernode::start(lab, &public)?;
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        supernode.process().kill()?;
        let mut node = Node::new(lab, "a", &home.host, Some(supernode.link()))?;
        node.start()?;
        std::thread::sleep(Duration::from_secs(2));
        supernode.restart()?;
        node.wait_registered(JOIN_LIMIT)
    });
}
