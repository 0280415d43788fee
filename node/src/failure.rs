//! What can go wrong for a user: a message that names the remedy, and a kind that decides the exit code.

use std::{fmt, io, path::Path, process::ExitCode};

use farlan_games::ports::PortError;
use serde::{Deserialize, Serialize};

/// A failed command, as it is printed, sent over the API and turned into an exit code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What sort of failure it is.
    pub kind: FailureKind,
    /// What went wrong and what to do next, for people.
    pub message: String,
}

/// The sorts of failure that scripts can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The answer is no, or the thing asked for cannot be had.
    Negative,
    /// The command, the configuration or an argument is wrong.
    Usage,
    /// No daemon answers at the socket.
    DaemonDown,
    /// The system or the daemon does not permit it.
    Permission,
    /// Somebody did not answer in time.
    Timeout,
}

impl FailureKind {
    /// The exit code of a program that fails in this way; 0 is success.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Negative => 1,
            Self::Usage => 2,
            Self::DaemonDown => 3,
            Self::Permission => 4,
            Self::Timeout => 5,
        }
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        Self::usage(error)
    }
}

impl From<FailureKind> for ExitCode {
    fn from(kind: FailureKind) -> Self {
        Self::from(kind.exit_code())
    }
}

impl Failure {
    /// The answer is no.
    pub fn negative(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Negative, message)
    }

    /// The command, the configuration or an argument is wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// It is not permitted.
    pub fn permission(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Permission, message)
    }

    /// Nobody answered in time.
    pub fn timeout(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Timeout, message)
    }

    /// No daemon answers.
    pub fn daemon_down(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::DaemonDown, message)
    }

    /// An operation on a file or directory failed; `verb` says which, as in "cannot read".
    pub fn file(verb: &str, path: &Path, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => FailureKind::Permission,
            _ => FailureKind::Negative,
        };
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => "; run this as root, or as the user who owns that",
            io::ErrorKind::ReadOnlyFilesystem => "; make that file system writable, or choose another directory",
            _ if is_full(error) => FREE_SPACE,
            _ => "",
        };
        Self::new(kind, format_args!("cannot {verb} {}: {error}{remedy}", path.display()))
    }

    fn new(kind: FailureKind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
        }
    }
}

impl From<crate::shell::DataPlaneError> for Failure {
    fn from(error: crate::shell::DataPlaneError) -> Self {
        Self::negative(error)
    }
}

impl From<farlan_crypto::secret_file::SecretFileError> for Failure {
    fn from(error: farlan_crypto::secret_file::SecretFileError) -> Self {
        use farlan_crypto::secret_file::SecretFileError;
        let refused = match &error {
            SecretFileError::Permissions { .. } | SecretFileError::Owner { .. } => true,
            SecretFileError::Io { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            SecretFileError::Missing { .. }
            | SecretFileError::Exists { .. }
            | SecretFileError::NotAFile { .. }
            | SecretFileError::Names { .. }
            | SecretFileError::Garbage { .. }
            | SecretFileError::Key { .. } => false,
        };
        let full = matches!(&error, SecretFileError::Io { error, .. } if is_full(error));
        if refused {
            Self::permission(error)
        } else if full {
            Self::negative(format_args!("{error}{FREE_SPACE}"))
        } else {
            Self::negative(error)
        }
    }
}

impl From<farlan_tap::TapError> for Failure {
    fn from(error: farlan_tap::TapError) -> Self {
        match error {
            farlan_tap::TapError::Permission { .. } => Self::permission(error),
            other => Self::negative(other),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What to do about a full disk.
const FREE_SPACE: &str = "; free some space there";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let codes = [
            (FailureKind::Negative, 1),
            (FailureKind::Usage, 2),
            (FailureKind::DaemonDown, 3),
            (FailureKind::Permission, 4),
            (FailureKind::Timeout, 5),
        ];
        for (kind, code) in codes {
            assert_eq!(kind.exit_code(), code);
        }
    }

    #[test]
    fn refused_files_are_a_matter_of_permission() {
        let refused = Failure::file("read", Path::new("/x"), &io::ErrorKind::PermissionDenied.into());
        assert_eq!(refused.kind, FailureKind::Permission);
        assert!(refused.message.starts_with("cannot read /x: "), "{refused}");
        let missing = Failure::file("read", Path::new("/x"), &io::ErrorKind::NotFound.into());
        assert_eq!(missing.kind, FailureKind::Negative);
        let tap = Failure::from(farlan_tap::TapError::Permission {
            what: "create a TAP device".into(),
        });
        assert_eq!(tap.kind, FailureKind::Permission);
    }
}
