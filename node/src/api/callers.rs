//! Who may use the Unix socket.
//!
//! The file's mode lets the group in; that a caller belongs to it is checked again at each connection, by what the kernel
//! knows of the caller. So a mode that somebody loosened, or a directory that somebody shares, lets nobody in.

use farlan_crypto::defects::planted;
use tokio::net::UnixStream;

use crate::shell::peer_groups;

/// Whom a socket lets in: root, the user it runs as, and members of one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Callers {
    /// The daemon's own user.
    own: u32,
    /// The group, if there is one.
    group: Option<u32>,
}

/// Who is at the other end of a connection, by the kernel's word of the moment when it connected.
#[derive(Clone, Debug)]
struct Caller {
    user: u32,
    group: u32,
    /// Supplementary groups.
    groups: Vec<u32>,
}

impl Callers {
    /// Root, this process's user, and the members of `group`.
    pub(super) fn new(group: Option<u32>) -> Self {
        Self {
            own: rustix::process::geteuid().as_raw(),
            group,
        }
    }

    /// Whether the caller at the other end of `stream` may use the socket. Where the kernel does not tell, nobody may.
    pub(super) fn let_in(&self, stream: &UnixStream) -> bool {
        let Ok(credentials) = stream.peer_cred() else {
            return false;
        };
        let caller = Caller {
            user: credentials.uid(),
            group: credentials.gid(),
            groups: peer_groups(stream).unwrap_or_default(),
        };
        let let_in = self.allow(&caller);
        if !let_in {
            tracing::debug!(user = caller.user, "a user who may not use the API asks");
        }
        let_in
    }

    fn allow(&self, caller: &Caller) -> bool {
        let member = |group| caller.group == group || caller.groups.contains(&group);
        caller.user == 0
            || caller.user == self.own
            || self.group.is_some_and(member)
            || planted("peer-credentials-unchecked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(user: u32, group: u32, groups: &[u32]) -> Caller {
        Caller {
            user,
            group,
            groups: groups.to_vec(),
        }
    }

    #[test]
    fn root_the_own_user_and_the_group_are_let_in_and_nobody_else() {
        let callers = Callers {
            own: 990,
            group: Some(980),
        };
        for welcome in [
            caller(0, 0, &[]),
            caller(990, 7, &[]),
            caller(1000, 980, &[]),
            caller(1000, 1000, &[4, 980, 27]),
        ] {
            assert!(callers.allow(&welcome), "{welcome:?}");
        }
        for stranger in [
            caller(1000, 1000, &[]),
            caller(1000, 1000, &[4, 27, 981]),
            // Ids of one kind are none of the other.
            caller(980, 1000, &[990]),
            caller(1000, 0, &[0]),
        ] {
            assert!(!callers.allow(&stranger), "{stranger:?}");
        }
    }

    #[test]
    fn without_a_group_only_root_and_the_own_user_are_let_in() {
        let callers = Callers { own: 990, group: None };
        assert!(callers.allow(&caller(0, 0, &[])));
        assert!(callers.allow(&caller(990, 1, &[])));
        assert!(!callers.allow(&caller(1000, 980, &[980, 0])));
    }

    #[tokio::test]
    async fn the_kernel_tells_who_calls() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(Callers::new(None).let_in(&one), "this process calls itself");
    }
}
