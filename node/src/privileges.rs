//! What a program takes hold of while it has the privileges it was started with, and giving those up for good.
//!
//! Capabilities belong to threads, so this comes before the first further thread, and so before anything of the network
//! is read. Afterwards the program can do what any program of its user can: its files, its sockets, and for a node the
//! descriptors of its cards. What else cards take, the card helper does.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, lchown},
    path::Path,
};

use farlan_crypto::defects::planted;
use farlan_tap::{CardHelper, Keep, close_memory, give_up_capabilities};
use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    process::{Gid, Uid, geteuid},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid,
    },
};

use crate::{
    api::{GROUP, Sockets, group_id},
    daemon::{Settings, bind},
    failure::Failure,
    shell::{Underlay, UnderlayOffloads},
    state::StateDir,
};

/// What a daemon holds once it has no privileges any more.
#[derive(Debug)]
pub struct Holdings {
    pub(crate) state: StateDir,
    pub(crate) underlay: Underlay,
    pub(crate) sockets: Sockets,
    pub(crate) helper: CardHelper,
    /// Ends with the helper.
    pub(crate) helper_ended: io::PipeReader,
}

impl Holdings {
    /// Becomes the user of the settings, takes the state directory, the port and the API's sockets, starts the card
    /// helper, and gives up every capability.
    ///
    /// # Errors
    /// The state directory, the port or a socket is in use or not permitted; there is no such user, or it cannot be
    /// become; a privilege would be left.
    pub fn take(settings: &Settings) -> Result<Self, Failure> {
        if let Some(name) = &settings.user {
            become_user(name, settings)?;
        }
        let state = StateDir::open(&settings.state_dir)?;
        let underlay = bind(settings.port)?.with_offloads(UnderlayOffloads {
            segment: settings.offloads.send,
            coalesce: settings.offloads.receive,
        });
        // Root gives its socket to the group by a privilege, too.
        let sockets = Sockets::open(&settings.socket, settings.api_tcp)?;
        let (helper, helper_ended) = CardHelper::start(HELPER).map_err(|error| {
            // The program is started anew from there.
            let remedy = match error.kind() {
                io::ErrorKind::NotFound => "; mount /proc (mount -t proc proc /proc)",
                _ => "",
            };
            Failure::negative(format_args!("cannot start the card helper: {error}{remedy}"))
        })?;
        give_up(&settings.state_dir, Some("say `user = \"NAME\"` in the configuration"))?;
        Ok(Self {
            state,
            underlay,
            sockets,
            helper,
            helper_ended,
        })
    }
}

/// Gives up every capability, closes the process's memory to others, and makes sure that the state directory can be
/// written without. `remedy` says what else than starting the program as another user helps against a directory that is
/// another user's, whose name goes into the place of NAME.
///
/// # Errors
/// A capability would be left, or there are threads that would keep theirs; the directory is another user's.
pub fn give_up(state_dir: &Path, remedy: Option<&str>) -> Result<(), Failure> {
    // Where /proc cannot be read, nothing speaks for further threads: nobody has started one yet.
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(not_given_up(format_args!("{threads} threads run already")));
    }
    give_up_of_this_thread()?;
    accessat(CWD, state_dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|error| unwritable(state_dir, remedy, error.into()))
}

/// What concerns the calling thread, and the memory.
fn give_up_of_this_thread() -> Result<(), Failure> {
    if !planted("capabilities-kept") {
        give_up_capabilities(Keep::Nothing).map_err(not_given_up)?;
    }
    close_memory().map_err(not_given_up)
}

fn not_given_up(reason: impl std::fmt::Display) -> Failure {
    Failure::negative(format_args!(
        "farlan does not run with more privileges than it needs, and cannot give them up: {reason}"
    ))
}

/// A state directory in which only the privileges that were given up allowed writing.
fn unwritable(path: &Path, remedy: Option<&str>, error: io::Error) -> Failure {
    let owner = fs::metadata(path).ok().map(|metadata| metadata.uid());
    let name = owner.and_then(|owner| Account::find(|account| account.uid == owner));
    let remedy = remedy.map_or_else(String::new, |remedy| format!("{remedy}, or "));
    match name {
        Some(Account { name, uid, .. }) if geteuid().is_root() && uid != 0 => Failure::permission(format_args!(
            "the state directory {} belongs to the user {name}, and farlan gives up root's privilege to write there: \
             {}start it as that user (sudo -u {name} …)",
            path.display(),
            remedy.replace("NAME", &name),
        )),
        _ => Failure::file("write to the state directory", path, &error),
    }
}

/// Becomes another user, with those privileges that are needed until they are given up.
fn become_user(name: &str, settings: &Settings) -> Result<(), Failure> {
    let account = Account::find(|account| account.name == name).ok_or_else(|| {
        Failure::usage(format_args!(
            "the user {name} of the configuration is not in /etc/passwd"
        ))
    })?;
    if geteuid().as_raw() == account.uid {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(Failure::permission(format_args!(
            "only root can become the user {name} of the configuration: start farlan as root, or as {name}"
        )));
    }
    hand_over(&settings.state_dir, &account, 0o700)?;
    if let Some(directory) = settings.socket.parent().filter(|path| !path.as_os_str().is_empty()) {
        // One that an earlier run of root left is known by being empty and closed to others.
        let is_empty = fs::read_dir(directory).map(|mut entries| entries.next().is_none());
        let is_open = fs::metadata(directory).is_ok_and(|metadata| metadata.mode() & 0o022 != 0);
        if is_empty.unwrap_or(true) && !is_open {
            hand_over(directory, &account, 0o755)?;
        }
    }
    let groups: Vec<Gid> = group_id(GROUP).map(Gid::from_raw).into_iter().collect();
    let change = || -> io::Result<()> {
        let (user, group) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
        set_thread_groups(&groups)?;
        set_thread_res_gid(group, group, group)?;
        let needed = CapabilitySet::NET_ADMIN | CapabilitySet::NET_BIND_SERVICE | CapabilitySet::SETPCAP;
        let kept = capabilities(None)?.permitted & needed;
        set_keep_capabilities(true)?;
        set_thread_res_uid(user, user, user)?;
        set_keep_capabilities(false)?;
        let sets = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        };
        Ok(set_capabilities(None, sets)?)
    };
    change().map_err(|error| Failure::permission(format_args!("cannot become the user {name}: {error}")))
}

/// Makes a directory of `account`, or gives it one of root's with the files in it.
fn hand_over(path: &Path, account: &Account, mode: u32) -> Result<(), Failure> {
    let make = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
        path.canonicalize()
    };
    let path = &make().map_err(|error| Failure::file("make the directory", path, &error))?;
    let failed = |error| Failure::file("hand over", path, &error);
    let owner = fs::symlink_metadata(path).map_err(failed)?.uid();
    // In a directory of somebody else that somebody could put files of root's.
    if owner != 0 {
        return Ok(());
    }
    let (uid, gid) = (Some(account.uid), Some(account.gid));
    for entry in fs::read_dir(path).map_err(failed)? {
        lchown(entry.map_err(failed)?.path(), uid, gid).map_err(failed)?;
    }
    lchown(path, uid, gid).map_err(failed)
}

/// A line of `/etc/passwd` (passwd(5): `name:password:uid:gid:…`).
#[derive(Debug, PartialEq, Eq)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    fn find(wanted: impl Fn(&Self) -> bool) -> Option<Self> {
        let accounts = fs::read_to_string("/etc/passwd").ok()?;
        accounts.lines().filter_map(Self::parse).find(wanted)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { name, uid, gid })
    }
}

/// Input: a line of `/etc/passwd`. Who is found in it is found in it when it is written anew.
///
/// # Panics
/// It is not.
#[cfg(any(test, feature = "fuzzing"))]
pub fn account_line(line: &str) {
    let Some(account) = Account::parse(line) else { return };
    let Account { name, uid, gid } = &account;
    assert!(line.starts_with(name.as_str()) && !name.contains(':'));
    let again = Account::parse(&format!("{name}:x:{uid}:{gid}::/:/bin/false"));
    assert_eq!(again, Some(account));
}

/// The hidden subcommand by which `farlan` becomes the card helper.
pub(crate) const HELPER: &str = "card-helper";

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn sets() -> String {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let is_shown = |line: &&str| line.starts_with("Cap") || line.starts_with("NoNewPrivs");
        status.lines().filter(is_shown).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_thread_has_no_capability_left_and_gets_none_back() {
        // Capabilities are a thread's own, so the other tests keep theirs.
        thread::spawn(|| {
            let before = capabilities(None).unwrap();
            assert!(
                before.effective.contains(CapabilitySet::NET_ADMIN),
                "this test needs root, whose capabilities it gives up"
            );
            give_up_of_this_thread().unwrap();
            let left = sets();
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert!(left.contains(&format!("{set}:\t0000000000000000")), "{left}");
            }
            assert!(left.contains("NoNewPrivs:\t1"), "{left}");
            assert!(set_capabilities(None, before).is_err());
            // Root executes a program, which could have them all but for the bounding set and no_new_privs.
            let child = std::process::Command::new("grep")
                .args(["CapEff", "/proc/self/status"])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&child.stdout), "CapEff:\t0000000000000000\n");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn beside_other_threads_nothing_is_given_up() {
        // The test's own thread is not the only one of the process.
        let failure = give_up(Path::new("/"), None).unwrap_err();
        assert!(failure.message.contains("threads run already"), "{failure}");
    }

    #[test]
    fn accounts_are_found_by_name_and_number() {
        let root = Account::find(|account| account.name == "root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(Account::find(|account| account.uid == 0).unwrap().name, "root");
        assert_eq!(Account::find(|account| account.name == "no such user"), None);
        for bad in ["", "x", "x:y", "x:y:1", "x:y:z:1", ":::"] {
            assert_eq!(Account::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_directory_of_another_user_names_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        lchown(directory.path(), Some(65_534), None).expect("this test needs root");
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        let failure = unwritable(directory.path(), Some("say `user = \"NAME\"`"), refused());
        let remedy = "say `user = \"nobody\"`, or start it as that user (sudo -u nobody";
        assert!(failure.message.contains(remedy), "{failure}");
        let failure = unwritable(directory.path(), None, refused());
        assert!(failure.message.contains("write there: start it as"), "{failure}");
    }
}
