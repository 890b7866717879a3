//! The directory that is restored into, and handles of the directories below it.
//!
//! Invariant: nothing outside the target is ever opened, made or removed, whatever the repository says. Every
//! step goes from an open directory to one name in it, names come checked (`Node::is_safe_name`), and no step
//! follows a symlink. Only the target itself may be one: it is the user's word.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::plan::{Dirs, ROOT};
use super::run::Trouble;
use crate::error::{Error, ErrorKind, Result};

/// How a directory is opened that is only stepped through: this needs no right to read it.
const STEP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How a directory is opened that is listed, or whose metadata is set.
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the target, and makes it when `create` says so. `None`: it does not exist and was not made.
pub(crate) fn open(path: &Path, create: bool) -> Result<Option<OwnedFd>> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |cause: std::io::Error| {
        let kind = match Errno::from_io_error(&cause) {
            Some(Errno::NOSPC | Errno::DQUOT) => ErrorKind::NoSpace,
            _ => ErrorKind::Other,
        };
        Error::new(kind, "cannot restore into the target")
            .at(path.display().to_string())
            .because(cause)
            .then("Name a directory that can be written")
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(root) => return Ok(Some(root)),
        Err(Errno::NOENT) if !create => return Ok(None),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    rustix::fs::open(path, flags, Mode::empty()).map(Some).map_err(|errno| failed(errno.into()))
}

/// How many directories, and how many files, one of so many threads keeps open: 256 all together, but 8 at least.
pub(crate) fn open_max(threads: usize) -> usize {
    (256 / threads.max(1)).max(8)
}

/// Handles of directories of the plan, the last used ones kept open. One a thread.
pub(crate) struct Handles<'a> {
    root: &'a OwnedFd,
    dirs: &'a Dirs,
    open: HashMap<u32, (Rc<OwnedFd>, u64)>,
    used: u64,
    most: usize,
}

impl<'a> Handles<'a> {
    /// Keeps up to `most` directories open.
    pub(crate) fn new(root: &'a OwnedFd, dirs: &'a Dirs, most: usize) -> Self {
        Self { root, dirs, open: HashMap::new(), used: 0, most }
    }

    /// Lets `work` use a directory's handle.
    pub(crate) fn with<R>(&mut self, dir: u32, work: impl FnOnce(&OwnedFd) -> R) -> Result<R, Errno> {
        if dir == ROOT {
            return Ok(work(self.root));
        }
        let handle = self.step(dir)?;
        Ok(work(&handle))
    }

    /// Opens from the nearest ancestor that is open.
    fn step(&mut self, dir: u32) -> Result<Rc<OwnedFd>, Errno> {
        let mut chain = Vec::new();
        let mut at = dir;
        let mut handle = None;
        while at != ROOT {
            self.used += 1;
            if let Some((open, used)) = self.open.get_mut(&at) {
                *used = self.used;
                handle = Some(Rc::clone(open));
                break;
            }
            chain.push(at);
            at = self.dirs.parent(at);
        }
        for dir in chain.into_iter().rev() {
            let name = self.dirs.name(dir);
            let next = match &handle {
                Some(parent) => rustix::fs::openat(parent.as_ref(), name, STEP, Mode::empty())?,
                None => rustix::fs::openat(self.root, name, STEP, Mode::empty())?,
            };
            let next = Rc::new(next);
            self.keep(dir, &next);
            handle = Some(next);
        }
        handle.ok_or(Errno::NOENT)
    }

    fn keep(&mut self, dir: u32, handle: &Rc<OwnedFd>) {
        if self.open.len() >= self.most {
            let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(dir, _)| *dir);
            oldest.map(|dir| self.open.remove(&dir));
        }
        self.used += 1;
        self.open.insert(dir, (Rc::clone(handle), self.used));
    }
}

/// What stands at a name; `None`: nothing.
pub(crate) fn standing(dir: &OwnedFd, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens a directory for listing. Where `may_change` says so, one of ours that may not be read is made readable.
pub(crate) fn open_to_list(parent: &OwnedFd, name: &[u8], may_change: bool) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(parent, name, LIST, Mode::empty()) {
        Err(Errno::ACCESS) if may_change => {
            if !standing(parent, name)?.is_some_and(|stat| is(&stat, FileType::Directory)) {
                return Err(Errno::ACCESS);
            }
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(parent, name, LIST, Mode::empty())
        }
        opened => opened,
    }
}

/// The names in a directory, without `.` and `..`.
pub(crate) fn names(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    // A second description of the same directory: its own position, and a path handle can be listed too.
    let list = rustix::fs::openat(dir, ".", LIST, Mode::empty())?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(list, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Whether a stat is of a kind.
pub(crate) fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// Removes what stands at a name. A directory goes with all that is in it when `recursive` says so, else only
/// when it is empty. Symlinks are removed, not followed. Returns how many entries went.
pub(crate) fn remove(dir: &OwnedFd, name: &[u8], recursive: bool) -> Result<u64, Trouble> {
    let failed = |errno| Trouble::system("remove what stands in its place", errno);
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => return Ok(1),
        Err(Errno::NOENT) => return Ok(0),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(failed(errno)),
    }
    if !standing(dir, name).map_err(failed)?.is_some_and(|stat| is(&stat, FileType::Directory)) {
        return Err(failed(Errno::PERM));
    }
    let removed = if recursive { clear(dir, name)? } else { 0 };
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(removed + 1),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            let cause =
                "a directory that is not empty stands in its place; empty it, or restore with --delete";
            Err(Trouble::other(cause))
        }
        Err(errno) => Err(failed(errno)),
    }
}

/// Removes all that is in a directory.
fn clear(parent: &OwnedFd, name: &[u8]) -> Result<u64, Trouble> {
    let failed = |errno| Trouble::system("empty a directory", errno);
    let dir = open_to_list(parent, name, true).map_err(failed)?;
    let mut removed = 0;
    for name in names(&dir).map_err(failed)? {
        removed += remove(&dir, &name, true)?;
    }
    Ok(removed)
}

/// How many entries `remove` would take away.
pub(crate) fn count(dir: &OwnedFd, name: &[u8]) -> Result<u64, Errno> {
    let Some(stat) = standing(dir, name)? else { return Ok(0) };
    let mut all = 1;
    if is(&stat, FileType::Directory) {
        let inner = rustix::fs::openat(dir, name, LIST, Mode::empty())?;
        for name in names(&inner)? {
            all += count(&inner, &name)?;
        }
    }
    Ok(all)
}
