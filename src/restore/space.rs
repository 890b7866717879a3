//! Compares what a restore needs with what the target has, before anything is written.
//!
//! Needed are the bytes of all files in whole blocks, less what files that are used in place have allocated,
//! less chunks that are known to be holes. File systems that compress or have quotas know better: the check
//! can be switched off.

use std::os::fd::OwnedFd;

use super::scan::Needs;
use crate::error::{Error, ErrorKind, Result};
use crate::report::format;

/// An error when the target is too small.
pub(super) fn check(root: &OwnedFd, needs: Needs, target: &str) -> Result<()> {
    let Ok(there) = rustix::fs::fstatvfs(root) else { return Ok(()) };
    let free_bytes = there.f_bavail.saturating_mul(there.f_frsize);
    // A file system that does not say how large it is has no say here.
    if there.f_blocks > 0 && needs.bytes > free_bytes {
        let (needed, free) = (format::bytes(needs.bytes), format::bytes(free_bytes));
        return Err(too_small(target, format!("it needs {needed} more, {free} are available")));
    }
    if there.f_files > 0 && needs.entries > there.f_favail {
        let (needed, free) = (needs.entries, there.f_favail);
        return Err(too_small(target, format!("it needs {needed} inodes more, {free} are available")));
    }
    Ok(())
}

fn too_small(target: &str, cause: String) -> Error {
    Error::new(ErrorKind::NoSpace, "the target is too small, nothing was written")
        .at(target)
        .because(cause)
        .then("Give it more room, or set MOVER_SPACE_CHECK=off where the file system compresses")
}
