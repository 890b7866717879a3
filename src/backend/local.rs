//! A repository in a folder: on a disk, or on NFS or `CephFS` mounted below a path.
//!
//! A file is written in place of nothing or of the whole earlier file, never over its bytes (`write.rs`).
//! Files and folders get restic's modes, 0400 and 0700, or, where the repository's own group may read it,
//! 0440 and 0770, so that several users of one group can share it. Nothing here may depend on file locks or
//! memory maps, which network file systems do not keep.

mod cause;
mod files;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType as SystemType, Mode, Stat};
use rustix::io::Errno;

use self::cause::failed;
use self::files::{FileSystem, SystemFiles};
use self::write::Existing;
use super::layout::{is_file_name, path_of};
use super::{Backend, BackendError, BackendErrorKind, BackendResult, FileType, Listed};

/// A folder that another user of the group makes is closed for a moment, as its umask says, before it gets its
/// mode: so long it is tried again.
const MOMENTS: u32 = 50;
const MOMENT: Duration = Duration::from_millis(10);

/// File systems that one machine alone writes to (magic numbers, `statfs(2)`): ext4, XFS, Btrfs, tmpfs, overlayfs,
/// F2FS, ZFS, bcachefs.
const OF_ONE_MACHINE: [u64; 8] =
    [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0xF2F5_2010, 0x2FC1_2FC1, 0xCA45_1A4E];

/// A repository below a folder of this machine.
pub struct LocalBackend {
    root: PathBuf,
    connections: usize,
    files: Box<dyn FileSystem>,
    /// Known once there is a config: its bits decide for good.
    modes: OnceLock<Modes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Modes {
    file: Mode,
    folder: Mode,
}

impl LocalBackend {
    /// The store below `root`, used by `connections` threads at once. Nothing is read or made: a root that
    /// does not exist shows up as `NotFound` from the first request.
    #[must_use]
    pub fn open(root: &Path, connections: usize) -> Self {
        Self::with_files(root, connections, Box::new(SystemFiles))
    }

    fn with_files(root: &Path, connections: usize, files: Box<dyn FileSystem>) -> Self {
        Self { root: root.to_owned(), connections: connections.max(1), files, modes: OnceLock::new() }
    }

    /// The full path of a file. A name that could lead out of its folder is refused.
    fn path(&self, operation: &'static str, kind: FileType, name: &str) -> BackendResult<PathBuf> {
        let safe = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        if kind != FileType::Config && !safe {
            let cause = "this is not the name of a repository file";
            return Err(BackendError::new(BackendErrorKind::Other, operation, kind, name, cause));
        }
        Ok(self.root.join(path_of(kind, name)))
    }

    /// Modes as the group bits of the config say, or before there is one, those of the root.
    fn modes(&self) -> Modes {
        if let Some(modes) = self.modes.get() {
            return *modes;
        }
        match self.files.stat(&self.root.join(FileType::Config.folder())) {
            Ok(config) => *self.modes.get_or_init(|| Modes::shared_if(&config, Mode::RGRP)),
            Err(_) => match self.files.stat(&self.root) {
                // A group that could not write here has no part in the repository: 0755 is just a umask.
                Ok(root) => Modes::shared_if(&root, Mode::RGRP | Mode::WGRP),
                Err(_) => Modes::PRIVATE,
            },
        }
    }

    fn open_file(&self, kind: FileType, name: &str) -> BackendResult<(OwnedFd, u64)> {
        let fail = |errno| failed("read", path_of(kind, name), errno);
        let file = self.files.open(&self.path("read", kind, name)?).map_err(fail)?;
        let bytes = self.files.stat_open(&file).map_err(fail)?.st_size;
        Ok((file, u64::try_from(bytes).unwrap_or(0)))
    }

    /// Exactly `length` bytes, or an error.
    fn read_exact(
        &self,
        kind: FileType,
        name: &str,
        file: &OwnedFd,
        offset: u64,
        length: usize,
    ) -> BackendResult<Bytes> {
        let mut data = Vec::new();
        data.try_reserve_exact(length).map_err(|_| failed("read", path_of(kind, name), Errno::NOMEM))?;
        while data.len() < length {
            let at = offset + data.len() as u64;
            match self.files.read_at(file, &mut data, at) {
                Ok(0) => return Err(BackendError::too_short(kind, name, at, offset + length as u64)),
                Ok(_) => {}
                Err(errno) => return Err(failed("read", path_of(kind, name), errno)),
            }
        }
        data.truncate(length);
        Ok(data.into())
    }

    /// The whole files in one folder. One that vanishes while the list is made is left out.
    fn list_folder(&self, folder: &str, wanted: impl Fn(&str) -> bool) -> BackendResult<Vec<Listed>> {
        let fail = |errno| failed("list", folder.to_owned(), errno);
        let Some(open) = self.open_listed(folder)? else { return Ok(Vec::new()) };
        let mut listed = Vec::new();
        for name in self.files.names(&open).map_err(fail)? {
            if !wanted(&name) {
                continue;
            }
            match self.files.stat_in(&open, &name) {
                Ok(stat) => listed.extend(listed_file(name, &stat)),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed("list", format!("{folder}/{name}"), errno)),
            }
        }
        Ok(listed)
    }

    /// An open folder below the root; `None` for one that does not exist yet.
    fn open_listed(&self, folder: &str) -> BackendResult<Option<OwnedFd>> {
        match self.files.open_folder(&self.root.join(folder)) {
            Ok(open) => Ok(Some(open)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("list", folder.to_owned(), errno)),
        }
    }

    /// `data/00` … `data/ff`, some at a time: on a network file system each file costs a round trip.
    fn list_packs(&self) -> BackendResult<Vec<Listed>> {
        let data = FileType::Pack.folder();
        let Some(open) = self.open_listed(data)? else { return Ok(Vec::new()) };
        let mut folders = self.files.names(&open).map_err(|errno| failed("list", data.to_owned(), errno))?;
        folders.retain(|name| is_pack_folder(name));
        let (next, all) = (AtomicUsize::new(0), Mutex::new(Ok(Vec::new())));
        let work = || {
            while let Some(folder) = folders.get(next.fetch_add(1, Ordering::Relaxed)) {
                let listed = self.list_folder(&format!("{data}/{folder}"), |name| {
                    is_file_name(name) && name.starts_with(folder.as_str())
                });
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                match (&mut *all, listed) {
                    (Ok(all), Ok(listed)) => all.extend(listed),
                    (Ok(_), Err(error)) => *all = Err(error),
                    (Err(_), _) => return,
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.connections.min(folders.len()) {
                scope.spawn(work);
            }
            work();
        });
        all.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the root and what is missing above it; whether the root is new.
    fn make_root(&self, root: &Path) -> rustix::io::Result<bool> {
        match self.make_folder(root, self.mode_of_new_root(root)) {
            Err(Errno::NOENT) => {
                let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty());
                self.make_root(parent.ok_or(Errno::NOENT)?)?;
                self.make_folder(root, self.mode_of_new_root(root))
            }
            other => other,
        }
    }

    /// A new root in a folder that a group shares is the group's too: of many users the first one makes it.
    /// In a sticky folder, as `/tmp` is, users do not share what they make.
    fn mode_of_new_root(&self, root: &Path) -> Mode {
        match root.parent().map(|parent| self.files.stat(parent)) {
            Some(Ok(parent)) if !Mode::from_raw_mode(parent.st_mode).contains(Mode::SVTX) => {
                Modes::shared_if(&parent, Mode::RGRP | Mode::WGRP).folder
            }
            _ => Modes::PRIVATE.folder,
        }
    }

    fn make_folders(&self) -> rustix::io::Result<()> {
        if self.make_root(&self.root)? {
            self.fsync_parent(&self.root)?;
        }
        let mode = self.modes().folder;
        let mut last_new = None;
        for kind in FileType::FOLDERS {
            let folder = self.root.join(kind.folder());
            if self.make_folder(&folder, mode)? {
                last_new = Some(folder);
            }
        }
        if let Some(folder) = last_new {
            self.fsync_parent(&folder)?;
        }
        let data = self.root.join(FileType::Pack.folder());
        let mut last_new = None;
        for first in 0..=u8::MAX {
            let folder = data.join(format!("{first:02x}"));
            if self.make_folder(&folder, mode)? {
                last_new = Some(folder);
            }
        }
        last_new.map_or(Ok(()), |folder| self.fsync_parent(&folder))
    }

    fn unlink(&self, kind: FileType, name: &str) -> BackendResult<PathBuf> {
        let path = self.path("delete", kind, name)?;
        self.files.unlink(&path).map_err(|errno| failed("delete", path_of(kind, name), errno))?;
        Ok(path)
    }

    /// A snapshot or an index that is gone must stay gone: packs that only it needs are deleted next, and
    /// one that came back in a crash would name packs that are not there.
    fn settle(&self, kind: FileType, removed: &Path) -> BackendResult<()> {
        if !matches!(kind, FileType::Snapshot | FileType::Index) {
            return Ok(());
        }
        self.fsync_parent(removed).map_err(|errno| failed("delete", kind.folder().to_owned(), errno))
    }
}

impl Modes {
    const PRIVATE: Self = Self { file: Mode::RUSR, folder: Mode::RWXU };

    /// Modes for the whole group if it has the `wanted` bits, else for the owner alone.
    fn shared_if(stat: &Stat, wanted: Mode) -> Self {
        if Mode::from_raw_mode(stat.st_mode).contains(wanted) {
            Self { file: Mode::RUSR | Mode::RGRP, folder: Mode::RWXU | Mode::RWXG }
        } else {
            Self::PRIVATE
        }
    }
}

fn listed_file(name: String, stat: &Stat) -> Option<Listed> {
    if SystemType::from_raw_mode(stat.st_mode) != SystemType::RegularFile {
        return None;
    }
    let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let modified = Timestamp::new(stat.st_mtime, nanoseconds).ok();
    Some(Listed { name, bytes: u64::try_from(stat.st_size).unwrap_or(0), modified })
}

fn is_pack_folder(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Backend for LocalBackend {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn connections(&self) -> usize {
        self.connections
    }

    fn lists_at_once(&self) -> bool {
        self.files
            .kind_of_system(&self.root.join(FileType::Lock.folder()))
            .is_ok_and(|kind| OF_ONE_MACHINE.contains(&kind))
    }

    fn list(&self, kind: FileType) -> BackendResult<Vec<Listed>> {
        // A missing folder is empty, a missing root is an error: nothing may be concluded from it.
        self.files.stat(&self.root).map_err(|errno| failed("list", self.location(), errno))?;
        match kind {
            FileType::Pack => self.list_packs(),
            FileType::Config => Ok(Vec::new()),
            FileType::Key | FileType::Lock | FileType::Snapshot | FileType::Index | FileType::Probe => {
                self.list_folder(kind.folder(), is_file_name)
            }
        }
    }

    fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64> {
        let stat = self.files.stat(&self.path("stat", kind, name)?);
        let stat = stat.map_err(|errno| failed("stat", path_of(kind, name), errno))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes> {
        let (file, bytes) = self.open_file(kind, name)?;
        let length = usize::try_from(bytes);
        let length = length.map_err(|_| failed("read", path_of(kind, name), Errno::FBIG))?;
        self.read_exact(kind, name, &file, 0, length)
    }

    fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes> {
        let (file, bytes) = self.open_file(kind, name)?;
        let needed = offset.saturating_add(length as u64);
        if needed > bytes {
            return Err(BackendError::too_short(kind, name, bytes, needed));
        }
        self.read_exact(kind, name, &file, offset, length)
    }

    fn write(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        self.store(kind, name, data, Existing::Replaced)
    }

    fn write_new(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        self.store(kind, name, data, Existing::Stays)
    }

    fn delete(&self, kind: FileType, name: &str) -> BackendResult<()> {
        let removed = self.unlink(kind, name)?;
        self.settle(kind, &removed)
    }

    fn delete_many(&self, kind: FileType, names: &[String]) -> Vec<BackendResult<()>> {
        let removed: Vec<_> = names.iter().map(|name| self.unlink(kind, name)).collect();
        let settled = match removed.iter().flatten().last() {
            Some(path) => self.settle(kind, path),
            None => Ok(()),
        };
        removed.into_iter().map(|removed| removed.and_then(|_| settled.clone())).collect()
    }

    fn create(&self) -> BackendResult<()> {
        let mut made = self.make_folders();
        for _ in 0..MOMENTS {
            if made != Err(Errno::ACCESS) {
                break;
            }
            std::thread::sleep(MOMENT);
            made = self.make_folders();
        }
        made.map_err(|errno| failed("create", self.location(), errno))
    }
}
