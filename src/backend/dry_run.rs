//! A store that takes every change and makes none: for operations that only say what they would do.
//!
//! Reads go through; so a run under it sees the repository as it is. Locks are not written either: nothing
//! is at stake.

use std::sync::Arc;

use bytes::Bytes;

use super::{Backend, BackendResult, FileType, Listed};

/// Reads through, writes nowhere.
pub struct DryRun(Arc<dyn Backend>);

impl DryRun {
    /// Over another store.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self(inner)
    }
}

impl std::fmt::Debug for DryRun {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DryRun")
    }
}

impl Backend for DryRun {
    fn location(&self) -> String {
        self.0.location()
    }

    fn connections(&self) -> usize {
        self.0.connections()
    }

    fn list(&self, kind: FileType) -> BackendResult<Vec<Listed>> {
        self.0.list(kind)
    }

    fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64> {
        // Our own lock is the only one that is asked for, and was never written.
        if kind == FileType::Lock {
            return Ok(0);
        }
        self.0.stat(kind, name)
    }

    fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes> {
        self.0.read(kind, name)
    }

    fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes> {
        self.0.read_range(kind, name, offset, length)
    }

    fn write(&self, _kind: FileType, _name: &str, _data: &Bytes) -> BackendResult<()> {
        Ok(())
    }

    fn write_new(&self, _kind: FileType, _name: &str, _data: &Bytes) -> BackendResult<()> {
        Ok(())
    }

    fn delete(&self, _kind: FileType, _name: &str) -> BackendResult<()> {
        Ok(())
    }

    fn create(&self) -> BackendResult<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::backend::memory::MemoryBackend;

    #[test]
    fn changes_nothing_and_reads_what_is_there() {
        let store = Arc::new(MemoryBackend::new());
        let name = "a".repeat(64);
        store.create().unwrap();
        store.write(FileType::Lock, &name, &Bytes::from_static(b"x")).unwrap();
        let dry = DryRun::new(store.clone());
        dry.delete(FileType::Lock, &name).unwrap();
        dry.write(FileType::Lock, &"b".repeat(64), &Bytes::new()).unwrap();
        assert_eq!(store.list(FileType::Lock).unwrap().len(), 1);
        assert_eq!(dry.read(FileType::Lock, &name).unwrap().as_ref(), b"x");
    }
}
