//! Being the daemon.

use super::output::say;
use crate::{
    daemon::{Configuration, Running},
    failure::Failure,
    notify::Notifier,
    signals::Signals,
};

/// Runs the daemon until it is told to stop.
pub(super) async fn up(configuration: Configuration) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let running = tokio::select! {
        started = Running::start(configuration.settings().clone()) => started?,
        // What was begun ends with the program.
        () = signals.stop() => return Ok(()),
    };
    running
        .until_stopped(signals, configuration, &Notifier::from_environment())
        .await
}

/// Runs the daemon, does `action` with it, and goes on running; if the action fails, the daemon ends with it.
pub(super) async fn up_and(
    configuration: Configuration,
    action: impl AsyncFnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    say("farlan is not running here, so this becomes it, in the foreground; end it with Ctrl-C");
    let mut signals = Signals::new()?;
    let running = Running::start(configuration.settings().clone()).await?;
    let done = tokio::select! {
        done = action() => done.map(|()| true),
        () = signals.stop() => Ok(false),
    };
    match done {
        Ok(true) => {
            running
                .until_stopped(signals, configuration, &Notifier::from_environment())
                .await
        }
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
