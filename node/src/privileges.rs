//! What a program takes hold of while it has the privileges it was started with, and giving those up for good.
//!
//! Capabilities belong to threads, so this comes before the first further thread, and so before anything of the network
//! is read. Afterwards the program can do what any program of its user can: its files, its sockets, and for a node the
//! descriptors of its cards. What else cards take, the card helper does.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::unix::{
        ffi::OsStringExt,
        fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use farlan_crypto::{defects::planted, private_file};
use farlan_tap::{CardHelper, Keep, LanListener, close_memory, give_up_capabilities};
use rustix::{
    fs::{Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, accessat, chownat, fchown, statat},
    process::{Gid, Uid, geteuid},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid,
    },
};

use crate::{
    api::{GROUP, Sockets, group_id, is_leftover, is_making_place, refuse_answered},
    daemon::{STATE_FILES, Settings, bind},
    failure::Failure,
    games::LanGames,
    shell::{Underlay, UnderlayOffloads},
    state::{IDENTITY, StateDir},
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
    /// Hears searches of games on other cards, or why nothing does.
    pub(crate) listener: Result<LanListener, String>,
}

impl Holdings {
    /// Becomes the user of the settings, takes the state directory, the port and the API's sockets, starts the card
    /// helper and the listener, and gives up every capability.
    ///
    /// # Errors
    /// The state directory, the port or a socket is in use or not permitted; there is no such user, or it cannot be
    /// become; a privilege would be left.
    pub fn take(settings: &Settings) -> Result<Self, Failure> {
        if let Some(name) = &settings.user {
            become_user(name, settings)?;
        }
        let state = StateDir::open(&settings.state_dir)?;
        refuse_anothers(&settings.state_dir)?;
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
        // Without it everything else works.
        let listener = match settings.lan_games {
            LanGames::Off => Err(
                "games.lan_games was \"off\" in the configuration when farlan started; start it again with another"
                    .to_owned(),
            ),
            LanGames::Lift | LanGames::Route => LanListener::start(LISTENER)
                .map_err(|error| format!("cannot start the process that listens to other cards: {error}")),
        };
        give_up(&settings.state_dir, Some(REMEDY))?;
        Ok(Self {
            state,
            underlay,
            sockets,
            helper,
            helper_ended,
            listener,
        })
    }
}

/// Refuses root a state directory that closes itself to root without privileges, before anything beside it, like the
/// socket's directory, is found to be that user's as well.
fn refuse_anothers(state_dir: &Path) -> Result<(), Failure> {
    let owner = fs::metadata(state_dir).map_or(0, |metadata| metadata.uid());
    if geteuid().is_root() && owner != 0 {
        return Err(unwritable(
            state_dir,
            Some(REMEDY),
            io::ErrorKind::PermissionDenied.into(),
        ));
    }
    Ok(())
}

/// What a node's user can do about a state directory of another user.
const REMEDY: &str = "say `user = \"NAME\"` in the configuration";

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

/// Closes the process's memory to others, for a command that handles keys and keeps no privileges.
///
/// # Errors
/// The kernel refused.
pub fn close_to_others() -> Result<(), Failure> {
    close_memory()
        .map_err(|error| Failure::negative(format_args!("cannot close the program's memory to others: {error}")))
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
    hand_over_state(&settings.state_dir, &account)?;
    hand_over_socket(&settings.socket, &account)?;
    let groups: Vec<Gid> = group_id(GROUP).map(Gid::from_raw).into_iter().collect();
    let change = || -> io::Result<()> {
        let (user, group) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
        set_thread_groups(&groups)?;
        set_thread_res_gid(group, group, group)?;
        let needed = CapabilitySet::NET_ADMIN
            | CapabilitySet::NET_RAW
            | CapabilitySet::NET_BIND_SERVICE
            | CapabilitySet::SETPCAP;
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

/// Makes the state directory of `account`, or gives it one of root's with farlan's files in it.
///
/// # Errors
/// Others can write there, or it holds something else than farlan's state; everything stays root's then. Another farlan
/// uses it.
fn hand_over_state(path: &Path, account: &Account) -> Result<(), Failure> {
    let Some(directory) = RootsDirectory::make(path, 0o700)? else {
        return Ok(());
    };
    let shown = directory.path.display();
    if directory.is_open {
        return Err(Failure::permission(format_args!(
            "other users can write the state directory {shown}, which is root's, so its files are not handed over to the \
             user {}: run `chmod 700 {shown}`, or give another directory with --state-dir",
            account.name
        )));
    }
    let is_own = |name: &OsStr| {
        let is_state = STATE_FILES.iter().any(|own| name == *own);
        is_state || private_file::is_temporary(name.as_encoded_bytes())
    };
    let names = directory.entries()?;
    let foreign = names.iter().find(|(name, _)| !is_own(name));
    if let Some((name, _)) = foreign
        && !names.iter().any(|(name, _)| name == IDENTITY)
    {
        return Err(Failure::permission(format_args!(
            "{shown} holds {} and no state of farlan, so it is not handed over to the user {}: give an empty directory \
             with --state-dir",
            name.display(),
            account.name
        )));
    }
    // A daemon that uses it goes on writing there.
    let locked = StateDir::open(&directory.path)?;
    directory.give(account, |name, kind| kind.is_file() && is_own(name))?;
    drop(locked);
    Ok(())
}

/// Makes the directory of the socket for `account`, or gives it one of root's in which there is nothing but what an earlier
/// daemon with this socket left. Any other stays what it is.
fn hand_over_socket(socket: &Path, account: &Account) -> Result<(), Failure> {
    let Some(path) = socket.parent().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(());
    };
    let Some(directory) = RootsDirectory::make(path, 0o755)? else {
        return Ok(());
    };
    let is_left = |(name, kind): &(OsString, FileType)| is_leftover(socket, name, *kind);
    if directory.is_open || !directory.entries()?.iter().all(is_left) {
        return Ok(());
    }
    refuse_answered(socket)?;
    // The files in it are replaced or removed by whom the directory belongs to.
    directory.give(account, |name, kind| kind.is_dir() && is_making_place(name))
}

/// A directory that belongs to root, held open.
struct RootsDirectory {
    path: PathBuf,
    directory: File,
    /// Whether others can write there, and so put files of root's there that are not meant.
    is_open: bool,
}

impl RootsDirectory {
    /// Makes the directory, with this mode, if it is missing. Nothing if it is somebody else's: in such a directory that
    /// somebody could have put files of root's.
    fn make(path: &Path, mode: u32) -> Result<Option<Self>, Failure> {
        let make = || {
            let builder = |mode| {
                let mut builder = fs::DirBuilder::new();
                builder.recursive(true).mode(mode);
                builder
            };
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                builder(0o755).create(parent)?;
            }
            builder(mode).create(path)?;
            let path = path.canonicalize()?;
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
            let directory = File::from(rustix::fs::open(&path, flags, Mode::empty())?);
            let metadata = directory.metadata()?;
            Ok((metadata.uid() == 0).then_some(Self {
                path,
                directory,
                is_open: metadata.mode() & 0o022 != 0,
            }))
        };
        make().map_err(|error| Failure::file("make the directory", path, &error))
    }

    /// Names and kinds of what is in it.
    fn entries(&self) -> Result<Vec<(OsString, FileType)>, Failure> {
        let list = || -> io::Result<_> {
            let mut entries = Vec::new();
            for entry in Dir::read_from(&self.directory)? {
                let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
                if name != "." && name != ".." {
                    let there = statat(&self.directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                    entries.push((name, FileType::from_raw_mode(there.st_mode)));
                }
            }
            Ok(entries)
        };
        list().map_err(|error| Failure::file("list", &self.path, &error))
    }

    /// Gives it to `account` with those of its entries that `is_given` names. Links are not followed.
    fn give(&self, account: &Account, is_given: impl Fn(&OsStr, FileType) -> bool) -> Result<(), Failure> {
        let entries = self.entries()?;
        let give = || -> io::Result<()> {
            let (user, group) = (Some(Uid::from_raw(account.uid)), Some(Gid::from_raw(account.gid)));
            for (name, _) in entries.iter().filter(|(name, kind)| is_given(name, *kind)) {
                chownat(&self.directory, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Ok(fchown(&self.directory, user, group)?)
        };
        give().map_err(|error| Failure::file("hand over", &self.path, &error))
    }
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

/// That by which it becomes the listener.
pub(crate) const LISTENER: &str = "lan-listener";

#[cfg(test)]
mod tests {
    use std::{
        os::unix::{
            fs::{PermissionsExt, lchown, symlink},
            net::UnixListener,
        },
        thread,
    };

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
    fn root_is_told_to_become_the_user_whose_state_and_socket_these_are() {
        let (place, state) = roots(0o700, &[]);
        let run = place.path().join("run");
        fs::create_dir(&run).unwrap();
        for path in [&state, &run] {
            lchown(path, Some(65_534), Some(65_534)).unwrap();
        }
        let settings = Settings {
            state_dir: state,
            socket: run.join("s"),
            api_tcp: None,
            port: 0,
            user: None,
            supernodes: Vec::new(),
            port_mapping: false,
            hide_address: false,
            beacon: false,
            games: crate::games::Games::default(),
            list: std::sync::Arc::default(),
            lan_games: LanGames::Off,
            offloads: crate::config::Offloads::default(),
            names: crate::daemon::NameSettings::default(),
            controller: None,
            tuning: crate::daemon::Tuning::default(),
        };
        let failure = Holdings::take(&settings).unwrap_err();
        assert!(failure.message.contains("say `user = \"nobody\"`"), "{failure}");
        assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
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

    fn nobody() -> Account {
        Account {
            name: "nobody".into(),
            uid: 65_534,
            gid: 65_534,
        }
    }

    fn owner(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().uid()
    }

    /// A directory of root's with these files, in a directory that goes with the first.
    fn roots(mode: u32, names: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("d");
        fs::create_dir(&path).unwrap();
        for name in names {
            fs::write(path.join(name), "").unwrap();
        }
        lchown(&path, Some(0), Some(0)).expect("this test needs root");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (place, path)
    }

    #[test]
    fn a_directory_of_roots_that_others_can_write_stays_roots_with_all_that_is_in_it() {
        for mode in [0o1777, 0o777, 0o770, 0o720, 0o702] {
            for names in [&["precious"][..], &["identity.secret", "lock"], &[]] {
                let (_place, path) = roots(mode, names);
                let refused = hand_over_state(&path, &nobody()).unwrap_err();
                assert!(refused.message.contains("other users can write"), "{refused}");
                hand_over_socket(&path.join("s"), &nobody()).unwrap();
                assert_eq!(owner(&path), 0, "{mode:o}");
                for name in names {
                    assert_eq!(owner(&path.join(name)), 0, "{mode:o} {name}");
                }
                assert_eq!(fs::read_dir(&path).unwrap().count(), names.len());
            }
        }
    }

    #[test]
    fn a_directory_that_holds_something_else_than_farlans_state_stays_roots() {
        for names in [&["shadow"][..], &["lock", "shadow"], &["other.toml"], &["my.secret"]] {
            let (_place, path) = roots(0o755, names);
            let refused = hand_over_state(&path, &nobody()).unwrap_err();
            assert!(refused.message.contains("no state of farlan"), "{refused}");
            assert_eq!(owner(&path), 0);
            for name in names {
                assert_eq!(owner(&path.join(name)), 0, "{name}");
            }
            assert_eq!(fs::read_dir(&path).unwrap().count(), names.len());
        }
    }

    #[test]
    fn of_the_state_of_roots_only_farlans_own_files_are_handed_over() {
        let own = [
            "identity.secret",
            "lock",
            "networks.toml",
            "worlds.toml",
            "contacts.toml",
        ];
        let (place, path) = roots(0o700, &own);
        let temporary = path.join(".networks.toml.12-0.new");
        fs::write(&temporary, "").unwrap();
        fs::write(path.join("precious"), "").unwrap();
        let elsewhere = place.path().join("elsewhere");
        fs::write(&elsewhere, "").unwrap();
        fs::remove_file(path.join("worlds.toml")).unwrap();
        symlink(&elsewhere, path.join("worlds.toml")).unwrap();
        hand_over_state(&path, &nobody()).unwrap();
        assert_eq!(owner(&path), 65_534);
        for name in own.iter().filter(|name| **name != "worlds.toml") {
            assert_eq!(owner(&path.join(name)), 65_534, "{name}");
        }
        for kept in [path.join("precious"), elsewhere] {
            assert_eq!(owner(&kept), 0, "{}", kept.display());
        }
        assert!(!temporary.exists());
        // Once it is the user's, root's files in it are not given away any more.
        fs::write(path.join("lock"), "").unwrap();
        lchown(path.join("lock"), Some(0), Some(0)).unwrap();
        hand_over_state(&path, &nobody()).unwrap();
        assert_eq!(owner(&path.join("lock")), 0);
    }

    #[test]
    fn a_state_directory_is_handed_over_empty_or_new_and_not_while_it_is_used() {
        let (place, path) = roots(0o755, &[]);
        let used = StateDir::open(&path).unwrap();
        let refused = hand_over_state(&path, &nobody()).unwrap_err();
        assert!(
            refused.message.contains("in use by another running farlan"),
            "{refused}"
        );
        assert_eq!(owner(&path), 0);
        drop(used);
        let new = place.path().join("a/b");
        for path in [&path, &new] {
            hand_over_state(path, &nobody()).unwrap();
            assert_eq!((owner(path), owner(&path.join("lock"))), (65_534, 65_534));
        }
        assert_eq!(owner(&place.path().join("a")), 0);
        assert_eq!(fs::metadata(&new).unwrap().mode() & 0o7777, 0o700);
    }

    #[test]
    fn what_a_killed_daemon_left_beside_its_socket_does_not_keep_the_directory_from_the_user() {
        let (_place, path) = roots(0o755, &["farlan.token", ".farlan.token.12-0.new"]);
        let socket = path.join("farlan.sock");
        let making = path.join(format!(".{}", std::process::id()));
        fs::create_dir(&making).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let refused = hand_over_socket(&socket, &nobody()).unwrap_err();
        assert!(refused.message.contains("another farlan answers"), "{refused}");
        assert_eq!(owner(&path), 0);
        drop(listener);
        hand_over_socket(&socket, &nobody()).unwrap();
        assert_eq!((owner(&path), owner(&making)), (65_534, 65_534));
    }

    #[test]
    fn a_directory_with_anothers_files_beside_the_socket_stays_roots() {
        for name in ["precious", "farlan.sock", ".12"] {
            let (_place, path) = roots(0o755, &[name]);
            hand_over_socket(&path.join("farlan.sock"), &nobody()).unwrap();
            assert_eq!((owner(&path), owner(&path.join(name))), (0, 0), "{name}");
        }
    }
}
