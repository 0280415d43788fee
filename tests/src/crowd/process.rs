//! The supernode's process, seen from outside.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::UdpSocket,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use super::serve::Status;

/// A running supernode; it ends when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    thread: String,
}

impl Process {
    /// Starts `program` serving on a port, and waits until it does.
    ///
    /// # Errors
    /// It cannot be started or ends at once.
    pub fn start(program: &std::path::Path, port: u16, registrations: usize) -> Result<Self> {
        let mut child = Command::new(program)
            .args([
                "serve",
                "--port",
                &port.to_string(),
                "--registrations",
                &registrations.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the supernode")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("its output")?);
        let thread = String::new();
        let mut process = Self {
            child,
            input,
            output,
            thread,
        };
        process.status().context("the supernode does not serve")?;
        let tasks = format!("/proc/{}/task", process.child.id());
        for task in fs::read_dir(tasks)? {
            let path = task?.path();
            if fs::read_to_string(path.join("comm"))?.trim() == "data-plane" {
                process.thread = path.display().to_string();
            }
        }
        Ok(process)
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It has ended.
    pub fn status(&mut self) -> Result<Status> {
        let input = self.input.as_mut().context("it was stopped")?;
        input.write_all(b"\n")?;
        input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// It has ended.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    }

    /// What its data plane's thread used of a processor so far, and how long it waited for one.
    ///
    /// # Errors
    /// It has ended.
    pub fn used(&self) -> Result<(Duration, Duration)> {
        let text = fs::read_to_string(format!("{}/schedstat", self.thread))?;
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let mut next = || anyhow::Ok(Duration::from_nanos(numbers.next().context("too few numbers")??));
        Ok((next()?, next()?))
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A UDP port that nobody uses.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}
