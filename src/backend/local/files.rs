//! The calls that the local store makes to the file system, and nothing else that touches it.
//!
//! `FileSystem` is the seam under which tests put what NFS and `CephFS` do (ESTALE, refused `chmod`, a rename
//! that reports failure although it happened). `SystemFiles` only forwards; it decides nothing.

use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, Stat};
use rustix::io::{Result, retry_on_intr};

/// One method a system call; paths are whole paths, errors the system's own.
pub(super) trait FileSystem: Send + Sync {
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> Result<OwnedFd>;
    /// Opens a folder, to list it or to change its mode.
    fn open_folder(&self, path: &Path) -> Result<OwnedFd>;
    /// The names in an open folder, without `.` and `..`; names that are not UTF-8 are left out.
    fn names(&self, folder: &OwnedFd) -> Result<Vec<String>>;
    /// What the name in an open folder stands for; links are followed.
    fn stat_in(&self, folder: &OwnedFd, name: &str) -> Result<Stat>;
    /// What a path stands for; links are followed.
    fn stat(&self, path: &Path) -> Result<Stat>;
    /// The magic number of the file system of a path.
    fn kind_of_system(&self, path: &Path) -> Result<u64>;
    /// What is open.
    fn stat_open(&self, file: &OwnedFd) -> Result<Stat>;
    /// Appends up to the buffer's spare room; 0 at the end of the file.
    fn read_at(&self, file: &OwnedFd, buffer: &mut Vec<u8>, offset: u64) -> Result<usize>;
    /// Creates a file that must not exist, for writing.
    fn create(&self, path: &Path, mode: Mode) -> Result<OwnedFd>;
    /// Writes a part of the data, and says how much.
    fn write(&self, file: &OwnedFd, data: &[u8]) -> Result<usize>;
    /// Changes the mode of what is open.
    fn chmod(&self, file: &OwnedFd, mode: Mode) -> Result<()>;
    /// Makes a file's content durable.
    fn fsync(&self, file: &OwnedFd) -> Result<()>;
    /// Makes the names in a folder durable.
    fn fsync_folder(&self, path: &Path) -> Result<()>;
    /// A second name for a file; an existing name is an error.
    fn link(&self, from: &Path, to: &Path) -> Result<()>;
    /// Renames a file over what is there.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Renames a file; an existing name is an error.
    fn rename_new(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes a file's name.
    fn unlink(&self, path: &Path) -> Result<()>;
    /// Makes a folder.
    fn make_folder(&self, path: &Path, mode: Mode) -> Result<()>;
}

/// The system itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct SystemFiles;

impl FileSystem for SystemFiles {
    fn open(&self, path: &Path) -> Result<OwnedFd> {
        retry_on_intr(|| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
    }

    fn open_folder(&self, path: &Path) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
    }

    fn names(&self, folder: &OwnedFd) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(folder)? {
            match entry?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    fn stat_in(&self, folder: &OwnedFd, name: &str) -> Result<Stat> {
        rustix::fs::statat(folder, name, AtFlags::empty())
    }

    fn stat(&self, path: &Path) -> Result<Stat> {
        rustix::fs::stat(path)
    }

    fn kind_of_system(&self, path: &Path) -> Result<u64> {
        rustix::fs::statfs(path).map(|system| system.f_type as u64)
    }

    fn stat_open(&self, file: &OwnedFd) -> Result<Stat> {
        rustix::fs::fstat(file)
    }

    fn read_at(&self, file: &OwnedFd, buffer: &mut Vec<u8>, offset: u64) -> Result<usize> {
        retry_on_intr(|| rustix::io::pread(file, spare_capacity(buffer), offset))
    }

    fn create(&self, path: &Path, mode: Mode) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        retry_on_intr(|| rustix::fs::open(path, flags, mode))
    }

    fn write(&self, file: &OwnedFd, data: &[u8]) -> Result<usize> {
        retry_on_intr(|| rustix::io::write(file, data))
    }

    fn chmod(&self, file: &OwnedFd, mode: Mode) -> Result<()> {
        rustix::fs::fchmod(file, mode)
    }

    fn fsync(&self, file: &OwnedFd) -> Result<()> {
        retry_on_intr(|| rustix::fs::fsync(file))
    }

    fn fsync_folder(&self, path: &Path) -> Result<()> {
        self.fsync(&self.open_folder(path)?)
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        rustix::fs::link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        rustix::fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        rustix::fs::unlink(path)
    }

    fn make_folder(&self, path: &Path, mode: Mode) -> Result<()> {
        rustix::fs::mkdir(path, mode)
    }
}
