//! Which privileges a program of farlan still has, as the kernel shows them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::command::wait_for;

/// The sets that the kernel shows of every thread.
const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// CAP_NET_ADMIN as the kernel shows it: bit 12 (capabilities(7)).
const NET_ADMIN: u64 = 1 << 12;

/// CAP_NET_RAW likewise: bit 13.
const NET_RAW: u64 = 1 << 13;

/// What the card helper's process is called.
const HELPER: &str = "farlan-cards";

/// What the listener's process is called.
const LISTENER: &str = "farlan-listener";

/// Fails unless no thread of a process has a capability in any set, or a way to get one by executing a program.
///
/// # Errors
/// One has, which is named; there is no such process.
pub fn ensure_none(process: u32) -> Result<()> {
    let threads = threads(process)?;
    ensure!(!threads.is_empty(), "process {process} has no threads");
    for thread in threads {
        let fields = fields(&format!("/proc/{process}/task/{thread}/status"))?;
        for set in SETS {
            ensure!(capabilities(&fields, set)? == 0, "{set} of thread {thread}: {fields:?}");
        }
        ensure_bound(&fields)?;
    }
    Ok(())
}

/// How long the helper may take for what it does at a start.
const SOON: Duration = Duration::from_secs(10);

/// Fails unless a daemon has no capability left, and all it started is a card helper that has none but CAP_NET_ADMIN, and a listener
/// that has none but CAP_NET_RAW.
///
/// # Errors
/// Something has more, or there is no helper, or more than one.
pub fn ensure_given_up(daemon: u32) -> Result<()> {
    ensure_none(daemon)?;
    let helper = helper_of(daemon)?;
    ensure_only(helper, NET_ADMIN)?;
    if let Some(listener) = listener_of(daemon)? {
        ensure_only(listener, NET_RAW)?;
    }
    // While it looks into the hosts file, or speaks with the bus, it has more for a moment.
    wait_for(
        "the helper to have no descriptor but its socket, the pipe and standard error",
        SOON,
        || {
            let open = fs::read_dir(format!("/proc/{helper}/fd"))?.count();
            Ok((open == 3).then_some(()))
        },
    )
}

/// Fails unless a process has one thread and no capability but this one, and gets no other.
fn ensure_only(process: u32, capability: u64) -> Result<()> {
    ensure!(threads(process)?.len() == 1, "process {process} has several threads");
    // It has taken its name before it gave up the rest.
    wait_for("a process to have given up its privileges", SOON, || {
        let fields = fields(&format!("/proc/{process}/status"))?;
        Ok((capabilities(&fields, "CapInh")? == 0).then_some(()))
    })?;
    let fields = fields(&format!("/proc/{process}/status"))?;
    for set in ["CapPrm", "CapEff"] {
        // None where the daemon had none to begin with.
        let has = capabilities(&fields, set)?;
        ensure!(has & !capability == 0, "{set} of process {process}: {fields:?}");
    }
    for set in ["CapInh", "CapBnd", "CapAmb"] {
        ensure!(
            capabilities(&fields, set)? == 0,
            "{set} of process {process}: {fields:?}"
        );
    }
    ensure_bound(&fields)
}

/// The card helper of a daemon, beside which it has no child but a listener.
///
/// # Errors
/// It has none, or several, or another child.
pub fn helper_of(daemon: u32) -> Result<u32> {
    let children = children(daemon)?;
    let helpers: Vec<u32> = children
        .iter()
        .filter(|(_, name)| name == HELPER)
        .map(|(process, _)| *process)
        .collect();
    let others = children
        .iter()
        .filter(|(_, name)| name != HELPER && name != LISTENER)
        .count();
    match helpers.as_slice() {
        [helper] if others == 0 => Ok(*helper),
        _ => anyhow::bail!("the children of process {daemon} are not one {HELPER} and a {LISTENER}: {children:?}"),
    }
}

/// The listener of a daemon, if it has one.
///
/// # Errors
/// `/proc` cannot be read.
pub fn listener_of(daemon: u32) -> Result<Option<u32>> {
    let children = children(daemon)?;
    Ok(children
        .iter()
        .find(|(_, name)| name == LISTENER)
        .map(|(process, _)| *process))
}

/// The processes that a process started, with their names.
fn children(daemon: u32) -> Result<Vec<(u32, String)>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(process) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // Others end meanwhile.
        let Ok(fields) = fields(&format!("/proc/{process}/status")) else {
            continue;
        };
        if fields.get("PPid").map(String::as_str) == Some(&daemon.to_string()) {
            children.push((process, fields.get("Name").cloned().unwrap_or_default()));
        }
    }
    Ok(children)
}

/// Whether a process has CAP_NET_ADMIN.
///
/// # Errors
/// There is no such process.
pub fn has_net_admin(process: u32) -> Result<bool> {
    let fields = fields(&format!("/proc/{process}/status"))?;
    Ok(capabilities(&fields, "CapEff")? & NET_ADMIN != 0)
}

fn ensure_bound(fields: &BTreeMap<String, String>) -> Result<()> {
    let bound = fields.get("NoNewPrivs").map(String::as_str) == Some("1");
    ensure!(bound, "it can get privileges by executing a program: {fields:?}");
    Ok(())
}

fn capabilities(fields: &BTreeMap<String, String>, set: &str) -> Result<u64> {
    let shown = fields.get(set).with_context(|| format!("no {set} in {fields:?}"))?;
    Ok(u64::from_str_radix(shown, 16)?)
}

fn threads(process: u32) -> Result<Vec<String>> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).with_context(|| format!("process {process} is gone"))?;
    tasks
        .map(|task| Ok(task?.file_name().to_string_lossy().into_owned()))
        .collect()
}

fn fields(path: &str) -> Result<BTreeMap<String, String>> {
    let status = fs::read_to_string(path)?;
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    Ok(status.lines().filter_map(field).collect())
}
