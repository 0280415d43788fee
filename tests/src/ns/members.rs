//! What tests of private networks ask of nodes, and what they wait for.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::command::{DEFAULT_LIMIT, Finished, finish, wait_for};
use super::namespace::Namespace;
use super::ping::PingReport;
use super::program::Node;

/// How long what happens by itself may take on a busy machine; the measured times are printed.
pub const SOON: Duration = Duration::from_secs(40);

/// Whether one ping is answered.
///
/// # Errors
/// `ping` cannot be run.
pub fn answers(from: &Arc<Namespace>, target: &str) -> Result<bool> {
    let report = PingReport::run(from, &["-c", "1", "-W", "1", target], DEFAULT_LIMIT)?;
    Ok(report.answered() == 1)
}

/// Waits for the answer to a ping.
///
/// # Errors
/// There is none [soon](SOON).
pub fn reaches(from: &Arc<Namespace>, target: &str) -> Result<()> {
    wait_for(&format!("{target} to answer {}", from.name()), SOON, || {
        Ok(answers(from, target)?.then_some(()))
    })
}

/// The IPv4 address that a name resolves to, soon.
///
/// # Errors
/// It does not, or its holder has none.
pub fn address_of(node: &Node, name: &str) -> Result<String> {
    wait_for(&format!("{} to know {name}", node.name()), SOON, || {
        let Ok(found) = node.json(&["resolve", name]) else {
            return Ok(None);
        };
        Ok(found["ipv4"].as_str().map(str::to_owned))
    })
}

/// Waits until a name resolves to nothing.
///
/// # Errors
/// It still does after a while.
pub fn nobody_is_called(node: &Node, name: &str) -> Result<()> {
    wait_for(&format!("{} to know no {name}", node.name()), SOON, || {
        Ok((node.cli(&["resolve", name])?.code == Some(1)).then_some(()))
    })
}

/// What a node is in its first network, a private one.
///
/// # Errors
/// The daemon does not answer.
pub fn private(node: &Node) -> Result<Value> {
    let networks = node.json(&["networks"])?;
    Ok(networks[0]["private"].clone())
}

/// Waits for a certificate of the network's key.
///
/// # Errors
/// There is none soon.
pub fn certified(node: &Node) -> Result<()> {
    wait_for(
        &format!("{} to have a certificate of the network's key", node.name()),
        SOON,
        || Ok((private(node)?["state"] == "certified").then_some(())),
    )
}

/// The members of the network `home` that a node lists: name, address and state.
///
/// # Errors
/// The daemon does not answer, or is in no such network.
pub fn members(node: &Node) -> Result<Vec<(String, String, String)>> {
    let reply = node.json(&["members", "home"])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let members = reply["members"].as_array().context("no members")?;
    let row = |member: &Value| (text(&member["name"]), text(&member["ipv4"]), text(&member["state"]));
    Ok(members.iter().map(row).collect())
}

/// Makes the network `home` at a node that is called `ann` there, and an invite into it.
///
/// # Errors
/// It cannot be made, or less is said of it than should be.
pub fn create(node: &Node) -> Result<String> {
    let made = node.cli(&["create", "home", "--my-name", "ann"])?.success()?;
    ensure!(
        made.stdout.contains("farlan export") && made.stdout.contains("delegate"),
        "nothing is said of a lost key: {made}"
    );
    let invited = node.cli(&["invite", "home"])?.success()?;
    ensure!(invited.stderr.contains("whoever holds this link"), "{invited}");
    Ok(invited.stdout.trim().to_owned())
}

/// Makes another invite into `home`.
///
/// # Errors
/// It cannot be made.
pub fn invite(node: &Node, options: &[&str]) -> Result<String> {
    let invited = node.cli(&[&["invite", "home"], options].concat())?.success()?;
    Ok(invited.stdout.trim().to_owned())
}

/// Has nodes join by a link at one time, and returns what that said at each.
///
/// # Errors
/// A program cannot be run.
pub fn at_once<'a>(nodes: impl Iterator<Item = &'a Node>, link: &str) -> Result<Vec<Finished>> {
    let commands: Vec<_> = nodes.map(|node| node.cli_command(&["join", link])).collect();
    let running: Vec<_> = commands
        .into_iter()
        .map(|command| std::thread::spawn(move || finish(command, SOON, None)))
        .collect();
    let ended = running.into_iter().map(|thread| match thread.join() {
        Ok(finished) => finished,
        Err(panic) => std::panic::resume_unwind(panic),
    });
    ended.collect()
}
