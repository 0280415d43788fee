use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::Command;

use tempfile::TempDir;

use super::*;

fn scratch() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    (directory, path)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn names(directory: &TempDir) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn what_is_written_is_private_whole_and_alone() {
    let (directory, path) = scratch();
    create(&path, b"one").unwrap();
    assert_eq!(mode(&path), 0o600);
    replace(&path, b"another", Readers::Owner).unwrap();
    assert_eq!(mode(&path), 0o600);
    let mut text = String::new();
    open(&path).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "another");
    assert_eq!(names(&directory), ["file"]);
}

#[test]
fn a_group_can_be_let_read_and_nobody_else() {
    let (_directory, path) = scratch();
    let group = fs::metadata(path.parent().unwrap()).unwrap().gid();
    replace(&path, b"x", Readers::Group(group)).unwrap();
    assert_eq!(mode(&path), 0o640);
    assert_eq!(fs::metadata(&path).unwrap().gid(), group);
}

#[test]
fn a_new_file_takes_nobodys_place() {
    let (directory, path) = scratch();
    let taken = |path: &Path| create(path, b"x").unwrap_err().kind() == io::ErrorKind::AlreadyExists;
    fs::write(&path, "precious").unwrap();
    assert!(taken(&path));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let link = directory.path().join("link");
    symlink(directory.path().join("nowhere"), &link).unwrap();
    assert!(taken(&link));
    let inner = directory.path().join("directory");
    fs::create_dir(&inner).unwrap();
    assert!(taken(&inner));
    let fifo = directory.path().join("pipe");
    pipe(&fifo);
    assert!(taken(&fifo));
    assert_eq!(names(&directory), ["directory", "file", "link", "pipe"]);
}

#[test]
fn what_was_planted_is_replaced_and_not_written_to() {
    let (directory, path) = scratch();
    let target = directory.path().join("target");
    fs::write(&target, "precious").unwrap();
    for plant in [
        (|target, path| symlink(target, path).unwrap()) as fn(&Path, &Path),
        |target, path| fs::hard_link(target, path).unwrap(),
        |_, path| symlink("nowhere", path).unwrap(),
        |_, path| pipe(path),
    ] {
        let _ = fs::remove_file(&path);
        plant(&target, &path);
        // At the first names of the temporary file, too.
        for attempt in 0..3 {
            let name = format!(".file.{}-{attempt}.new", std::process::id());
            let _ = fs::remove_file(directory.path().join(&name));
            plant(&target, &directory.path().join(name));
        }
        replace(&path, b"new", Readers::Owner).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert!(open(&path).is_ok());
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(replace(&path, b"new", Readers::Owner).is_err());
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn only_private_files_are_opened() {
    let (directory, path) = scratch();
    assert!(matches!(open(&path), Err(OpenError::Missing)));
    create(&path, b"x").unwrap();
    for bits in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        assert!(matches!(open(&path), Err(OpenError::Permissions(found)) if found == bits));
    }
    close_to_others(&path).unwrap();
    assert!(open(&path).is_ok());
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(open(&link), Err(OpenError::NotAFile)));
    assert!(close_to_others(&link).is_err());
    assert!(matches!(open(directory.path()), Err(OpenError::NotAFile)));
    let fifo = directory.path().join("pipe");
    pipe(&fifo);
    assert!(matches!(open(&fifo), Err(OpenError::NotAFile)));
    assert!(close_to_others(&fifo).is_err());
    fs::hard_link(&path, directory.path().join("other")).unwrap();
    assert!(matches!(open(&path), Err(OpenError::Names)));
}

#[test]
fn leftovers_of_crashes_are_swept_and_nothing_else() {
    let (directory, path) = scratch();
    create(&path, b"x").unwrap();
    let kept = [
        ".file.new",
        ".file.1-.new",
        ".file.-1.new",
        ".1-1.new",
        "file.1-1.new",
        ".file.1-1",
    ];
    let swept = [".file.1-0.new", ".identity.secret.4194304-63.new"];
    for name in kept.iter().chain(&swept) {
        fs::write(directory.path().join(name), "x").unwrap();
    }
    symlink(&path, directory.path().join(".link.7-0.new")).unwrap();
    fs::create_dir(directory.path().join(".directory.7-0.new")).unwrap();
    sweep(directory.path()).unwrap();
    let mut expected: Vec<_> = kept.iter().map(|name| (*name).to_owned()).collect();
    expected.extend([".directory.7-0.new".to_owned(), "file".to_owned()]);
    expected.sort();
    assert_eq!(names(&directory), expected);
}
