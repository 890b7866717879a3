//! Files of several blobs that are being written: a small cache of open files that all workers share.
//!
//! A file is made by the first worker that has a blob of it, while the others wait for that alone (one lock
//! for a few files, none for all). When the cache is full, the file used longest ago is closed; it is opened
//! again when it is needed.

use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::run::lock;

const SHARDS: usize = 16;
const FILES_A_SHARD: usize = 6;

/// A few open files by entry number, the one used last at the end.
type Shard = Mutex<Vec<(u32, Arc<OpenFile>)>>;

/// An open file, and how many workers write to it: the system lets one in at a time.
pub(super) struct OpenFile {
    file: OwnedFd,
    writers: AtomicUsize,
}

impl OpenFile {
    /// From now on somebody writes to it, until what is returned is dropped.
    pub(super) fn writing(&self) -> Writing<'_> {
        self.writers.fetch_add(1, Ordering::Relaxed);
        Writing(self)
    }
}

impl Deref for OpenFile {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        &self.file
    }
}

/// Somebody writes to a file.
pub(super) struct Writing<'a>(&'a OpenFile);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Open files, by entry number.
#[derive(Default)]
pub(super) struct OpenFiles {
    shards: [Shard; SHARDS],
}

impl OpenFiles {
    /// The open file of an entry; `open` opens it when it is not.
    pub(super) fn file<E>(
        &self,
        entry: u32,
        open: impl FnOnce() -> Result<OwnedFd, E>,
    ) -> Result<Arc<OpenFile>, E> {
        let open = || Ok(Arc::new(OpenFile { file: open()?, writers: AtomicUsize::new(0) }));
        let Some(shard) = self.shard(entry) else { return open() };
        let mut files = lock(shard);
        if let Some(place) = files.iter().position(|(number, _)| *number == entry) {
            let used = files.remove(place);
            let file = Arc::clone(&used.1);
            files.push(used);
            return Ok(file);
        }
        let file = open()?;
        if files.len() >= FILES_A_SHARD {
            files.remove(0);
        }
        files.push((entry, Arc::clone(&file)));
        Ok(file)
    }

    /// Whether somebody opens the file of an entry, or writes to it.
    pub(super) fn is_written(&self, entry: u32) -> bool {
        let Some(files) = self.shard(entry).map(|shard| shard.try_lock()) else { return false };
        files.map_or(true, |files| {
            let writers = |file: &OpenFile| file.writers.load(Ordering::Relaxed);
            files.iter().any(|(number, file)| *number == entry && writers(file) > 0)
        })
    }

    /// An entry needs its file no more.
    pub(super) fn close(&self, entry: u32) {
        if let Some(shard) = self.shard(entry) {
            lock(shard).retain(|(number, _)| *number != entry);
        }
    }

    fn shard(&self, entry: u32) -> Option<&Shard> {
        self.shards.get(entry as usize % SHARDS)
    }
}
