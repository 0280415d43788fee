use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::random::SystemRandom;

fn identity(fill: u8) -> Identity {
    Identity::from_seed(Seed::from_bytes([fill; 32]), Work::NONE).unwrap()
}

fn scratch() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity");
    (directory, path)
}

fn write(path: &Path, text: impl AsRef<[u8]>, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn line(fill: &str) -> String {
    format!("farlan-seed-1 {}\n", fill.repeat(32))
}

#[test]
fn what_is_created_is_loaded() {
    let (directory, path) = scratch();
    create(&path, &identity(0xab)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), line("ab"));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(load(&path, Work::NONE).unwrap().public(), identity(0xab).public());
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "the temporary file is gone"
    );
}

/// The umask belongs to the whole process, so the check runs in a process of its own: this test program again.
#[test]
fn the_umask_changes_nothing() {
    const CHILD: &str = "FARLAN_TEST_UMASK_PATH";
    if let Some(path) = std::env::var_os(CHILD) {
        create(Path::new(&path), &identity(1)).unwrap();
        return;
    }
    let program = std::env::current_exe().unwrap();
    for umask in ["000", "077", "777"] {
        let (_directory, path) = scratch();
        let status = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!(
                "umask {umask}; exec \"$0\" --exact secret_file::tests::the_umask_changes_nothing"
            ))
            .arg(&program)
            .env(CHILD, &path)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600, "umask {umask}");
        assert!(load(&path, Work::NONE).is_ok());
    }
}

#[test]
fn looser_permissions_are_refused_with_the_remedy() {
    let (_directory, path) = scratch();
    for mode in [0o640, 0o604, 0o620, 0o601, 0o610, 0o644, 0o666, 0o777] {
        write(&path, line("ab"), mode);
        let error = load(&path, Work::NONE).unwrap_err();
        assert!(matches!(error, SecretFileError::Permissions { mode: found, .. } if found == mode));
        assert!(
            error.to_string().contains(&format!("chmod 600 {}", path.display())),
            "{error}"
        );
    }
    for mode in [0o600, 0o400, 0o700] {
        write(&path, line("ab"), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(load(&path, Work::NONE).is_ok(), "{mode:o}");
    }
}

#[test]
fn links_and_directories_are_refused() {
    let (directory, path) = scratch();
    let target = directory.path().join("target");
    write(&target, line("ab"), 0o600);
    symlink(&target, &path).unwrap();
    assert!(matches!(load(&path, Work::NONE), Err(SecretFileError::NotAFile { .. })));
    assert!(matches!(
        load(directory.path(), Work::NONE),
        Err(SecretFileError::NotAFile { .. })
    ));
    fs::remove_file(&target).unwrap();
    assert!(
        matches!(load(&path, Work::NONE), Err(SecretFileError::NotAFile { .. })),
        "a link to nothing"
    );
    let pipe = directory.path().join("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    assert!(matches!(load(&pipe, Work::NONE), Err(SecretFileError::NotAFile { .. })));
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(matches!(
        load(&socket, Work::NONE),
        Err(SecretFileError::NotAFile { .. })
    ));
}

/// Who planted it knows the seed in it, or reaches the file under its other name.
#[test]
fn a_second_name_is_refused() {
    let (directory, path) = scratch();
    let other = directory.path().join("other");
    write(&other, line("ab"), 0o600);
    fs::hard_link(&other, &path).unwrap();
    let error = load(&path, Work::NONE).unwrap_err();
    assert!(matches!(error, SecretFileError::Names { .. }), "{error}");
    fs::remove_file(&other).unwrap();
    assert!(load(&path, Work::NONE).is_ok());
}

#[test]
fn the_file_of_another_user_is_refused() {
    let (directory, path) = scratch();
    write(&path, line("ab"), 0o600);
    std::os::unix::fs::chown(&path, Some(12_345), None).expect("giving a file away takes root");
    let error = load(&path, Work::NONE).unwrap_err();
    assert!(matches!(error, SecretFileError::Owner { owner: 12_345, .. }), "{error}");
    // The superuser looks at the state of a daemon that runs as another user.
    std::os::unix::fs::chown(directory.path(), Some(12_345), None).unwrap();
    assert!(load(&path, Work::NONE).is_ok());
}

#[test]
fn a_planted_link_is_not_written_through() {
    let (directory, path) = scratch();
    let target = directory.path().join("target");
    symlink(&target, &path).unwrap();
    assert!(matches!(
        create(&path, &identity(1)),
        Err(SecretFileError::Exists { .. })
    ));
    assert!(!target.exists());
    let mut random = SystemRandom::from_os().unwrap();
    assert!(matches!(
        load_or_create(&path, &mut random, Work::NONE),
        Err(SecretFileError::NotAFile { .. })
    ));
    assert!(!target.exists());

    // Links at the names of the temporary file, as an attacker with access to the directory could plant them.
    fs::remove_file(&path).unwrap();
    for attempt in 0..3 {
        let name = format!(".identity.{}-{attempt}.new", std::process::id());
        symlink(&target, directory.path().join(name)).unwrap();
    }
    create(&path, &identity(1)).unwrap();
    assert!(!target.exists());
    assert!(load(&path, Work::NONE).is_ok());
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let (directory, path) = scratch();
    write(&path, line("cd"), 0o600);
    assert!(matches!(
        create(&path, &identity(1)),
        Err(SecretFileError::Exists { .. })
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), line("cd"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn garbage_is_refused_by_name_and_kept() {
    let (_directory, path) = scratch();
    let long = line("ab").repeat(1000);
    let texts: [&[u8]; 10] = [
        b"",
        b"\n",
        b"farlan-seed-1",
        b"farlan-seed-1 \n",
        b"farlan-seed-1 abcd\n",
        b"farlan-seed-2 abababababababababababababababababababababababababababababababab\n",
        b"farlan-seed-1 gbababababababababababababababababababababababababababababababab\n",
        b"farlan-seed-1 abababababababababababababababababababababababababababababababab\n\n",
        &[0xff; 79],
        long.as_bytes(),
    ];
    for text in texts {
        write(&path, text, 0o600);
        let mut random = SystemRandom::from_os().unwrap();
        let error = load_or_create(&path, &mut random, Work::NONE).unwrap_err();
        assert!(matches!(error, SecretFileError::Garbage { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(fs::read(&path).unwrap(), text);
    }
}

#[test]
fn a_line_without_its_end_or_in_capitals_is_read() {
    let (_directory, path) = scratch();
    for text in [line("ab"), line("AB"), line("ab").trim_end().to_owned()] {
        write(&path, &text, 0o600);
        assert_eq!(
            load(&path, Work::NONE).unwrap().public(),
            identity(0xab).public(),
            "{text}"
        );
    }
}

#[test]
fn a_seed_without_work_is_refused_by_name() {
    let (_directory, path) = scratch();
    create(&path, &identity(1)).unwrap();
    let error = load(&path, Work::REQUIRED).unwrap_err();
    assert!(
        matches!(
            error,
            SecretFileError::Key {
                error: KeyError::Work,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn load_or_create_makes_one_identity() {
    let (_directory, path) = scratch();
    assert!(matches!(load(&path, Work::NONE), Err(SecretFileError::Missing { .. })));
    let mut random = SystemRandom::from_os().unwrap();
    let first = load_or_create(&path, &mut random, Work::NONE).unwrap();
    let second = load_or_create(&path, &mut random, Work::NONE).unwrap();
    assert_eq!(first.public(), second.public());
}

#[test]
fn racing_processes_agree_on_one_identity() {
    let (directory, path) = scratch();
    let keys: Vec<_> = thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| {
                let path = &path;
                scope.spawn(move || {
                    let mut random = SystemRandom::from_os().unwrap();
                    load_or_create(path, &mut random, Work::NONE).unwrap().public()
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_missing_directory_is_named() {
    let (directory, _) = scratch();
    let path = directory.path().join("none/identity");
    let mut random = SystemRandom::from_os().unwrap();
    let error = load_or_create(&path, &mut random, Work::NONE).unwrap_err();
    assert!(matches!(error, SecretFileError::Io { .. }));
    assert!(error.to_string().contains("none"), "{error}");
}
