use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

const OWNER: &str = "wcsghuf2mb";

fn name(ipv4: &str, name: &str) -> HostName {
    HostName {
        ipv4: Some(ipv4.parse().unwrap()),
        ipv6: Some("fd00::1".parse().unwrap()),
        name: format!("{name}.lan.farlan.internal"),
    }
}

/// A directory with a file `hosts` of mode 0644 in it.
fn hosts(contents: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hosts");
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    (directory, path)
}

fn names_in(path: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn a_block_stands_behind_what_was_there() {
    let with = with_block(b"127.0.0.1 localhost\n", OWNER, &[name("10.0.0.1", "ann")]);
    let expected = "127.0.0.1 localhost\n\
        # BEGIN farlan wcsghuf2mb (farlan takes this out again when it ends)\n\
        10.0.0.1 ann.lan.farlan.internal\n\
        fd00::1 ann.lan.farlan.internal\n\
        # END farlan wcsghuf2mb\n";
    assert_eq!(String::from_utf8_lossy(&with), expected);
}

#[test]
fn lines_of_others_in_a_broken_block_stay() {
    let with = String::from_utf8(with_block(b"a\n", OWNER, &[name("10.0.0.1", "ann")])).unwrap();
    let end = "# END farlan wcsghuf2mb\n";
    let without = |text: &str| String::from_utf8(without_block(text.as_bytes(), OWNER)).unwrap();
    assert_eq!(without(&with.replace(end, "10.9.9.9 mine\n")), "a\n10.9.9.9 mine\n");
    assert_eq!(
        without(&with.replace(end, &format!("10.9.9.9 mine\n{end}z"))),
        "a\n10.9.9.9 mine\nz"
    );
    assert_eq!(without(&with.replace(end, "")), "a\n");
    // Without the first line it is nobody's any more.
    let headless = with.replace(&format!("{BEGIN}{OWNER}{FINISHED}\n"), "");
    assert_eq!(without(&headless), headless);
}

#[test]
fn what_was_written_behind_a_file_without_end_does_not_join_its_last_line() {
    let with = with_block(b"a", OWNER, &[name("10.0.0.1", "ann")]);
    assert_eq!(without_block(&with, OWNER), b"a");
    let more = [&with[..], b"b\n"].concat();
    assert_eq!(without_block(&more, OWNER), b"a\nb\n");
}

#[test]
fn only_names_of_members_are_names() {
    for good in [
        "ann.lan.farlan.internal",
        "a.b.farlan.internal",
        "ann-2.x-y.farlan.internal",
    ] {
        assert!(is_name(good), "{good}");
    }
    for bad in [
        "",
        "farlan.internal",
        ".farlan.internal",
        "lan.farlan.internal",
        "a.b.c.farlan.internal",
        "example.org",
        "ann.lan.farlan.internal.example.org",
        "ann.lanfarlan.internal",
        "-a.lan.farlan.internal",
        "A.lan.farlan.internal",
        "a b.lan.farlan.internal",
        "a\n10.0.0.1.lan.farlan.internal",
        "a.lan.farlan.internal localhost",
    ] {
        assert!(!is_name(bad), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn taking_the_block_out_gives_back_every_byte(
        contents in proptest::collection::vec(any::<u8>(), 0..200),
        lines in "([ -~]{0,20}\n){0,6}[ -~]{0,5}",
        count in 1..5_usize,
    ) {
        let names: Vec<_> = (0..count).map(|n| name("10.0.0.1", &format!("n{n}"))).collect();
        for before in [&contents[..], lines.as_bytes()] {
            let with = with_block(before, OWNER, &names);
            prop_assert!(with.starts_with(before));
            prop_assert_eq!(&with_block(&with, OWNER, &names), &with);
            prop_assert_eq!(with_block(&with, OWNER, &[]), before);
            // Another node's block is nothing of this one's.
            let both = with_block(&with, "other", &names[..1]);
            prop_assert_eq!(with_block(&with_block(&both, OWNER, &[]), "other", &[]), before);
        }
    }

    #[test]
    fn lines_of_others_are_never_lost(
        pieces in proptest::collection::vec(0..6_usize, 0..12),
    ) {
        let whole = with_block(b"", OWNER, &[name("10.0.0.1", "ann")]);
        let block: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        let mut file = Vec::new();
        for (place, piece) in pieces.iter().enumerate() {
            match block.get(*piece) {
                Some(line) => file.extend_from_slice(line),
                None => file.extend_from_slice(format!("10.1.1.{place} host{place}\n").as_bytes()),
            }
        }
        let count = pieces.iter().filter(|piece| **piece >= block.len()).count();
        let out = String::from_utf8(with_block(&file, OWNER, &[])).unwrap();
        prop_assert_eq!(out.lines().filter(|line| line.contains(" host")).count(), count);
    }
}

#[test]
fn a_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it() {
    let (directory, path) = hosts("127.0.0.1 localhost");
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    replace(&path, OWNER, &[name("10.0.0.1", "ann")]).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_ne!(metadata.ino(), inode, "by a rename");
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .contains("10.0.0.1 ann.lan.farlan.internal\n")
    );
    assert_eq!(names_in(directory.path()), ["hosts"]);
    // What is as it should be is not written again.
    let inode = metadata.ino();
    replace(&path, OWNER, &[name("10.0.0.1", "ann")]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    replace(&path, OWNER, &[]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "127.0.0.1 localhost");
}

#[test]
fn the_owner_of_the_file_stays_its_owner() {
    let (_directory, path) = hosts("a\n");
    std::os::unix::fs::chown(&path, Some(65_534), Some(65_533)).expect("this test needs root");
    replace(&path, OWNER, &[name("10.0.0.1", "ann")]).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (65_534, 65_533));
}

#[test]
fn a_link_stays_a_link() {
    let (directory, path) = hosts("a\n");
    let link = directory.path().join("link");
    symlink("hosts", &link).unwrap();
    replace(&link, OWNER, &[name("10.0.0.1", "ann")]).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&path).unwrap().contains("ann.lan"));
}

#[test]
fn what_a_killed_run_left_is_replaced() {
    let (directory, path) = hosts("a\n");
    fs::write(temporary(&path, OWNER), "half").unwrap();
    replace(&path, OWNER, &[name("10.0.0.1", "ann")]).unwrap();
    assert_eq!(names_in(directory.path()), ["hosts"]);
}

#[test]
fn a_missing_file_is_missed_only_where_names_are_to_stand_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hosts");
    replace(&path, OWNER, &[]).unwrap();
    assert!(replace(&path, OWNER, &[name("10.0.0.1", "ann")]).is_err());
    fs::create_dir(&path).unwrap();
    assert!(replace(&path, OWNER, &[name("10.0.0.1", "ann")]).is_err());
}

#[test]
fn a_file_that_was_changed_meanwhile_is_not_overwritten() {
    let (directory, path) = hosts("a\n");
    let before = Contents::read(&path).unwrap();
    fs::write(&path, "a\nb\n").unwrap();
    assert!(!exchange(&path, OWNER, &before, b"mine").unwrap());
    assert!(!in_place(&path, &before, b"mine").unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
    assert_eq!(names_in(directory.path()), ["hosts"]);
    // The same bytes in another file: an editor has replaced it.
    let before = Contents::read(&path).unwrap();
    fs::write(directory.path().join("new"), "a\nb\n").unwrap();
    fs::rename(directory.path().join("new"), &path).unwrap();
    assert!(!exchange(&path, OWNER, &before, b"mine").unwrap());
}

#[test]
fn editors_at_the_same_time_lose_nothing() {
    let (_directory, path) = hosts("0\n");
    let editor = {
        let path = path.clone();
        thread::spawn(move || {
            for line in 1..200_u32 {
                let lock = File::open(path.parent().unwrap()).unwrap();
                lock.lock().unwrap();
                let mut text = fs::read_to_string(&path).unwrap();
                text.insert_str(0, &format!("{line}\n"));
                let new = path.with_file_name("editor");
                fs::write(&new, text).unwrap();
                fs::rename(&new, &path).unwrap();
            }
        })
    };
    for round in 0..200 {
        let names = [name("10.0.0.1", "ann")];
        replace(&path, OWNER, names.get(..round % 2).unwrap()).unwrap();
    }
    editor.join().unwrap();
    replace(&path, OWNER, &[]).unwrap();
    let lines = fs::read_to_string(&path).unwrap().lines().count();
    assert_eq!(lines, 200);
}

#[test]
fn a_file_that_cannot_be_renamed_over_is_written_in_place() {
    let (_directory, path) = hosts("127.0.0.1 localhost\n");
    let before = Contents::read(&path).unwrap();
    assert!(in_place(&path, &before, b"x\n").unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "x\n");
    for errno in [libc::EBUSY, libc::EROFS] {
        assert!(is_mounted(&io::Error::from_raw_os_error(errno)));
    }
    assert!(!is_mounted(&io::Error::from_raw_os_error(libc::EACCES)));
}
