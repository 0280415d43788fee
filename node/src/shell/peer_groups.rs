//! The groups of the program at the other end of a Unix socket.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// The supplementary groups that the program at the other end of a connected Unix socket had when it connected
/// (`SO_PEERGROUPS`, Linux 4.13).
///
/// # Errors
/// The system does not tell.
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; USUAL];
    loop {
        let mut length = size_of_val(groups.as_slice()) as libc::socklen_t;
        // SAFETY: `groups` has room for `length` bytes, of which the kernel writes at most that many group ids, and it
        // writes their number of bytes to `length`.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = length as usize / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // The length is then the one needed. A program has at most 65,536 groups.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// Groups for which there is room at once.
const USUAL: usize = 32;

#[cfg(test)]
mod tests {
    use std::{
        os::unix::net::UnixStream,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn one_has_the_groups_that_the_system_lists() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut groups = peer_groups(&one).unwrap();
        let listed = Command::new("id").arg("-G").output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let mut listed: Vec<u32> = listed.split_whitespace().map(|id| id.parse().unwrap()).collect();
        // `id` lists the primary group, too.
        let primary = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata("/proc/self").unwrap());
        groups.push(primary);
        for list in [&mut groups, &mut listed] {
            list.sort_unstable();
            list.dedup();
        }
        assert_eq!(groups, listed);
    }

    /// A process with 100 groups, this test program again.
    #[test]
    fn any_number_of_groups_is_told() {
        const CHILD: &str = "FARLAN_TEST_MANY_GROUPS";
        let many: Vec<u32> = (1000..1100).collect();
        if std::env::var_os(CHILD).is_some() {
            let (one, _other) = UnixStream::pair().unwrap();
            assert_eq!(peer_groups(&one).unwrap(), many);
            return;
        }
        let list: Vec<_> = many.iter().map(ToString::to_string).collect();
        let status = Command::new("setpriv")
            .args(["--groups", &list.join(",")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "shell::peer_groups::tests::any_number_of_groups_is_told"])
            .env(CHILD, "1")
            .stdout(Stdio::null())
            .status()
            .expect("setpriv (Debian package util-linux)");
        assert!(status.success(), "setting groups takes root");
    }

    #[test]
    fn what_is_no_unix_socket_tells_nothing() {
        assert!(peer_groups(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
