//! The descriptor of a TAP device.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use tun_tap::{Iface, Mode};

use crate::error::{TapError, errno};
use farlan_offload::VNET_HEADER;

/// A TAP device just made, known only by its descriptor and name.
#[derive(Debug)]
pub(crate) struct Tap {
    /// Non-blocking, close-on-exec; one frame a read or write, without packet information.
    pub(crate) fd: OwnedFd,
    /// The name the kernel gave it.
    pub(crate) name: String,
}

impl Tap {
    /// Makes a TAP device called `name`, in which `%d` becomes the first free number.
    ///
    /// `name` is at most 15 bytes: `tun_tap` cuts a longer one short without a word.
    pub(crate) fn new(name: &str) -> Result<Self, TapError> {
        let iface = Iface::without_packet_info(name, Mode::Tap).map_err(|error| creation_error(name, &error))?;
        // SAFETY: `into_raw_fd` gives up the descriptor, which is open and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(iface.into_raw_fd()) };
        let (name_now, flags) =
            identity(&fd).map_err(|error| TapError::refused("read the TAP device's name", &error))?;
        // TUNSETIFF attaches to an existing persistent device of the name. The device just made is never persistent, so
        // this one slipped in after the caller looked; closing the descriptor detaches from it and leaves it as it was.
        if flags & libc::IFF_PERSIST != 0 {
            return Err(TapError::NameTaken {
                name: name.to_owned(),
                holder: "a persistent TAP device".to_owned(),
            });
        }
        make_nonblocking(&fd).map_err(|error| TapError::refused("make the TAP descriptor non-blocking", &error))?;
        Ok(Self { fd, name: name_now })
    }

    /// Attaches to the persistent device called `name`, with a header of [`VNET_HEADER`] bytes before every frame.
    ///
    /// Whether it is the device that had the name a moment ago, only the caller can tell.
    pub(crate) fn reopen_with_header(name: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(TUN)?;
        let fd = OwnedFd::from(file);
        attach(&fd, name)?;
        let (name, flags) = identity(&fd)?;
        // Without a device of the name TUNSETIFF makes a new one, which goes when the descriptor does.
        if flags & libc::IFF_PERSIST == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        if flags & libc::IFF_VNET_HDR == 0 {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        Ok(Self { fd, name })
    }

    /// Lets only this process's user attach to the device, and whoever has CAP_NET_ADMIN.
    ///
    /// A persistent device without an owner is anybody's who may open `/dev/net/tun`, which many systems let everyone
    /// do.
    pub(crate) fn set_owner(&self) -> io::Result<()> {
        // SAFETY: it takes nothing and cannot fail.
        let user = unsafe { libc::geteuid() };
        // SAFETY: TUNSETOWNER takes an integer; the descriptor is open.
        done(unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::TUNSETOWNER, libc::c_ulong::from(user)) })
    }

    /// Says whether the device outlasts its descriptor.
    pub(crate) fn set_persistent(&self, persistent: bool) -> io::Result<()> {
        // SAFETY: TUNSETPERSIST takes an integer; the descriptor is open.
        done(unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::TUNSETPERSIST,
                libc::c_ulong::from(persistent),
            )
        })
    }

    /// Fixes the length of the header: [`VNET_HEADER`] bytes.
    pub(crate) fn set_header_size(&self) -> io::Result<()> {
        let size = libc::c_int::try_from(VNET_HEADER).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: TUNSETVNETHDRSZ reads one C int through the pointer, which is to one; the descriptor is open.
        done(unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) })
    }

    /// Says which offloads (`TUN_F_*`) the reader takes: with them the kernel leaves it checksums and segmentation.
    pub(crate) fn set_offloads(&self, offloads: libc::c_uint) -> io::Result<()> {
        // SAFETY: TUNSETOFFLOAD takes an integer; the descriptor is open.
        done(unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) })
    }
}

/// Attaches an open `/dev/net/tun` to the TAP device called `name`, which is made if there is none.
fn attach(fd: &OwnedFd, name: &str) -> io::Result<()> {
    let wanted = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    // SAFETY: all-zero bytes are a valid `ifreq`, which holds integers, byte arrays and a null pointer.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // The last byte stays 0, the end of the string.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(wanted).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `ifreq` through the pointer, which is to one.
    done(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
}

/// The result of a system call that gives a negative number on failure.
fn done(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sorts the errors of opening `/dev/net/tun` and of TUNSETIFF, which `tun_tap` reports alike.
fn creation_error(name: &str, error: &io::Error) -> TapError {
    match errno(error) {
        errno @ (libc::ENOENT | libc::ENODEV | libc::ENXIO) => TapError::NoTunDevice { errno },
        libc::EBUSY | libc::EEXIST => TapError::NameTaken {
            name: name.to_owned(),
            holder: "a device in use by another program".to_owned(),
        },
        _ => TapError::refused("create a TAP device", error),
    }
}

/// The name and the `IFF_*` flags of the device behind `fd`.
fn identity(fd: &OwnedFd) -> io::Result<(String, i32)> {
    // SAFETY: all-zero bytes are a valid `ifreq`, which holds integers, byte arrays and a null pointer.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // SAFETY: the descriptor is open, and TUNGETIFF writes one `ifreq` through the pointer, which is to one.
    if unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let name = request
        .ifr_name
        .iter()
        .map(|&byte| byte.cast_unsigned())
        .take_while(|&byte| byte != 0)
        .collect();
    let name = String::from_utf8(name).map_err(|_| io::Error::from_raw_os_error(libc::EBADMSG))?;
    // SAFETY: TUNGETIFF fills in `ifru_flags`; any bytes would be a valid integer.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok((name, i32::from(flags)))
}

/// Sets O_NONBLOCK and FD_CLOEXEC.
fn make_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let fd = fd.as_raw_fd();
    // SAFETY: these operations of fcntl take and give integers only; the descriptor is open.
    let (status, descriptor) = unsafe { (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_GETFD)) };
    if status < 0 || descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    let done = unsafe {
        libc::fcntl(fd, libc::F_SETFL, status | libc::O_NONBLOCK) == 0
            && libc::fcntl(fd, libc::F_SETFD, descriptor | libc::FD_CLOEXEC) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Where TAP devices come from.
const TUN: &str = "/dev/net/tun";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{netlink::Netlink, offloads::with_header};

    #[test]
    fn creation_errors_name_the_remedy() {
        let message = |errno| creation_error("fl0", &io::Error::from_raw_os_error(errno)).to_string();
        assert!(message(libc::ENOENT).contains("modprobe tun"));
        assert!(message(libc::ENODEV).contains("--device /dev/net/tun"));
        assert!(message(libc::EPERM).contains("CAP_NET_ADMIN"));
        assert!(message(libc::EBUSY).contains("fl0 is taken"));
        assert!(message(libc::ENOMEM).contains("the kernel refused to create a TAP device"));
    }

    /// `create` looks for the name first; this is what still holds if a device appears right after.
    #[test]
    fn an_existing_device_is_never_attached_to() {
        in_namespace(|| {
            let first = Tap::new("farlan%d").unwrap_or_else(|error| panic!("this test needs TAP devices: {error}"));
            assert_eq!(first.name, "farlan0");
            assert!(
                matches!(Tap::new("farlan0"), Err(TapError::NameTaken { .. })),
                "it is in use"
            );

            first.set_persistent(true).unwrap();
            drop(first);
            for _ in 0..2 {
                assert!(
                    matches!(Tap::new("farlan0"), Err(TapError::NameTaken { .. })),
                    "it is persistent"
                );
            }
        });
    }

    /// While nobody holds the device on its way to offloads, others can rename or remove it.
    #[test]
    fn a_device_that_took_the_name_meanwhile_is_not_the_one() {
        in_namespace(|| {
            let mut netlink = Netlink::open().unwrap();
            let index = |netlink: &mut Netlink, name| netlink.link_by_name(name).unwrap().map(|link| link.index);
            let first = Tap::new("first").unwrap();
            let first_index = index(&mut netlink, "first").unwrap();

            let mut renamed = Tap::new("second").unwrap();
            let second_index = index(&mut netlink, "second").unwrap();
            renamed.name = "third".to_owned();
            let error = with_header(&mut netlink, renamed, second_index).unwrap_err();
            assert!(error.to_string().contains("hand over with headers third"), "{error}");
            assert_eq!(index(&mut netlink, "third"), None, "what TUNSETIFF made is gone");
            assert_eq!(index(&mut netlink, "second"), Some(second_index));

            let error = with_header(&mut netlink, first, second_index).unwrap_err();
            assert!(error.to_string().contains("find again first"), "{error}");
            assert_eq!(index(&mut netlink, "first"), Some(first_index));
        });
    }

    /// A device on its way to offloads is for a moment nobody's.
    #[test]
    fn a_persistent_device_with_an_owner_is_not_for_other_users() {
        let by_another = |owned: bool| {
            let tap = Tap::new("farlan%d").unwrap();
            if owned {
                tap.set_owner().unwrap();
            }
            tap.set_persistent(true).unwrap();
            let name = tap.name.clone();
            drop(tap.fd);
            let device = OpenOptions::new().read(true).write(true).open(TUN).unwrap();
            // SAFETY: raw system calls take integers, and concern this thread alone.
            done(unsafe { libc::syscall(libc::SYS_setresuid, -1, NOBODY, -1) } as libc::c_int).unwrap();
            let result = attach(&device.into(), &name);
            // SAFETY: as above.
            done(unsafe { libc::syscall(libc::SYS_setresuid, -1, 0, -1) } as libc::c_int).unwrap();
            result.map_err(|error| error.raw_os_error())
        };
        in_namespace(move || {
            assert_eq!(by_another(false), Ok(()), "so it is without an owner");
            assert_eq!(by_another(true), Err(Some(libc::EPERM)));
        });
        const NOBODY: libc::c_int = 65_534;
    }

    fn in_namespace(test: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(|| {
            // SAFETY: only this thread moves to the new namespace, and it ends with the test.
            let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(
                done,
                0,
                "this test needs root, to make a namespace: {}",
                io::Error::last_os_error()
            );
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}
