//! What an error number of the system means for a repository: a kind to act on, and a cause for people.
//!
//! Network file systems (NFS, `CephFS`, FUSE) shape this table: they report a lost server, a replaced mount
//! and a refused call in numbers of their own, and only some of these may pass.

use rustix::io::Errno;

use crate::backend::{BackendError, BackendErrorKind};

/// The failure of `operation` at `path`, a path inside the repository.
pub(super) fn failed(operation: &'static str, path: String, errno: Errno) -> BackendError {
    let kind = kind_of(errno);
    let error = match explain(errno) {
        Some(text) => BackendError::at(kind, operation, path, format_args!("{errno}: {text}")),
        None => BackendError::at(kind, operation, path, errno),
    };
    let temporary = error.temporary || matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM);
    error.with_temporary(temporary)
}

/// Whether a file system may refuse this call for good without harm: `chmod` or the fsync of a folder on
/// NFS with squashed users, `CephFS`, SMB, FUSE.
pub(super) fn is_refusal(errno: Errno) -> bool {
    let refusals = [Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS];
    refusals.contains(&errno)
}

/// Whether a file system has no hard links, or no more for this file.
pub(super) fn refuses_links(errno: Errno) -> bool {
    [Errno::PERM, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK].contains(&errno)
}

/// Whether a file system has no rename that leaves an existing name alone.
pub(super) fn refuses_rename_new(errno: Errno) -> bool {
    [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS].contains(&errno)
}

fn kind_of(errno: Errno) -> BackendErrorKind {
    match errno {
        Errno::NOENT => BackendErrorKind::NotFound,
        Errno::EXIST => BackendErrorKind::Exists,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => BackendErrorKind::Denied,
        Errno::NOSPC | Errno::DQUOT => BackendErrorKind::Full,
        Errno::IO | Errno::UCLEAN | Errno::BADMSG => BackendErrorKind::Damaged,
        // The server is gone, or was; CephFS says NOTCONN and SHUTDOWN for a client that was cut off.
        Errno::STALE
        | Errno::TIMEDOUT
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::NETDOWN
        | Errno::NETUNREACH
        | Errno::CONNREFUSED
        | Errno::CONNRESET
        | Errno::NOTCONN
        | Errno::SHUTDOWN
        | Errno::AGAIN
        | Errno::INTR
        | Errno::BUSY => BackendErrorKind::Unreachable,
        _ => BackendErrorKind::Other,
    }
}

fn explain(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::NOTDIR => Some("a part of this path is a file"),
        Errno::STALE => Some("ESTALE, the server replaced the file or the mount"),
        Errno::IO => Some("EIO, the disk or the network mount failed"),
        Errno::UCLEAN => Some("EUCLEAN, the file system of the repository is damaged"),
        Errno::ROFS => Some("EROFS, the repository is mounted read-only"),
        Errno::DQUOT => Some("EDQUOT, the quota is used up"),
        Errno::NOTCONN | Errno::SHUTDOWN => Some("the mount of the repository lost its server"),
        _ => None,
    }
}
