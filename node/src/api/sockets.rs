//! The sockets of the API: made before anybody is served, and gone when they are dropped.

use std::{
    ffi::OsStr,
    fmt,
    fs::{self, File},
    io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use farlan_crypto::private_file;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, chmodat, chownat, statat},
    process::Gid,
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
        refuse_answered(path)?;
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
    let inner = own.join(INNER);
    let make = || fs::DirBuilder::new().mode(0o700).create(&own);
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = fs::symlink_metadata(&own)?;
            if !there.is_dir() || there.uid() != rustix::process::geteuid().as_raw() {
                return Err(error);
            }
            // A killed daemon with this process id left it.
            let _ = fs::remove_file(&inner);
            fs::remove_dir(&own)?;
            make()?;
        }
        made => made?,
    }
    let placed = || {
        let listener = std::os::unix::net::UnixListener::bind(&inner)?;
        listener.set_nonblocking(true)?;
        let (file, given) = set_up(&own, group)?;
        // Moving keeps device and inode.
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

/// Gives the socket in the directory `own` its group, as far as that may be, and its mode. Nothing else than a socket in a
/// directory that nobody else can enter is changed.
fn set_up(own: &Path, group: Option<u32>) -> io::Result<(FileId, Option<u32>)> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let own = File::from(rustix::fs::open(own, flags, Mode::empty())?);
    let directory = own.metadata()?;
    let named = statat(&own, INNER, AtFlags::SYMLINK_NOFOLLOW)?;
    let is_own = directory.uid() == rustix::process::geteuid().as_raw() && directory.mode() & 0o077 == 0;
    if !is_own || FileType::from_raw_mode(named.st_mode) != FileType::Socket {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let given = group.filter(|&group| {
        // The sandbox of a service forbids the call, even where it changes nothing. Otherwise it is refused to those who
        // are neither root nor in the group.
        let gid = Gid::from_raw(group);
        named.st_gid == group || chownat(&own, INNER, None, Some(gid), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    });
    chmodat(&own, INNER, Mode::from_raw_mode(0o660), AtFlags::empty())?;
    let file = FileId {
        device: named.st_dev,
        inode: named.st_ino,
    };
    Ok((file, given))
}

/// Whether a file of the kind `kind`, called `name` in the directory of the socket `path`, is one that a daemon with this
/// socket makes there and may have left.
pub(crate) fn is_leftover(path: &Path, name: &OsStr, kind: FileType) -> bool {
    if path.file_name() == Some(name) {
        return kind.is_socket();
    }
    if token_path(path).file_name() == Some(name) || private_file::is_temporary(name.as_encoded_bytes()) {
        return kind.is_file();
    }
    kind.is_dir() && is_making_place(name)
}

/// Whether this is the name of a directory in which a daemon makes its socket.
pub(crate) fn is_making_place(name: &OsStr) -> bool {
    let digits = name.as_encoded_bytes().strip_prefix(b".").unwrap_or_default();
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Refuses to take the place of a daemon that serves the socket.
pub(crate) fn refuse_answered(path: &Path) -> Result<(), Failure> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(Failure::negative(format_args!(
            "another farlan answers at the socket {}; stop that one first, or give this one another with --socket",
            path.display()
        )));
    }
    Ok(())
}

/// Refuses a directory in which others could put their own socket in the place of this one.
fn refuse_shared(directory: &Path) -> Result<(), Failure> {
    let metadata = fs::metadata(directory).map_err(|error| Failure::file("examine", directory, &error))?;
    let (mode, owner) = (metadata.mode(), metadata.uid());
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(Failure::permission(format_args!(
            "the directory of the socket, {}, belongs to the user with the id {owner}, who could put another one in its \
             place: give another path with --socket",
            directory.display()
        )));
    }
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

/// The socket's name where it is made.
const INNER: &str = "s";

/// The kernel's card for packets of a machine to itself.
const LOOPBACK_CARD: &[u8] = b"lo";

/// How many connections wait to be accepted.
const BACKLOG: i32 = 32;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

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
    fn a_directory_of_another_user_is_refused_however_closed_it_is() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(directory.path(), Some(65_534), None).expect("this test needs root");
        for mode in [0o700, 0o755, 0o1777] {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            let refused = Sockets::open(&directory.path().join("s"), None).unwrap_err();
            assert!(
                refused.message.contains("belongs to the user with the id 65534"),
                "{refused}"
            );
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn only_a_socket_in_a_directory_of_ones_own_gets_the_group() {
        let directory = tempfile::tempdir().unwrap();
        let (own, inner) = (directory.path().join("own"), directory.path().join("own/s"));
        let precious = directory.path().join("precious");
        fs::write(&precious, "text").unwrap();
        fs::set_permissions(&precious, fs::Permissions::from_mode(0o600)).unwrap();
        let untouched = || {
            let metadata = fs::metadata(&precious).unwrap();
            (metadata.gid(), metadata.mode() & 0o7777) == (rustix::process::getegid().as_raw(), 0o600)
        };
        let close = |mode| fs::set_permissions(&own, fs::Permissions::from_mode(mode)).unwrap();
        fs::create_dir(&own).unwrap();
        close(0o700);
        // In the socket's place: a link, another name of a file, the file itself; nothing.
        std::os::unix::fs::symlink(&precious, &inner).unwrap();
        assert!(set_up(&own, Some(65_534)).is_err() && untouched());
        fs::remove_file(&inner).unwrap();
        fs::hard_link(&precious, &inner).unwrap();
        assert!(set_up(&own, Some(65_534)).is_err() && untouched());
        fs::remove_file(&inner).unwrap();
        assert!(set_up(&own, Some(65_534)).is_err());
        // A socket, where others come in, by a link, or as another's.
        drop(std::os::unix::net::UnixListener::bind(&inner).unwrap());
        close(0o755);
        assert!(set_up(&own, Some(65_534)).is_err());
        close(0o700);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&own, &link).unwrap();
        assert!(set_up(&link, Some(65_534)).is_err());
        std::os::unix::fs::chown(&own, Some(65_534), None).expect("this test needs root");
        assert!(set_up(&own, Some(65_534)).is_err());
        std::os::unix::fs::chown(&own, Some(0), None).unwrap();
        assert_ne!(fs::metadata(&inner).unwrap().gid(), 65_534);
        assert_eq!(set_up(&own, Some(65_534)).unwrap().1, Some(65_534));
        let metadata = fs::metadata(&inner).unwrap();
        assert_eq!((metadata.gid(), metadata.mode() & 0o7777), (65_534, 0o660));
    }

    #[test]
    fn what_is_the_groups_already_is_given_where_a_service_may_not_change_owners() {
        let directory = tempfile::tempdir().unwrap();
        let service = || {
            // As the unit's SystemCallFilter does; it is the thread's own.
            let calls = [libc::SYS_fchown, libc::SYS_fchownat].map(|call| (call, Vec::new()));
            let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
            let here = std::env::consts::ARCH.try_into().unwrap();
            let filter = SeccompFilter::new(calls.into(), SeccompAction::Allow, refuse, here).unwrap();
            seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
            let own = rustix::process::getegid().as_raw();
            for (group, is_given) in [(own, true), (own + 1, false)] {
                let (path, token) = (directory.path().join("s"), directory.path().join("t"));
                let socket = UnixSocket::open(&path, Some(group)).unwrap();
                assert_eq!(socket.group.is_some(), is_given, "{group}");
                let _file = TokenFile::write(token.clone(), &Token::new().unwrap(), Some(group)).unwrap();
                let metadata = fs::metadata(&token).unwrap();
                let expected = if is_given { 0o640 } else { 0o600 };
                assert_eq!((metadata.gid(), metadata.mode() & 0o777), (own, expected), "{group}");
            }
        };
        std::thread::scope(|scope| scope.spawn(service).join().unwrap());
    }

    #[test]
    fn why_the_socket_cannot_be_made_is_said() {
        let nowhere = tempfile::tempdir().unwrap().path().to_owned();
        let error = bind(&nowhere.join("s"), &nowhere, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        // What stops the first step is what is told, and not that nothing is there to be cleaned up.
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = bind(&file.join("s"), &file, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        std::thread::scope(|scope| {
            let denied = scope.spawn(|| {
                // Users belong to threads.
                let nobody = rustix::process::Uid::from_raw(65_534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("this test needs root");
                bind(&directory.path().join("s"), directory.path(), None).unwrap_err()
            });
            assert_eq!(denied.join().unwrap().kind(), io::ErrorKind::PermissionDenied);
        });
    }

    #[test]
    fn what_a_daemon_leaves_is_told_from_what_others_put_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("farlan.sock");
        let is_own = |name: &str| {
            let there = directory.path().join(name);
            let mode = fs::symlink_metadata(there).unwrap().mode();
            is_leftover(&path, OsStr::new(name), FileType::from_raw_mode(mode))
        };
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        for name in ["farlan.token", ".farlan.token.12-0.new", "other.token", ".new", "12"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        for name in [".12", ".1x", "12.d"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        for name in ["farlan.sock", "farlan.token", ".farlan.token.12-0.new", ".12"] {
            assert!(is_own(name), "{name}");
        }
        for name in ["other.token", ".new", "12", ".1x", "12.d"] {
            assert!(!is_own(name), "{name}");
        }
        // The name alone does not do.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "text").unwrap();
        assert!(!is_own("farlan.sock"));
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
