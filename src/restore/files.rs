//! Files of several blobs that are being written: a small cache of open files that all workers share.
//!
//! A file is made by the first worker that has a blob of it, while the others wait for that alone (one lock
//! for a few files, none for all). When the cache is full, the file used longest ago is closed; it is opened
//! again when it is needed.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use super::run::lock;

const SHARDS: usize = 16;
const FILES_A_SHARD: usize = 6;

/// A few open files by entry number, the one used last at the end.
type Shard = Mutex<Vec<(u32, Arc<OwnedFd>)>>;

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
    ) -> Result<Arc<OwnedFd>, E> {
        let Some(shard) = self.shard(entry) else { return open().map(Arc::new) };
        let mut files = lock(shard);
        if let Some(place) = files.iter().position(|(number, _)| *number == entry) {
            let used = files.remove(place);
            let file = Arc::clone(&used.1);
            files.push(used);
            return Ok(file);
        }
        let file = Arc::new(open()?);
        if files.len() >= FILES_A_SHARD {
            files.remove(0);
        }
        files.push((entry, Arc::clone(&file)));
        Ok(file)
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
