//! What a comparison asks of an entry beyond its name, kind and content: mode, owner, time, attributes.
//!
//! What this process may not set, or the file system does not know, is not asked for: a restore could not have
//! written it. A live directory is asked for all that a backup records.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Stat, XattrFlags};
use rustix::io::Errno;

use crate::repository::tree::{Node, NodeKind, Xattr, unix_mode};
use crate::restore::XattrFilter;
use crate::restore::metadata::Rights;

/// What is asked of a directory beyond names, kinds and content.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    xattrs: &'a XattrFilter,
    rights: Rights,
    /// Attributes of users can be stored here.
    user_xattrs: bool,
    /// So can all others.
    other_xattrs: bool,
    /// It is ours alone, so a file that denies reading may be opened to us.
    scratch: bool,
}

impl<'a> Rules<'a> {
    /// What a restore into `root` by this process sets.
    pub(super) fn of_scratch(root: &OwnedFd, xattrs: &'a XattrFilter) -> Self {
        let can = |name: &str| {
            let set = rustix::fs::fsetxattr(root, name, b"1", XattrFlags::empty()).is_ok();
            set && rustix::fs::fremovexattr(root, name).is_ok()
        };
        let (user_xattrs, other_xattrs) = (can("user.volmover-verify"), can("trusted.volmover-verify"));
        Self { xattrs, rights: Rights::of_this_process(), user_xattrs, other_xattrs, scratch: true }
    }

    /// All that a backup records.
    pub(super) fn of_live(xattrs: &'a XattrFilter) -> Self {
        let rights = Rights { chown: true, mknod: true, ..Rights::of_this_process() };
        Self { xattrs, rights, user_xattrs: true, other_xattrs: false, scratch: false }
    }

    /// Whether the directory is ours alone, so that a file that denies reading may be opened to us.
    pub(super) fn is_scratch(&self) -> bool {
        self.scratch
    }

    /// Whether devices are expected: who may not make them leaves them out, and says so.
    pub(super) fn makes_devices(&self) -> bool {
        self.rights.mknod
    }

    /// Mode, owner and modification time; the access time changes by being read.
    pub(super) fn metadata(&self, node: &Node, stat: &Stat) -> Vec<String> {
        let mut differs = Vec::new();
        let (mode, wanted) = (stat.st_mode & 0o7777, unix_mode(node.mode));
        if node.kind != NodeKind::Symlink && mode != wanted {
            differs.push(format!("mode {mode:o} instead of {wanted:o}"));
        }
        if self.rights.chown && (stat.st_uid, stat.st_gid) != (node.uid, node.gid) {
            let (uid, gid) = (stat.st_uid, stat.st_gid);
            differs.push(format!("owner {uid}:{gid} instead of {}:{}", node.uid, node.gid));
        }
        if (stat.st_mtime, stat.st_mtime_nsec as u32) != node.mtime.instant() {
            differs.push("modification time".to_owned());
        }
        differs
    }

    /// How the attributes of an open file differ, where attributes can be kept.
    pub(super) fn attributes(&self, node: &Node, file: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
        let asked_for = |name: &[u8]| {
            self.xattrs.selects(name)
                && if name.starts_with(b"user.") { self.user_xattrs } else { self.other_xattrs }
        };
        let found = xattrs(file)?;
        let mut differs = Vec::new();
        for xattr in node.xattrs.iter().filter(|xattr| asked_for(&xattr.name)) {
            if !found.contains(xattr) {
                differs.push(format!("attribute {}", String::from_utf8_lossy(&xattr.name)));
            }
        }
        // Attributes that the system adds on its own, as labels are, are nobody's fault.
        let ours = found.iter().filter(|xattr| xattr.name.starts_with(b"user.") && asked_for(&xattr.name));
        for xattr in ours {
            if !node.xattrs.iter().any(|other| other.name == xattr.name) {
                differs.push(format!("attribute {} more", String::from_utf8_lossy(&xattr.name)));
            }
        }
        Ok(differs)
    }
}

/// All attributes of an open file; none where the file system does not know any.
fn xattrs(file: BorrowedFd<'_>) -> Result<Vec<Xattr>, Errno> {
    let mut names = vec![0_u8; 64 << 10];
    let length = match rustix::fs::flistxattr(file, &mut *names) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut all = Vec::new();
    let mut value = vec![0_u8; 64 << 10];
    let names = names.get(..length).unwrap_or_default();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match rustix::fs::fgetxattr(file, name, &mut *value) {
            Ok(length) => {
                let value = value.get(..length).unwrap_or_default().to_vec();
                all.push(Xattr { name: name.to_vec(), value });
            }
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::NOTSUP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(all)
}
