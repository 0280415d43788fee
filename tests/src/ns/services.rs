//! Services of a home's network as their Debian programs offer and find them: UPnP by minidlna, names of Windows by Samba.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::SockRef;

use super::command::{DEFAULT_LIMIT, Finished, wait_for};
use super::games::unbound;
use super::namespace::Namespace;
use super::program::Process;
use super::recorded;

/// How long a service may take to come up on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The UDP port of names of Windows.
const NAMES: u16 = 137;

/// Starts minidlna, with nothing to show, on one card.
///
/// # Errors
/// The program is missing or does not come up.
pub fn minidlna(host: &Namespace, interface: &str, directory: &Path) -> Result<Process> {
    let home = directory.join(format!("{}-minidlna", host.name()));
    for part in ["media", "db"] {
        fs::create_dir_all(home.join(part))?;
    }
    let configuration = home.join("minidlna.conf");
    let shown = home.display();
    let text = format!(
        "network_interface={interface}\nport=8200\nfriendly_name=films\nmedia_dir={shown}/media\ndb_dir={shown}/db\n\
         log_dir={shown}\nnotify_interval=10\n"
    );
    fs::write(&configuration, text)?;
    let mut command = host.command("minidlnad");
    command.arg("-S").arg("-f").arg(&configuration);
    command.arg("-P").arg(home.join("pid"));
    let process = Process::spawn(command, &format!("{}-minidlna", host.name()), directory)?;
    listening(process, host, "1900")
}

/// Starts Samba's nmbd on one card, under a name.
///
/// # Errors
/// The program is missing or does not come up.
pub fn nmbd(host: &Namespace, interface: &str, name: &str, directory: &Path) -> Result<Process> {
    let configuration = samba_configuration(host, interface, name, directory)?;
    let mut command = host.command("nmbd");
    command
        .args(["--foreground", "--no-process-group", "--debug-stdout", "-s"])
        .arg(configuration);
    let process = Process::spawn(command, &format!("{}-nmbd", host.name()), directory)?;
    listening(process, host, &NAMES.to_string())
}

/// Asks for a name of Windows by broadcast, as `nmblookup` does.
///
/// # Errors
/// The program is missing or hangs. That nobody answered is the caller's to judge.
pub fn nmblookup(
    host: &Namespace,
    interface: &str,
    broadcast: Ipv4Addr,
    name: &str,
    directory: &Path,
) -> Result<Finished> {
    let configuration = samba_configuration(host, interface, "SEEKER", directory)?;
    let configuration = configuration.to_str().context("a path in UTF-8")?;
    let broadcast = broadcast.to_string();
    host.exec(
        &["nmblookup", "-s", configuration, "-B", &broadcast, name],
        DEFAULT_LIMIT,
    )
}

/// Searches for UPnP devices at a card, by its address, for so long; returns who answered.
///
/// # Errors
/// The kernel refuses the socket.
pub fn search_devices(host: &Namespace, card: Ipv4Addr, time: Duration) -> Result<Vec<SocketAddr>> {
    let sent = recorded::sent("ssdp")?;
    let search = sent.first().context("no search")?;
    let socket = host.inside(|| unbound(0, None))??;
    SockRef::from(&socket).set_multicast_if_v4(&card)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let start = Instant::now();
    let mut due = start;
    let mut answered = Vec::new();
    let mut room = [0; 2048];
    while start.elapsed() < time && answered.is_empty() {
        if Instant::now() >= due {
            due += Duration::from_secs(2);
            socket.send_to(&search.payload, search.destination)?;
        }
        if let Ok((length, source)) = socket.recv_from(&mut room)
            && room[..length].starts_with(b"HTTP/1.1 200 OK")
        {
            answered.push(source);
        }
    }
    Ok(answered)
}

fn samba_configuration(host: &Namespace, interface: &str, name: &str, directory: &Path) -> Result<PathBuf> {
    let home = directory.join(format!("{}-samba-{name}", host.name()));
    fs::create_dir_all(&home)?;
    let path = home.join("smb.conf");
    let place = home.display();
    let kinds = [
        "lock directory",
        "state directory",
        "cache directory",
        "pid directory",
        "private dir",
        "ncalrpc dir",
    ];
    let places: String = kinds.iter().map(|kind| format!("{kind} = {place}\n")).collect();
    let text = format!(
        "[global]\nnetbios name = {name}\nworkgroup = FARLAN\ninterfaces = {interface}\nbind interfaces only = yes\n\
         local master = no\nload printers = no\nlog file = {place}/log\n{places}"
    );
    fs::write(&path, text)?;
    Ok(path)
}

fn listening(mut process: Process, host: &Namespace, port: &str) -> Result<Process> {
    let port = format!(":{port}");
    wait_for(&format!("a service at {port}"), START_LIMIT, || {
        process.ensure_running()?;
        let sockets = host.exec(&["ss", "-Huln"], DEFAULT_LIMIT)?.success()?.stdout;
        let mut words = sockets.split_whitespace();
        Ok(words.any(|word| word.ends_with(&port)).then_some(()))
    })?;
    Ok(process)
}
