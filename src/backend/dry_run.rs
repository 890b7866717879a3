//! A store that takes every change and makes none: for operations that only say what they would do.
//!
//! Reads go through; so a run under it sees the repository as it is. Locks are not written either: nothing
//! is at stake. The run's own are listed all the same, as whoever takes one looks for it; those of others
//! cannot be removed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Backend, BackendError, BackendErrorKind, BackendResult, FileType, Listed};

/// Reads through, writes nowhere.
pub struct DryRun {
    inner: Arc<dyn Backend>,
    locks: Mutex<Vec<Listed>>,
}

impl DryRun {
    /// Over another store.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, locks: Mutex::default() }
    }

    fn locks(&self) -> MutexGuard<'_, Vec<Listed>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for DryRun {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DryRun")
    }
}

impl Backend for DryRun {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn connections(&self) -> usize {
        self.inner.connections()
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }

    fn list(&self, kind: FileType) -> BackendResult<Vec<Listed>> {
        let mut listed = self.inner.list(kind)?;
        if kind == FileType::Lock {
            listed.extend(self.locks().iter().cloned());
        }
        Ok(listed)
    }

    fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64> {
        let own = self.locks().iter().find(|lock| kind == FileType::Lock && lock.name == name).cloned();
        own.map_or_else(|| self.inner.stat(kind, name), |lock| Ok(lock.bytes))
    }

    fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes> {
        self.inner.read(kind, name)
    }

    fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes> {
        self.inner.read_range(kind, name, offset, length)
    }

    fn write(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        if kind == FileType::Lock {
            let lock = Listed { name: name.to_owned(), bytes: data.len() as u64, modified: None };
            self.locks().push(lock);
        }
        Ok(())
    }

    fn write_new(&self, _kind: FileType, _name: &str, _data: &Bytes) -> BackendResult<()> {
        Ok(())
    }

    fn delete(&self, kind: FileType, name: &str) -> BackendResult<()> {
        let mut locks = self.locks();
        let before = locks.len();
        locks.retain(|lock| lock.name != name);
        if kind == FileType::Lock && locks.len() == before {
            let cause = "a dry run removes nothing";
            return Err(BackendError::new(BackendErrorKind::Denied, "delete", kind, name, cause));
        }
        Ok(())
    }

    fn create(&self) -> BackendResult<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::backend::memory::MemoryBackend;

    #[test]
    fn changes_nothing_and_reads_what_is_there() {
        let store = Arc::new(MemoryBackend::new());
        let (name, own) = ("a".repeat(64), "b".repeat(64));
        store.create().unwrap();
        store.write(FileType::Lock, &name, &Bytes::from_static(b"x")).unwrap();
        let dry = DryRun::new(store.clone());
        dry.delete(FileType::Pack, &name).unwrap();
        assert_eq!(dry.delete(FileType::Lock, &name).unwrap_err().kind, BackendErrorKind::Denied);
        dry.write(FileType::Lock, &own, &Bytes::from_static(b"own")).unwrap();
        assert_eq!((dry.stat(FileType::Lock, &own), dry.list(FileType::Lock).unwrap().len()), (Ok(3), 2));
        assert_eq!(store.list(FileType::Lock).unwrap().len(), 1);
        assert_eq!(dry.read(FileType::Lock, &name).unwrap().as_ref(), b"x");
        dry.delete(FileType::Lock, &own).unwrap();
        assert!(dry.stat(FileType::Lock, &own).unwrap_err().is_not_found());
    }
}
