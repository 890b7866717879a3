//! Sets what a node records besides content: owner, extended attributes, times, mode, in this order (restic's).
//!
//! The order matters: a change of owner takes setuid and capabilities away, an attribute can change the mode,
//! a mode can forbid the rest. What this process may not do is decided by its capabilities, not by its user:
//! then one warning stands for the whole run. Nothing here follows a symlink.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::XattrFilter;
use super::plan::Meta;
use super::run::{Run, Trouble};
use crate::backup::entry::with_enough_room;
use crate::repository::tree::Xattr;

/// What this process may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights {
    /// `CAP_CHOWN`
    pub(crate) chown: bool,
    /// `CAP_MKNOD`
    pub(crate) mknod: bool,
    /// The owner of what it makes.
    pub(crate) uid: u32,
    /// The group of what it makes, mostly.
    pub(crate) gid: u32,
}

impl Rights {
    pub(crate) fn of_this_process() -> Self {
        let effective = rustix::thread::capabilities(None).map(|sets| sets.effective);
        let effective = effective.unwrap_or(CapabilitySet::empty());
        Self {
            chown: effective.contains(CapabilitySet::CHOWN),
            mknod: effective.contains(CapabilitySet::MKNOD),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }
}

/// What metadata is set on: an open file or directory, or a name (of what cannot be opened).
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// A file or a directory.
    Open(BorrowedFd<'a>),
    /// A symlink, a device or a pipe, by directory and name.
    Named { dir: BorrowedFd<'a>, name: &'a [u8], is_symlink: bool },
}

impl<'a> Subject<'a> {
    pub(crate) fn open(file: &'a impl AsFd) -> Self {
        Self::Open(file.as_fd())
    }

    fn stat(self) -> Result<Stat, Errno> {
        match self {
            Self::Open(file) => rustix::fs::fstat(file),
            Self::Named { dir, name, .. } => rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn chown(self, uid: Option<Uid>, gid: Option<Gid>) -> Result<(), Errno> {
        match self {
            Self::Open(file) => rustix::fs::fchown(file, uid, gid),
            Self::Named { dir, name, .. } => {
                rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    fn set_times(self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Open(file) => rustix::fs::futimens(file, times),
            Self::Named { dir, name, .. } => {
                rustix::fs::utimensat(dir, name, times, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    /// A symlink has no mode.
    fn chmod(self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(file) => rustix::fs::fchmod(file, mode),
            Self::Named { is_symlink: true, .. } => Ok(()),
            // This run made the device or pipe a moment ago.
            Self::Named { dir, name, .. } => rustix::fs::chmodat(dir, name, mode, AtFlags::empty()),
        }
    }

    /// There is no call that takes a directory and a name for attributes; `/proc` leads there.
    fn path(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        path
    }

    fn set_xattr(self, xattr: &Xattr) -> Result<(), Errno> {
        let (name, value) = (xattr.name.as_slice(), xattr.value.as_slice());
        match self {
            Self::Open(file) => rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()),
            Self::Named { dir, name: entry, .. } => {
                rustix::fs::lsetxattr(Self::path(dir, entry), name, value, XattrFlags::empty())
            }
        }
    }

    fn remove_xattr(self, name: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(file) => rustix::fs::fremovexattr(file, name),
            Self::Named { dir, name: entry, .. } => rustix::fs::lremovexattr(Self::path(dir, entry), name),
        }
    }

    fn list_xattrs(self, names: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => rustix::fs::flistxattr(file, names),
            Self::Named { dir, name, .. } => rustix::fs::llistxattr(Self::path(dir, name), names),
        }
    }

    fn xattr_names(self) -> Result<Vec<u8>, Errno> {
        match with_enough_room(|names| self.list_xattrs(names)) {
            Err(Errno::NOTSUP | Errno::NOSYS) => Ok(Vec::new()),
            listed => listed,
        }
    }
}

/// Sets the metadata of what a run restores.
pub(crate) struct Setter<'a> {
    pub(crate) run: &'a Run<'a>,
    pub(crate) rights: Rights,
    pub(crate) filter: &'a XattrFilter,
}

impl Setter<'_> {
    /// Sets all of it, and goes on when a step fails; the first failure is returned. `is_new`: this run made the
    /// file with its content and nothing else ever wrote to it. What is right already needs no call.
    pub(crate) fn set(
        &self,
        subject: Subject<'_>,
        meta: &Meta,
        xattrs: &[Xattr],
        is_new: bool,
    ) -> Result<(), Trouble> {
        let stat = subject.stat().map_err(|errno| Trouble::system("read its metadata", errno))?;
        let (chowned, owner) = self.set_owner(subject, meta, &stat);
        let (attributed, attributes) = self.set_xattrs(subject, xattrs, is_new);
        let times = if has_times(&stat, meta) {
            Ok(())
        } else {
            subject.set_times(&times(meta)).map_err(|errno| Trouble::system("set its times", errno))
        };
        // Both a new owner and an attribute may have changed the mode since it was looked at.
        let mode = if chowned || attributed || stat.st_mode & 0o7777 != meta.mode {
            subject.chmod(meta.mode).map_err(|errno| Trouble::system("set its mode", errno))
        } else {
            Ok(())
        };
        owner.and(attributes).and(times).and(mode)
    }

    /// Whether the owner was changed, and what failed.
    fn set_owner(&self, subject: Subject<'_>, meta: &Meta, stat: &Stat) -> (bool, Result<(), Trouble>) {
        let uid = (stat.st_uid != meta.uid).then(|| Uid::from_raw(meta.uid));
        let gid = (stat.st_gid != meta.gid).then(|| Gid::from_raw(meta.gid));
        if uid.is_none() && gid.is_none() {
            return (false, Ok(()));
        }
        match subject.chown(uid, gid) {
            Ok(()) => (true, Ok(())),
            Err(errno) if self.rights.chown => (true, Err(Trouble::system("set its owner", errno))),
            Err(errno) => {
                self.run.warn_once("owner", || {
                    let text = Trouble::system("set the owner of what is restored", errno).cause;
                    format!("{text}: this process lacks CAP_CHOWN; owners are left as they are")
                });
                // Of a group that this process belongs to, a file may be given without any capability.
                let given = uid.is_some() && gid.is_some() && subject.chown(None, gid).is_ok();
                (given, Ok(()))
            }
        }
    }

    /// Whether an attribute was set or removed, and what failed.
    fn set_xattrs(
        &self,
        subject: Subject<'_>,
        xattrs: &[Xattr],
        is_new: bool,
    ) -> (bool, Result<(), Trouble>) {
        let mut outcome = Ok(());
        let mut changed = false;
        let wanted = xattrs.iter().filter(|xattr| self.filter.selects(&xattr.name));
        for xattr in wanted.clone() {
            changed = true;
            let set = subject.set_xattr(xattr);
            outcome = outcome.and(set.or_else(|errno| self.xattr_failed(&xattr.name, errno, "set")));
        }
        // A new file has no attributes but those that it inherits.
        let may_have_others = !is_new || self.filter.selects(ACL) || self.filter.selects(LABEL);
        if matches!(self.filter, XattrFilter::None) || !may_have_others {
            return (changed, outcome);
        }
        let names = match subject.xattr_names() {
            Ok(names) => names,
            Err(errno) => {
                return (changed, outcome.and(Err(Trouble::system("list its extended attributes", errno))));
            }
        };
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            if self.filter.selects(name) && !wanted.clone().any(|xattr| xattr.name == name) {
                changed = true;
                let removed = match subject.remove_xattr(name) {
                    Err(Errno::NODATA) => Ok(()),
                    removed => removed,
                };
                outcome = outcome.and(removed.or_else(|errno| self.xattr_failed(name, errno, "remove")));
            }
        }
        (changed, outcome)
    }

    /// A file system without attributes, and attributes that only others may touch, are one warning.
    fn xattr_failed(&self, name: &[u8], errno: Errno, verb: &str) -> Result<(), Trouble> {
        let of_user = name.starts_with(USER);
        let name = String::from_utf8_lossy(name);
        let trouble = Trouble::system(&format!("{verb} the extended attribute {name}"), errno);
        match errno {
            Errno::NOTSUP => {
                self.run.warn_once(if of_user { "user xattrs" } else { "xattrs" }, || {
                    format!("{}: the target does not know such attributes; they are left out", trouble.cause)
                });
                Ok(())
            }
            Errno::PERM | Errno::ACCESS if !of_user => {
                self.run.warn_once("xattrs", || {
                    format!("{}: this process may not; such attributes are left as they are", trouble.cause)
                });
                Ok(())
            }
            // Some file systems say so of an attribute that is too large: it does not mean that they are full.
            _ => Err(Trouble { kind: crate::error::ErrorKind::Other, ..trouble }),
        }
    }
}

const USER: &[u8] = b"user.";
/// Attributes that a new file inherits: from its directory, and from the system's policy.
const ACL: &[u8] = b"system.posix_acl_access";
const LABEL: &[u8] = b"security.selinux";

impl XattrFilter {
    pub(crate) fn selects(&self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Matching(patterns) => patterns.matches(name).matched,
            Self::None => false,
        }
    }
}

fn has_times(stat: &Stat, meta: &Meta) -> bool {
    let accessed = (stat.st_atime, stat.st_atime_nsec as u32);
    let modified = (stat.st_mtime, stat.st_mtime_nsec as u32);
    accessed == (meta.atime, meta.atime_nanoseconds) && modified == (meta.mtime, meta.mtime_nanoseconds)
}

fn times(meta: &Meta) -> Timestamps {
    let time = |tv_sec, nanoseconds: u32| Timespec { tv_sec, tv_nsec: nanoseconds.into() };
    Timestamps {
        last_access: time(meta.atime, meta.atime_nanoseconds),
        last_modification: time(meta.mtime, meta.mtime_nanoseconds),
    }
}
