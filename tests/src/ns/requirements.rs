//! What the lab needs of the machine, with the Debian package that brings it.

use std::path::Path;

use anyhow::{Result, bail};

/// Each program the lab runs, and the Debian package it is in. `scripts/` installs the same packages.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("arping", "arping"),
    ("dbus-daemon", "dbus-daemon"),
    ("avahi-daemon", "avahi-daemon"),
    ("avahi-browse", "avahi-utils"),
    ("avahi-publish", "avahi-utils"),
    ("faketime", "faketime"),
    ("mount", "mount"),
    ("keepalived", "keepalived"),
    ("dnsmasq", "dnsmasq-base"),
    ("udhcpc", "udhcpc"),
    ("radvd", "radvd"),
    ("miniupnpd", "miniupnpd-nftables"),
    ("busybox", "busybox"),
    ("rsync", "rsync"),
    ("iperf3", "iperf3"),
    ("strace", "strace"),
    ("ethtool", "ethtool"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("teeworlds-server", "teeworlds-server"),
    ("openttd", "openttd"),
    ("/usr/share/games/openttd/baseset/opengfx", "openttd-opengfx"),
    ("/usr/lib/ioquake3/ioq3ded", "ioquake3-server"),
    ("freeciv-server", "freeciv-server"),
    ("minidlnad", "minidlna"),
    ("nmbd", "samba"),
    ("nmblookup", "samba-common-bin"),
];

/// The programs that every lab needs; the others serve single tests.
pub const BASE_PROGRAMS: &[&str] = &["ip", "ss", "nft", "ping", "nsenter", "setpriv"];

/// Checks for root, `/dev/net/tun` and the [`BASE_PROGRAMS`].
///
/// # Errors
/// Something is missing; the message names all of it, and the package to install.
pub fn check_base() -> Result<()> {
    check(BASE_PROGRAMS)
}

/// Checks for root, `/dev/net/tun` and all of [`PROGRAMS`].
///
/// # Errors
/// Something is missing; the message names all of it, and the package to install.
pub fn check_all() -> Result<()> {
    let all: Vec<_> = PROGRAMS.iter().map(|(program, _)| *program).collect();
    check(&all)
}

/// Checks for root, `/dev/net/tun`, the [`BASE_PROGRAMS`] and rsync.
///
/// # Errors
/// Something is missing; the message names all of it, and the package to install.
pub fn check_transfers() -> Result<()> {
    check(&[BASE_PROGRAMS, &["rsync"]].concat())
}

/// Checks for root, `/dev/net/tun`, the [`BASE_PROGRAMS`], iperf3, and for ethtool if it `sets_cards`.
///
/// # Errors
/// Something is missing; the message names all of it, and the package to install.
pub fn check_bench(sets_cards: bool) -> Result<()> {
    let more: &[&str] = if sets_cards {
        &["iperf3", "ethtool"]
    } else {
        &["iperf3"]
    };
    check(&[BASE_PROGRAMS, more].concat())
}

fn check(programs: &[&str]) -> Result<()> {
    let mut missing = Vec::new();
    if !is_root()? {
        missing.push("root: namespaces and network cards cannot be made without (try sudo)".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        missing.push("/dev/net/tun: load the kernel module `tun`, or give the container that device".to_owned());
    }
    missing.extend(missing_programs(programs, installed));
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this machine lacks\n  {}", missing.join("\n  "));
}

/// Names the programs that are not there, each with its package.
fn missing_programs(wanted: &[&str], is_installed: impl Fn(&str) -> bool) -> Vec<String> {
    PROGRAMS
        .iter()
        .filter(|(program, _)| wanted.contains(program) && !is_installed(program))
        .map(|(program, package)| format!("the program {program}: apt-get install {package}"))
        .collect()
}

/// Tells whether a program is on the search path or in the directories of the system administrator or of games. What begins with
/// a slash is there or not.
pub fn installed(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let others = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/games"].map(Into::into);
    std::env::split_paths(&path)
        .chain(others)
        .any(|directory| directory.join(program).is_file())
}

fn is_root() -> Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    // "Uid: real effective saved filesystem"; the effective one decides.
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    Ok(uid.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let without_nft = |program: &str| program != "nft";
        let named = missing_programs(BASE_PROGRAMS, without_nft);
        assert_eq!(named, ["the program nft: apt-get install nftables"]);
        assert!(missing_programs(&["ip", "ping"], without_nft).is_empty());
    }

    #[test]
    fn every_base_program_has_a_package() {
        let named = missing_programs(BASE_PROGRAMS, |_| false);
        assert_eq!(named.len(), BASE_PROGRAMS.len());
    }

    #[test]
    fn the_search_path_is_searched() {
        assert!(installed("sh"));
        assert!(!installed("no-such-program-anywhere"));
    }
}
