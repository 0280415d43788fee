//! The sockets of the API: made before anybody is served, and gone when they are dropped.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use socket2::{Domain, Socket, Type};

use super::{
    callers::Callers,
    token::{Token, TokenFile, token_path},
};
use crate::failure::Failure;

/// A loopback address with a port, at which the API is served over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LoopbackAddress(SocketAddr);

impl LoopbackAddress {
    /// The address.
    pub fn address(self) -> SocketAddr {
        self.0
    }
}

impl fmt::Display for LoopbackAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for LoopbackAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = text.parse::<SocketAddr>().ok();
        address
            .filter(|address| address.ip().is_loopback() && address.port() != 0)
            // As it stands in the header Host, where there are no zones.
            .filter(|address| address.to_string() == text && !text.contains('%'))
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "{text:?} is no loopback address with a port: use \"127.0.0.1:9601\" or \"[::1]:9601\", since the API \
                     is for this machine alone"
                )
            })
    }
}

/// The sockets of one server.
///
/// What making them takes is access to their directory and, for root without its capabilities, nothing that an owner does
/// not have; only giving the Unix socket to the group takes membership or CAP_CHOWN. So they are made first, before a
/// daemon gives its privileges away.
#[derive(Debug)]
pub struct Sockets {
    pub(super) unix: UnixSocket,
    pub(super) loopback: Option<LoopbackSocket>,
}

impl Sockets {
    /// Makes the Unix socket `path`: mode 0660, of the group `farlan` if there is one. Its directory is made if it is
    /// missing. With `tcp`, serves that address too, to whoever knows the token in the file beside the socket.
    ///
    /// # Errors
    /// Another program serves one of them; something that is no socket is at `path`, which stays as it is; the directory
    /// cannot be written, or others can write it.
    pub fn open(path: &Path, tcp: Option<LoopbackAddress>) -> Result<Self, Failure> {
        let group = group_id(GROUP);
        let unix = UnixSocket::open(path, group)?;
        let loopback = tcp
            .map(|tcp| LoopbackSocket::open(tcp, token_path(path), unix.group))
            .transpose()?;
        Ok(Self { unix, loopback })
    }
}

/// A bound Unix socket; its file vanishes with it.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) listener: std::os::unix::net::UnixListener,
    /// Whom it lets in.
    pub(super) callers: Callers,
    /// Its file.
    pub(super) file: SocketFile,
    /// The group it was given to.
    group: Option<u32>,
}

/// The file of a Unix socket, which vanishes with this.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    file: FileId,
}

impl UnixSocket {
    fn open(path: &Path, group: Option<u32>) -> Result<Self, Failure> {
        let directory = directory_of(path);
        if !directory.exists() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)
                .map_err(|error| Failure::file("make the directory", directory, &error))?;
        }
        refuse_shared(directory)?;
        if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket()) {
            return Err(Failure::negative(format_args!(
                "{} exists and is no socket; give another path with --socket, or remove it",
                path.display()
            )));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(Failure::negative(format_args!(
                "another farlan answers at the socket {}; stop that one first, or give this one another with --socket",
                path.display()
            )));
        }
        let (listener, file, given) =
            bind(path, directory, group).map_err(|error| Failure::file("make the socket", path, &error))?;
        match (group, given) {
            (Some(_), Some(_)) => {}
            (Some(_), None) => tracing::debug!(
                "the socket {} cannot be given to the group {GROUP}; only root and this user may use it",
                path.display()
            ),
            (None, _) => tracing::debug!("there is no group {GROUP}; only root and this user may use the socket"),
        }
        Ok(Self {
            listener,
            callers: Callers::new(group),
            group: given,
            file: SocketFile {
                path: path.into(),
                file,
            },
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.file.remove(&self.path);
    }
}

/// A TCP socket that only this machine reaches, and its token.
#[derive(Debug)]
pub(super) struct LoopbackSocket {
    pub(super) listener: std::net::TcpListener,
    pub(super) address: SocketAddr,
    pub(super) token: Token,
    pub(super) file: TokenFile,
}

impl LoopbackSocket {
    fn open(tcp: LoopbackAddress, token_path: PathBuf, group: Option<u32>) -> Result<Self, Failure> {
        let address = tcp.address();
        let listener = listen(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Failure::negative(format_args!(
                "{tcp} is in use; choose another for api.tcp in the configuration, or stop the program that has it (ss -ltnp)"
            )),
            io::ErrorKind::PermissionDenied => Failure::permission(format_args!(
                "{tcp} is not permitted to this user: choose a port above 1023 for api.tcp in the configuration (binding to \
                 the card lo takes Linux 5.7)"
            )),
            _ => Failure::negative(format_args!("cannot serve the API at {tcp}: {error}")),
        })?;
        let token = Token::new()?;
        let file = TokenFile::write(token_path, &token, group)?;
        Ok(Self {
            listener,
            address,
            token,
            file,
        })
    }
}

/// A socket that takes connections which came in over the card `lo` and no other.
///
/// Its address alone does not do that: with `route_localnet`, packets from any card reach 127.0.0.1.
fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind_device(Some(LOOPBACK_CARD))?;
    // Connections of the last run may still be closing.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Device and inode, by which a file is known whatever stands at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// Removes the file at `path` if it is this one: another program may have put its own there since.
    pub(super) fn remove(self, path: &Path) {
        if Self::of(path).is_ok_and(|file| file == self) {
            // Gone already is as good.
            let _ = fs::remove_file(path);
        }
    }
}

/// Binds the socket in a directory of this process alone and moves it to its place, so that it never stands there with
/// looser permissions, nobody exchanges it meanwhile, and a leftover is replaced in one step. The group is the one that
/// it could be given to.
fn bind(
    path: &Path,
    directory: &Path,
    group: Option<u32>,
) -> io::Result<(std::os::unix::net::UnixListener, FileId, Option<u32>)> {
    let own = directory.join(format!(".{}", std::process::id()));
    let inner = own.join("s");
    let make = || fs::DirBuilder::new().mode(0o700).create(&own);
    if let Err(error) = make() {
        let there = fs::symlink_metadata(&own)?;
        if !there.is_dir() || there.uid() != rustix::process::geteuid().as_raw() {
            return Err(error);
        }
        // A killed daemon with this process id left it.
        let _ = fs::remove_file(&inner);
        fs::remove_dir(&own)?;
        make()?;
    }
    let placed = || {
        let listener = std::os::unix::net::UnixListener::bind(&inner)?;
        listener.set_nonblocking(true)?;
        // Refused to those who are neither root nor in the group.
        let given = group.filter(|&group| std::os::unix::fs::chown(&inner, None, Some(group)).is_ok());
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o660))?;
        // Moving keeps device and inode.
        let file = FileId::of(&inner)?;
        fs::rename(&inner, path)?;
        Ok((listener, file, given))
    };
    let placed = placed();
    if placed.is_err() {
        let _ = fs::remove_file(&inner);
    }
    let _ = fs::remove_dir(&own);
    placed
}

/// Refuses a directory in which others could put their own socket in the place of this one.
fn refuse_shared(directory: &Path) -> Result<(), Failure> {
    let mode = fs::metadata(directory)
        .map_err(|error| Failure::file("examine", directory, &error))?
        .mode();
    // In a sticky directory, like /tmp, only owners take their files away.
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Err(Failure::permission(format_args!(
            "other users can write {0} (mode {1:04o}), the directory of the socket: run `chmod go-w {0}`, or give another \
             path with --socket",
            directory.display(),
            mode & 0o7777
        )));
    }
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The id of a group by `/etc/group` (group(5): `name:password:id:members`).
pub(crate) fn group_id(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// The group whose members may use the API.
pub(crate) const GROUP: &str = "farlan";

/// The kernel's card for packets of a machine to itself.
const LOOPBACK_CARD: &[u8] = b"lo";

/// How many connections wait to be accepted.
const BACKLOG: i32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_with_a_port_are_served() {
        for good in ["127.0.0.1:9601", "127.1.2.3:1", "[::1]:65535"] {
            assert_eq!(LoopbackAddress::try_from(good.to_owned()).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "0.0.0.0:9601",
            "[::]:9601",
            "192.168.1.1:9601",
            "localhost:9601",
            "127.0.0.1",
            "127.0.0.1:0",
            "[::ffff:127.0.0.1]:9601",
            "[::1%1]:9601",
            "[0::1]:9601",
            "127.0.0.1:09601",
        ] {
            let refused = LoopbackAddress::try_from(bad.to_owned()).unwrap_err();
            assert!(refused.contains("no loopback address"), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_socket_is_private_replaceable_and_exclusive() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/farlan.sock");
        let sockets = Sockets::open(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o660);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let second = Sockets::open(&path, None).unwrap_err();
        assert!(second.message.contains("another farlan answers"), "{second}");
        drop(sockets);
        assert!(!path.exists());
        // A leftover of a killed daemon, and one of a daemon that was killed while it made its socket.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let own = path.with_file_name(format!(".{}", std::process::id()));
        fs::create_dir(&own).unwrap();
        drop(std::os::unix::net::UnixListener::bind(own.join("s")).unwrap());
        Sockets::open(&path, None).unwrap();
        assert!(!own.exists());
    }

    #[test]
    fn what_is_no_socket_or_anothers_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "text").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let dangling = directory.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        for there in [&path, &link, &dangling, &directory.path().to_owned()] {
            let refused = Sockets::open(there, None).unwrap_err();
            assert!(refused.message.contains("exists and is no socket"), "{refused}");
            assert!(refused.message.contains("--socket"), "{refused}");
        }
        assert_eq!(fs::read_to_string(&link).unwrap(), "text");

        let path = directory.path().join("s");
        let sockets = Sockets::open(&path, None).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(sockets);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            4,
            "nothing else is left"
        );
    }

    #[test]
    fn what_stands_where_the_socket_is_made_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = directory.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("s"), "precious").unwrap();
        let own = directory.path().join(format!(".{}", std::process::id()));
        std::os::unix::fs::symlink(&elsewhere, &own).unwrap();
        assert!(Sockets::open(&directory.path().join("sock"), None).is_err());
        assert_eq!(fs::read(elsewhere.join("s")).unwrap(), b"precious");
        assert!(!directory.path().join("sock").exists());
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused_unless_it_is_sticky() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        for (mode, fine) in [(0o777, false), (0o770, false), (0o1777, true), (0o755, true)] {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            match Sockets::open(&path, None) {
                Ok(_) => assert!(fine, "{mode:o}"),
                Err(refused) => {
                    assert!(!fine && refused.message.contains("chmod go-w"), "{mode:o}: {refused}");
                }
            }
        }
    }

    #[test]
    fn a_taken_address_is_said_so() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = LoopbackAddress(taken.local_addr().unwrap());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let refused = Sockets::open(&path, Some(address)).unwrap_err();
        assert!(refused.message.contains("is in use"), "{refused}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn groups_are_found_by_name() {
        assert_eq!(group_id("root"), Some(0));
        assert_eq!(group_id("no such group"), None);
    }
}
