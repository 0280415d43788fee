//! One network namespace: made, used and removed.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::command::{self, Finished, run};
use super::sys;

/// Where iproute2 keeps the named namespaces.
const NAMED_NAMESPACES: &str = "/run/netns";

/// Begins the name of every namespace of a lab; the owner's process id follows.
const PREFIX: &str = "fl";

/// A named network namespace with its loopback up. Dropping it kills what still runs in it and removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
}

/// What an interface has sent.
#[derive(Clone, Copy, Debug)]
pub struct CardSent {
    /// Frames that it took, a super-frame being one.
    pub frames: u64,
    /// Frames that it did not take.
    pub dropped: u64,
}

impl Namespace {
    /// Makes the namespace `fl<pid>-<lab>-<label>`.
    ///
    /// # Errors
    /// The kernel or `ip` refuses.
    pub fn create(lab: u32, label: &str) -> Result<Self> {
        let name = format!("{PREFIX}{}-{lab}-{label}", std::process::id());
        run(&["ip", "netns", "add", &name])?;
        let path = Path::new(NAMED_NAMESPACES).join(&name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let namespace = Self { name, file };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name by which `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip ARGUMENTS`, split at white space, in this namespace and returns its standard output.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut command = self.command("ip");
        command.args(arguments.split_whitespace());
        Ok(command::finish(command, command::DEFAULT_LIMIT, None)?
            .success()?
            .stdout)
    }

    /// A command that will run a program in this namespace, killed if the thread that starts it ends.
    ///
    /// It goes in by `nsenter`, since `ip netns exec` also remounts `/sys`, which it cannot do in a chroot.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        let namespace = format!("--net={NAMED_NAMESPACES}/{}", self.name);
        command
            .args(["--pdeathsig", "KILL", "nsenter", &namespace])
            .arg(program);
        command
    }

    /// Runs a program in this namespace to its end.
    ///
    /// # Errors
    /// It cannot be started or takes longer than `limit`. Its exit code is the caller's to judge.
    pub fn exec(&self, words: &[&str], limit: Duration) -> Result<Finished> {
        let (program, arguments) = words.split_first().context("an empty command")?;
        let mut command = self.command(program);
        command.args(arguments);
        command::finish(command, limit, None)
    }

    /// Loads nftables rules.
    ///
    /// # Errors
    /// `nft` refuses them.
    pub fn nft(&self, rules: &str) -> Result<()> {
        let mut command = self.command("nft");
        command.args(["-f", "-"]);
        command::finish(command, command::DEFAULT_LIMIT, Some(rules))?.success()?;
        Ok(())
    }

    /// Writes a setting under `/proc/sys/net`, for instance `ipv4/ip_forward`.
    ///
    /// # Errors
    /// There is no such setting or the kernel refuses the value.
    pub fn set_sysctl(&self, setting: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{setting}");
        self.inside(|| fs::write(&path, value))?
            .with_context(|| format!("cannot write {value} to {path}"))
    }

    /// As [`set_sysctl`](Self::set_sysctl), for a setting that kernels may be built without.
    ///
    /// # Errors
    /// The setting exists and the kernel refuses the value.
    pub fn set_sysctl_if_there(&self, setting: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{setting}");
        match self.inside(|| fs::write(&path, value))? {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot write {value} to {path}"))
            }
            _ => Ok(()),
        }
    }

    /// Calls `job` on a thread inside this namespace and returns its value. Sockets it opens stay in the namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `job` panics.
    pub fn inside<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| -> Result<T> {
                sys::enter_network_namespace(self.file.as_fd())
                    .with_context(|| format!("cannot enter namespace {}", self.name))?;
                Ok(job())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The names of the interfaces there are now.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn interfaces(&self) -> Result<Vec<String>> {
        let listing = self.ip("-o link show")?;
        // "2: card@peer: <FLAGS> ..."
        let name = |line: &str| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned());
        Ok(listing.lines().filter_map(name).collect())
    }

    /// What an interface has sent so far, as `ip -s link` shows it.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn card_sent(&self, interface: &str) -> Result<CardSent> {
        // Not /proc/net, which is that of the program's first thread.
        let table = self.inside(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
        let prefix = format!("{interface}:");
        let row = table.lines().find_map(|line| line.trim_start().strip_prefix(&prefix));
        let row = row.with_context(|| format!("{interface} is not among the cards: {table}"))?;
        // Eight columns for receiving; then bytes, packets, errors and drops of sending.
        let mut columns = row.split_whitespace().skip(9);
        let mut next = || columns.next().context("a short row").and_then(|word| Ok(word.parse()?));
        let (frames, _, dropped) = (next()?, next()?, next()?);
        Ok(CardSent { frames, dropped })
    }

    /// The MAC address of an interface, lower case with colons.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn mac(&self, interface: &str) -> Result<String> {
        let listing = self.ip(&format!("-o link show dev {interface}"))?;
        let mac = listing
            .split_whitespace()
            .skip_while(|word| *word != "link/ether")
            .nth(1);
        Ok(mac
            .with_context(|| format!("{interface} has no MAC address: {listing}"))?
            .to_owned())
    }

    /// The addresses of an interface with their prefix lengths, as `ip` lists them (`-4` or `-6` is `family`).
    ///
    /// # Errors
    /// There is no such interface.
    pub fn addresses(&self, interface: &str, family: &str) -> Result<Vec<String>> {
        let listing = self.ip(&format!("{family} -o address show dev {interface}"))?;
        let address = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
        Ok(listing.lines().filter_map(address).collect())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes what labs whose process is gone have left: namespaces with all that runs in them, and directories.
/// Returns the names of the namespaces.
///
/// # Errors
/// The list of namespaces cannot be read.
pub fn remove_leftovers() -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for entry in entries(Path::new(NAMED_NAMESPACES))? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if owner(&name, PREFIX).is_some_and(|pid| !alive(pid)) {
            remove(&name);
            removed.push(name);
        }
    }
    for entry in entries(&std::env::temp_dir())? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if owner(&name, DIRECTORY_PREFIX).is_some_and(|pid| !alive(pid)) {
            // Another lab may be removing it at the same time.
            let _ = fs::remove_dir_all(&entry);
        }
    }
    Ok(removed)
}

/// Begins the name of every lab's directory for state and logs; the owner's process id follows.
pub const DIRECTORY_PREFIX: &str = "farlan-lab-";

/// Removes all namespaces of this process, killing what runs in them: the last resort of a time limit.
pub(super) fn remove_own() {
    for entry in entries(Path::new(NAMED_NAMESPACES)).unwrap_or_default() {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if owner(&name, PREFIX) == Some(std::process::id()) {
            remove(&name);
        }
    }
}

fn remove(name: &str) {
    // Removal is the last step and must not hide the error that led to it; what is left over is removed by the
    // next lab.
    if let Ok(pids) = run(&["ip", "netns", "pids", name]) {
        for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            if pid != std::process::id() {
                let _ = sys::kill(pid);
            }
        }
    }
    let _ = run(&["ip", "netns", "delete", name]);
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot list {}", directory.display())),
    }
}

/// The process id in a name of the form `PREFIX<pid>-...`.
fn owner(name: &str, prefix: &str) -> Option<u32> {
    name.strip_prefix(prefix)?.split_once('-')?.0.parse().ok()
}

fn alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_stands_in_the_name() {
        assert_eq!(owner("fl123-0-core", PREFIX), Some(123));
        assert_eq!(owner("fl-0-core", PREFIX), None);
        assert_eq!(owner("other", PREFIX), None);
        assert_eq!(owner("farlan-lab-77-3", DIRECTORY_PREFIX), Some(77));
    }
}
