//! What is left out of a backup.
//!
//! `lost+found` at the root always; the rest by options with restic's meaning.

use std::path::Path;

use rustix::fs::Stat;

use super::directory::Directory;

/// The rules of a run.
#[derive(Debug, Default)]
pub struct Excludes {
    /// Leave out what lies on another device than this one.
    pub only_device: Option<u64>,
    /// Leave out larger files, in bytes.
    pub larger_than: Option<u64>,
}

impl Excludes {
    /// Whether an entry is left out by its name alone.
    #[must_use]
    pub fn name(&self, directory: &Directory, name: &[u8]) -> bool {
        directory.above.is_none() && name == b"lost+found"
    }

    /// Whether an entry is left out by its path and what `stat` says.
    #[must_use]
    pub fn entry(&self, _path: &Path, stat: &Stat) -> bool {
        let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
        self.only_device.is_some_and(|device| stat.st_dev != device)
            || (regular && self.larger_than.is_some_and(|bytes| stat.st_size as u64 > bytes))
    }
}
