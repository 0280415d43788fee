//! Reading the configuration again while the daemon runs, without dropping a session.

use std::fmt;

use super::{Daemon, Settings};
use crate::{
    failure::Failure,
    logs::{self, LogFilter},
    shell::Request,
};

/// Reads the configuration, with what the command line said before it.
type Reader = Box<dyn Fn() -> Result<(Settings, LogFilter), Failure>>;

/// The configuration in force, and how to read it again.
pub struct Configuration {
    settings: Settings,
    log: LogFilter,
    read: Reader,
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration")
            .field("settings", &self.settings)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl Configuration {
    /// Reads the configuration for the first time.
    ///
    /// # Errors
    /// What `read` fails with.
    pub fn new(read: impl Fn() -> Result<(Settings, LogFilter), Failure> + 'static) -> Result<Self, Failure> {
        let (settings, log) = read()?;
        Ok(Self {
            settings,
            log,
            read: Box::new(read),
        })
    }

    /// What a daemon is started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is logged.
    pub fn log(&self) -> &LogFilter {
        &self.log
    }
}

impl Daemon {
    /// Reads the configuration again and takes over what can change while the daemon runs: the log filter, supernodes
    /// that are new, whether the address is hidden, whether the router is asked, the list of games, which of
    /// them strangers may reach, and what becomes of their searches on the real LAN. A configuration that cannot be read changes nothing.
    pub(super) async fn reload(&self, configuration: &mut Configuration) {
        let (mut settings, log) = match (configuration.read)() {
            Ok(read) => read,
            Err(failure) => {
                tracing::error!("the configuration is not reloaded, and the old one stays in force: {failure}");
                return;
            }
        };
        if log != configuration.log {
            logs::change(&log);
            configuration.log = log;
        }
        for fixed in fixed_settings(&configuration.settings, &mut settings) {
            tracing::warn!("{fixed} cannot change while farlan runs; it takes effect at the next start");
        }
        let gone = configuration.settings.supernodes.iter();
        for world in gone.filter(|before| settings.supernodes.iter().all(|world| world.id() != before.id())) {
            tracing::warn!(
                "the configuration no longer names the supernodes of world {0}, and they stay known; forget them with: \
                 farlan supernode remove {0}",
                world.id()
            );
        }
        if settings.supernodes != configuration.settings.supernodes
            && let Err(failure) = self.take_supernodes(&settings).await
        {
            tracing::error!("the supernodes of the configuration are not taken over: {failure}");
            return;
        }
        let hide = settings.hide_address;
        if hide != configuration.settings.hide_address
            && self.data_plane.send(Request::SetHideAddress { hide }).await.is_err()
        {
            return;
        }
        self.mappings.switch(settings.port_mapping);
        let before = &configuration.settings;
        if (settings.games != before.games || settings.list != before.list)
            && self.take_games(&settings.games, &settings.list).await.is_err()
        {
            return;
        }
        if settings.lan_games != before.lan_games {
            self.take_lan_games(settings.lan_games);
        }
        configuration.settings = settings;
        tracing::info!("the configuration is reloaded");
    }

    async fn take_supernodes(&self, settings: &Settings) -> Result<(), Failure> {
        let mut book = self.book.lock().await;
        for world in &settings.supernodes {
            book.worlds.add(&self.data_plane, world.clone(), true).await?;
        }
        let first: Vec<_> = settings.supernodes.iter().map(farlan_netconf::World::id).collect();
        book.worlds.put_first(&first);
        self.write_down(&book);
        Ok(())
    }
}

/// The names of settings that differ and cannot change, and puts the old ones in their place.
fn fixed_settings(before: &Settings, settings: &mut Settings) -> Vec<&'static str> {
    let mut names = Vec::new();
    if settings.port != before.port {
        names.push("the port");
        settings.port = before.port;
    }
    if settings.socket != before.socket {
        names.push("the socket");
        settings.socket.clone_from(&before.socket);
    }
    if settings.api_tcp != before.api_tcp {
        names.push("where the API is served over TCP");
        settings.api_tcp = before.api_tcp;
    }
    if settings.beacon != before.beacon {
        names.push("whether there are beacons");
        settings.beacon = before.beacon;
    }
    if settings.state_dir != before.state_dir {
        names.push("the state directory");
        settings.state_dir.clone_from(&before.state_dir);
    }
    if settings.user != before.user {
        names.push("the user");
        settings.user.clone_from(&before.user);
    }
    if settings.offloads != before.offloads {
        names.push("what is said of offloads");
        settings.offloads = before.offloads;
    }
    if settings.names != before.names {
        names.push("what is said of names");
        settings.names = before.names.clone();
    }
    if settings.controller != before.controller {
        names.push("the controller's store");
        settings.controller.clone_from(&before.controller);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::{
        config::Offloads,
        games::{Games, LanGames},
    };

    #[test]
    fn what_cannot_change_is_named_and_stays() {
        let before = Settings {
            state_dir: "/d".into(),
            socket: "/s".into(),
            api_tcp: None,
            port: 9600,
            user: None,
            supernodes: Vec::new(),
            port_mapping: true,
            hide_address: false,
            beacon: true,
            games: Games::default(),
            list: Arc::default(),
            lan_games: LanGames::Off,
            offloads: Offloads::default(),
            names: super::super::NameSettings::default(),
            controller: None,
            tuning: crate::daemon::Tuning::default(),
        };
        let mut after = before.clone();
        assert_eq!(fixed_settings(&before, &mut after), Vec::<&str>::new());
        after.port = 1;
        after.socket = "/t".into();
        after.api_tcp = Some("127.0.0.1:9601".to_owned().try_into().unwrap());
        after.state_dir = "/e".into();
        after.user = Some("farlan".to_owned());
        after.offloads.send = false;
        after.beacon = false;
        let names = fixed_settings(&before, &mut after);
        assert_eq!(
            names,
            [
                "the port",
                "the socket",
                "where the API is served over TCP",
                "whether there are beacons",
                "the state directory",
                "the user",
                "what is said of offloads"
            ]
        );
        assert_eq!(
            (after.port, after.socket, after.state_dir, after.user, after.offloads),
            (9600, "/s".into(), "/d".into(), None, Offloads::default())
        );
        assert_eq!((after.api_tcp, after.beacon), (None, true));
    }
}
