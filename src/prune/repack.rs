//! Copies the needed blobs of packs into new ones, sealed as they are, many packs at once; what is stored raw
//! in version 2 is compressed on the way, as restic does.
//!
//! ```text
//! pack ─ ranges of needed blobs ─ open, hash together ─ copy to an open pack, compare ─ full: upload ─ index
//! ```
//! A worker takes a pack at a time, or some where the store is far away, reads what is needed of them, fills a pack of its
//! own and uploads that, so what is in memory is bounded by the number of workers; trees come first and data when they are
//! done, as a worker must not hold an open pack of each. Over a narrow line an upload takes as long as many reads: where
//! the store is far away others upload, as long as one of them is free, and the worker reads on; the last packs close
//! earlier, so that little is left to upload when all is read. A blob that does not open is read again, alone, from every
//! pack that the index names; when no copy is right, the run ends, and nothing was deleted. New packs are indexed while the
//! run goes on: what an interrupted prune has uploaded is used by the next.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::plan::Plan;
use super::{Context, Options};
use crate::backend::{DISK_CONNECTIONS_MAX, FileType};
use crate::error::{Error, ErrorKind, Result};
use crate::repository::blob::{BlobType, InPlace, Opener, Plain, SealedLength, Sealer, shrink};
use crate::repository::compression::Compression;
use crate::repository::crypto::SEAL_BYTES;
use crate::repository::index::{ByPack, IndexEntry, IndexPack};
use crate::repository::pack::{ENTRY_PACKED_BYTES, HEADER_BYTES_MAX, PackBuilder};
use crate::repository::{
    Id, as_damage, damaged_blob, in_parallel, in_parallel_with, missing_blob, portions, thread_died,
};

/// Unneeded bytes that are read along rather than asking twice.
const GAP_BYTES: u64 = 128 << 10;
/// The most bytes of one request, unless a blob is longer.
const RANGE_BYTES: u64 = 4 << 20;
/// Room for the header of a pack of usual blobs; the buffer of another grows.
const HEADER_ROOM_BYTES: usize = 256 << 10;
/// Plaintext that is hashed together, in bytes; a longer blob is opened on its own.
const TOGETHER_BYTES: usize = 4 << 20;
/// Contexts of a worker.
const CONTEXT_BYTES: u64 = 4 << 20;
/// What the program takes besides: code, stacks, the new index on its way.
const BASE_BYTES: u64 = 24 << 20;
/// Threads that only upload, to a store that is far away.
const UPLOADERS_MAX: usize = 4;
/// Near the end a pack closes at this share of what is left to copy, as others are filled beside it and a read brings
/// more than what is needed, but not below this share of a pack's size.
const LEFT_SHARE: u64 = 3;
const LAST_PACKS_SHARE: u64 = 4;
/// An index file is written when so many blobs wait for one, or after this long.
const UNINDEXED_BLOBS_MAX: usize = 50_000;
const UNINDEXED_FOR: Duration = Duration::from_mins(5);

type Builder = PackBuilder<Vec<u8>>;

/// A worker's contexts.
struct Tools<'a> {
    many: InPlace,
    /// Copies of raw blobs that `many` opens.
    copies: Vec<u8>,
    opener: Opener,
    sealer: Sealer,
    /// To who uploads, if anybody is free.
    uploads: &'a Sender<Builder>,
}

/// What was written.
#[derive(Default)]
pub(super) struct Repacked {
    /// New packs with their sizes.
    pub(super) packs: Vec<(Id, u64)>,
    /// Index files that name some of them.
    pub(super) indexes: Vec<Id>,
    /// Those that no index names yet.
    pub(super) unindexed: Vec<IndexPack>,
}

struct Repack<'a> {
    context: &'a Context<'a>,
    by_pack: &'a ByPack<'a>,
    plan: &'a Plan,
    options: &'a Options,
    /// Of a pack's buffer.
    buffer_bytes: usize,
    /// Requests of a worker at once.
    requests: usize,
    /// Bytes that are not copied yet.
    left_bytes: AtomicU64,
    /// The last packs close earlier.
    is_far: bool,
    /// Packs that are being filled and that no worker holds.
    open: Mutex<Vec<Builder>>,
    /// Buffers of packs that were uploaded.
    spare: Mutex<Vec<Vec<u8>>>,
    written: Mutex<Written>,
    /// An uploader failed: what is copied from now on is in vain.
    is_over: AtomicBool,
}

struct Written {
    repacked: Repacked,
    unindexed_blobs: usize,
    since: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Repacks. When it fails, what was uploaded is indexed, so that the next run need not do it again.
pub(super) fn repack(
    context: &Context<'_>,
    by_pack: &ByPack<'_>,
    plan: &Plan,
    options: &Options,
) -> Result<Repacked> {
    if plan.repack.is_empty() {
        return Ok(Repacked::default());
    }
    let work = Work::measure(by_pack, plan);
    let buffer_bytes = options.pack_bytes + Sealer::bound(work.longest_bytes) + HEADER_ROOM_BYTES;
    let (workers, uploaders) =
        threads(context, by_pack, work.worker_bytes(buffer_bytes), buffer_bytes as u64)?;
    context.phase("repacking packs");
    let progress = context.monitor.progress();
    progress.files_total.set((work.trees.len() + work.data.len()) as u64);
    let since = context.repository.clock().elapsed();
    let repack = Repack {
        context,
        by_pack,
        plan,
        options,
        buffer_bytes,
        requests: requests(context.repository.backend().connections(), workers),
        left_bytes: AtomicU64::new(work.bytes),
        is_far: uploaders > 0,
        open: Mutex::default(),
        spare: Mutex::default(),
        written: Mutex::new(Written { repacked: Repacked::default(), unindexed_blobs: 0, since }),
        is_over: AtomicBool::new(false),
    };
    let (uploads, full) = bounded(0);
    let done = std::thread::scope(|scope| {
        let uploaders: Vec<_> = (0..uploaders).map(|_| scope.spawn(|| repack.upload_all(&full))).collect();
        let done = repack.copy_all(&work, workers, &uploads);
        drop(uploads);
        uploaders
            .into_iter()
            .fold(done, |done, uploader| done.and(uploader.join().unwrap_or_else(thread_died)))
    });
    if done.is_err() && context.lock.check().is_ok() {
        let unindexed = lock(&repack.written).take(since);
        let _ = repack.write_index(&unindexed);
    }
    done?;
    Ok(repack.written.into_inner().unwrap_or_else(PoisonError::into_inner).repacked)
}

/// What is to be copied.
#[derive(Default)]
struct Work {
    /// Packs with needed trees.
    trees: Vec<u32>,
    /// Packs with needed data.
    data: Vec<u32>,
    /// All blobs, sealed.
    bytes: u64,
    /// The longest blob, sealed or plain.
    longest_bytes: usize,
    has_raw: bool,
}

impl Work {
    fn measure(by_pack: &ByPack<'_>, plan: &Plan) -> Self {
        let mut work = Self::default();
        for pack in &plan.repack {
            let (mut has_trees, mut has_data) = (false, false);
            for (_, entry) in by_pack.entries(*pack).iter().filter(|(place, _)| plan.kept.is_set(*place)) {
                has_trees |= entry.kind == BlobType::Tree;
                has_data |= entry.kind == BlobType::Data;
                work.has_raw |= entry.extent.plain_length.is_none();
                work.bytes += u64::from(entry.extent.length);
                let longest = entry.extent.length.max(entry.extent.plain_length.unwrap_or_default());
                work.longest_bytes = work.longest_bytes.max(longest as usize);
            }
            work.trees.extend(has_trees.then_some(*pack));
            work.data.extend(has_data.then_some(*pack));
        }
        work
    }

    /// What a worker takes: the pack that it fills, a range, what is hashed together (raw and unpacked), a blob
    /// opened and unpacked, and both once more where it is compressed.
    fn worker_bytes(&self, buffer_bytes: usize) -> u64 {
        let longest = self.longest_bytes as u64;
        let scratch = if self.has_raw { 4 } else { 2 } * longest;
        buffer_bytes as u64 + RANGE_BYTES.max(longest) + scratch + 2 * TOGETHER_BYTES as u64 + CONTEXT_BYTES
    }
}

/// How many workers, of which each takes so many bytes, and how many uploaders with a buffer each. As many as the budget
/// has room for; no more than half of what the store takes at once, as more of them wait for processors and not for the
/// store, unless there are the processors.
fn threads(
    context: &Context<'_>,
    by_pack: &ByPack<'_>,
    each: u64,
    buffer_bytes: u64,
) -> Result<(usize, usize)> {
    let index = by_pack.index();
    let index_bytes = index.memory_bytes() + index.len() as u64 * 5 + index.pack_count() as u64 * 100;
    let left = context.memory_bytes.saturating_sub(index_bytes).saturating_sub(BASE_BYTES);
    if left < each {
        let (index, budget) = (index_bytes >> 20, context.memory_bytes >> 20);
        let others = (each + BASE_BYTES) >> 20;
        return Err(Error::new(ErrorKind::Other, "the memory budget is too small")
            .because(format!(
                "the index takes {index} MiB, repacking {others} MiB, the budget is {budget} MiB"
            ))
            .then("Raise MOVER_MEMORY or the container's memory limit, or lower RESTIC_PACK_SIZE"));
    }
    let connections = context.repository.backend().connections();
    let wanted = (connections / 2).max(context.threads.min(connections));
    let workers = wanted.clamp(1, (left / each) as usize);
    let buffers = ((left - workers as u64 * each) / buffer_bytes) as usize;
    let uploaders = if connections <= DISK_CONNECTIONS_MAX { 0 } else { buffers.min(UPLOADERS_MAX) };
    Ok((workers, uploaders))
}

/// Requests of a worker at once. Who reads from a disk waits for the processor.
fn requests(connections: usize, workers: usize) -> usize {
    if connections <= DISK_CONNECTIONS_MAX { 1 } else { (connections / workers).max(1) }
}

impl Repack<'_> {
    /// Trees, then data.
    fn copy_all(&self, work: &Work, workers: usize, uploads: &Sender<Builder>) -> Result<()> {
        let repository = self.context.repository;
        let tools = || {
            let sealer = repository.sealer()?;
            let sealer = if self.options.uncompressed { sealer.compressing_all() } else { sealer };
            let (many, opener) = (InPlace::new(repository.cipher().clone())?, repository.opener()?);
            Ok(Tools { many, copies: Vec::new(), opener, sealer, uploads })
        };
        for (kind, packs) in [(BlobType::Tree, &work.trees), (BlobType::Data, &work.data)] {
            let packs: Vec<&[u32]> = packs.chunks(self.requests).collect();
            in_parallel_with(&packs, workers, tools, |tools, packs| self.some(packs, kind, tools))?;
            self.upload_rest(uploads)?;
        }
        Ok(())
    }

    fn some(&self, packs: &[u32], kind: BlobType, tools: &mut Tools<'_>) -> Result<()> {
        let needed =
            |(ordinal, entry): &(usize, IndexEntry)| entry.kind == kind && self.plan.kept.is_set(*ordinal);
        let entries: Vec<IndexEntry> = packs
            .iter()
            .flat_map(|pack| self.by_pack.entries(*pack))
            .filter(needed)
            .map(|(_, entry)| entry)
            .collect();
        let ranges = ranges(&entries);
        for ranges in at_once(&ranges, self.requests) {
            self.context.go_on()?;
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let read = in_parallel(ranges, self.requests, |range| Ok(self.read(range, kind)))?;
            for (range, bytes) in ranges.iter().zip(read) {
                let entries = entries.get(range.entries.clone()).unwrap_or_default();
                self.copy_range(range, &bytes, kind, entries, tools)?;
            }
        }
        self.context.monitor.progress().files_done.add(packs.len() as u64);
        Ok(())
    }

    fn read(&self, range: &Range, kind: BlobType) -> Result<Bytes> {
        let pack = self.by_pack.index().pack(range.pack).unwrap_or_default();
        let length = (range.end - range.start) as usize;
        let read = self.context.repository.read_pack_range(kind, &pack, range.start, length);
        read.map_err(Error::from).map_err(as_damage)
    }

    /// All blobs of a range, which are `entries` of one kind.
    fn copy_range(
        &self,
        range: &Range,
        bytes: &Result<Bytes>,
        kind: BlobType,
        entries: &[IndexEntry],
        tools: &mut Tools<'_>,
    ) -> Result<()> {
        let sealed = |entry: &IndexEntry| {
            let from = (u64::from(entry.extent.offset) - range.start) as usize;
            let bytes = bytes.as_ref().map_err(Clone::clone)?;
            let sealed = bytes.get(from..from + entry.extent.length as usize);
            sealed.ok_or_else(|| missing_blob(entry.kind, &entry.id))
        };
        for group in groups(entries) {
            let blobs: Vec<_> = group.iter().map(|entry| (entry, sealed(entry))).collect();
            let proven = self.prove(kind, &blobs, tools);
            for ((entry, sealed), is_proven) in blobs.into_iter().zip(proven) {
                self.copy(entry, sealed, is_proven, tools)?;
            }
        }
        Ok(())
    }

    /// Which blobs have the hash of their id, of those that are copied as they are. What the open pack took before is
    /// hashed beside them.
    fn prove(
        &self,
        kind: BlobType,
        blobs: &[(&IndexEntry, Result<&[u8]>)],
        tools: &mut Tools<'_>,
    ) -> Vec<bool> {
        let Tools { many, copies, .. } = tools;
        many.clear(TOGETHER_BYTES);
        shrink(copies);
        let mut open = |entry: &IndexEntry, sealed: &[u8]| {
            if entry.extent.plain_length.is_none() && self.compresses(kind) {
                return None;
            }
            let start = copies.len();
            copies.extend_from_slice(sealed);
            Some(match many.open(copies.get_mut(start..)?, entry.extent.plain_length).ok()? {
                Plain::InPlace(place) => Plain::InPlace(start + place.start..start + place.end),
                Plain::Unpacked(place) => {
                    copies.truncate(start);
                    Plain::Unpacked(place)
                }
            })
        };
        let opened: Vec<Option<Plain>> =
            blobs.iter().map(|(entry, sealed)| open(entry, sealed.as_ref().ok()?)).collect();
        let plain = |plain: &Plain| match plain {
            Plain::InPlace(place) => copies.get(place.clone()).unwrap_or_default(),
            Plain::Unpacked(place) => many.plains().at(place.clone()),
        };
        let plains: Vec<&[u8]> = opened.iter().flatten().map(plain).collect();
        let mut builder = self.builder(kind);
        let mut actual = builder.hash_with(&plains).into_iter();
        lock(&self.open).push(builder);
        let blobs = opened.iter().zip(blobs);
        blobs.map(|(opened, (entry, _))| opened.is_some() && actual.next() == Some(entry.id)).collect()
    }

    /// Copies a blob from here, or from another pack when it is not what it should be.
    fn copy(
        &self,
        entry: &IndexEntry,
        sealed: Result<&[u8]>,
        is_proven: bool,
        tools: &mut Tools<'_>,
    ) -> Result<()> {
        let pack = self.by_pack.index().pack(entry.pack).unwrap_or_default();
        let copied = sealed.and_then(|sealed| self.append(entry, sealed, &pack, is_proven, tools));
        let Err(mut failure) = copied else { return Ok(()) };
        if failure.kind != ErrorKind::Damaged {
            return Err(failure);
        }
        for location in self.by_pack.index().locations(entry.kind, &entry.id) {
            let (offset, length) = (u64::from(location.extent.offset), location.extent.length as usize);
            let name = location.pack.hex();
            let read = self.context.repository.backend().read_range(FileType::Pack, &name, offset, length);
            let other = IndexEntry { extent: location.extent, ..*entry };
            let copied = read
                .map_err(Error::from)
                .map_err(as_damage)
                .and_then(|sealed: Bytes| self.append(&other, &sealed, &location.pack, false, tools));
            match copied {
                Ok(()) => {
                    let (blob, pack) = (entry.id.short(), pack.short());
                    self.context.monitor.warn(&format!(
                        "blob {blob} was damaged when it was read from pack {pack}; another reading is right"
                    ));
                    return Ok(());
                }
                Err(error) => failure = error,
            }
        }
        Err(failure.then("Nothing was deleted. Run check to see what else is damaged"))
    }

    /// Puts a sealed blob to the tail of an open pack, and opens it there unless it equals one that is proven. A pack
    /// that took a bad one is dropped back to what it held: the builder counts a blob only when this succeeds.
    fn append(
        &self,
        entry: &IndexEntry,
        sealed: &[u8],
        pack: &Id,
        is_proven: bool,
        tools: &mut Tools<'_>,
    ) -> Result<()> {
        let Tools { opener, sealer, .. } = tools;
        let random = self.context.repository.random();
        let plain_length = entry.extent.plain_length;
        let damaged = |cause: &dyn std::fmt::Display| damaged_blob(entry.kind, &entry.id, pack, cause);
        let compress = plain_length.is_none() && self.compresses(entry.kind);
        let mut builder = self.builder(entry.kind);
        let mut plain = Vec::new();
        let appended = if compress {
            opener.open(&entry.id, sealed, None, &mut plain).map_err(|cause| damaged(&cause)).and_then(|()| {
                let room = Sealer::bound(plain.len());
                builder
                    .append(entry.id, room, |tail| sealer.seal(entry.kind, &entry.id, &plain, tail, random))
            })
        } else {
            builder.append(entry.id, sealed.len(), |tail| {
                let place = tail.get_mut(..sealed.len()).unwrap_or_default();
                place.copy_from_slice(sealed);
                if !is_proven || place != sealed {
                    opener
                        .open(&entry.id, place, plain_length, &mut plain)
                        .map_err(|cause| damaged(&cause))?;
                }
                Ok(SealedLength { length: sealed.len() as u32, plain_length })
            })
        };
        let left_bytes = self.left_bytes.fetch_sub(entry.extent.length.into(), Ordering::Relaxed);
        let most = self.options.pack_bytes as u64;
        let close_bytes = if self.is_far { close_bytes(most, left_bytes) } else { most };
        if builder.len() as u64 >= close_bytes || is_header_full(&builder) {
            self.hand_over(builder, tools.uploads)?;
        } else {
            lock(&self.open).push(builder);
        }
        appended.map(|_| ())
    }

    /// A pack with room for a blob.
    fn builder(&self, kind: BlobType) -> Builder {
        let open = lock(&self.open).pop();
        open.unwrap_or_else(|| {
            let spare = lock(&self.spare).pop();
            PackBuilder::new(kind, spare.unwrap_or_else(|| vec![0; self.buffer_bytes]))
        })
    }

    /// Whether what is stored raw is compressed when it is copied: as restic does, unless compression is off.
    fn compresses(&self, kind: BlobType) -> bool {
        let repository = self.context.repository;
        let wanted = kind == BlobType::Tree
            || self.options.uncompressed
            || repository.compression() != Compression::Off;
        wanted && repository.config().version >= 2
    }

    /// Uploads a pack, unless somebody is free who does.
    fn hand_over(&self, builder: Builder, uploads: &Sender<Builder>) -> Result<()> {
        match uploads.try_send(builder) {
            Err(TrySendError::Full(builder) | TrySendError::Disconnected(builder)) => self.upload(builder),
            Ok(()) => Ok(()),
        }
    }

    /// What an uploader does.
    fn upload_all(&self, full: &Receiver<Builder>) -> Result<()> {
        let uploaded = full.iter().try_for_each(|builder| self.upload(builder));
        uploaded.inspect_err(|_| self.is_over.store(true, Ordering::Relaxed))
    }

    fn upload(&self, builder: Builder) -> Result<()> {
        if builder.is_empty() {
            return Ok(());
        }
        let Context { repository, .. } = self.context;
        let pack = builder.finish(repository.cipher(), repository.random())?;
        repository.write_pack(&pack)?;
        let file_bytes = pack.bytes.len() as u64;
        if let Ok(buffer) = pack.bytes.try_into_mut() {
            lock(&self.spare).push(buffer.into());
        }
        let due = {
            let mut written = lock(&self.written);
            written.repacked.packs.push((pack.id, file_bytes));
            written.unindexed_blobs += pack.blobs.len();
            written.repacked.unindexed.push(IndexPack { id: pack.id, blobs: pack.blobs });
            let now = repository.clock().elapsed();
            let is_due = written.unindexed_blobs >= UNINDEXED_BLOBS_MAX
                || now.saturating_sub(written.since) >= UNINDEXED_FOR;
            is_due.then(|| written.take(now))
        };
        due.map_or(Ok(()), |packs| {
            self.context.lock.check()?;
            self.write_index(&packs)
        })
    }

    fn write_index(&self, packs: &[IndexPack]) -> Result<()> {
        if packs.is_empty() {
            return Ok(());
        }
        let id = self.context.repository.write_index_file(packs)?;
        lock(&self.written).repacked.indexes.push(id);
        Ok(())
    }

    /// The partly filled packs, joined where they fit into one.
    fn upload_rest(&self, uploads: &Sender<Builder>) -> Result<()> {
        let mut builders = std::mem::take(&mut *lock(&self.open));
        builders.sort_by_key(|builder| std::cmp::Reverse(builder.len()));
        let mut joined: Vec<Builder> = Vec::new();
        for builder in builders {
            match joined.iter_mut().find(|open| open.has_room_for(&builder, self.options.pack_bytes)) {
                Some(open) => open.append_all(builder)?,
                None => joined.push(builder),
            }
        }
        joined.into_iter().try_for_each(|builder| self.hand_over(builder, uploads))
    }
}

/// Where a pack closes when so much is left to copy.
fn close_bytes(pack_bytes: u64, left_bytes: u64) -> u64 {
    (left_bytes / LEFT_SHARE).clamp(pack_bytes / LAST_PACKS_SHARE, pack_bytes)
}

fn is_header_full(builder: &Builder) -> bool {
    builder.header_bytes() + ENTRY_PACKED_BYTES + SEAL_BYTES > HEADER_BYTES_MAX
}

impl Written {
    fn take(&mut self, now: Duration) -> Vec<IndexPack> {
        self.since = now;
        self.unindexed_blobs = 0;
        std::mem::take(&mut self.repacked.unindexed)
    }
}

/// Entries that are hashed together.
fn groups(entries: &[IndexEntry]) -> impl Iterator<Item = &[IndexEntry]> {
    portions(entries, usize::MAX, TOGETHER_BYTES as u64, |entry| entry.extent.plain_bytes())
}

#[derive(Debug, PartialEq, Eq)]
struct Range {
    pack: u32,
    start: u64,
    end: u64,
    entries: std::ops::Range<usize>,
}

/// Ranges that are read together.
fn at_once(ranges: &[Range], most: usize) -> impl Iterator<Item = &[Range]> {
    portions(ranges, most, RANGE_BYTES, |range| range.end - range.start)
}

/// Cuts entries, sorted by pack and offset, into requests.
fn ranges(entries: &[IndexEntry]) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        let start = u64::from(entry.extent.offset);
        let end = start + u64::from(entry.extent.length);
        match ranges.last_mut() {
            Some(last)
                if last.pack == entry.pack
                    && start <= last.end + GAP_BYTES
                    && end.max(last.end) - last.start <= RANGE_BYTES =>
            {
                last.end = last.end.max(end);
                last.entries.end = place + 1;
            }
            _ => ranges.push(Range { pack: entry.pack, start, end, entries: place..place + 1 }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::blob::Extent;

    fn entry(offset: u64, length: u64) -> IndexEntry {
        let extent = Extent { offset: offset as u32, length: length as u32, plain_length: None };
        IndexEntry { id: Id::of(&offset.to_le_bytes()), kind: BlobType::Data, pack: 0, extent }
    }

    #[test]
    fn groups_hold_all_and_are_as_long_as_allowed() {
        let third = TOGETHER_BYTES as u64 / 3;
        let lengths = [third, third, third, 1, 3 * third + 100, 5, 5];
        let entries: Vec<IndexEntry> = lengths.iter().map(|length| entry(0, *length)).collect();
        let counts: Vec<usize> = groups(&entries).map(<[_]>::len).collect();
        assert_eq!(counts, [4, 1, 2]);
        assert_eq!(groups(&[]).count(), 0);
    }

    #[test]
    fn the_last_packs_close_earlier() {
        let at = |left| close_bytes(1200, left);
        assert_eq!([u64::MAX, 3600, 3000, 900, 0].map(at), [1200, 1200, 1000, 300, 300]);
    }

    #[test]
    fn what_lies_close_together_is_one_request_up_to_a_size() {
        let half = RANGE_BYTES / 2;
        let entries = [
            entry(10, 100),
            entry(110 + GAP_BYTES, 5),
            entry(100 + 2 * GAP_BYTES, half),
            entry(100 + 2 * GAP_BYTES + half, half),
            entry(1 << 30, 2 * RANGE_BYTES),
        ];
        let places: Vec<_> = ranges(&entries).into_iter().map(|range| range.entries).collect();
        assert_eq!(places, [0..3, 3..4, 4..5]);
        assert!(ranges(&[]).is_empty());
        let all = ranges(&entries);
        assert_eq!(all.first().map(|range| (range.start, range.end)), Some((10, 100 + 2 * GAP_BYTES + half)));
        let other = IndexEntry { pack: 1, ..entry(120, 100) };
        assert_eq!(super::ranges(&[entry(10, 100), other]).len(), 2, "a request is of one pack");
        let sets = |most| at_once(&all, most).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!((sets(1), sets(4)), (vec![1, 1, 1], vec![1, 1, 1]));
        let apart: Vec<_> = (0..5).map(|n| entry(n << 24, RANGE_BYTES / 3)).collect();
        let apart = super::ranges(&apart);
        assert_eq!(apart.len(), 5);
        assert_eq!(at_once(&apart, 8).map(<[_]>::len).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(at_once(&apart, 2).map(<[_]>::len).collect::<Vec<_>>(), [2, 2, 1]);
    }
}
