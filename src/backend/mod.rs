//! Where a repository is stored: the `Backend` trait, its errors, and the stores and decorators behind it.
//!
//! A backend stores small immutable files by kind and name. It knows nothing of keys or contents.
//! Invariants that every store keeps, and that `tests/backend_contract.rs` holds: a file is visible whole
//! or not at all; when `write` returns, the file is durable; a list that failed is an error, never empty.

use std::sync::Arc;

use bytes::Bytes;

pub mod dry_run;
mod error;
pub mod fault;
pub mod layout;
pub mod limit;
pub mod local;
pub mod memory;
pub mod object;
mod pause;
pub mod record;
pub mod retry;
#[cfg(test)]
mod testing;
pub mod throttle;

pub use error::{BackendError, BackendErrorKind, BackendResult};

/// What a stored file is; it decides the folder (restic design, "Repository Layout").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileType {
    /// The one file `config` at the root; its name is ignored.
    Config,
    /// `keys/<id>`
    Key,
    /// `locks/<id>`
    Lock,
    /// `snapshots/<id>`
    Snapshot,
    /// `index/<id>`
    Index,
    /// `data/<xx>/<id>`
    Pack,
    /// `volmover-doctor/<id>`: written and deleted again to see whether that works. No program of the restic
    /// format looks into a folder of this name, so a probe that stays behind harms nobody.
    Probe,
}

impl FileType {
    /// The kinds that live in folders of their own, in the order in which a reader meets them.
    pub const FOLDERS: [Self; 5] = [Self::Key, Self::Lock, Self::Snapshot, Self::Index, Self::Pack];

    /// The folder's name, or `config`.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "keys",
            Self::Lock => "locks",
            Self::Snapshot => "snapshots",
            Self::Index => "index",
            Self::Pack => "data",
            Self::Probe => "volmover-doctor",
        }
    }

    /// The word for one such file in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "key",
            Self::Lock => "lock",
            Self::Snapshot => "snapshot",
            Self::Index => "index",
            Self::Pack => "pack",
            Self::Probe => "probe",
        }
    }
}

/// One listed file. The name is the file's last path component: 64 lower-case hex digits for whole files;
/// a list leaves out everything else (temporary files, strangers).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The name, e.g. the hex id.
    pub name: String,
    /// The size in bytes.
    pub bytes: u64,
    /// When the store says it was last modified, if it does.
    pub modified: Option<jiff::Timestamp>,
}

/// Up to so many connections a store is taken for a disk: a small request costs it nothing, and many at once gain
/// nothing.
pub const DISK_CONNECTIONS_MAX: usize = 8;

/// A store. All methods may be called from many threads at once and block until done.
pub trait Backend: Send + Sync {
    /// Where, for people: the repository URL without any password.
    fn location(&self) -> String;

    /// How many requests at once this store is meant to get (`MOVER_CONNECTIONS`).
    fn connections(&self) -> usize;

    /// Whether a list shows everything whose writing or deleting has ended, whoever did it. Where that is not
    /// known, it is not so.
    fn lists_at_once(&self) -> bool {
        false
    }

    /// All files of a kind, in no order; a list that broke off midway is an error, never a part. A missing folder is an empty list only where the store creates
    /// folders on demand; a missing bucket or repository folder is `NotFound`.
    fn list(&self, kind: FileType) -> BackendResult<Vec<Listed>>;

    /// The size of a file in bytes.
    fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64>;

    /// A whole file.
    fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes>;

    /// Exactly `length` bytes from `offset`; a shorter file is `Damaged`.
    fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes>;

    /// Writes a whole file, atomically and durably. An existing file of that name is replaced. A store keeps
    /// no clone of `data` when it returns: the bytes are lent from a bounded pool.
    fn write(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()>;

    /// Writes a file that must not exist yet: exactly one of any number of writers succeeds, the others
    /// get `Exists`. Local: `link`; S3: `If-None-Match`, and where a store refuses that: write, wait, read back.
    fn write_new(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()>;

    /// Deletes a file. A file that is not there is `NotFound`; a store that would need a request more to
    /// know that (S3) may say `Ok`.
    fn delete(&self, kind: FileType, name: &str) -> BackendResult<()>;

    /// Deletes many files; one result a name, in order. For a name that is not there a store that deletes
    /// in bulk (S3) may say `Ok`, others say `NotFound`: callers must take both as gone.
    fn delete_many(&self, kind: FileType, names: &[String]) -> Vec<BackendResult<()>> {
        names.iter().map(|name| self.delete(kind, name)).collect()
    }

    /// Makes what must exist before the first write: folders, the bucket. What exists already is fine.
    fn create(&self) -> BackendResult<()>;
}

/// A shared store is a store: decorators are stacked on `Arc<dyn Backend>`.
impl<B: Backend + ?Sized> Backend for Arc<B> {
    fn location(&self) -> String {
        (**self).location()
    }

    fn connections(&self) -> usize {
        (**self).connections()
    }

    fn lists_at_once(&self) -> bool {
        (**self).lists_at_once()
    }

    fn list(&self, kind: FileType) -> BackendResult<Vec<Listed>> {
        (**self).list(kind)
    }

    fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64> {
        (**self).stat(kind, name)
    }

    fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes> {
        (**self).read(kind, name)
    }

    fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes> {
        (**self).read_range(kind, name, offset, length)
    }

    fn write(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        (**self).write(kind, name, data)
    }

    fn write_new(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        (**self).write_new(kind, name, data)
    }

    fn delete(&self, kind: FileType, name: &str) -> BackendResult<()> {
        (**self).delete(kind, name)
    }

    fn delete_many(&self, kind: FileType, names: &[String]) -> Vec<BackendResult<()>> {
        (**self).delete_many(kind, names)
    }

    fn create(&self) -> BackendResult<()> {
        (**self).create()
    }
}
