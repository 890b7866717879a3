//! A store in memory: for tests, and as the plainest statement of what a store does.
//!
//! It keeps the contract of every store (`tests/backend_contract.rs`). On top, tests may take its whole
//! content as a value, put an earlier one back (a crash image), and damage single files.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;

use super::layout::is_file_name;
use super::{Backend, BackendError, BackendErrorKind, BackendResult, FileType, Listed};
use crate::clock::{Clock, SystemClock};

/// Files in memory, shared by all threads that hold a reference.
pub struct MemoryBackend {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// Everything a `MemoryBackend` stored at one moment; cheap to clone, file contents are shared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryContent {
    files: BTreeMap<(FileType, String), Stored>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    data: Bytes,
    modified: Timestamp,
}

#[derive(Debug, Default)]
struct State {
    content: MemoryContent,
    /// Like a bucket that does not exist: every request but `create` is `NotFound`.
    missing: bool,
}

impl MemoryBackend {
    /// An empty store that needs no `create`.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock::new()))
    }

    /// An empty store whose files get their modification times from `clock`.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// A store that does not exist until `create` is called.
    #[must_use]
    pub fn missing() -> Self {
        let backend = Self::new();
        backend.state().missing = true;
        backend
    }

    /// All that is stored now.
    #[must_use]
    pub fn content(&self) -> MemoryContent {
        self.state().content.clone()
    }

    /// Puts an earlier content in place of all that is stored now.
    pub fn set_content(&self, content: MemoryContent) {
        self.state().content = content;
    }

    /// Lets `edit` change the bytes of a file behind everyone's back; whether there is such a file.
    pub fn corrupt(&self, kind: FileType, name: &str, edit: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.state();
        let Some(stored) = state.content.files.get_mut(&entry_of(kind, name)) else { return false };
        let mut data = stored.data.to_vec();
        edit(&mut data);
        stored.data = data.into();
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one insert or remove, so a panic elsewhere cannot leave a half-changed map.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn existing(&self, operation: &'static str) -> BackendResult<MutexGuard<'_, State>> {
        let state = self.state();
        if state.missing {
            let cause = "the store does not exist";
            return Err(BackendError::at(BackendErrorKind::NotFound, operation, self.location(), cause));
        }
        Ok(state)
    }

    fn stored(&self, operation: &'static str, kind: FileType, name: &str) -> BackendResult<Bytes> {
        let state = self.existing(operation)?;
        let stored = state.content.files.get(&entry_of(kind, name));
        stored.map(|stored| stored.data.clone()).ok_or_else(|| not_found(operation, kind, name))
    }

    fn store(&self, kind: FileType, name: &str, data: &Bytes, exclusive: bool) -> BackendResult<()> {
        let modified = self.clock.now();
        let mut state = self.existing("write")?;
        let entry = entry_of(kind, name);
        if exclusive && state.content.files.contains_key(&entry) {
            let cause = "the file exists already";
            return Err(BackendError::new(BackendErrorKind::Exists, "write", kind, name, cause));
        }
        state.content.files.insert(entry, Stored { data: Bytes::copy_from_slice(data), modified });
        Ok(())
    }
}

impl MemoryContent {
    /// Kind, name and bytes of every file, ordered by kind and name.
    pub fn files(&self) -> impl Iterator<Item = (FileType, &str, &Bytes)> {
        self.files.iter().map(|((kind, name), stored)| (*kind, name.as_str(), &stored.data))
    }
}

/// There is one config, whatever name it is asked for by.
fn entry_of(kind: FileType, name: &str) -> (FileType, String) {
    (kind, if kind == FileType::Config { String::new() } else { name.to_owned() })
}

fn not_found(operation: &'static str, kind: FileType, name: &str) -> BackendError {
    BackendError::new(BackendErrorKind::NotFound, operation, kind, name, "no such file")
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl Backend for MemoryBackend {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn connections(&self) -> usize {
        4
    }

    fn list(&self, kind: FileType) -> BackendResult<Vec<Listed>> {
        let state = self.existing("list")?;
        let of_kind = state.content.files.iter().filter(|((stored, _), _)| *stored == kind);
        let listed = of_kind.map(|((_, name), stored)| Listed {
            name: name.clone(),
            bytes: stored.data.len() as u64,
            modified: Some(stored.modified),
        });
        Ok(listed.filter(|listed| is_file_name(&listed.name)).collect())
    }

    fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64> {
        Ok(self.stored("stat", kind, name)?.len() as u64)
    }

    fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes> {
        self.stored("read", kind, name)
    }

    fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes> {
        let data = self.stored("read", kind, name)?;
        let needed = offset.saturating_add(length as u64);
        if needed > data.len() as u64 {
            return Err(BackendError::too_short(kind, name, data.len() as u64, needed));
        }
        let start = offset as usize;
        Ok(data.slice(start..start + length))
    }

    fn write(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        self.store(kind, name, data, false)
    }

    fn write_new(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        self.store(kind, name, data, true)
    }

    fn delete(&self, kind: FileType, name: &str) -> BackendResult<()> {
        let removed = self.existing("delete")?.content.files.remove(&entry_of(kind, name));
        removed.map(drop).ok_or_else(|| not_found("delete", kind, name))
    }

    fn create(&self) -> BackendResult<()> {
        self.state().missing = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn content_comes_back_and_damage_shows() {
        let backend = MemoryBackend::new();
        backend.write(FileType::Key, "a", &Bytes::from_static(b"first")).unwrap();
        let before = backend.content();
        assert!(backend.corrupt(FileType::Key, "a", |data| data[0] ^= 1));
        assert!(!backend.corrupt(FileType::Key, "b", |_| ()));
        assert_eq!(&backend.read(FileType::Key, "a").unwrap()[..], b"girst");
        backend.set_content(before.clone());
        assert_eq!(&backend.read(FileType::Key, "a").unwrap()[..], b"first");
        assert_eq!(before.files().count(), 1);
    }
}
