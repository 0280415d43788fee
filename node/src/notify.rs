//! What the service manager is told: the datagrams of sd_notify(3) to the socket that `NOTIFY_SOCKET` names.
//!
//! Started by hand there is no such socket, and nothing is told. A manager that does not listen is no reason to fail.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// The way to the service manager, if one waits for word.
#[derive(Debug)]
pub struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// The manager that the environment names.
    pub fn from_environment() -> Self {
        Self::at(std::env::var_os("NOTIFY_SOCKET").as_deref())
    }

    /// The manager at a socket: a path, or an abstract name behind `@`.
    fn at(name: Option<&OsStr>) -> Self {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        let open = || -> io::Result<_> {
            let address = match name.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
                _ => SocketAddr::from_pathname(name)?,
            };
            Ok((UnixDatagram::unbound()?, address))
        };
        match open() {
            Ok(manager) => Self(Some(manager)),
            Err(error) => {
                tracing::warn!(%error, "cannot reach the service manager");
                Self(None)
            }
        }
    }

    /// The program has started, or has read its configuration again.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The program ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// The program reads its configuration again; [`ready`](Self::ready) says when it has.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    fn tell(&self, state: &str) {
        if let Some((socket, manager)) = &self.0
            && let Err(error) = socket.send_to_addr(state.as_bytes(), manager)
        {
            tracing::warn!(%error, "the service manager did not take {state:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(listener: &UnixDatagram) -> String {
        listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 200];
        let length = listener.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn tells_all(listener: &UnixDatagram, notifier: &Notifier) {
        notifier.ready();
        assert_eq!(told(listener), "READY=1");
        notifier.reloading();
        let reloading = told(listener);
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(time.parse::<u64>().unwrap() > 0, "{reloading}");
        notifier.stopping();
        assert_eq!(told(listener), "STOPPING=1");
    }

    #[test]
    fn a_manager_at_a_path_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        tells_all(&listener, &Notifier::at(Some(path.as_os_str())));
    }

    #[test]
    fn a_manager_at_an_abstract_name_is_told() {
        let name = format!("farlan-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        tells_all(&listener, &Notifier::at(Some(OsStr::new(&format!("@{name}")))));
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let long = "x".repeat(200);
        for name in [None, Some(""), Some("/nowhere/at/all"), Some(long.as_str())] {
            let notifier = Notifier::at(name.map(OsStr::new));
            notifier.ready();
            notifier.stopping();
        }
    }
}
