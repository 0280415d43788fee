//! A machine's own files in a network namespace: what `getent` reads, a server that records what is asked upstream, and, where
//! wanted, a system bus with systemd-resolved.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::command::{self, Finished, wait_for};
use super::namespace::Namespace;
use super::program::Process;

/// How long a program may take for its own start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Where the recording server is.
const UPSTREAM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

/// A mount namespace with an `/etc`, a `/run` and a `/sys` of its own. Ends with what still runs in it when it is dropped.
#[derive(Debug)]
pub struct Desk {
    namespace: Arc<Namespace>,
    etc: PathBuf,
    upstream: Recorder,
    services: Vec<Process>,
    holder: Process,
}

impl Desk {
    /// Makes it in `namespace`, with these contents of `/etc/hosts`; files go to `directory`. Names are looked up in that file and
    /// then upstream.
    ///
    /// # Errors
    /// The kernel or a program refuses.
    pub fn new(namespace: &Arc<Namespace>, hosts: &str, directory: &Path) -> Result<Self> {
        let etc = directory.join(format!("{}.etc", namespace.name()));
        fs::create_dir(&etc)?;
        fs::write(etc.join("hosts"), hosts)?;
        fs::write(
            etc.join("nsswitch.conf"),
            "passwd: files\ngroup: files\nhosts: files dns\n",
        )?;
        fs::write(
            etc.join("resolv.conf"),
            format!("nameserver {UPSTREAM}\noptions timeout:2\n"),
        )?;
        fs::write(
            etc.join("passwd"),
            "root:x:0:0::/root:/bin/sh\nsystemd-resolve:x:996:996::/:/usr/sbin/nologin\n",
        )?;
        fs::write(etc.join("group"), "root:x:0:\nsystemd-resolve:x:996:\n")?;
        // Without it programs search longer for their libraries.
        let _ = fs::copy("/etc/ld.so.cache", etc.join("ld.so.cache"));
        let script = "mount --make-rprivate / 2>/dev/null || mount --make-rprivate /run 2>/dev/null
                      mount -t sysfs sysfs /sys && mount --bind \"$0\" /etc && mount -t tmpfs -o mode=755 tmpfs /run &&
                      mkdir -p /run/dbus /run/systemd && echo ready && exec sleep 3600";
        let mut command = namespace.command("unshare");
        command
            .args(["--mount", "--propagation", "unchanged", "sh", "-c", script])
            .arg(&etc);
        let mut holder = Process::spawn(command, &format!("{}-desk", namespace.name()), directory)?;
        wait_for("a mount namespace", START_LIMIT, || {
            holder.ensure_running()?;
            Ok(holder.log().contains("ready").then_some(()))
        })?;
        let upstream = Recorder::start(namespace)?;
        Ok(Self {
            namespace: Arc::clone(namespace),
            etc,
            upstream,
            services: Vec::new(),
            holder,
        })
    }

    /// Starts a bus and systemd-resolved, which all names but those in `/etc/hosts` are asked at from then on; it asks upstream.
    ///
    /// # Errors
    /// A program is missing or does not come up.
    pub fn start_resolved(&mut self, directory: &Path) -> Result<()> {
        let resolved = Resolved::find()?;
        let socket = "unix:path=/run/dbus/system_bus_socket";
        let configuration = directory.join("desk-bus.conf");
        fs::write(&configuration, super::avahi::bus_configuration_text(socket))?;
        let mut command = self.command("dbus-daemon");
        command.arg("--nofork").arg("--config-file").arg(&configuration);
        self.services.push(Process::spawn(command, "desk-bus", directory)?);
        wait_for("dbus-daemon", START_LIMIT, || {
            Ok(self
                .exec(&["test", "-S", "/run/dbus/system_bus_socket"])?
                .success()
                .is_ok()
                .then_some(()))
        })?;
        fs::create_dir_all(self.etc.join("systemd"))?;
        fs::write(
            self.etc.join("systemd/resolved.conf"),
            format!("[Resolve]\nDNS={UPSTREAM}\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\nDNSSEC=no\n"),
        )?;
        let mut command = self.command(&resolved.program);
        command
            .env("LD_LIBRARY_PATH", &resolved.libraries)
            .env("SYSTEMD_LOG_LEVEL", "debug");
        self.services.push(Process::spawn(command, "desk-resolved", directory)?);
        let stub = wait_for("systemd-resolved's stub", START_LIMIT, || {
            let resolved = self.services.last_mut().context("no resolved")?;
            resolved.ensure_running()?;
            let sockets = self.exec(&["ss", "-Huln"])?.success()?.stdout;
            Ok(sockets.contains("127.0.0.53%lo:53").then_some(()))
        });
        stub.with_context(|| self.services.last().map(Process::log).unwrap_or_default())?;
        fs::write(
            self.etc.join("resolv.conf"),
            "nameserver 127.0.0.53\noptions edns0 timeout:2\n",
        )?;
        Ok(())
    }

    /// A command that will run a program there.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.namespace.command("nsenter");
        command.arg(self.mounts()).arg(program);
        command
    }

    fn mounts(&self) -> String {
        format!("--mount=/proc/{}/ns/mnt", self.holder.pid())
    }

    /// Words that run what follows them there, in whatever network namespace.
    pub fn wrapper(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), self.mounts()]
    }

    /// Runs a program there to its end.
    ///
    /// # Errors
    /// It cannot be started or takes too long.
    pub fn exec(&self, words: &[&str]) -> Result<Finished> {
        let (program, arguments) = words.split_first().context("an empty command")?;
        let mut command = self.command(program);
        command.args(arguments);
        command::finish(command, START_LIMIT, None)
    }

    /// What `getent DATABASE KEY` prints, nothing if it finds nothing.
    ///
    /// # Errors
    /// It fails otherwise.
    pub fn getent(&self, database: &str, key: &str) -> Result<String> {
        let finished = self.exec(&["getent", database, key])?;
        Ok(finished.success().map(|finished| finished.stdout).unwrap_or_default())
    }

    /// The contents of `/etc/hosts`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn hosts(&self) -> Result<String> {
        Ok(fs::read_to_string(self.etc.join("hosts"))?)
    }

    /// The names that were asked upstream.
    pub fn asked_upstream(&self) -> Vec<String> {
        self.upstream
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Where systemd-resolved and its libraries are.
struct Resolved {
    program: PathBuf,
    libraries: PathBuf,
}

impl Resolved {
    /// Installed, or unpacked below `FARLAN_RESOLVED_DIR`, as `scripts/test` does: installing the package would make it this machine's
    /// resolver.
    fn find() -> Result<Self> {
        let unpacked = std::env::var_os("FARLAN_RESOLVED_DIR").map(PathBuf::from);
        for root in unpacked.into_iter().chain([PathBuf::from("/")]) {
            let program = root.join("lib/systemd/systemd-resolved");
            if program.exists() {
                let libraries = root.join("usr/lib/x86_64-linux-gnu/systemd");
                return Ok(Self { program, libraries });
            }
        }
        bail!(
            "missing: systemd-resolved (Debian package systemd-resolved): run scripts/test, which unpacks it, or set \
             FARLAN_RESOLVED_DIR to where it is unpacked"
        )
    }
}

/// A DNS server that knows no name and writes down which were asked for.
#[derive(Debug)]
struct Recorder {
    names: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    fn start(namespace: &Namespace) -> Result<Self> {
        let socket = namespace.inside(|| UdpSocket::bind(SocketAddr::from((UPSTREAM, 53))))??;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (names, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (recorded, stop) = (Arc::clone(&names), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut room = [0; 1500];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut room) else {
                    continue;
                };
                let message = &mut room[..length];
                if let Some(name) = question(message) {
                    recorded.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                }
                if length >= 12 {
                    // An answer that there is no such name, as far as the question goes.
                    message[2] |= 0x80;
                    message[3] = 0x83;
                    let _ = socket.send_to(message, from);
                }
            }
        });
        Ok(Self {
            names,
            ended,
            thread: Some(thread),
        })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The name in a message's question.
fn question(message: &[u8]) -> Option<String> {
    let mut rest = message.get(12..)?;
    let mut labels = Vec::new();
    loop {
        let (length, after) = rest.split_first()?;
        if *length == 0 {
            return Some(labels.join("."));
        }
        let (label, after) = after.split_at_checked(usize::from(*length))?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        rest = after;
    }
}
