use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher,
    io::{BufRead, BufReader},
    os::unix::fs::{PermissionsExt, symlink},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde::Deserialize;

use super::*;
use crate::failure::FailureKind;

#[test]
fn one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/state");
    let first = StateDir::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let second = StateDir::open(&path).unwrap_err();
    assert_eq!(second.kind, FailureKind::Negative);
    assert!(second.message.contains("in use"), "{second}");
    first.release();
    let third = StateDir::open(&path).unwrap();
    drop(third);
    StateDir::open(&path).unwrap();
}

#[test]
fn files_round_trip_and_bad_ones_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path()).unwrap();
    assert_eq!(state.load::<BTreeMap<String, u8>>("x.toml").unwrap(), None);
    let content = BTreeMap::from([("a".to_owned(), 1u8)]);
    state.save("x.toml", &content).unwrap();
    state.save("x.toml", &content).unwrap();
    assert_eq!(state.load("x.toml").unwrap(), Some(content));
    let mode = fs::metadata(directory.path().join("x.toml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::write(directory.path().join("x.toml"), "a = 1\nb = [").unwrap();
    let failure = state.load::<BTreeMap<String, u8>>("x.toml").unwrap_err();
    assert!(failure.message.contains("x.toml:2: "), "{failure}");
    fs::write(directory.path().join("x.toml"), b"a = \"\xff\"").unwrap();
    let failure = state.load::<BTreeMap<String, u8>>("x.toml").unwrap_err();
    assert!(failure.message.contains("x.toml: is no text; mend"), "{failure}");
}

#[test]
fn the_identity_stays() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path()).unwrap();
    let (first, made) = state.identity(Work::NONE).unwrap();
    assert!(made);
    let (second, made) = state.identity(Work::NONE).unwrap();
    assert!(!made);
    assert_eq!(first.public(), second.public());
    let path = directory.path().join(IDENTITY);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(state.identity(Work::NONE).unwrap_err().kind, FailureKind::Permission);
}

#[test]
fn a_directory_that_others_can_write_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    for mode in [0o770, 0o707, 0o777, 0o1777, 0o720] {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        let failure = StateDir::open(directory.path()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Permission);
        let remedy = format!("chmod 700 {}", directory.path().display());
        assert!(failure.message.contains(&remedy), "{failure}");
    }
    for mode in [0o700, 0o755] {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        StateDir::open(directory.path()).unwrap();
    }
}

#[test]
fn a_file_that_was_open_to_others_is_closed_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path()).unwrap();
    let path = directory.path().join("networks.toml");
    for mode in [0o644, 0o666, 0o640, 0o604] {
        fs::write(&path, "a = 1").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let content = state.load::<BTreeMap<String, u8>>("networks.toml").unwrap();
        assert_eq!(content, Some(BTreeMap::from([("a".to_owned(), 1)])));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }
}

#[test]
fn what_was_planted_is_neither_followed_nor_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    let path = directory.path().join("state");
    drop(StateDir::open(&path).unwrap());
    fs::remove_file(path.join("lock")).unwrap();
    symlink(&target, path.join("lock")).unwrap();
    assert!(StateDir::open(&path).is_err());
    assert!(!target.exists(), "nothing is made through the link");
    let pipe = |name: &str| {
        let made = Command::new("mkfifo").arg(path.join(name)).status().unwrap();
        assert!(made.success());
    };
    fs::remove_file(path.join("lock")).unwrap();
    pipe("lock");
    assert!(StateDir::open(&path).is_err());
    fs::remove_file(path.join("lock")).unwrap();

    let state = StateDir::open(&path).unwrap();
    fs::write(&target, "a = 1").unwrap();
    symlink(&target, path.join("x.toml")).unwrap();
    pipe("y.toml");
    let content = BTreeMap::from([("a".to_owned(), 2u8)]);
    for name in ["x.toml", "y.toml"] {
        let failure = state.load::<BTreeMap<String, u8>>(name).unwrap_err();
        assert!(failure.message.contains("is not a regular file"), "{failure}");
        fs::remove_file(path.join(name)).unwrap();
        symlink(&target, path.join(name)).unwrap();
        state.save(name, &content).unwrap();
        assert_eq!(state.load(name).unwrap().as_ref(), Some(&content));
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "a = 1");
}

/// The umask belongs to the whole process, so the check runs in a process of its own: this test program again.
#[test]
fn the_umask_opens_nothing() {
    const CHILD: &str = "FARLAN_TEST_UMASK_STATE";
    if let Some(path) = std::env::var_os(CHILD) {
        let state = StateDir::open(Path::new(&path)).unwrap();
        state.identity(Work::NONE).unwrap();
        state.save("networks.toml", &BTreeMap::from([("a", 1)])).unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg("umask 000; exec \"$0\" --exact state::tests::the_umask_opens_nothing")
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, &path)
        .stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o700);
    for name in ["lock", "networks.toml", IDENTITY] {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
    }
}

/// What the process that is killed writes into each of its files.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    generation: u64,
    filler: String,
}

impl Written {
    fn new(generation: u64) -> Self {
        Self {
            generation,
            filler: format!("{generation:08x}").repeat(2000),
        }
    }
}

const FILES: [&str; 3] = ["networks.toml", "worlds.toml", "contacts.toml"];

/// How often the process is killed.
const KILLS: u64 = 200;

/// Within how many microseconds of its first generation: that takes a disk a few generations more.
const LONGEST_LIFE: u64 = 40_000;

/// The writer is this test program again.
#[test]
fn killed_while_writing_200_times_it_loses_and_bends_nothing() {
    const CHILD: &str = "FARLAN_TEST_KILLED_STATE";
    const FROM: &str = "FARLAN_TEST_KILLED_FROM";
    if let Some(path) = std::env::var_os(CHILD) {
        let first = std::env::var(FROM).unwrap().parse().unwrap();
        write_until_killed(Path::new(&path), first);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let random = RandomState::new();
    let (mut identity, mut last, mut interrupted) = (None, 0, 0);
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("state::tests::killed_while_writing_200_times_it_loses_and_bends_nothing")
            .env(CHILD, &path)
            .env(FROM, (last + 1).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut acknowledged = |line: String| last = line.parse().unwrap_or(last);
        let number = random.hash_one(kill);
        // Two lines of the test harness, and the first generation.
        lines.by_ref().take(3).for_each(&mut acknowledged);
        thread::sleep(Duration::from_micros(number % LONGEST_LIFE));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(acknowledged);

        let leftovers = |path: &Path| {
            let entries = fs::read_dir(path).unwrap();
            entries
                .filter(|entry| entry.as_ref().unwrap().file_name().as_encoded_bytes()[0] == b'.')
                .count()
        };
        interrupted += u64::from(leftovers(&path) > 0);
        let state = StateDir::open(&path).unwrap();
        assert_eq!(leftovers(&path), 0, "they are swept");
        for name in FILES {
            let written: Written = state.load(name).unwrap().unwrap();
            assert!(
                [last, last + 1].contains(&written.generation),
                "{name} is of {}",
                written.generation
            );
            assert_eq!(written, Written::new(written.generation));
        }
        let (now, made) = state.identity(Work::NONE).unwrap();
        let known = identity.get_or_insert_with(|| now.public());
        assert!(!made && *known == now.public(), "the identity is lost");
        for entry in fs::read_dir(&path).unwrap() {
            let file = entry.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "secret") {
                secret_file::load(&file, Work::NONE).unwrap();
                if file.file_name().unwrap() != IDENTITY {
                    fs::remove_file(file).unwrap();
                }
            }
        }
    }
    println!("{KILLS} kills, {last} generations, {interrupted} kills left a half-written file beside");
    assert!(interrupted > 0, "no kill came while a file was being written");
}

/// Writes everything there is, generation after generation, and says when each is written.
fn write_until_killed(path: &Path, first: u64) -> ! {
    let state = StateDir::open(path).unwrap();
    for generation in first.. {
        state.identity(Work::NONE).unwrap();
        let mut random = SystemRandom::from_os().unwrap();
        let another = Identity::generate(&mut random, Work::NONE);
        secret_file::create(&path.join(format!("{generation}.secret")), &another).unwrap();
        for name in FILES {
            state.save(name, &Written::new(generation)).unwrap();
        }
        println!("{generation}");
    }
    unreachable!("generations do not end");
}
