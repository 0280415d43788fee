//! Being the daemon.

use super::{client::Client, complete, output::say, presence};
use crate::{
    daemon::{Configuration, Running, Settings},
    failure::Failure,
    notify::Notifier,
    privileges::Holdings,
    signals::Signals,
};

/// Takes what a daemon holds, and says so, if none answers `client`.
///
/// # Errors
/// Those of [`presence::is_running`] and [`Holdings::take`].
pub(super) fn hold_if_alone(client: &Client, settings: &Settings) -> Result<Option<Holdings>, Failure> {
    // This runtime starts no thread.
    if complete(presence::is_running(client, &settings.state_dir))? {
        return Ok(None);
    }
    say("farlan is not running here, so this becomes it, in the foreground; end it with Ctrl-C");
    Holdings::take(settings).map(Some)
}

/// Runs the daemon until it is told to stop.
pub(super) async fn up(configuration: Configuration, holdings: Holdings) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let running = tokio::select! {
        started = Running::start(configuration.settings().clone(), holdings) => started?,
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
    holdings: Holdings,
    action: impl AsyncFnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let running = Running::start(configuration.settings().clone(), holdings).await?;
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
