//! Running a program with less than root has: other users, fewer capabilities, no TUN driver, a small disk.
//!
//! Each function gives the words that go before the program's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::command::run;
use super::program::released;
use super::topology::Lab;

/// The user and group `nobody`, which every system has.
pub const NOBODY: u32 = 65534;

/// As the service manager starts a node: another user, and the capabilities of `packaging/systemd/farlan.service`
/// alone. `/dev/net/tun` is open to all there, as udev makes it.
pub fn as_the_service() -> Vec<String> {
    let only = "-all,+net_admin,+net_raw,+setpcap";
    let user = NOBODY.to_string();
    let mut words = in_own_mounts(PUBLIC_TUN);
    words.extend(
        [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "--reuid",
            &user,
            "--regid",
            &user,
            "--clear-groups",
            "--no-new-privs",
            "--inh-caps",
            only,
            "--ambient-caps",
            only,
            "--bounding-set",
            only,
        ]
        .map(str::to_owned),
    );
    words
}

/// Where `/dev/net/tun` is open to all, as udev makes it.
pub fn with_public_tun() -> Vec<String> {
    in_own_mounts(PUBLIC_TUN)
}

/// As another user without any privilege.
pub fn as_nobody() -> Vec<String> {
    let user = NOBODY.to_string();
    [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
        "--inh-caps",
        "-all",
        "--bounding-set",
        "-all",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// As root without the capability to make cards.
pub fn without_net_admin() -> Vec<String> {
    ["setpriv", "--inh-caps", "-net_admin", "--bounding-set", "-net_admin"]
        .map(str::to_owned)
        .to_vec()
}

/// Where there is no `/dev/net/tun`.
pub fn without_tun() -> Vec<String> {
    in_own_mounts("mount -t tmpfs none /dev/net")
}

/// On a system whose groups are those of `file`, as /etc/group has them.
pub fn with_groups(file: &Path) -> Vec<String> {
    in_own_mounts(&format!("mount --bind {} /etc/group", file.display()))
}

/// As another user of this group and these supplementary groups, without any privilege.
pub fn as_user(user: u32, group: u32, groups: &[u32]) -> Vec<String> {
    let mut words: Vec<_> = [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "--inh-caps",
        "-all",
        "--bounding-set",
        "-all",
    ]
    .map(str::to_owned)
    .to_vec();
    words.extend([
        "--reuid".to_owned(),
        user.to_string(),
        "--regid".to_owned(),
        group.to_string(),
    ]);
    if groups.is_empty() {
        words.push("--clear-groups".to_owned());
    } else {
        let list: Vec<_> = groups.iter().map(ToString::to_string).collect();
        words.extend(["--groups".to_owned(), list.join(",")]);
    }
    words
}

/// With a disk of its own of `kilobytes` at `directory`, which holds what was there before and then what `prepare`
/// puts there.
pub fn on_small_disk(directory: &Path, kilobytes: u32, prepare: &str) -> Vec<String> {
    let place = directory.display();
    in_own_mounts(&format!(
        "copy=$(mktemp -d) && cp -a {place}/. $copy && mount -t tmpfs -o size={kilobytes}k,mode=700 none {place} && \
         cp -a $copy/. {place} && rm -r $copy && cd {place} && {prepare}"
    ))
}

/// With a clock that is wrong by `shift`, such as `+20y`.
///
/// # Errors
/// The program `faketime` does not say which library does that.
pub fn at_another_time(shift: &str) -> Result<Vec<String>> {
    // The program itself stays between the test and the daemon, and would take its signals.
    let library = run(&["faketime", "-f", shift, "printenv", "LD_PRELOAD"])?;
    Ok(vec![
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.trim()),
        format!("FAKETIME={shift}"),
    ])
}

/// Makes a `/dev/net/tun` that is open to all.
const PUBLIC_TUN: &str = "mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200";

/// In a mount namespace of its own, after a shell ran `script` there.
fn in_own_mounts(script: &str) -> Vec<String> {
    let script = format!("{script} && exec \"$@\"");
    [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
        "sh",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// A copy of a released program that every user can run, in the lab's directory, through which they may pass then.
///
/// # Errors
/// It is not built, or cannot be copied.
pub fn public_copy(lab: &Lab, program: &str) -> Result<PathBuf> {
    let copy = lab.directory().join(program);
    let from = released(program)?;
    fs::copy(&from, &copy).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::set_permissions(lab.directory(), fs::Permissions::from_mode(0o711))?;
    Ok(copy)
}

/// A directory in the lab that belongs to `nobody`.
///
/// # Errors
/// It cannot be made.
pub fn directory_of_nobody(lab: &Lab, name: &str) -> Result<PathBuf> {
    let directory = lab.directory().join(name);
    fs::create_dir(&directory)?;
    std::os::unix::fs::chown(&directory, Some(NOBODY), Some(NOBODY))?;
    Ok(directory)
}
