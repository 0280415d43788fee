# Shared by the scripts beside it; not for running by itself.
# shellcheck shell=bash
#
# Sourcing it changes to the workspace's directory.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Programs of the system administrator are not on everybody's path, and rustup's may not be on root's.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/games"
# Nor are Debian's programs of PostgreSQL (15 in Debian 12, 17 in 13).
PATH="$PATH:/usr/lib/postgresql/15/bin:/usr/lib/postgresql/17/bin"
if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/cargo" ]; then
    PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
fi
export PATH

# Says what is wrong and ends.
fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# Tells whether there is a program, or, where it begins with a slash, a file.
there_is() {
    command -v "$1" >/dev/null || [[ "$1" == /* && -e "$1" ]]
}

# Checks for programs, given as PROGRAM:DEBIAN-PACKAGE. Root on a Debian system gets what is missing installed;
# everybody else is told what to install.
need() {
    local pair program package
    local -a missing=() packages=()
    for pair in "$@"; do
        program=${pair%%:*} package=${pair#*:}
        if ! there_is "$program"; then
            missing+=("$program (Debian package $package)")
            [[ " ${packages[*]-} " == *" $package "* ]] || packages+=("$package")
        fi
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        printf 'missing: %s\n' "${missing[@]}" >&2
        fail "install with: sudo apt-get install ${packages[*]}"
    fi
    printf 'installing %s\n' "${packages[*]}" >&2
    install_packages "${packages[@]}"
    hash -r
    for pair in "$@"; do
        there_is "${pair%%:*}" || fail "${pair#*:} is installed, but there is no ${pair%%:*}"
    done
}

# Installs Debian packages without starting the services they bring: only their programs are wanted here.
install_packages() {
    local policy=/usr/sbin/policy-rc.d ours=no status=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        ours=yes
    fi
    {
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" </dev/null >&2 ||
            { apt-get update </dev/null >&2 &&
                DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" </dev/null >&2; }
    } || status=$?
    [ "$ours" = no ] || rm -f "$policy"
    [ "$status" = 0 ] || fail "apt-get could not install: $*"
}

# Checks for the Rust toolchain and a linker.
need_rust() {
    command -v cargo >/dev/null || fail "missing: cargo; install Rust 1.95 or newer"
    need cc:build-essential
    # Crates may have to be fetched, which takes certificates.
    if [ ! -e /etc/ssl/certs/ca-certificates.crt ] && [ -z "${SSL_CERT_FILE-}${CARGO_HTTP_CAINFO-}${CARGO_NET_OFFLINE-}" ]; then
        need update-ca-certificates:ca-certificates
    fi
}

# The lab is made of network namespaces and cards, which only root can make; SUDO runs a program as root.
need_root() {
    SUDO=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "run this as root: it makes network namespaces (or install sudo)"
        SUDO=(sudo)
    fi
    if [ ! -r /proc/self/status ]; then
        "${SUDO[@]}" mount -t proc proc /proc 2>/dev/null || true
        [ -r /proc/self/status ] || fail "missing: /proc; mount it with: mount -t proc proc /proc"
    fi
    if [ ! -e /dev/net/tun ]; then
        # Loading the module makes the device, except where /dev is a plain directory, as in a chroot.
        "${SUDO[@]}" modprobe tun 2>/dev/null || true
        [ -e /dev/net/tun ] ||
            { "${SUDO[@]}" mkdir -p /dev/net && "${SUDO[@]}" mknod -m 600 /dev/net/tun c 10 200; } 2>/dev/null || true
        [ -e /dev/net/tun ] ||
            fail "missing: /dev/net/tun; load the kernel module tun, or give this container that device"
    fi
}

# What the lab itself runs, and what its tests run besides.
LAB_PROGRAMS=(ip:iproute2 ss:iproute2 nft:nftables ping:iputils-ping nsenter:util-linux setpriv:util-linux)
# shellcheck disable=SC2034  # used by scripts that source this file
TEST_PROGRAMS=("${LAB_PROGRAMS[@]}" unshare:util-linux mount:mount rsync:rsync arping:arping faketime:faketime
    dbus-daemon:dbus-daemon avahi-daemon:avahi-daemon avahi-browse:avahi-utils avahi-publish:avahi-utils
    keepalived:keepalived dnsmasq:dnsmasq-base udhcpc:udhcpc radvd:radvd busybox:busybox iperf3:iperf3
    strace:strace ethtool:ethtool miniupnpd:miniupnpd-nftables initdb:postgresql postgres:postgresql
    teeworlds-server:teeworlds-server openttd:openttd /usr/share/games/openttd/baseset/opengfx:openttd-opengfx
    /usr/lib/ioquake3/ioq3ded:ioquake3-server freeciv-server:freeciv-server minidlnad:minidlna nmbd:samba
    nmblookup:samba-common-bin)
# What scripts/games runs besides: the games' own programs, on a screen that nobody sees.
# shellcheck disable=SC2034  # used by scripts that source this file
PLAY_PROGRAMS=(Xvfb:xvfb xdotool:xdotool import:imagemagick /usr/lib/x86_64-linux-gnu/dri/swrast_dri.so:libgl1-mesa-dri
    teeworlds:teeworlds openarena:openarena)
# Finds systemd-resolved, or unpacks it, and sets FARLAN_RESOLVED_DIR to where. It is not installed: the package makes it the
# resolver of this machine.
need_resolved() {
    local place packages=(systemd-resolved libsystemd-shared)
    [ ! -x /lib/systemd/systemd-resolved ] || return 0
    place=$(target_directory)/debian
    if [ ! -x "$place/lib/systemd/systemd-resolved" ]; then
        need apt-get:apt dpkg-deb:dpkg
        rm -rf "$place" && mkdir -p "$place/packages"
        (
            cd "$place/packages"
            apt-get download "${packages[@]}" >&2 ||
                { "${SUDO[@]}" apt-get update </dev/null >&2 && apt-get download "${packages[@]}" >&2; }
        ) || fail "missing: systemd-resolved (Debian package systemd-resolved), which could not be downloaded"
        for package in "$place"/packages/*.deb; do
            dpkg-deb --extract "$package" "$place"
        done
        [ -x "$place/lib/systemd/systemd-resolved" ] || fail "there is no systemd-resolved in the package systemd-resolved"
    fi
    export FARLAN_RESOLVED_DIR=$place
}

# What the benchmark needs; the systems that it compares are not among it.
# shellcheck disable=SC2034  # used by scripts that source this file
BENCH_PROGRAMS=("${LAB_PROGRAMS[@]}" iperf3:iperf3 ethtool:ethtool)

# The directory that cargo builds in.
target_directory() {
    cargo metadata --format-version 1 --no-deps --locked |
        sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}

# Builds the released programs and those programs of the lab that are named, and sets RELEASE to their directory.
build_release() {
    local program
    local -a packages=(-p farlan -p farlan-supernode) programs=(--bin farlan --bin farlan-supernode)
    [ $# = 0 ] || packages+=(-p farlan-tests)
    for program in "$@"; do
        programs+=(--bin "$program")
    done
    cargo build --release --locked "${packages[@]}" "${programs[@]}"
    # shellcheck disable=SC2034  # used by scripts that source this file
    RELEASE=$(target_directory)/release
}
