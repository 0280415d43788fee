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

/// What the card helper's process is called.
const HELPER: &str = "farlan-cards";

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

/// Fails unless a daemon has no capability left, and all it started is a card helper that has none but CAP_NET_ADMIN.
///
/// # Errors
/// Something has more, or there is no helper, or more than one.
pub fn ensure_given_up(daemon: u32) -> Result<()> {
    ensure_none(daemon)?;
    let helper = helper_of(daemon)?;
    ensure!(threads(helper)?.len() == 1, "the helper has several threads");
    let fields = fields(&format!("/proc/{helper}/status"))?;
    for set in ["CapPrm", "CapEff"] {
        // None where the daemon had none to begin with.
        let has = capabilities(&fields, set)?;
        ensure!(has & !NET_ADMIN == 0, "{set} of the helper: {fields:?}");
    }
    for set in ["CapInh", "CapBnd", "CapAmb"] {
        ensure!(capabilities(&fields, set)? == 0, "{set} of the helper: {fields:?}");
    }
    ensure_bound(&fields)?;
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

/// The card helper of a daemon, which is its only child.
///
/// # Errors
/// The daemon has no child, or another one, or several.
pub fn helper_of(daemon: u32) -> Result<u32> {
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
    match children.as_slice() {
        [(helper, name)] if name == HELPER => Ok(*helper),
        _ => anyhow::bail!("the children of process {daemon} are not one {HELPER}: {children:?}"),
    }
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
