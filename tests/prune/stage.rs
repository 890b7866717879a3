//! A store on which a test acts at a moment of its choice: before a request, or upon a list.

use std::sync::Arc;

use bytes::Bytes;
use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::Request;
use volmover::backend::{Backend, BackendResult, FileType, Listed};

type Before = Box<dyn Fn(Request, FileType) + Send + Sync>;
type OnList = Box<dyn Fn(FileType, Vec<Listed>) -> BackendResult<Vec<Listed>> + Send + Sync>;

pub struct Stage {
    pub inner: Arc<MemoryBackend>,
    pub before: Before,
    pub on_list: OnList,
}

impl Stage {
    pub fn before(
        inner: &Arc<MemoryBackend>,
        act: impl Fn(Request, FileType) + Send + Sync + 'static,
    ) -> Self {
        Self { inner: Arc::clone(inner), before: Box::new(act), on_list: Box::new(|_, list| Ok(list)) }
    }

    pub fn on_list(
        inner: &Arc<MemoryBackend>,
        act: impl Fn(FileType, Vec<Listed>) -> BackendResult<Vec<Listed>> + Send + Sync + 'static,
    ) -> Self {
        Self { inner: Arc::clone(inner), before: Box::new(|_, _| ()), on_list: Box::new(act) }
    }
}

impl Backend for Stage {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn connections(&self) -> usize {
        3
    }

    fn list(&self, kind: FileType) -> BackendResult<Vec<Listed>> {
        (self.before)(Request::List, kind);
        (self.on_list)(kind, self.inner.list(kind)?)
    }

    fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64> {
        self.inner.stat(kind, name)
    }

    fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes> {
        self.inner.read(kind, name)
    }

    fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes> {
        self.inner.read_range(kind, name, offset, length)
    }

    fn write(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        (self.before)(Request::Write, kind);
        self.inner.write(kind, name, data)
    }

    fn write_new(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        self.inner.write_new(kind, name, data)
    }

    fn delete(&self, kind: FileType, name: &str) -> BackendResult<()> {
        (self.before)(Request::Delete, kind);
        self.inner.delete(kind, name)
    }

    fn create(&self) -> BackendResult<()> {
        self.inner.create()
    }
}
