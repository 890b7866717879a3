//! The restic repository format, versions 1 and 2: an open repository and what can be read from it.
//!
//! `Repository` is the format over a backend: it seals and opens, and knows the names of files. It takes no
//! locks and decides nothing; `open.rs` opens and creates, `lock.rs` keeps writers apart. Every file but
//! `config` is named by the SHA-256 of its stored bytes, and that name is checked whenever one is read.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::backend::{Backend, BackendErrorKind, BackendResult, FileType, Listed};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::random::Random;

pub mod blob;
pub mod cache;
pub mod compression;
pub mod config_file;
pub mod crypto;
pub mod hash_pool;
pub mod id;
pub mod identities;
pub mod index;
pub mod json;
pub mod key;
mod load;
pub mod lock;
pub mod open;
pub mod pack;
mod poly1305;
pub mod polynomial;
pub mod quote;
pub mod reach;
pub mod scrypt;
pub mod sha256;
pub mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
pub mod time;
pub mod tree;
pub mod tree_reader;

pub use id::Id;

use blob::{BlobType, Opener, Sealer};
use cache::{Cache, CachePlace};
use compression::{Compression, Zstd};
use config_file::RepositoryConfig;
use crypto::Cipher;
use index::{Index, IndexPack, Location};
use pack::FinishedPack;
use snapshot::Snapshot;
use tree::Tree;

/// The first byte of an unpacked file that is compressed.
const COMPRESSED: u8 = 2;

/// Is given what an index file lists, or why it cannot be read, on many threads. What it returns is taken into
/// the index that is being loaded; an error ends the loading.
pub type EachIndexFile<'a> = dyn Fn(&Id, Result<Vec<IndexPack>>) -> Result<Vec<IndexPack>> + Sync + 'a;

/// An open repository.
#[derive(Clone)]
pub struct Repository {
    backend: Arc<dyn Backend>,
    cipher: Cipher,
    config: RepositoryConfig,
    compression: Compression,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    memory_bytes: u64,
    cache: Option<Arc<Cache>>,
    listed_locks: Arc<Mutex<Option<Vec<Listed>>>>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Repository({})", self.backend.location())
    }
}

impl Repository {
    /// The same, and its index must fit into a budget of so many bytes (`MOVER_MEMORY`).
    #[must_use]
    pub fn with_memory(mut self, memory_bytes: u64) -> Self {
        self.memory_bytes = memory_bytes;
        self
    }

    /// The same; what it is read for again is kept at `place`.
    #[must_use]
    pub fn with_cache(mut self, place: CachePlace) -> Self {
        let (id, key) = (&self.config.id, self.cipher.cache_key());
        self.cache = Some(Arc::new(Cache::new(place, id, key, Arc::clone(&self.random))));
        self
    }

    /// The same, with the files under `locks/` as they were while it was opened: who takes the first lock need not
    /// ask again what is there before.
    #[must_use]
    pub fn with_listed_locks(self, listed: Vec<Listed>) -> Self {
        Self { listed_locks: Arc::new(Mutex::new(Some(listed))), ..self }
    }

    /// The same without a cache: for whoever wants to know what is stored.
    #[must_use]
    pub fn uncached(&self) -> Self {
        Self { cache: None, ..self.clone() }
    }

    /// The cache, if there is one.
    #[must_use]
    pub fn cache(&self) -> Option<&Arc<Cache>> {
        self.cache.as_ref()
    }

    /// What `with_listed_locks` was given, once.
    fn take_listed_locks(&self) -> Option<Vec<Listed>> {
        self.listed_locks.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Where it is stored.
    #[must_use]
    pub fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// What it is.
    #[must_use]
    pub fn config(&self) -> &RepositoryConfig {
        &self.config
    }

    /// The clock of this run.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// The randomness of this run.
    #[must_use]
    pub fn random(&self) -> &dyn Random {
        self.random.as_ref()
    }

    /// What seals and opens.
    #[must_use]
    pub fn cipher(&self) -> &Cipher {
        &self.cipher
    }

    /// A worker's context for sealing blobs.
    pub fn sealer(&self) -> Result<Sealer> {
        Sealer::new(self.cipher.clone(), self.config.version, self.compression)
    }

    /// How data is compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// A worker's context for opening blobs.
    pub fn opener(&self) -> Result<Opener> {
        Opener::new(self.cipher.clone())
    }

    /// All ids of a kind, in no order. A name that is no id cannot occur: lists leave strangers out.
    pub fn ids(&self, kind: FileType) -> Result<Vec<Id>> {
        Ok(self.files(kind)?.into_iter().map(|(id, _)| id).collect())
    }

    /// The same, with their sizes in bytes.
    pub fn files(&self, kind: FileType) -> Result<Vec<(Id, u64)>> {
        let listed = self.backend.list(kind)?;
        Ok(listed.iter().filter_map(|file| Some((file.name.parse().ok()?, file.bytes))).collect())
    }

    /// The plaintext of an unpacked file (key files are not sealed and are read elsewhere).
    pub fn read_unpacked(&self, kind: FileType, id: &Id) -> Result<Vec<u8>> {
        self.read_unpacked_if_there(kind, id)?.ok_or_else(|| missing_file(kind, id))
    }

    /// The same; `None` when the file does not exist.
    pub fn read_unpacked_if_there(&self, kind: FileType, id: &Id) -> Result<Option<Vec<u8>>> {
        let stored = match self.backend.read(kind, &id.hex()) {
            Err(error) if error.kind == BackendErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let damaged = |cause: String| damaged_file(kind, id, cause);
        if Id::of(&stored) != *id {
            return Err(damaged("its content does not have the hash that its name says".to_owned()));
        }
        let mut plain = Vec::new();
        self.cipher.open_into(&stored, &mut plain).map_err(|cause| damaged(cause.to_string()))?;
        match plain.split_first() {
            Some((b'{' | b'[', _)) => Ok(Some(plain)),
            Some((&COMPRESSED, packed)) => {
                Zstd::decompress_alone(packed).map(Some).map_err(|cause| damaged(cause.to_string()))
            }
            _ => Err(damaged("it is in a format that this program does not know".to_owned())),
        }
    }

    /// Stores an unpacked file, compressed in version 2, and returns its name.
    pub fn write_unpacked(&self, kind: FileType, json: &[u8]) -> Result<Id> {
        let (id, stored) = self.seal_unpacked(json)?;
        self.backend.write(kind, &id.hex(), &stored)?;
        Ok(id)
    }

    /// What an unpacked file would be called, and its stored bytes.
    pub fn seal_unpacked(&self, json: &[u8]) -> Result<(Id, Bytes)> {
        let mut plain = json.to_vec();
        if self.config.version >= 2 {
            plain = Vec::with_capacity(1 + Zstd::bound(json.len()));
            Zstd::new(Compression::Auto)?.compress_json(json, &mut plain)?;
            plain.insert(0, COMPRESSED);
        }
        let stored = Bytes::from(self.cipher.seal(&plain, self.random())?);
        Ok((Id::of(&stored), stored))
    }

    /// All snapshots. One that cannot be read is an error: leaving it out would hide a backup. Forget shares
    /// its lock with readers, so one that is listed may be gone a moment later; it is left out when a second
    /// list does not know it either.
    pub fn snapshots(&self) -> Result<Vec<(Id, Snapshot)>> {
        let ids = self.ids(FileType::Snapshot)?;
        let kept = self.cache.as_ref().map(|cache| cache.snapshots()).unwrap_or_default();
        let read = in_parallel(&ids, self.backend.connections(), |id| {
            let json = match kept.json(id) {
                Some(json) => Some(Cow::Borrowed(json)),
                None => self.read_unpacked_if_there(FileType::Snapshot, id)?.map(Cow::Owned),
            };
            json.map(|json| Ok((*id, decode_snapshot(id, &json)?, json))).transpose()
        })?;
        if read.iter().any(Option::is_none) {
            let listed = self.ids(FileType::Snapshot)?;
            let lost = ids.iter().zip(&read).find(|(id, found)| found.is_none() && listed.contains(id));
            if let Some((id, _)) = lost {
                return Err(missing_file(FileType::Snapshot, id));
            }
        }
        let found: Vec<(Id, Snapshot, Cow<'_, [u8]>)> = read.into_iter().flatten().collect();
        let is_kept = found.len() == kept.len() && found.iter().all(|(id, ..)| kept.json(id).is_some());
        if let Some(cache) = self.cache.as_ref().filter(|_| !is_kept) {
            cache.keep_snapshots(found.iter().map(|(id, _, json)| (id, &**json)));
        }
        Ok(found.into_iter().map(|(id, snapshot, _)| (id, snapshot)).collect())
    }

    /// One snapshot; one that does not exist is an error.
    pub fn snapshot(&self, id: &Id) -> Result<Snapshot> {
        self.snapshot_if_there(id)?.ok_or_else(|| missing_file(FileType::Snapshot, id))
    }

    /// The same; `None` when it does not exist.
    pub fn snapshot_if_there(&self, id: &Id) -> Result<Option<Snapshot>> {
        let json = self.read_unpacked_if_there(FileType::Snapshot, id)?;
        json.map(|json| decode_snapshot(id, &json)).transpose()
    }

    /// What one index file lists.
    pub fn read_index_file(&self, id: &Id) -> Result<Vec<IndexPack>> {
        if let Some(packs) = self.cache.as_ref().and_then(|cache| cache.index_file(id)) {
            return Ok(packs);
        }
        let json = self.read_unpacked(FileType::Index, id)?;
        let packs = index::decode(&json).map_err(|cause| damaged_file(FileType::Index, id, cause))?;
        drop(json);
        if let Some(cache) = &self.cache {
            cache.keep_index_file(id, &packs);
        }
        Ok(packs)
    }

    /// Stores an index file that lists `packs`, and returns its name.
    pub fn write_index_file(&self, packs: &[IndexPack]) -> Result<Id> {
        let id = self.write_unpacked(FileType::Index, &index::encode(packs))?;
        if let Some(cache) = &self.cache {
            cache.keep_index_file(&id, packs);
        }
        Ok(id)
    }

    /// Stores a pack.
    pub fn write_pack(&self, pack: &FinishedPack) -> Result<()> {
        self.backend.write(FileType::Pack, &pack.id.hex(), &pack.bytes)?;
        if let Some(cache) = self.cache.as_ref().filter(|_| pack.kind == BlobType::Tree) {
            cache.keep_tree_pack(&pack.id, &pack.bytes);
        }
        Ok(())
    }

    /// A whole pack of trees.
    pub fn read_tree_pack(&self, id: &Id) -> BackendResult<Bytes> {
        if let Some(kept) = self.cache.as_ref().and_then(|cache| cache.tree_pack(id)) {
            return Ok(Bytes::from(kept));
        }
        let stored = self.backend.read(FileType::Pack, &id.hex())?;
        if let Some(cache) = self.cache.as_ref().filter(|_| Id::of(&stored) == *id) {
            cache.keep_tree_pack(id, &stored);
        }
        Ok(stored)
    }

    /// A part of a pack of trees.
    pub fn read_tree_range(&self, id: &Id, offset: u64, length: usize) -> BackendResult<Bytes> {
        match self.cache.as_ref().and_then(|cache| cache.tree_range(id, offset, length)) {
            Some(kept) => Ok(Bytes::from(kept)),
            None => self.backend.read_range(FileType::Pack, &id.hex(), offset, length),
        }
    }

    /// A part of a pack, of which the blobs of `kind` are wanted.
    pub fn read_pack_range(
        &self,
        kind: BlobType,
        id: &Id,
        offset: u64,
        length: usize,
    ) -> BackendResult<Bytes> {
        match kind {
            BlobType::Tree => self.read_tree_range(id, offset, length),
            BlobType::Data => self.backend.read_range(FileType::Pack, &id.hex(), offset, length),
        }
    }

    /// The index of all index files. List snapshots first: what a snapshot needs was indexed before it. One
    /// that cannot fit the memory budget is an error before it is loaded.
    pub fn load_index(&self) -> Result<Index> {
        self.load_index_files(self.files(FileType::Index)?, &|_, packs| packs)
    }

    /// The index of these files, given with their sizes, within the same limit.
    pub fn load_index_files(&self, files: Vec<(Id, u64)>, each: &EachIndexFile<'_>) -> Result<Index> {
        load::index(self, self.memory_bytes, files, each)
    }

    /// An error when an index that is made anew takes more than the limit, in bytes.
    pub fn require_index_memory(&self, needed_bytes: u64) -> Result<()> {
        load::require(self, needed_bytes, self.memory_bytes)
    }

    /// A blob's plaintext, fetched on its own; from another pack when one copy is bad.
    pub fn read_blob(&self, index: &Index, kind: BlobType, id: &Id, opener: &mut Opener) -> Result<Vec<u8>> {
        let mut failure = missing_blob(kind, id);
        for location in index.locations(kind, id) {
            match self.read_place(kind, id, &location, opener) {
                Err(error) if error.kind == ErrorKind::Damaged => failure = error,
                read => return read,
            }
        }
        Err(failure)
    }

    fn read_place(
        &self,
        kind: BlobType,
        id: &Id,
        location: &Location,
        opener: &mut Opener,
    ) -> Result<Vec<u8>> {
        let Location { pack, extent } = location;
        let (offset, length) = (u64::from(extent.offset), extent.length as usize);
        let sealed = match self.read_pack_range(kind, pack, offset, length) {
            Err(error) if error.kind == BackendErrorKind::NotFound => {
                return Err(missing_file(FileType::Pack, pack));
            }
            read => read?,
        };
        let mut plain = Vec::new();
        opener
            .open(id, &sealed, extent.plain_length, &mut plain)
            .map_err(|cause| damaged_blob(kind, id, pack, &cause))?;
        Ok(plain)
    }

    /// A tree, fetched on its own.
    pub fn read_tree(&self, index: &Index, id: &Id, opener: &mut Opener) -> Result<Tree> {
        let json = self.read_blob(index, BlobType::Tree, id, opener)?;
        Tree::decode(&json).map_err(|cause| {
            Error::damaged("a tree does not decode", format!("tree {}", id.short()), cause).then(REPAIR)
        })
    }
}

fn decode_snapshot(id: &Id, json: &[u8]) -> Result<Snapshot> {
    Snapshot::decode(json).map_err(|cause| damaged_file(FileType::Snapshot, id, cause))
}

/// What to do about damage.
const REPAIR: &str = "Run check to see what else is damaged";

/// A file of the repository that is there, but is not what it should be.
#[must_use]
pub fn damaged_file(kind: FileType, id: &Id, cause: impl std::fmt::Display) -> Error {
    Error::damaged(
        format!("the repository is damaged: cannot read {}", one(kind)),
        format!("{}/{id}", kind.folder()),
        cause,
    )
    .then(REPAIR)
}

fn one(kind: FileType) -> String {
    let article = if kind == FileType::Index { "an" } else { "a" };
    format!("{article} {}", kind.word())
}

/// A blob that does not open to what its id says.
#[must_use]
pub fn damaged_blob(kind: BlobType, id: &Id, pack: &Id, cause: &dyn std::fmt::Display) -> Error {
    let blob = format!("{} blob {} in pack {}", kind.word(), id.short(), pack.short());
    Error::damaged("the repository is damaged", blob, cause).then(REPAIR)
}

fn missing_file(kind: FileType, id: &Id) -> Error {
    let place = format!("{}/{id}", kind.folder());
    Error::damaged(format!("{} of the repository is missing", one(kind)), place, "no such file").then(REPAIR)
}

/// A blob that no index lists.
#[must_use]
pub fn missing_blob(kind: BlobType, id: &Id) -> Error {
    let place = format!("{} blob {}", kind.word(), id.short());
    Error::damaged("the repository is damaged", place, "no index lists it").then(REPAIR)
}

/// What cannot be read of a pack, and why it is gone, is damage of the repository and not a wrong request.
#[must_use]
pub fn as_damage(error: Error) -> Error {
    match error.kind {
        ErrorKind::Other => Error { kind: ErrorKind::Damaged, ..error },
        _ => error,
    }
}

/// Cuts items into neighbours: no more than `most`, of no more than so many bytes; one that is longer is alone.
pub(crate) fn portions<T>(
    items: &[T],
    most: usize,
    bytes_max: u64,
    bytes: impl Fn(&T) -> u64,
) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fits = |item: &&T| {
            sum += bytes(item);
            sum <= bytes_max
        };
        let count = rest.iter().take(most).take_while(fits).count().max(1);
        let (portion, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(portion)
    })
}

/// Does both side by side; when both fail, the first failure counts.
pub fn both<A: Send, B>(
    one: impl FnOnce() -> Result<A> + Send,
    other: impl FnOnce() -> Result<B>,
) -> Result<(A, B)> {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        Ok((one.join().unwrap_or_else(thread_died)?, other?))
    })
}

pub(crate) fn thread_died<T>(_: Box<dyn std::any::Any + Send>) -> Result<T> {
    Err(Error::new(ErrorKind::Other, "a thread died"))
}

/// Calls `work` for every item on up to `workers` threads; results keep the items' order. The first
/// failure ends it.
pub fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    workers: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    in_parallel_with(items, workers, || Ok(()), |(), item| work(item))
}

/// The same, each thread with a state of its own.
pub fn in_parallel_with<T: Sync, S, R: Send>(
    items: &[T],
    workers: usize,
    state: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, &T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let run = || {
        let mut state = state().inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(position) else { break };
            match work(&mut state, item) {
                Ok(result) => done.push((position, result)),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(done)
    };
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..workers.min(items.len())).map(|_| scope.spawn(run)).collect();
        let mut outcome = run();
        for thread in threads {
            let done = thread.join().unwrap_or_else(thread_died);
            match (&mut outcome, done) {
                (Ok(all), Ok(done)) => all.extend(done),
                (Ok(_), Err(error)) => outcome = Err(error),
                (Err(_), _) => {}
            }
        }
        outcome
    })?;
    Ok(in_order(items.len(), done))
}

/// Results of threads, each with its position among `count`, in their order. They are not sorted: some are long.
pub(crate) fn in_order<R>(count: usize, done: Vec<(usize, R)>) -> Vec<R> {
    let mut results: Vec<Option<R>> = std::iter::repeat_with(|| None).take(count).collect();
    for (position, result) in done {
        if let Some(place) = results.get_mut(position) {
            *place = Some(result);
        }
    }
    results.into_iter().flatten().collect()
}
