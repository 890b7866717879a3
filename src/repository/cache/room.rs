//! Room for the cache: what its folders hold, and what goes first when there is none.
//!
//! restic's own caches go before any of volmover's, and those of other repositories before this one's, the
//! longest unused first. What cannot be read or removed is passed over.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::repository::Id;

/// A file of a cache.
pub(super) struct CacheFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    modified: SystemTime,
}

impl CacheFile {
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.modified).unwrap_or_default()
    }
}

/// The cache of a repository.
pub(super) struct CacheFolder {
    pub(super) path: PathBuf,
    modified: SystemTime,
}

impl CacheFolder {
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.modified).unwrap_or_default()
    }
}

/// The files of a folder; none when it cannot be read.
pub(super) fn files(folder: &Path) -> Vec<CacheFile> {
    let file = |(name, metadata): (String, Metadata)| {
        metadata.is_file().then(|| CacheFile { name, bytes: metadata.len(), modified: modified(&metadata) })
    };
    listed(folder).filter_map(file).collect()
}

/// The caches in `all` besides `own`, the longest unused first.
pub(super) fn others(all: &Path, own: &Path) -> Vec<CacheFolder> {
    folders(all, |path, _| path != own)
}

/// Bytes of the cache of a repository, which has no folders in it.
pub(super) fn bytes(cache: &Path) -> u64 {
    files(cache).iter().map(|file| file.bytes).sum()
}

/// Removes one cache of `folder` that is not `own`, restic's first; `false` when there is none left.
pub(super) fn evict(folder: &Path, ours: &str, own: &Path) -> bool {
    let restics = folders(folder, |path, name| name != ours && path.join("version").is_file());
    restics.iter().any(|cache| remove_folder(&cache.path)) || evict_other(&folder.join(ours), own)
}

/// Removes the cache of another repository; `false` when there is none left.
pub(super) fn evict_other(all: &Path, own: &Path) -> bool {
    others(all, own).iter().any(|cache| remove_folder(&cache.path))
}

/// Removes a file.
pub(super) fn remove(path: &Path) {
    if let Err(cause) = fs::remove_file(path) {
        tracing::debug!("cannot remove {} from the cache: {cause}", path.display());
    }
}

/// Removes a folder; whether it is gone.
pub(super) fn remove_folder(path: &Path) -> bool {
    tracing::debug!("the cache makes room: {} goes", path.display());
    fs::remove_dir_all(path)
        .inspect_err(|cause| tracing::debug!("cannot remove {} from the cache: {cause}", path.display()))
        .is_ok()
}

/// Folders named by a repository's id, as restic names them too, the longest unused first.
fn folders(inside: &Path, is_wanted: impl Fn(&Path, &str) -> bool) -> Vec<CacheFolder> {
    let mut found: Vec<CacheFolder> = listed(inside)
        .filter(|(name, metadata)| metadata.is_dir() && name.parse::<Id>().is_ok())
        .map(|(name, metadata)| (inside.join(&name), name, modified(&metadata)))
        .filter(|(path, name, _)| is_wanted(path, name))
        .map(|(path, _, modified)| CacheFolder { path, modified })
        .collect();
    found.sort_by_key(|cache| cache.modified);
    found
}

/// Entries of a folder, links not followed.
fn listed(folder: &Path) -> impl Iterator<Item = (String, Metadata)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.metadata().ok()?)))
}

fn modified(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}
