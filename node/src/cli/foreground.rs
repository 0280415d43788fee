//! Being the daemon.

use super::output::say;
use crate::{
    daemon::{Running, Settings, stop_signal},
    failure::Failure,
};

/// Runs the daemon until it is told to stop.
pub(super) async fn up(settings: Settings) -> Result<(), Failure> {
    Running::start(settings).await?.until_stopped().await
}

/// Runs the daemon, does `action` with it, and goes on running; if the action fails, the daemon ends with it.
pub(super) async fn up_and(
    settings: Settings,
    action: impl AsyncFnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    say("farlan is not running here, so this becomes it, in the foreground; end it with Ctrl-C");
    let running = Running::start(settings).await?;
    let done = tokio::select! {
        done = action() => done.map(|()| true),
        stopped = stop_signal() => stopped.map(|()| false),
    };
    match done {
        Ok(true) => running.until_stopped().await,
        Ok(false) => {
            running.stop().await;
            Ok(())
        }
        Err(failure) => {
            running.stop().await;
            Err(failure)
        }
    }
}
