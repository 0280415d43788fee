//! A PostgreSQL of the tests' own, and where their stores are.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]
#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(unreachable_pub, reason = "the test programs are the public")]
#![allow(clippy::disallowed_methods, reason = "waiting for another program takes a clock")]

mod people;

pub use people::*;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use farlan_controller::Store;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;

/// Runs a test on a runtime with threads, as several controllers and applicants are.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(test);
}

/// Makes of each function two tests: one on a file, one on a database.
#[macro_export]
macro_rules! on_both_stores {
    ($($test:ident,)*) => {
        mod sqlite {
            $(#[test]
            fn $test() {
                $crate::support::run(async { super::$test($crate::support::Place::file()).await });
            })*
        }

        mod postgres {
            $(#[test]
            fn $test() {
                $crate::support::run(async { super::$test($crate::support::Place::database().await).await });
            })*
        }
    };
}

/// Where a test's store is.
pub enum Place {
    File(TempDir),
    Database { server: Arc<Server>, url: String },
}

impl Place {
    pub fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    pub async fn database() -> Self {
        let server = Server::shared();
        let url = server.database().await;
        Self::Database { server, url }
    }

    /// An empty one of the same kind.
    pub async fn another(&self) -> Self {
        match self {
            Self::File(_) => Self::file(),
            Self::Database { .. } => Self::database().await,
        }
    }

    /// What the configuration would say.
    pub fn name(&self) -> String {
        match self {
            Self::File(directory) => directory.path().join("controller.db").to_str().unwrap().to_owned(),
            Self::Database { url, .. } => url.clone(),
        }
    }

    pub async fn open(&self) -> Store {
        Store::open(&self.name()).await.unwrap()
    }
}

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
        let directory = tempfile::Builder::new().prefix("farlan-pg").tempdir().unwrap();
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

    /// A new database, as a URL.
    pub async fn database(&self) -> String {
        let name = format!("farlan{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run("postgres", &format!("CREATE DATABASE {name}")).await;
        let directory = self.directory.path().to_str().unwrap();
        format!("postgres://farlan@localhost/{name}?host={directory}")
    }

    /// Runs a statement in one of the databases.
    pub async fn run(&self, database: &str, sql: &str) {
        let options = PgConnectOptions::new()
            .socket(self.directory.path())
            .username("farlan")
            .database(database)
            .ssl_mode(PgSslMode::Disable);
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        sqlx::query(AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
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
