//! Real game servers, and searches for them as the games' own programs send them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use super::command::{DEFAULT_LIMIT, wait_for};
use super::namespace::Namespace;
use super::program::Process;
use super::{bare_map, recorded};

/// How long a server may take to come up on a busy machine: OpenTTD makes a landscape.
const START_LIMIT: Duration = Duration::from_secs(40);

/// A search is repeated so often, as players press a button again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long one look for an answer takes.
const LOOK: Duration = Duration::from_millis(100);

/// Where Minecraft worlds are announced.
pub const MINECRAFT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 2, 60), 4445);
/// How often.
pub const MINECRAFT_PACE: Duration = Duration::from_millis(1500);

/// A game with a server in Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Game {
    /// Teeworlds 0.7.
    Teeworlds,
    /// OpenTTD.
    OpenTtd,
    /// ioquake3, with an empty map of our own.
    Quake3,
    /// Freeciv.
    Freeciv,
}

impl Game {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Teeworlds, Self::OpenTtd, Self::Quake3, Self::Freeciv];

    /// Those that are searched for by broadcast.
    pub const BROADCAST: [Self; 3] = [Self::Teeworlds, Self::OpenTtd, Self::Quake3];

    /// Its name in the list of games, and of its recorded packets.
    pub fn name(self) -> &'static str {
        match self {
            Self::Teeworlds => "teeworlds",
            Self::OpenTtd => "openttd",
            Self::Quake3 => "quake3",
            Self::Freeciv => "freeciv",
        }
    }

    /// The port to which players connect.
    pub fn port(self) -> u16 {
        match self {
            Self::Teeworlds => 8303,
            Self::OpenTtd => 3979,
            Self::Quake3 => 27960,
            Self::Freeciv => 5556,
        }
    }

    /// The UDP port at which searches arrive.
    pub fn searched_at(self) -> u16 {
        match self {
            Self::Freeciv => 4555,
            _ => self.port(),
        }
    }

    /// Starts its server, which is bound to no address. Files go to `directory`.
    ///
    /// # Errors
    /// The program is missing.
    pub fn launch(self, host: &Namespace, directory: &Path) -> Result<Process> {
        let name = format!("{}-server", self.name());
        let home = directory.join(&name);
        fs::create_dir_all(&home)?;
        let mut command = match self {
            Self::Teeworlds => command(
                host,
                &[
                    "/usr/games/teeworlds-server",
                    "sv_name farlan tees",
                    "sv_register 0",
                    "sv_map dm1",
                ],
            ),
            Self::OpenTtd => {
                let settings = home.join("openttd.cfg");
                fs::write(&settings, OPENTTD_SETTINGS)?;
                let mut command = command(host, &["/usr/games/openttd", "-D", "-x", "-c"]);
                command.arg(settings);
                command
            }
            Self::Quake3 => {
                let game = home.join(bare_map::GAME);
                fs::create_dir_all(game.join("maps"))?;
                fs::write(game.join("default.cfg"), "// nothing\n")?;
                fs::write(
                    game.join("maps").join(format!("{}.bsp", bare_map::GAME)),
                    bare_map::file(),
                )?;
                let rules = game.join("qagamex86_64.so");
                if !rules.exists() {
                    symlink("/usr/lib/ioquake3/baseq3/qagamex86_64.so", rules)?;
                }
                let mut command = command(host, &["/usr/lib/ioquake3/ioq3ded"]);
                for path in ["fs_basepath", "fs_homepath"] {
                    command.args(["+set", path]).arg(&home);
                }
                let base = ["com_basegame", bare_map::GAME];
                for [setting, value] in QUAKE3_SETTINGS.into_iter().chain([base]) {
                    command.args(["+set", setting, value]);
                }
                command.args(["+map", bare_map::GAME]);
                command
            }
            // It refuses to run as root.
            Self::Freeciv => command(
                host,
                &[
                    "setpriv",
                    "--reuid=65534",
                    "--clear-groups",
                    "/usr/games/freeciv-server",
                    "-p",
                    "5556",
                    "-i",
                    "farlan",
                ],
            ),
        };
        command.env("HOME", &home).current_dir("/");
        Process::spawn(command, &name, directory)
    }

    /// Waits until the server listens for searches.
    ///
    /// # Errors
    /// It has ended, or does not within the time that such a program may take.
    pub fn wait_listening(self, host: &Namespace, server: &mut Process) -> Result<()> {
        let listening = format!(":{}", self.searched_at());
        wait_for(&format!("{} to listen", self.name()), START_LIMIT, || {
            server.ensure_running()?;
            let sockets = host.exec(&["ss", "-Huln"], DEFAULT_LIMIT)?.success()?.stdout;
            let mut words = sockets.split_whitespace();
            Ok(words.any(|word| word.ends_with(&listening)).then_some(()))
        })
    }

    /// Searches as the game does, with a socket that is bound to no address and no card, again and again until a server
    /// tells what it is; returns where from it did.
    ///
    /// # Errors
    /// None does within `limit`.
    pub fn search(self, from: &Namespace, limit: Duration) -> Result<Found> {
        let searches: Vec<_> = recorded::sent(self.name())?
            .into_iter()
            .filter(|sent| sent.destination.ip().is_broadcast() || sent.destination.ip().is_multicast())
            .collect();
        let group = searches.first().map(|sent| *sent.destination.ip());
        let group = group.filter(Ipv4Addr::is_multicast);
        // Freeciv answers to the group too, at the next port.
        let port = if group.is_some() { self.searched_at() + 1 } else { 0 };
        let socket = from.inside(|| unbound(port, group))??;
        socket.set_read_timeout(Some(LOOK))?;
        let start = Instant::now();
        let mut due = start;
        let mut others = Vec::new();
        let mut room = [0; 2048];
        while start.elapsed() < limit {
            if Instant::now() >= due {
                due += AGAIN;
                for search in &searches {
                    socket.send_to(&search.payload, search.destination)?;
                }
            }
            let Ok((length, source)) = socket.recv_from(&mut room) else {
                continue;
            };
            let payload = &room[..length];
            if self.tells_what_it_is(payload) {
                let took = start.elapsed();
                return Ok(Found { source, took });
            }
            if let Some(more) = self.asked_again(payload) {
                socket.send_to(&more, source)?;
            } else {
                others.push((source, payload.to_vec()));
            }
        }
        bail!(
            "no server of {} was found within {} s; what else came: {others:?}",
            self.name(),
            limit.as_secs()
        )
    }

    /// Whether this is a server's answer, by the text that only it can have written.
    fn tells_what_it_is(self, payload: &[u8]) -> bool {
        let text = String::from_utf8_lossy(payload);
        match self {
            Self::Teeworlds => text.contains("inf3") && text.contains("farlan tees"),
            Self::OpenTtd => payload == [3, 0, 1],
            Self::Quake3 => text.contains("infoResponse") && text.contains("farlan arena"),
            Self::Freeciv => payload.first() == Some(&2) && text.contains("farlan\0") && text.contains("5556"),
        }
    }

    /// What is to be sent to a server that wants to be asked again: Teeworlds with its token.
    fn asked_again(self, payload: &[u8]) -> Option<Vec<u8>> {
        // What a token is asked with has the same first bytes, but a longer end.
        if self != Self::Teeworlds || payload.len() != 12 || !payload.starts_with(&[4, 0, 0]) {
            return None;
        }
        let (client, server) = (payload.get(3..7)?, payload.get(8..12)?);
        Some([b"\x21", server, client, b"\xff\xff\xff\xffgie3\x01"].concat())
    }
}

/// A server that was found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Where its answer came from.
    pub source: SocketAddr,
    /// How long that took.
    pub took: Duration,
}

const OPENTTD_SETTINGS: &str = "[network]
server_name = farlan railway
server_game_type = local
";

const QUAKE3_SETTINGS: [[&str; 2]; 6] = [
    ["com_standalone", "1"],
    ["dedicated", "1"],
    // The rules are a library of the package.
    ["vm_game", "0"],
    ["sv_pure", "0"],
    ["bot_enable", "0"],
    ["sv_hostname", "farlan arena"],
];

/// Starts OpenArena's server, with a map that can be played, in place of [`Game::Quake3`]'s bare one.
///
/// # Errors
/// The program is missing or does not come up.
pub fn launch_arena(host: &Namespace, directory: &Path) -> Result<Process> {
    let home = directory.join("arena-server");
    fs::create_dir_all(&home)?;
    let mut command = command(host, &["/usr/lib/ioquake3/ioq3ded"]);
    for [setting, value] in ARENA_SETTINGS {
        command.args(["+set", setting, value]);
    }
    command.args(["+map", "oa_dm1"]);
    command.env("HOME", &home).current_dir("/");
    let mut process = Process::spawn(command, "arena-server", directory)?;
    Game::Quake3.wait_listening(host, &mut process)?;
    Ok(process)
}

/// As Debian's own script for OpenArena has them.
const ARENA_SETTINGS: [[&str; 2]; 8] = [
    ["com_basegame", "baseoa"],
    ["fs_basepath", "/usr/lib/openarena"],
    ["com_homepath", ".openarena"],
    ["com_legacyprotocol", "71"],
    ["com_protocol", "71"],
    ["dedicated", "1"],
    ["sv_pure", "0"],
    ["sv_hostname", "farlan arena"],
];

fn command(host: &Namespace, words: &[&str]) -> Command {
    let mut command = host.command(words.first().unwrap_or(&"true"));
    command.args(&words[1..]);
    command
}

/// A socket as games make them: at any address, allowed to broadcast, and in a group by the default interface if it is in one.
///
/// # Errors
/// The kernel refuses.
pub fn unbound(port: u16, group: Option<Ipv4Addr>) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    if let Some(group) = group {
        socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
    }
    Ok(socket.into())
}

/// A socket as Java makes them: in the group by the default interface, and deaf to groups that others on the machine are in.
///
/// # Errors
/// The kernel refuses.
pub fn of_java(address: SocketAddrV4) -> std::io::Result<UdpSocket> {
    let socket = unbound(address.port(), Some(*address.ip()))?;
    socket2::SockRef::from(&socket).set_multicast_all_v4(false)?;
    Ok(socket)
}

/// Waits for a packet with this text and returns where it came from and after what time.
///
/// # Errors
/// None comes within `limit`.
pub fn hear(socket: &UdpSocket, text: &str, limit: Duration) -> Result<Found> {
    socket.set_read_timeout(Some(LOOK))?;
    let start = Instant::now();
    let mut room = [0; 2048];
    while start.elapsed() < limit {
        if let Ok((length, source)) = socket.recv_from(&mut room)
            && String::from_utf8_lossy(&room[..length]).contains(text)
        {
            let took = start.elapsed();
            return Ok(Found { source, took });
        }
    }
    bail!("nothing with {text:?} was heard within {} s", limit.as_secs())
}

/// What is said again and again until this is dropped.
#[derive(Debug)]
pub struct Announcer {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Announcer {
    /// Announces a Minecraft world as the game does: unbound, every 1.5 s.
    ///
    /// # Errors
    /// The kernel refuses the socket.
    pub fn minecraft(host: &Namespace, name: &str, port: u16) -> Result<Self> {
        let socket = host.inside(|| unbound(0, None))??;
        let text = format!("[MOTD]{name}[/MOTD][AD]{port}[/AD]");
        Ok(Self::start(socket, text.into_bytes(), MINECRAFT.into(), MINECRAFT_PACE))
    }

    /// Sends a packet from `socket` at that pace.
    pub fn start(socket: UdpSocket, payload: Vec<u8>, to: SocketAddr, pace: Duration) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // Without a way there is none to send by, for now.
                let _ = socket.send_to(&payload, to);
                let next = Instant::now() + pace;
                while !stop.load(Ordering::Relaxed) && Instant::now() < next {
                    thread::sleep(LOOK.min(pace));
                }
            }
        });
        Self {
            ended,
            thread: Some(thread),
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Who listens on the real LAN at the ports of searches.
#[derive(Debug)]
pub struct Neighbour {
    sockets: Vec<(Game, UdpSocket)>,
}

impl Neighbour {
    /// Begins to listen.
    ///
    /// # Errors
    /// The kernel refuses a socket.
    pub fn listen(host: &Namespace) -> Result<Self> {
        let open = |game: Game| -> Result<(Game, UdpSocket)> {
            let socket = host.inside(|| unbound(game.searched_at(), None))??;
            socket.set_nonblocking(true)?;
            Ok((game, socket))
        };
        let sockets = Game::BROADCAST.into_iter().map(open).collect::<Result<_>>()?;
        Ok(Self { sockets })
    }

    /// From whom searches for a game have come.
    ///
    /// # Errors
    /// The game is not searched for by broadcast.
    pub fn heard(&self, game: Game) -> Result<Vec<SocketAddr>> {
        let socket = self.sockets.iter().find(|(listened, _)| *listened == game);
        let (_, socket) = socket.context("not listened for")?;
        let mut room = [0; 2048];
        Ok(std::iter::from_fn(|| socket.recv_from(&mut room).ok())
            .map(|(_, source)| source)
            .collect())
    }
}
