//! Blobs on their way into the repository: dedup → seal → pack → upload → index.
//!
//! A worker seals a blob straight into the tail of an open pack; a full pack goes whole to an uploader. What it sealed
//! last is verified, and hashed for the pack's name, while it asks for the ids of what comes next: three messages side
//! by side take a wide CPU little more time than one.
//!
//! Invariants: a blob is claimed by one worker (against the index and against what this run packs); a pack
//! is listed in an index file only after it was written; `finish` returns only when every claimed blob is
//! written and indexed, so a snapshot written after it lacks nothing.
//!
//! Index files are written while the run goes on, at the latest after two minutes or when as much is not indexed as is:
//! a run that is killed loses little of its work.

use std::iter::Peekable;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};

use super::claimed::Claimed;
use super::effort::Effort;
use super::run::{NAP, Pool, Pooled, Run, lock};
use crate::error::{Error, Result};
use crate::report::{Count, Progress};
use crate::repository::blob::{BlobType, Sealer};
use crate::repository::index::{Index, IndexPack};
use crate::repository::pack::{FinishedPack, PackBuilder};
use crate::repository::{Id, Repository};

/// Blobs an index file holds at most, as restic writes them.
const INDEX_BLOBS_MAX: usize = 50_000;
/// Packs without an index entry that are always tolerated.
const UNINDEXED_PACKS_MIN: usize = 16;
/// An index file is written at the latest after this long.
const INDEX_EVERY: Duration = Duration::from_mins(2);

/// How often the end of a run looks whether the uploaders are done.
const TICK: Duration = Duration::from_millis(1);

/// What a run added, for its summary.
#[derive(Debug, Default)]
pub struct Added {
    /// New data blobs.
    pub data_blobs: Count,
    /// New tree blobs.
    pub tree_blobs: Count,
    /// Their bytes before compression.
    pub bytes: Count,
    /// Their bytes as stored.
    pub packed_bytes: Count,
}

struct Open {
    slots: Vec<Mutex<Option<PackBuilder<Pooled>>>>,
}

impl Open {
    fn new(slots: usize) -> Self {
        Self { slots: (0..slots.max(1)).map(|_| Mutex::new(None)).collect() }
    }

    /// All packs that are not full. One that a worker left unverified when it died is an error.
    fn take_all(&self) -> Result<Vec<PackBuilder<Pooled>>> {
        let open: Vec<_> = self.slots.iter().filter_map(|slot| lock(slot).take()).collect();
        if open.iter().all(PackBuilder::is_hashed) { Ok(open) } else { Err(super::run::died()) }
    }
}

/// Takes blobs from workers, and writes packs and indexes.
pub struct Store<'a> {
    repository: &'a Repository,
    index: &'a Index,
    run: &'a Run<'a>,
    progress: &'a Progress,
    pack_bytes: usize,
    buffer_bytes: usize,
    memory: Arc<Pool>,
    claimed: [Claimed; 2],
    data: Open,
    trees: Open,
    verifies_later: bool,
    /// Whether the first pack is still to be closed early.
    starts_short: AtomicBool,
    effort: Effort,
    uploads: Sender<Upload>,
    uploaders: AtomicUsize,
    in_flight: AtomicUsize,
    closing: AtomicBool,
    indexer: Mutex<Indexer>,
    /// What was added so far.
    pub added: Added,
}

#[derive(Debug, Default)]
struct Indexer {
    pending: Vec<IndexPack>,
    pending_blobs: usize,
    indexed_packs: usize,
    since: Duration,
}

/// How much memory the store may hold, in packs.
#[derive(Debug, Clone, Copy)]
pub struct StorePlan {
    /// Where a data pack closes, in bytes.
    pub pack_bytes: usize,
    /// Whether there is memory for chunks that bring a pack well beyond that.
    pub has_long_tails: bool,
    /// Data packs that are filled at once.
    pub data_slots: usize,
    /// Tree packs that are filled at once.
    pub tree_slots: usize,
    /// Whether every worker fills a data pack of its own, and verifies it when it next computes hashes.
    pub verifies_later: bool,
    /// Whether the first data pack closes at half its size: a line that everything waits for has work so much earlier.
    pub starts_short: bool,
    /// Packs that are uploaded at once.
    pub uploads: usize,
    /// Whether there is memory to compress harder while uploads are waited for.
    pub compresses_harder: bool,
}

/// The longest sealed chunk: the least that a pack's buffer holds.
const LONGEST_BYTES: usize = (8 << 20) + (256 << 10);
/// The least room beyond the target, for the last blob and the header. A blob that does not fit goes to the next pack.
const TAIL_BYTES: usize = 512 << 10;
/// What more of it a pack gets where memory allows: most chunks fit then, and fewer packs stay below the target.
pub const LONG_TAIL_BYTES: usize = 3 << 19;
/// A pack of tiny blobs closes when its header has so many bytes.
const HEADER_BYTES: usize = 512 << 10;
/// What a header takes besides its pack: the list of blobs, and two copies while it is written.
const HEADER_MEMORY_BYTES: usize = 3 * HEADER_BYTES;

/// The least size of a pack's buffer. Only a single blob that is longer makes one grow.
fn buffer_bytes(pack_bytes: usize) -> usize {
    (pack_bytes + TAIL_BYTES).max(LONGEST_BYTES)
}

/// What a pack takes in memory while it is filled or uploaded, in bytes.
pub fn pack_memory_bytes(pack_bytes: usize) -> usize {
    buffer_bytes(pack_bytes) + HEADER_MEMORY_BYTES
}

impl<'a> Store<'a> {
    /// A store, and the packs that `upload` loops must take from it.
    pub fn new(
        repository: &'a Repository,
        index: &'a Index,
        run: &'a Run<'a>,
        progress: &'a Progress,
        plan: StorePlan,
    ) -> (Self, Receiver<Upload>) {
        let (uploads, packs) = bounded(0);
        let count = plan.data_slots + plan.tree_slots + plan.uploads;
        let buffer_bytes =
            buffer_bytes(plan.pack_bytes) + if plan.has_long_tails { LONG_TAIL_BYTES } else { 0 };
        let store = Self {
            repository,
            index,
            run,
            progress,
            pack_bytes: plan.pack_bytes,
            memory: Pool::new(count, buffer_bytes),
            buffer_bytes,
            claimed: Default::default(),
            data: Open::new(plan.data_slots),
            trees: Open::new(plan.tree_slots),
            verifies_later: plan.verifies_later,
            starts_short: AtomicBool::new(plan.starts_short),
            effort: Effort::new(repository.compression(), plan.compresses_harder),
            uploads,
            uploaders: AtomicUsize::new(plan.uploads),
            in_flight: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            indexer: Mutex::new(Indexer { since: repository.clock().elapsed(), ..Indexer::default() }),
            added: Added::default(),
        };
        (store, packs)
    }

    /// An uploader that could not be started.
    pub fn lose_uploader(&self) {
        self.uploaders.fetch_sub(1, Ordering::SeqCst);
        self.run.fail(super::run::died());
    }

    /// The ids of what a worker adds next. What it added last is verified meanwhile; one that adds no more asks for
    /// the ids of nothing.
    pub fn identify(&self, worker: usize, sealer: &mut Sealer, contents: &[&[u8]]) -> Result<Vec<Id>> {
        match self.data.slots.get(worker).filter(|_| self.verifies_later) {
            Some(slot) => verify(&mut lock(slot), sealer, contents),
            None => Ok(Id::of_many(contents)?),
        }
    }

    /// Adds blobs unless they are known. `worker` chooses the pack, so that workers do not wait for each other.
    pub fn add<'b>(
        &self,
        worker: usize,
        sealer: &mut Sealer,
        kind: BlobType,
        blobs: impl IntoIterator<Item = (Id, &'b [u8])>,
    ) -> Result<()> {
        let open = match kind {
            BlobType::Data => &self.data,
            BlobType::Tree => {
                self.identify(worker, sealer, &[])?;
                &self.trees
            }
        };
        let Some(slot) = open.slots.get(worker % open.slots.len()) else { return Ok(()) };
        let mut new = blobs
            .into_iter()
            .filter(|(id, _)| !self.index.contains(kind, id) && self.claim(kind, *id))
            .peekable();
        while new.peek().is_some() {
            let full = self.fill(&mut lock(slot), sealer, kind, &mut new)?;
            if let Some(full) = full {
                self.hand_over(full)?;
            }
        }
        Ok(())
    }

    /// Fills a pack until it is full, which is returned, or there are no more blobs. Whatever lies in a pack that
    /// others can take is verified.
    fn fill<'b>(
        &self,
        slot: &mut Option<PackBuilder<Pooled>>,
        sealer: &mut Sealer,
        kind: BlobType,
        new: &mut Peekable<impl Iterator<Item = (Id, &'b [u8])>>,
    ) -> Result<Option<PackBuilder<Pooled>>> {
        let filled = self.fill_unverified(slot, sealer, kind, new);
        let stays_own = kind == BlobType::Data && self.verifies_later && matches!(filled, Ok(false));
        if !stays_own {
            verify(slot, sealer, &[])?;
        }
        Ok(if filled? { slot.take() } else { None })
    }

    /// Whether the pack is full.
    fn fill_unverified<'b>(
        &self,
        slot: &mut Option<PackBuilder<Pooled>>,
        sealer: &mut Sealer,
        kind: BlobType,
        new: &mut Peekable<impl Iterator<Item = (Id, &'b [u8])>>,
    ) -> Result<bool> {
        while let Some((_, plain)) = new.peek() {
            let room = Sealer::bound(plain.len());
            let has_no_room = |builder: &PackBuilder<Pooled>| {
                let ends = builder.file_bytes_max() + room;
                !builder.is_empty() && ends > self.buffer_bytes
            };
            if slot.as_ref().is_some_and(has_no_room) {
                return Ok(true);
            }
            let builder = if let Some(builder) = slot {
                builder
            } else {
                let memory = self.memory.take(self.run).ok_or_else(super::run::stopped)?;
                slot.insert(PackBuilder::new(kind, memory))
            };
            let Some((id, plain)) = new.next() else { break };
            let random = self.repository.random();
            sealer.set_level(self.effort.level(plain.len()));
            let seal = |tail: &mut [u8]| sealer.seal_unverified(kind, &id, plain, tail, random);
            let sealed = builder.append(id, room, seal)?;
            self.count(kind, plain.len(), sealed.length);
            let is_half = kind == BlobType::Data && builder.len() >= self.pack_bytes / 2;
            if builder.len() >= self.pack_bytes
                || builder.header_bytes() >= HEADER_BYTES
                || is_half && self.starts_short.swap(false, Ordering::Relaxed)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn claim(&self, kind: BlobType, id: Id) -> bool {
        let [data, trees] = &self.claimed;
        if kind == BlobType::Data { data.claim(id) } else { trees.claim(id) }
    }

    fn count(&self, kind: BlobType, plain_bytes: usize, sealed_bytes: u32) {
        match kind {
            BlobType::Data => self.added.data_blobs.add(1),
            BlobType::Tree => self.added.tree_blobs.add(1),
        }
        self.added.bytes.add(plain_bytes as u64);
        self.added.packed_bytes.add(u64::from(sealed_bytes));
        self.progress.bytes_added.add(u64::from(sealed_bytes));
    }

    /// Finishes a pack and gives it to an uploader, waiting for one to be free.
    fn hand_over(&self, builder: PackBuilder<Pooled>) -> Result<()> {
        let mut pack = Upload::Pack(builder.finish(self.repository.cipher(), self.repository.random())?);
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let start = self.repository.clock().elapsed();
        loop {
            match self.uploads.send_timeout(pack, NAP) {
                Ok(()) => {
                    self.effort.waited(self.repository.clock().elapsed().saturating_sub(start));
                    return Ok(());
                }
                Err(SendTimeoutError::Timeout(back))
                    if self.uploaders.load(Ordering::SeqCst) > 0
                        && (!self.run.is_over() || self.closing.load(Ordering::SeqCst)) =>
                {
                    pack = back;
                }
                Err(_) => {
                    // Nobody takes it any more, and `finish` must not wait for it.
                    self.in_flight.fetch_sub(1, Ordering::SeqCst);
                    return Err(super::run::stopped());
                }
            }
        }
    }

    /// Uploads packs until `finish` says that there are no more. One call is one upload at a time.
    pub fn upload(&self, packs: &Receiver<Upload>) {
        let _alive = Leaves(&self.uploaders);
        while let Ok(Upload::Pack(pack)) = packs.recv() {
            let _done = Leaves(&self.in_flight);
            if let Err(error) = self.upload_one(pack) {
                self.run.fail(error);
            }
        }
    }

    fn upload_one(&self, pack: FinishedPack) -> Result<()> {
        self.repository.write_pack(&pack)?;
        let FinishedPack { id, bytes, blobs, .. } = pack;
        drop(bytes);
        let due = {
            let mut indexer = lock(&self.indexer);
            indexer.pending_blobs += blobs.len();
            indexer.pending.push(IndexPack { id, blobs });
            let now = self.repository.clock().elapsed();
            indexer.is_due(now).then(|| indexer.take(now))
        };
        due.map_or(Ok(()), |packs| self.write_index(&packs))
    }

    fn write_index(&self, packs: &[IndexPack]) -> Result<()> {
        if packs.is_empty() {
            return Ok(());
        }
        self.repository.write_index_file(packs)?;
        lock(&self.indexer).indexed_packs += packs.len();
        Ok(())
    }

    fn flush_index(&self) -> Result<()> {
        let packs = lock(&self.indexer).take(self.repository.clock().elapsed());
        self.write_index(&packs)
    }

    /// Writes what is left: the partly filled packs, joined where they fit into one, then the index. To be
    /// called when no worker adds any more; uploaders are told to end.
    pub fn finish(&self) -> Result<()> {
        self.closing.store(true, Ordering::SeqCst);
        let written = self.write_rest();
        while self.uploaders.load(Ordering::SeqCst) > 0 {
            // The last to be told may still count as one that is to be told.
            let _ = self.uploads.send_timeout(Upload::NoMore, TICK);
        }
        written
    }

    fn write_rest(&self) -> Result<()> {
        // A run that ends early makes what it has uploaded usable, first of all. When it failed, that is all:
        // the store may be the cause, and every further request may wait out its retries.
        let first = if self.run.is_over() { self.flush_index() } else { Ok(()) };
        if self.run.is_over() && !self.run.was_stopped() {
            return first;
        }
        let flushed = first.and_then(|()| {
            for open in [&self.data, &self.trees] {
                for builder in join(open.take_all()?, self.pack_bytes)? {
                    self.hand_over(builder)?;
                }
            }
            Ok(())
        });
        while self.in_flight.load(Ordering::SeqCst) > 0 && flushed.is_ok() {
            std::thread::sleep(TICK);
        }
        flushed?;
        self.flush_index()
    }
}

/// Verifies all that was sealed for a pack since the last time, carries the pack's hash on, and returns the ids of
/// `contents`, all computed together. A pack with a wrong blob is dropped.
fn verify(
    slot: &mut Option<PackBuilder<Pooled>>,
    sealer: &mut Sealer,
    contents: &[&[u8]],
) -> Result<Vec<Id>> {
    let Some(builder) = slot else { return Ok(Id::of_many(contents)?) };
    let messages: Vec<&[u8]> = sealer.waiting().chain(contents.iter().copied()).collect();
    let mut opened = builder.hash_with(&messages);
    let confirmed = Id::confirm(&messages, &opened);
    let ids = opened.split_off(opened.len() - contents.len());
    if let Err(wrong) = confirmed.map_err(Error::from).and_then(|()| sealer.verify_by(&opened)) {
        *slot = None;
        return Err(wrong);
    }
    Ok(ids)
}

/// Counts one less when it is dropped, also by a panic.
struct Leaves<'a>(&'a AtomicUsize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What an uploader is handed.
#[derive(Debug)]
pub enum Upload {
    /// A pack to write.
    Pack(FinishedPack),
    /// The end of its work.
    NoMore,
}

/// Joins partly filled packs, so that a small run writes one pack and not one a worker.
fn join(mut builders: Vec<PackBuilder<Pooled>>, pack_bytes: usize) -> Result<Vec<PackBuilder<Pooled>>> {
    builders.sort_by_key(|builder| std::cmp::Reverse(builder.len()));
    let mut joined: Vec<PackBuilder<Pooled>> = Vec::new();
    for builder in builders.into_iter().filter(|builder| !builder.is_empty()) {
        match joined.iter_mut().find(|open| open.has_room_for(&builder, pack_bytes)) {
            Some(open) => open.append_all(builder)?,
            None => joined.push(builder),
        }
    }
    Ok(joined)
}

impl Indexer {
    fn is_due(&self, now: Duration) -> bool {
        self.pending_blobs >= INDEX_BLOBS_MAX
            || self.pending.len() >= UNINDEXED_PACKS_MIN.max(self.indexed_packs)
            || now.saturating_sub(self.since) >= INDEX_EVERY
    }

    fn take(&mut self, now: Duration) -> Vec<IndexPack> {
        self.since = now;
        self.pending_blobs = 0;
        std::mem::take(&mut self.pending)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::backend::memory::MemoryBackend;
    use crate::backend::{Backend, FileType};
    use crate::random::{Random, SystemRandom};
    use crate::repository::index::IndexBuilder;
    use crate::repository::testing;

    const PLAN: StorePlan = StorePlan {
        pack_bytes: 1 << 20,
        has_long_tails: false,
        data_slots: 2,
        tree_slots: 1,
        verifies_later: true,
        starts_short: false,
        uploads: 1,
        compresses_harder: false,
    };

    /// Lets `work` add to a store; how the store ended, and how many packs there are then.
    fn packs_after(
        plan: StorePlan,
        work: impl FnOnce(&Store<'_>, Sealer) -> Result<()>,
    ) -> (Result<()>, usize) {
        let backend = Arc::new(MemoryBackend::new());
        let repository = testing::create(Arc::<MemoryBackend>::clone(&backend));
        let (index, stop, progress) =
            (IndexBuilder::default().finish(), AtomicBool::new(false), Progress::default());
        let run = Run::new(&stop);
        let (store, packs) = Store::new(&repository, &index, &run, &progress, plan);
        let ended = std::thread::scope(|scope| {
            scope.spawn(|| store.upload(&packs));
            let worked = work(&store, repository.sealer().unwrap());
            if let Err(error) = &worked {
                run.fail(error.clone());
            }
            let finished = store.finish();
            worked.and(finished)
        });
        (ended, backend.list(FileType::Pack).unwrap().len())
    }

    fn noise() -> Vec<u8> {
        let mut noise = vec![0; 300_000];
        SystemRandom.fill(&mut noise).unwrap();
        noise
    }

    #[test]
    fn what_is_verified_later_is_stored_under_its_ids() {
        let blobs: Vec<Vec<u8>> = (0..10).map(|_| noise()).collect();
        for verifies_later in [true, false] {
            let plan = StorePlan { verifies_later, ..PLAN };
            let (ended, packs) = packs_after(plan, |store, mut sealer| {
                for blob in &blobs {
                    let ids = store.identify(1, &mut sealer, &[blob, b"another"])?;
                    assert_eq!(ids, [Id::of(blob), Id::of(b"another")]);
                    store.add(1, &mut sealer, BlobType::Data, [(ids[0], blob.as_slice())])?;
                }
                store.add(1, &mut sealer, BlobType::Tree, [(Id::of(b"{}"), &b"{}"[..])])?;
                store.identify(1, &mut sealer, &[]).map(|none| assert!(none.is_empty()))
            });
            ended.unwrap();
            assert_eq!(packs, 4, "three of data, one of trees");
        }
    }

    #[test]
    fn a_wrong_blob_ends_the_run_and_is_never_stored() {
        let (right, wrong) = (noise(), noise());
        for verifies_later in [true, false] {
            let plan = StorePlan { verifies_later, ..PLAN };
            let (ended, packs) = packs_after(plan, |store, mut sealer| {
                store.add(0, &mut sealer, BlobType::Data, [(Id::of(&right), right.as_slice())])?;
                store.add(0, &mut sealer, BlobType::Data, [(Id::of(&right[1..]), wrong.as_slice())])?;
                store.identify(0, &mut sealer, &[]).map(drop)
            });
            assert!(ended.unwrap_err().to_string().contains("does not open again"));
            assert_eq!(packs, 0);
        }
    }

    #[test]
    fn long_tails_make_fewer_packs() {
        let mut blob = vec![0; 2_000_000];
        SystemRandom.fill(&mut blob).unwrap();
        for (has_long_tails, expected) in [(false, 3), (true, 2)] {
            let plan = StorePlan { pack_bytes: 16 << 20, has_long_tails, ..PLAN };
            let mut blob = blob.clone();
            let (ended, packs) = packs_after(plan, |store, mut sealer| {
                for number in 0..18 {
                    blob[0] = number;
                    store.add(0, &mut sealer, BlobType::Data, [(Id::of(&blob), blob.as_slice())])?;
                    store.identify(0, &mut sealer, &[])?;
                }
                Ok(())
            });
            ended.unwrap();
            assert_eq!(packs, expected);
        }
    }

    #[test]
    fn only_the_first_pack_is_short() {
        for (starts_short, expected) in [(false, 1), (true, 2)] {
            let (ended, packs) = packs_after(StorePlan { starts_short, ..PLAN }, |store, mut sealer| {
                for _ in 0..4 {
                    let blob = noise();
                    store.add(0, &mut sealer, BlobType::Data, [(Id::of(&blob), blob.as_slice())])?;
                    store.identify(0, &mut sealer, &[])?;
                }
                Ok(())
            });
            ended.unwrap();
            assert_eq!(packs, expected);
        }
    }

    #[test]
    fn index_files_come_after_two_minutes_or_as_much_as_there_is() {
        let mut indexer = Indexer::default();
        let pack = || IndexPack { id: Id::default(), blobs: Vec::new() };
        let mut written = Vec::new();
        for packs in 1..=70 {
            indexer.pending.push(pack());
            if indexer.is_due(Duration::from_secs(100)) {
                indexer.indexed_packs += indexer.take(Duration::ZERO).len();
                written.push(packs);
            }
        }
        assert_eq!(written, [16, 32, 64]);
        assert!(indexer.is_due(Duration::from_mins(2)));
    }
}
