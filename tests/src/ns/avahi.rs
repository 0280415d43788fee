//! A system bus and an avahi-daemon inside a namespace, as on a desktop of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::command::{self, Finished, wait_for};
use super::namespace::Namespace;
use super::program::Process;

/// How long either daemon may take to come up.
const START_LIMIT: Duration = Duration::from_secs(20);

/// avahi-daemon and its bus. Both end when it is dropped.
#[derive(Debug)]
pub struct Avahi<'lab> {
    namespace: &'lab Namespace,
    bus_address: String,
    name: String,
    directory: PathBuf,
    // Ends before the bus it talks to.
    _daemon: Process,
    _bus: Process,
}

impl<'lab> Avahi<'lab> {
    /// Starts both in `namespace`, for one interface, under the host name `name`; files go to `directory`.
    ///
    /// # Errors
    /// A program is missing or does not come up.
    pub fn start(namespace: &'lab Namespace, interface: &str, name: &str, directory: &Path) -> Result<Self> {
        Self::start_with(namespace, interface, name, "", directory)
    }

    /// As [`start`](Self::start), with this file of static services, none if it is empty.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(
        namespace: &'lab Namespace,
        interface: &str,
        name: &str,
        services: &str,
        directory: &Path,
    ) -> Result<Self> {
        let socket = directory.join(format!("{name}.bus"));
        let bus_address = format!("unix:path={}", socket.display());
        let bus_configuration = directory.join(format!("{name}-bus.conf"));
        fs::write(&bus_configuration, bus_configuration_text(&bus_address))?;
        let mut command = namespace.command("dbus-daemon");
        command.arg("--nofork").arg("--config-file").arg(&bus_configuration);
        let mut bus = Process::spawn(command, &format!("{name}-bus"), directory)?;
        wait_for("dbus-daemon", START_LIMIT, || {
            bus.ensure_running()?;
            Ok(socket.exists().then_some(()))
        })?;

        let avahi_configuration = directory.join(format!("{name}-avahi.conf"));
        fs::write(
            &avahi_configuration,
            format!(
                "[server]\nhost-name={name}\nallow-interfaces={interface}\nuse-ipv4=yes\nuse-ipv6=yes\n\
                 [publish]\npublish-workstation=no\n"
            ),
        )?;
        let service_file = directory.join(format!("{name}.service"));
        fs::write(&service_file, services)?;
        // avahi-daemon keeps its pid file and socket under /run, so each one gets a /run of its own. In a chroot the
        // root is no mount of its own whose propagation could be set; there /run may be one.
        let script = "mount --make-rprivate / 2>/dev/null || mount --make-rprivate /run 2>/dev/null
                      mount -t tmpfs tmpfs /run && mkdir /run/avahi-daemon &&
                      if test -s \"$1\"; then mount -t tmpfs tmpfs /etc/avahi/services && cp \"$1\" /etc/avahi/services; fi &&
                      exec avahi-daemon --file \"$0\" --no-drop-root --no-chroot --no-rlimits";
        let mut command = namespace.command("unshare");
        command
            .args(["--mount", "--propagation", "unchanged", "sh", "-c", script])
            .arg(&avahi_configuration)
            .arg(&service_file);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &bus_address);
        let mut daemon = Process::spawn(command, &format!("{name}-avahi"), directory)?;
        wait_for("avahi-daemon", START_LIMIT, || {
            daemon.ensure_running()?;
            Ok(daemon.log().contains("Server startup complete").then_some(()))
        })?;
        let (name, directory) = (name.to_owned(), directory.to_owned());
        Ok(Self {
            namespace,
            bus_address,
            name,
            directory,
            _daemon: daemon,
            _bus: bus,
        })
    }

    /// Publishes a service until the returned process is dropped.
    ///
    /// # Errors
    /// The program is missing.
    pub fn publish(&self, service: &str, kind: &str, port: u16) -> Result<Process> {
        let mut command = self.client("avahi-publish");
        command.args(["-s", service, kind, &port.to_string()]);
        Process::spawn(command, &format!("{}-publish", self.name), &self.directory)
    }

    /// Lists the services of a kind that are known now, resolved, one per line of fields split by `;`.
    ///
    /// # Errors
    /// The program fails or hangs.
    pub fn browse(&self, kind: &str) -> Result<Finished> {
        let mut command = self.client("avahi-browse");
        command.args(["--resolve", "--terminate", "--parsable", kind]);
        command::finish(command, START_LIMIT, None)?.success()
    }

    fn client(&self, program: &str) -> Command {
        let mut command = self.namespace.command(program);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &self.bus_address);
        command
    }
}

/// A bus on which everything is allowed, so that no policy files or users of the machine matter.
pub(super) fn bus_configuration_text(address: &str) -> String {
    format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
         <busconfig><type>system</type><listen>{address}</listen><auth>EXTERNAL</auth>\
         <policy context=\"default\"><allow send_destination=\"*\"/><allow receive_sender=\"*\"/>\
         <allow own=\"*\"/><allow user=\"*\"/></policy></busconfig>\n"
    )
}
