//! A PostgreSQL of the tests' own.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]
#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(unreachable_pub, reason = "the test programs are the public")]
#![allow(clippy::disallowed_methods, reason = "waiting for another program takes a clock")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Debian's PostgreSQL, with data in a directory of its own, reached by a Unix socket there. It ends with the last test that
/// uses it, or with the test program.
pub struct Server {
    directory: TempDir,
    stop: mpsc::Sender<()>,
    keeper: Option<JoinHandle<()>>,
    databases: AtomicU32,
}

/// Nobody's user and group: PostgreSQL does not run as root.
const NOBODY: u32 = 65534;

/// How long the server may take to come up or to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

impl Server {
    /// The server of this program.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(|error| error.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    fn start() -> Self {
        let programs = programs();
        // Its socket is for programs of other users, too.
        let open = std::fs::Permissions::from_mode(0o755);
        let directory = tempfile::Builder::new().prefix("farlan-pg").permissions(open).tempdir();
        let directory = directory.unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = directory.path().join("data");
        // Text is sorted by a language, as in most databases: our tables must not mind.
        let made = unprivileged(&programs.join("initdb"), directory.path())
            .args([
                "--auth=trust",
                "--username=farlan",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ])
            .args(["--locale-provider=icu", "--icu-locale=en-US", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );

        let log = directory.path().join("log");
        let mut postgres = unprivileged(&programs.join("postgres"), directory.path());
        // Nothing here has to survive the machine, so it need not wait for the disk.
        postgres
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=60"])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap());
        let (stop, stopped) = mpsc::channel();
        let (ready, started) = mpsc::channel();
        // The server dies with the thread that started it, so that thread has to last.
        let keeper = thread::spawn(move || keep(postgres, &stopped, &ready));
        started.recv().expect("PostgreSQL was started");
        let server = Self {
            directory,
            stop,
            keeper: Some(keeper),
            databases: AtomicU32::new(0),
        };
        server.wait(&log);
        server
    }

    fn wait(&self, log: &Path) {
        let socket = self.directory.path().join(".s.PGSQL.5432");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            if socket.exists() && said.contains("ready to accept connections") {
                return;
            }
            let ended = self.keeper.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(!ended && Instant::now() < deadline, "PostgreSQL does not start: {said}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where its Unix socket is.
    pub fn socket_directory(&self) -> &Path {
        self.directory.path()
    }

    /// The name of a database that there is not yet.
    pub fn new_name(&self) -> String {
        format!("farlan{}", self.databases.fetch_add(1, Ordering::Relaxed))
    }

    /// How a configuration names a database.
    pub fn url(&self, database: &str) -> String {
        let directory = self.directory.path().to_str().unwrap();
        format!("postgres://farlan@localhost/{database}?host={directory}")
    }

    /// A new database, made by a program of PostgreSQL, as a URL.
    pub fn made_database(&self) -> String {
        let name = self.new_name();
        let mut createdb = unprivileged(&programs().join("createdb"), self.directory.path());
        let made = createdb
            .arg("-h")
            .arg(self.directory.path())
            .args(["-U", "farlan", &name])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "createdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        self.url(&name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// Runs the server until it is told to stop or ends by itself.
fn keep(mut postgres: Command, stopped: &mpsc::Receiver<()>, ready: &mpsc::Sender<()>) {
    let mut child = postgres
        .spawn()
        .expect("setpriv (Debian package util-linux) starts PostgreSQL");
    let pid = Pid::from_child(&child);
    let _ = ready.send(());
    while child.try_wait().unwrap().is_none() {
        match stopped.recv_timeout(Duration::from_millis(50)) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            _ => break,
        }
    }
    // Immediately: what it holds is thrown away.
    let _ = kill_process(pid, Signal::QUIT);
    let _ = child.wait();
}

/// A program that runs as nobody if this one is root, and dies with the thread that starts it.
fn unprivileged(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if rustix::process::geteuid().is_root() {
        let nobody = NOBODY.to_string();
        command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
    }
    command
        .arg("--")
        .arg(program)
        .current_dir(directory)
        .stdin(Stdio::null());
    command
}

/// Where Debian has the programs of its newest PostgreSQL: not on anybody's path.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .map(|version| version.path().join("bin"))
        .filter(|programs| programs.join("initdb").exists() && programs.join("postgres").exists())
        .max_by_key(|programs| {
            let version = programs
                .parent()
                .and_then(Path::file_name)
                .and_then(|name| name.to_str());
            version.and_then(|version| version.parse::<u32>().ok())
        });
    newest.expect("missing: PostgreSQL (Debian package postgresql): there is no /usr/lib/postgresql/*/bin/initdb")
}
