//! Namespaces, leftovers and the `ip` command.
#![allow(unsafe_code)]

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use farlan_tap::{Address, Create};
use tun_tap::{Iface, Mode};

pub(crate) const MAC: [u8; 6] = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];
pub(crate) const OUR_IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Runs `test` on a thread with a network namespace of its own.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    // SAFETY: geteuid only reads the process's credentials.
    let user = unsafe { libc::geteuid() };
    assert_eq!(
        user, 0,
        "these tests need root, to make network namespaces and TAP devices"
    );
    assert!(
        Path::new("/dev/net/tun").exists(),
        "these tests need /dev/net/tun: `modprobe tun`"
    );
    // Of what another test forks, the child has all descriptors for a moment, and a card lives as long as its descriptor.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let thread = std::thread::spawn(move || {
        // SAFETY: only this thread moves to the new namespace, and it ends with the test.
        let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(
            done,
            0,
            "a network namespace is needed: {}",
            std::io::Error::last_os_error()
        );
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) fn request(name: &str) -> Create {
    let address = |ip: &str, prefix| Address {
        ip: ip.parse().expect("a literal address"),
        prefix,
    };
    Create {
        name: name.to_owned(),
        owner: "london".to_owned(),
        mac: MAC,
        mtu: 1400,
        addresses: vec![
            Address {
                ip: IpAddr::V4(OUR_IP),
                prefix: 24,
            },
            address("fd12:3456::1", 40),
            address("fe80::11:22ff:fe33:4455", 64),
        ],
        tx_queue: 128,
        accept_router_advertisements: false,
        offloads: true,
    }
}

/// A persistent TAP device held by nobody, with an alias or without.
pub(crate) fn leftover(name: &str, alias: Option<&str>) {
    let iface = Iface::without_packet_info(name, Mode::Tap).expect("make a TAP device");
    // SAFETY: TUNSETPERSIST takes an integer; the descriptor is open.
    let done = unsafe { libc::ioctl(iface.as_raw_fd(), libc::TUNSETPERSIST, 1) };
    assert_eq!(done, 0, "TUNSETPERSIST: {}", std::io::Error::last_os_error());
    if let Some(alias) = alias {
        ip(&["link", "set", "dev", name, "alias", alias]);
    }
}

/// What the `ip` command prints; it must succeed.
pub(crate) fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("these tests need the `ip` command (iproute2)");
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("ip prints UTF-8")
}

/// Has the kernel say so when it drops what a socket sends.
pub(crate) fn tell_losses(socket: &UdpSocket) {
    let on: libc::c_int = 1;
    // SAFETY: the option takes an integer, which outlives the call, and the kernel only reads it.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_RECVERR,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    assert_eq!(done, 0, "IP_RECVERR: {}", std::io::Error::last_os_error());
}

pub(crate) fn ip_batch(commands: &str) {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("these tests need the `ip` command (iproute2)");
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(commands.as_bytes())
        .expect("ip reads its commands");
    assert!(child.wait().expect("ip ends").success());
}

pub(crate) fn exists(name: &str) -> bool {
    ip(&["-o", "link", "show"]).lines().any(|line| {
        let shown = line.split(": ").nth(1).unwrap_or_default();
        shown.split('@').next() == Some(name)
    })
}

pub(crate) fn index_of(name: &str) -> u32 {
    let line = ip(&["-o", "link", "show", "dev", name]);
    line.split(':')
        .next()
        .and_then(|index| index.parse().ok())
        .expect("ip begins with the index")
}

pub(crate) fn sysctl(device: &str, setting: &str) -> i32 {
    let value = fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{device}/{setting}")).expect("the setting exists");
    value.trim().parse().expect("it is a number")
}

pub(crate) fn line_with<'a>(lines: &'a str, part: &str) -> &'a str {
    lines
        .lines()
        .find(|line| line.contains(part))
        .unwrap_or_else(|| panic!("{part:?} is not in {lines}"))
}
