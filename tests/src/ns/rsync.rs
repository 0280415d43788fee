//! Files by Debian's `rsync` between two namespaces, with their SHA-256 compared.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::command::wait_for;
use super::namespace::Namespace;
use super::program::Process;
use super::transfer;

/// The port of the daemon; every lab's host has its own.
const PORT: u16 = 8730;

/// How long rsync lets a transfer stand still, in seconds. Where one packet in five is lost in each direction, a third of
/// TCP's repetitions fail, and it waits twice as long after each: about one transfer in a hundred would stand still for a minute.
const PATIENCE: &str = "240";

/// A running `rsync --daemon` that offers one directory.
#[derive(Debug)]
pub struct RsyncDaemon {
    address: IpAddr,
    directory: PathBuf,
    _process: Process,
}

impl RsyncDaemon {
    /// Starts a daemon that listens on an address of `namespace` and offers a new directory called `name` in `place`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(namespace: &Namespace, address: IpAddr, name: &str, place: &Path) -> Result<Self> {
        let directory = place.join(name);
        fs::create_dir(&directory)?;
        let configuration = place.join(format!("{name}.conf"));
        let offered = directory.display();
        // A lab has no name server that could be asked who fetches.
        let settings = "use chroot = no\nuid = 0\ngid = 0\nreverse lookup = no\nforward lookup = no";
        fs::write(&configuration, format!("{settings}\n[files]\npath = {offered}\n"))?;
        let mut command = namespace.command("rsync");
        command.args(["--daemon", "--no-detach", "--address", &address.to_string()]);
        command
            .args(["--port", &PORT.to_string(), "--config"])
            .arg(&configuration);
        let mut process = Process::spawn(command, name, place)?;
        let listening = format!(":{PORT} ");
        wait_for("rsync's TCP socket", Duration::from_secs(20), || {
            process.ensure_running()?;
            let sockets = namespace
                .exec(&["ss", "-Htln"], Duration::from_secs(10))?
                .success()?
                .stdout;
            Ok(sockets.contains(&listening).then_some(()))
        })?;
        Ok(Self {
            address,
            directory,
            _process: process,
        })
    }

    /// Makes a file of noise there and fetches it to another namespace; returns how long that took.
    ///
    /// # Errors
    /// rsync fails, takes longer than `limit`, or has fetched something else.
    pub fn fetch(&self, to: &Namespace, bytes: usize, limit: Duration) -> Result<Duration> {
        let data = transfer::noise(bytes as u64, bytes);
        let (name, copy) = (format!("noise-{bytes}"), self.directory.with_extension("copy"));
        fs::write(self.directory.join(&name), &data)?;
        // Nothing of an earlier fetch may be there to start from.
        if copy.exists() {
            fs::remove_file(&copy)?;
        }
        let host = if self.address.is_ipv4() {
            self.address.to_string()
        } else {
            format!("[{}]", self.address)
        };
        let source = format!("rsync://{host}:{PORT}/files/{name}");
        let target = copy.to_str().context("the lab's directory is no UTF-8")?;
        let start = Instant::now();
        let words = ["rsync", "--timeout", PATIENCE, "--whole-file", &source, target];
        to.exec(&words, limit)?.success()?;
        let took = start.elapsed();
        let arrived = fs::read(&copy)?;
        ensure!(
            arrived.len() == bytes && transfer::sha256(&arrived) == transfer::sha256(&data),
            "another file of {} bytes arrived",
            arrived.len()
        );
        Ok(took)
    }
}
