//! Running one outside program to its end, always within a time limit.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a program may run where the caller does not say: ample for a busy machine.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(30);

/// What a program that ran to its end left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub command: String,
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All it wrote to standard output.
    pub stdout: String,
    /// All it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Passes a success through and turns any other end into an error that shows the output.
    ///
    /// # Errors
    /// The exit code is not 0.
    pub fn success(self) -> Result<Self> {
        if self.code == Some(0) {
            return Ok(self);
        }
        bail!("{self}");
    }

    /// Demands a certain exit code.
    ///
    /// # Errors
    /// The exit code is another.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        if self.code == Some(code) {
            return Ok(self);
        }
        bail!("wanted exit code {code}: {self}");
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            command,
            code,
            stdout,
            stderr,
        } = self;
        match code {
            Some(code) => write!(f, "`{command}` ended with exit code {code}")?,
            None => write!(f, "`{command}` was ended by a signal")?,
        }
        for (name, text) in [("stdout", stdout), ("stderr", stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n{name}: {}", text.trim())?;
            }
        }
        Ok(())
    }
}

/// Runs a program with arguments in the lab's own namespace and demands success; returns its standard output.
///
/// # Errors
/// The program is missing, fails, or takes longer than [`DEFAULT_LIMIT`].
pub fn run(words: &[&str]) -> Result<String> {
    let (program, arguments) = words.split_first().context("an empty command")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(finish(command, DEFAULT_LIMIT, None)?.success()?.stdout)
}

/// Runs a command to its end with `input` on its standard input (none: empty).
///
/// # Errors
/// It cannot be started, or is still running after `limit` (it is killed then).
pub fn finish(mut command: Command, limit: Duration, input: Option<&str>) -> Result<Finished> {
    let shown = shown(&command);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        use std::io::Write;
        // A program that does not read its input to the end reports that by its exit code.
        let _ = stdin.write_all(text.as_bytes());
    }
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child, limit)?;
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let finished = Finished {
        command: shown,
        code: status.and_then(|status| status.code()),
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    };
    if status.is_none() {
        bail!("still running after {} s and killed: {finished}", limit.as_secs());
    }
    Ok(finished)
}

/// Waits for a child at most for `limit`; `None` if it still runs then.
///
/// # Errors
/// The operating system cannot tell.
pub fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Calls `probe` every 20 ms until it yields a value.
///
/// # Errors
/// Nothing came within `limit`; the message says what was awaited and what the last try reported.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let outcome = probe();
        if let Ok(Some(value)) = outcome {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            let what = format!("waited {} s in vain for {what}", limit.as_secs());
            return match outcome {
                Err(error) => Err(error.context(what)),
                Ok(_) => bail!(what),
            };
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What could be read until an error is still worth showing.
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
