//! Whether a daemon runs, starts or is absent.

use std::{
    fs::{File, TryLockError},
    path::Path,
    time::{Duration, Instant},
};

use super::client::Client;
use crate::{
    api::Status,
    failure::{Failure, FailureKind},
};

/// Whether a daemon answers `client`. One that starts, and so holds the state directory already, gets 5 s.
///
/// # Errors
/// The state directory is in use and nobody answers; the daemon answers with a failure, or may not be used.
pub(super) async fn is_running(client: &Client, state_dir: &Path) -> Result<bool, Failure> {
    is_running_within(client, state_dir, STARTING).await
}

async fn is_running_within(client: &Client, state_dir: &Path, starting: Duration) -> Result<bool, Failure> {
    let begun = Instant::now();
    loop {
        match client.get::<Status>("/v1/status").await {
            Ok(_) => return Ok(true),
            Err(failure) if failure.kind == FailureKind::DaemonDown && client.is_local() => {}
            Err(failure) => return Err(failure),
        }
        if !is_in_use(state_dir) {
            return Ok(false);
        }
        if begun.elapsed() >= starting {
            return Err(Failure::daemon_down(format_args!(
                "nobody answers at {}, but farlan is starting or answers at another socket (the state directory {} is \
                 in use); see --socket",
                client.place(),
                state_dir.display()
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a running daemon or supernode holds the lock of the state directory at `path`; not known to whoever may not
/// read the lock, who gets `false`.
pub fn is_in_use(path: &Path) -> bool {
    let Ok(lock) = File::open(path.join(LOCK)) else {
        return false;
    };
    // What was locked here is unlocked when the file is closed.
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// The file that a [`StateDir`](crate::state::StateDir) locks.
const LOCK: &str = "lock";

/// How long a daemon may take from holding its state directory to answering.
const STARTING: Duration = Duration::from_secs(5);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};

    use super::*;
    use crate::{
        api::{Answer, Server, finish},
        state::StateDir,
    };

    #[tokio::test]
    async fn a_directory_is_in_use_as_long_as_it_is_open() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_in_use(directory.path()));
        let client = Client::new(&directory.path().join("s"));
        let state = StateDir::open(directory.path()).unwrap();
        assert!(is_in_use(directory.path()));
        drop(state);
        assert!(!is_in_use(directory.path()));
        assert_eq!(is_running(&client, directory.path()).await, Ok(false));
        StateDir::open(directory.path()).unwrap();
    }

    #[tokio::test]
    async fn a_daemon_that_starts_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _state = StateDir::open(directory.path()).unwrap();
        let client = Client::new(&path);
        let none = is_running_within(&client, directory.path(), PAUSE).await.unwrap_err();
        assert_eq!(none.kind, FailureKind::DaemonDown);
        assert!(none.message.contains("is in use"), "{none}");
        let start = async {
            tokio::time::sleep(2 * PAUSE).await;
            let refuse = async || -> Answer<()> { Err(Failure::permission("it answers")) };
            Server::start(&path, finish(Router::new().route("/v1/status", get(refuse)))).unwrap()
        };
        let (answer, _server) = tokio::join!(is_running(&client, directory.path()), start);
        assert_eq!(answer, Err(Failure::permission("it answers")));
    }
}
