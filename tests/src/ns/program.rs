//! Starting and driving programs: the released `farlan` and `farlan-supernode`, and any other.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::capabilities;
use super::command::{self, Finished, wait_for};
use super::namespace::Namespace;
use super::sys;
use super::topology::{Lab, PublicHost};

/// The UDP port of every program in the lab.
pub const PORT: u16 = 9600;

/// How long a program may take for its own start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long a command of the CLI may take; above the 10 s that `join` waits.
const CLI_LIMIT: Duration = Duration::from_secs(30);

/// How long a program may take to make its identity, which is work: a third of a second of a processor mostly, of which there may be
/// little left where many do it at once, but now and then several times as much.
const IDENTITY_LIMIT: Duration = Duration::from_secs(120);

/// The exit code of wrong usage.
const WRONG_USAGE: i32 = 2;

/// How many lines of each log a failure shows.
const TAIL: usize = 40;

/// A program that runs beside the test, with its output in a log file. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command in a process group of its own, appending its output to `NAME.log` in `directory`.
    ///
    /// # Errors
    /// The program or the log cannot be opened.
    pub fn spawn(mut command: Command, name: &str, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = OpenOptions::new().create(true).append(true).open(&log)?;
        command
            .stdin(std::process::Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has written so far, including earlier runs under the same name.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails if the program has ended.
    ///
    /// # Errors
    /// It has ended; the message shows its exit status and output.
    pub fn ensure_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has ended ({status}):\n{}", self.name, tail(&self.log));
        }
        Ok(())
    }

    /// Waits for it to end by itself and returns the exit code.
    ///
    /// # Errors
    /// It still runs after `limit`, or a signal ended it.
    pub fn wait(&mut self, limit: Duration) -> Result<i32> {
        let status = command::wait(&mut self.child, limit)?
            .with_context(|| format!("{} still runs after {} s", self.name, limit.as_secs()))?;
        status
            .code()
            .with_context(|| format!("{} was ended by a signal ({status})", self.name))
    }

    /// Asks it to end and returns the exit code.
    ///
    /// # Errors
    /// It still runs after `limit`, or a signal ended it.
    pub fn stop(&mut self, limit: Duration) -> Result<i32> {
        self.ensure_running()?;
        sys::terminate(self.pid())?;
        self.wait(limit)
    }

    /// Lets it and its children sleep, as when a lid is closed.
    ///
    /// # Errors
    /// It has ended already.
    pub fn sleep(&mut self) -> Result<()> {
        self.ensure_running()?;
        Ok(sys::group_stands_still(self.pid())?)
    }

    /// Wakes what [sleeps](Self::sleep).
    ///
    /// # Errors
    /// It has ended already.
    pub fn wake(&mut self) -> Result<()> {
        self.ensure_running()?;
        Ok(sys::group_goes_on(self.pid())?)
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// It has ended already.
    pub fn kill(&mut self) -> Result<()> {
        self.ensure_running()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running `farlan-supernode`.
#[derive(Debug)]
pub struct Supernode {
    program: PathBuf,
    process: Process,
    link: String,
    host: PublicHost,
    name: String,
    state: PathBuf,
    logs: PathBuf,
    /// Whether it has to be without privileges.
    unprivileged: bool,
}

impl Supernode {
    /// Makes the state of a supernode on `host` and starts it.
    ///
    /// # Errors
    /// The program is missing or fails.
    pub fn start(lab: &Lab, host: &PublicHost) -> Result<Self> {
        Self::start_as(lab, host, "supernode")
    }

    /// As [`start`](Self::start), for one of several; `name` distinguishes it within the lab.
    ///
    /// # Errors
    /// The program is missing or fails.
    pub fn start_as(lab: &Lab, host: &PublicHost, name: &str) -> Result<Self> {
        let mut supernode = Self::start_program(lab, host, name, released("farlan-supernode")?)?;
        supernode.unprivileged = true;
        supernode.ensure_unprivileged()?;
        Ok(supernode)
    }

    /// As [`start_as`](Self::start_as), by another copy of the program, which may be of an earlier version: its
    /// privileges are its own business.
    ///
    /// # Errors
    /// The program fails.
    pub fn start_program(lab: &Lab, host: &PublicHost, name: &str, program: PathBuf) -> Result<Self> {
        Self::start_at(lab, host, name, program, &[format!("{}:{PORT}", host.address)])
    }

    /// As [`start`](Self::start), listed with its IPv4 and its IPv6 address.
    ///
    /// # Errors
    /// The program is missing or fails; the lab has no IPv6.
    pub fn start_dual_stack(lab: &Lab, host: &PublicHost) -> Result<Self> {
        let ipv6 = host.ipv6.context("a lab without IPv6")?;
        let addresses = [format!("{}:{PORT}", host.address), format!("[{ipv6}]:{PORT}")];
        Self::start_at(lab, host, "supernode", released("farlan-supernode")?, &addresses)
    }

    /// The same, listed with the IPv6 address before the other: who has both families is registered by IPv6.
    ///
    /// # Errors
    /// As [`start_dual_stack`](Self::start_dual_stack).
    pub fn start_ipv6_first(lab: &Lab, host: &PublicHost) -> Result<Self> {
        let ipv6 = host.ipv6.context("a lab without IPv6")?;
        let addresses = [format!("[{ipv6}]:{PORT}"), format!("{}:{PORT}", host.address)];
        Self::start_at(lab, host, "supernode", released("farlan-supernode")?, &addresses)
    }

    fn start_at(lab: &Lab, host: &PublicHost, name: &str, program: PathBuf, addresses: &[String]) -> Result<Self> {
        let state = lab.directory().join(name);
        let port = PORT.to_string();
        let listed = addresses.iter().flat_map(|address| ["--address", address]);
        let init: Vec<&str> = ["init", "--port", &port].into_iter().chain(listed).collect();
        let cli = |words: &[&str], limit| {
            let mut command = host.namespace.command(&program);
            command.args(words).arg("--state-dir").arg(&state);
            command::finish(command, limit, None)?.success()
        };
        cli(&init, IDENTITY_LIMIT)?;
        // What is tested and measured is relaying, not its quota. A program of another time may have none.
        let config = state.join("supernode.toml");
        let written = fs::read_to_string(&config)?;
        fs::write(&config, format!("{written}limits.relay_source_mbit = 0\n"))?;
        if cli(&["config", "check"], CLI_LIMIT).is_err() {
            fs::write(&config, written)?;
        }
        let link = cli(&["link"], CLI_LIMIT)?.stdout.trim().to_owned();
        ensure!(
            link.lines().count() == 1,
            "`farlan-supernode link` printed no single line: {link:?}"
        );
        let logs = lab.directory().to_owned();
        let process = Self::run(&program, host, name, &state, &logs)?;
        Ok(Self {
            program,
            process,
            link,
            host: host.clone(),
            name: name.to_owned(),
            state,
            logs,
            unprivileged: false,
        })
    }

    /// Starts it again after it was stopped or killed, with the same state.
    ///
    /// # Errors
    /// It does not come up.
    pub fn restart(&mut self) -> Result<()> {
        self.process = Self::run(&self.program, &self.host, &self.name, &self.state, &self.logs)?;
        self.ensure_unprivileged()
    }

    /// It gives up its privileges right after its UDP socket is there.
    fn ensure_unprivileged(&self) -> Result<()> {
        if !self.unprivileged {
            return Ok(());
        }
        let what = format!("{} to give up its privileges", self.name);
        wait_for(&what, START_LIMIT, || {
            capabilities::ensure_none(self.process.pid()).map(Some)
        })
    }

    /// Runs a command of `farlan-supernode` on its state.
    ///
    /// # Errors
    /// The command fails.
    pub fn cli(&self, words: &[&str]) -> Result<Finished> {
        let mut command = self.host.namespace.command(&self.program);
        command.args(words).arg("--state-dir").arg(&self.state);
        command::finish(command, CLI_LIMIT, None)?.success()
    }

    /// Runs `farlan WORDS` in its namespace to its end; the exit code is the caller's to judge.
    ///
    /// # Errors
    /// The program is missing or hangs.
    pub fn farlan(&self, words: &[&str]) -> Result<Finished> {
        let mut command = self.host.namespace.command(released("farlan")?);
        command.args(words);
        command::finish(command, CLI_LIMIT, None)
    }

    /// What `status --json` says.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<Value> {
        let finished = self.cli(&["status", "--json"])?;
        serde_json::from_str(&finished.stdout).with_context(|| format!("no JSON: {finished}"))
    }

    /// Its public address.
    pub fn address(&self) -> Ipv4Addr {
        self.host.address
    }

    fn run(program: &Path, host: &PublicHost, name: &str, state: &Path, logs: &Path) -> Result<Process> {
        let mut command = host.namespace.command(program);
        command.args(["run", "--state-dir"]).arg(state);
        let mut process = Process::spawn(command, name, logs)?;
        let wildcard = format!(":{PORT}");
        wait_for("the supernode's UDP socket", START_LIMIT, || {
            process.ensure_running()?;
            let sockets = host.namespace.exec(&["ss", "-Huln"], CLI_LIMIT)?.success()?.stdout;
            Ok(sockets.contains(&wildcard).then_some(()))
        })?;
        Ok(process)
    }

    /// The directory of its state.
    pub fn state_directory(&self) -> &Path {
        &self.state
    }

    /// The link by which nodes learn of it.
    pub fn link(&self) -> &str {
        &self.link
    }

    /// Its running program.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// A node: one `farlan up` with its own state directory and socket, and the command line that drives it.
#[derive(Debug)]
pub struct Node {
    name: String,
    namespace: Arc<Namespace>,
    program: PathBuf,
    state: PathBuf,
    socket: PathBuf,
    logs: PathBuf,
    port: u16,
    supernode: Option<String>,
    wrapper: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Whether it has to be without privileges.
    unprivileged: bool,
    process: Option<Process>,
}

/// One network as `networks --json` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkView {
    /// Its label or name.
    pub name: String,
    /// Its id.
    pub network_id: String,
    /// The card's name.
    pub interface: String,
    /// The IPv4 address, once there is one.
    pub ipv4: Option<Ipv4Addr>,
    /// The derived IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// `friends` or `strangers`.
    pub policy: String,
}

impl Node {
    /// A node in `namespace` that is not started yet. `name` distinguishes it within the lab.
    ///
    /// # Errors
    /// The program is missing.
    pub fn new(lab: &Lab, name: &str, namespace: &Arc<Namespace>, supernode: Option<&str>) -> Result<Self> {
        let directory = lab.directory();
        Ok(Self {
            name: name.to_owned(),
            namespace: Arc::clone(namespace),
            program: released("farlan")?,
            state: directory.join(format!("{name}.state")),
            socket: directory.join(format!("{name}.sock")),
            logs: directory.to_owned(),
            port: PORT,
            supernode: supernode.map(str::to_owned),
            wrapper: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            unprivileged: true,
            process: None,
        })
    }

    /// Uses another UDP port from the next start on.
    pub fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    /// Starts the daemon by these words, which run what follows them, from the next start on.
    pub fn set_wrapper(&mut self, words: Vec<String>) {
        self.wrapper = words;
    }

    /// Gives the daemon further arguments from the next start on.
    pub fn set_arguments(&mut self, words: &[&str]) {
        self.arguments = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Gives the daemon a variable of the environment from the next start on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Keeps state and socket elsewhere from the next start on.
    pub fn set_places(&mut self, state: PathBuf, socket: PathBuf) {
        self.state = state;
        self.socket = socket;
    }

    /// Uses another copy of the program, for users who may not read where it was built.
    pub fn set_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// Leaves its privileges to the daemon: the program is of an earlier version.
    pub fn allow_privileges(&mut self) {
        self.unprivileged = false;
    }

    /// Starts the daemon and waits until `status` answers.
    ///
    /// # Errors
    /// It ends, does not answer in time, or has privileges then.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Starts the daemon without waiting.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        let process = Process::spawn(self.daemon_command(), &self.name, &self.logs)?;
        self.process = Some(process);
        Ok(())
    }

    /// The command line of the daemon, for tests that expect it to fail. The environment variable
    /// `FARLAN_LAB_LOG` sets what it logs.
    pub fn daemon_command(&self) -> Command {
        let mut command = match self.wrapper.split_first() {
            None => self.namespace.command(&self.program),
            Some((first, rest)) => {
                let mut command = self.namespace.command(first);
                command.args(rest).arg(&self.program);
                command
            }
        };
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .arg("up")
            .arg("--state-dir")
            .arg(&self.state)
            .arg("--socket")
            .arg(&self.socket);
        command.args(["--port", &self.port.to_string()]);
        if let Some(level) = std::env::var_os("FARLAN_LAB_LOG") {
            command.arg("--log").arg(level);
        }
        if let Some(link) = &self.supernode {
            command.args(["--supernode", link]);
        }
        command.args(&self.arguments);
        command
    }

    /// Waits until `status` answers.
    ///
    /// # Errors
    /// The daemon ends, does not answer in time, or has privileges then.
    pub fn wait_ready(&mut self) -> Result<()> {
        let name = self.name.clone();
        wait_for(&format!("{name}'s daemon to answer"), START_LIMIT, || {
            self.process
                .as_mut()
                .context("the daemon is not started")?
                .ensure_running()?;
            self.status().map(Some)
        })?;
        if self.unprivileged {
            capabilities::ensure_given_up(self.pid()?)?;
        }
        Ok(())
    }

    /// Waits until the daemon is registered at a supernode.
    ///
    /// # Errors
    /// It is not within `limit`.
    pub fn wait_registered(&self, limit: Duration) -> Result<()> {
        wait_for(&format!("{} to register at the supernode", self.name), limit, || {
            Ok(registered(&self.status()?).then_some(()))
        })
    }

    /// Asks the daemon to end and returns its exit code.
    ///
    /// # Errors
    /// It runs on, or is not running.
    pub fn stop(&mut self) -> Result<i32> {
        self.process
            .take()
            .context("the daemon is not started")?
            .stop(START_LIMIT)
    }

    /// Ends the daemon as a crash would.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the daemon is not started")?.kill()
    }

    /// Stops the daemon if it runs and forgets identity and networks: the next start is that of a new node.
    ///
    /// # Errors
    /// The state cannot be removed.
    pub fn forget(&mut self) -> Result<()> {
        self.process = None;
        for path in [&self.state, &self.socket] {
            let removed = if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// The running daemon's process id.
    ///
    /// # Errors
    /// It is not running.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the daemon is not started")?.pid())
    }

    /// The running daemon.
    ///
    /// # Errors
    /// It is not running.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the daemon is not started")
    }

    /// All the daemon has logged so far, in former runs too.
    pub fn log(&self) -> String {
        fs::read_to_string(self.logs.join(format!("{}.log", self.name))).unwrap_or_default()
    }

    /// The socket of its API.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace it runs in.
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// The directory of its state.
    pub fn state_directory(&self) -> &Path {
        &self.state
    }

    /// Runs `farlan --socket S WORDS` in its namespace to its end; the exit code is the caller's to judge.
    ///
    /// # Errors
    /// The program is missing or hangs.
    pub fn cli(&self, words: &[&str]) -> Result<Finished> {
        command::finish(self.cli_command(words), CLI_LIMIT, None)
    }

    /// The command `farlan --socket S WORDS` in its namespace.
    pub fn cli_command(&self, words: &[&str]) -> Command {
        let mut command = self.namespace.command(&self.program);
        command.arg("--socket").arg(&self.socket).args(words);
        command
    }

    /// Runs a command of the CLI with `--json` and parses its output.
    ///
    /// # Errors
    /// The command fails or prints something else.
    pub fn json(&self, words: &[&str]) -> Result<Value> {
        let mut words = words.to_vec();
        words.push("--json");
        let finished = self.cli(&words)?.success()?;
        serde_json::from_str(&finished.stdout).with_context(|| format!("no JSON: {finished}"))
    }

    /// What `status --json` says.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn status(&self) -> Result<Value> {
        self.json(&["status"])
    }

    /// One of the counters in `status --json`.
    ///
    /// # Errors
    /// The daemon does not answer or has no such counter.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let status = self.status()?;
        let value = status.get("counters").and_then(|counters| counters.get(name)?.as_u64());
        value.with_context(|| format!("{} has no counter {name}: {status}", self.name))
    }

    /// The peers that `peers --json` lists.
    ///
    /// # Errors
    /// The daemon does not answer or the shape is another.
    pub fn peers(&self) -> Result<Vec<Value>> {
        rows(self.json(&["peers"])?, "peers")
    }

    /// The networks that `networks --json` lists.
    ///
    /// # Errors
    /// The daemon does not answer or the shape is another.
    pub fn networks(&self) -> Result<Vec<NetworkView>> {
        rows(self.json(&["networks"])?, "networks")?
            .iter()
            .map(NetworkView::from_json)
            .collect()
    }

    /// Makes a network and returns its link.
    ///
    /// # Errors
    /// `host` fails or prints anything but one line.
    pub fn host(&self) -> Result<String> {
        self.host_with(&[])
    }

    /// Makes a network with options of `host`, whose members meet at the configured supernodes, and returns its link.
    ///
    /// # Errors
    /// As [`host`](Self::host).
    pub fn host_with(&self, options: &[&str]) -> Result<String> {
        let mut finished = self.cli(&[&["host", "--no-serve"], options].concat())?;
        // A program of another time may not know the option, nor have another place to meet.
        if finished.code == Some(WRONG_USAGE) {
            finished = self.cli(&[&["host"], options].concat())?;
        }
        let finished = finished.success()?;
        let link = finished.stdout.trim();
        ensure!(
            !link.is_empty() && link.lines().count() == 1,
            "`host` printed no single line: {finished}"
        );
        Ok(link.to_owned())
    }

    /// Joins a network.
    ///
    /// # Errors
    /// `join` fails.
    pub fn join(&self, network: &str) -> Result<Finished> {
        self.cli(&["join", network])?.success()
    }

    /// Waits until the node's only network has an IPv4 address.
    ///
    /// # Errors
    /// It has none within `limit`.
    pub fn wait_addressed(&self, limit: Duration) -> Result<NetworkView> {
        wait_for(&format!("{}'s IPv4 address", self.name), limit, || {
            Ok(self
                .networks()?
                .into_iter()
                .next()
                .filter(|network| network.ipv4.is_some()))
        })
    }
}

impl NetworkView {
    fn from_json(value: &Value) -> Result<Self> {
        let text = |field: &str| -> Result<String> {
            let text = value.get(field).and_then(Value::as_str);
            Ok(text
                .with_context(|| format!("no text `{field}` in {value}"))?
                .to_owned())
        };
        let address = |field: &str| -> Result<Option<String>> {
            match value.get(field) {
                Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone())),
                _ => bail!("no address or null `{field}` in {value}"),
            }
        };
        Ok(Self {
            name: text("name")?,
            network_id: text("network_id")?,
            interface: text("interface")?,
            ipv4: address("ipv4")?.map(|address| address.parse()).transpose()?,
            ipv6: address("ipv6")?.map(|address| address.parse()).transpose()?,
            policy: text("policy")?,
        })
    }
}

/// Tells whether a `status` shows a registration.
pub fn registered(status: &Value) -> bool {
    let supernodes = status.get("supernodes").and_then(Value::as_array);
    supernodes.is_some_and(|all| all.iter().any(|one| one.get("registered") == Some(&Value::Bool(true))))
}

/// The path of a released program (`farlan`, `farlan-supernode`): in `FARLAN_BIN_DIR` if that is set, else in
/// the `release` directory beside the one the caller was built in.
///
/// # Errors
/// It is not built.
pub fn released(program: &str) -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("FARLAN_BIN_DIR") {
        let path = Path::new(&directory).join(program);
        ensure!(
            path.is_file(),
            "there is no {} (FARLAN_BIN_DIR points there)",
            path.display()
        );
        return Ok(path);
    }
    let own = std::env::current_exe()?;
    let found = own
        .ancestors()
        .map(|directory| directory.join("release").join(program))
        .find(|path| path.is_file());
    found.with_context(|| format!("{program} is not built: run cargo build --release -p farlan -p farlan-supernode"))
}

/// The path of a helper program of this package, built beside the caller.
///
/// # Errors
/// It is not built.
pub fn helper(program: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // Test programs lie one directory below the other ones.
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file());
    found.with_context(|| format!("{program} is not built: run cargo build -p farlan-tests"))
}

/// The last lines of every log in a lab's directory.
pub fn log_tails(directory: &Path) -> String {
    let mut logs: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    let shown = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        format!("--- end of {name} ---\n{}\n", tail(path))
    };
    logs.iter().map(shown).collect()
}

fn tail(log: &Path) -> String {
    let text = File::open(log).and_then(io::read_to_string).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// The rows of a listing: the array itself, or the array in the field of that name.
fn rows(mut listing: Value, field: &str) -> Result<Vec<Value>> {
    if let Some(inner) = listing.get_mut(field) {
        listing = inner.take();
    }
    match listing {
        Value::Array(rows) => Ok(rows),
        other => bail!("no list of {field}: {other}"),
    }
}
