//! The data: packs are read from end to end, many at once, and all that they hold is opened.
//!
//! Of each pack: its hash is its name, its header lists what the index lists, every blob has the right tag,
//! decompresses and has the hash that it is named by. From a disk a worker reads several packs side by side, a piece
//! of each at a time, which it hashes together: that fills the lanes of a wide CPU, and takes less memory than packs.
//! From an object store a pack is one request, if it fits into a worker's share of the memory budget.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::findings::Findings;
use super::structure::Inventory;
use super::subset::Pack;
use super::walk::{Listed, Walk};
use crate::backend::DISK_CONNECTIONS_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Monitor;
use crate::repository::blob::{Apart, BadBlob, InPlace};
use crate::repository::hash_pool::{HashPool, Message};
use crate::repository::index::{ByPack, Index, IndexEntry};
use crate::repository::pack::PackedBlob;
use crate::repository::sha256::Together;
use crate::repository::{Id, Repository, in_parallel_with};

/// What a worker needs besides what it read: unpacked blobs, and contexts.
const WORKER_BYTES: u64 = 24 << 20;
/// Where a piece of a pack ends that is read from a disk, but for a blob that is longer.
const PIECE_BYTES: u64 = 512 << 10;
/// What a piece takes most of the time: chunks are 512 KiB to 8 MiB long, most of them less than two.
const PIECE_MEMORY_BYTES: u64 = 2 << 20;
/// Plaintext that is hashed together, in bytes.
const TOGETHER_BYTES: usize = 5 << 20;
/// Packs that a worker reads side by side.
const TOGETHER_PACKS: usize = 8;
/// Faults of one pack that are told.
const FAULTS_MAX: usize = 10;

/// What reading may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) memory_bytes: u64,
    pub(super) threads: usize,
}

/// How packs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    workers: usize,
    /// Packs that a worker reads side by side.
    together: usize,
    piece_bytes: u64,
}

impl Plan {
    /// For packs of up to `largest` bytes, of a store that gets so many requests at once.
    fn new(share: Share, connections: usize, lanes: usize, largest: u64) -> Self {
        let workers = |each: u64, most: usize| (share.memory_bytes / each).clamp(1, most as u64);
        if connections > DISK_CONNECTIONS_MAX {
            // An object store is kept busy by all connections.
            let each = WORKER_BYTES + largest.min(share.memory_bytes / 2);
            let workers = workers(each, connections.max(share.threads + 1));
            let whole_bytes_max = (share.memory_bytes / workers).saturating_sub(WORKER_BYTES);
            let piece_bytes =
                if largest <= whole_bytes_max { u64::MAX } else { whole_bytes_max.max(PIECE_BYTES) };
            return Self { workers: workers as usize, together: 1, piece_bytes };
        }
        // One more than compute waits for the disk.
        let together = lanes.min(TOGETHER_PACKS);
        let workers = workers(WORKER_BYTES + together as u64 * PIECE_MEMORY_BYTES, share.threads + 1);
        Self { workers: workers as usize, together, piece_bytes: PIECE_BYTES }
    }
}

/// Reads packs, and tells what is wrong with each.
pub(super) fn read_packs(
    repository: &Repository,
    inventory: &Inventory,
    packs: &[Pack],
    share: Share,
    findings: &Findings<'_>,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<()> {
    let largest = packs.iter().map(|(_, _, bytes)| *bytes).max().unwrap_or(0);
    let plan = Plan::new(share, repository.backend().connections(), Id::at_once(), largest);
    let by_pack = inventory.index.by_pack();
    // As many groups for each worker, so that none of them is the last one's alone.
    let groups_of_worker = packs.len().div_ceil(plan.workers * plan.together).max(1);
    let each = packs.len().div_ceil(plan.workers * groups_of_worker).max(1);
    let groups = groups(packs, &inventory.index, each);
    let reader = Reader { repository, inventory, by_pack: &by_pack, plan, findings, monitor, stop };
    let opening = || Opening::new(repository);
    in_parallel_with(&groups, plan.workers, opening, |opening, packs| reader.read(opening, packs)).map(|_| ())
}

/// Packs in groups of up to `each` that take about as long: as compressed bytes are hashed and decrypted, and plain ones
/// hashed, what counts is both. A disk's last group would else be one worker's alone.
fn groups(packs: &[Pack], index: &Index, each: usize) -> Vec<Vec<Pack>> {
    let mut weights = vec![0; index.pack_count()];
    for entry in index.iter() {
        if let Some(weight) = weights.get_mut(entry.pack as usize) {
            *weight += u64::from(entry.extent.length) + entry.extent.plain_bytes();
        }
    }
    let weight = |(number, ..): &Pack| weights.get(*number as usize).copied().unwrap_or_default();
    let mut heaviest_first: Vec<&Pack> = packs.iter().collect();
    heaviest_first.sort_by_key(|pack| Reverse(weight(pack)));
    let mut groups = vec![Vec::new(); packs.len().div_ceil(each)];
    let mut lightest: BinaryHeap<_> = (0..groups.len()).map(|group| Reverse((0, group))).collect();
    for pack in heaviest_first {
        let Some(Reverse((so_far, number))) = lightest.pop() else { break };
        let Some(group) = groups.get_mut(number) else { break };
        group.push(*pack);
        if group.len() < each {
            lightest.push(Reverse((so_far + weight(pack), number)));
        }
    }
    groups
}

struct Reader<'a> {
    repository: &'a Repository,
    inventory: &'a Inventory,
    by_pack: &'a ByPack<'a>,
    plan: Plan,
    findings: &'a Findings<'a>,
    monitor: &'a dyn Monitor,
    stop: &'a AtomicBool,
}

/// A worker's contexts, and what it unpacked and did not hash yet.
struct Opening {
    opener: InPlace,
    pool: HashPool<Unpacked>,
}

impl Opening {
    fn new(repository: &Repository) -> Result<Self> {
        let opener = InPlace::new(repository.cipher().clone())?;
        Ok(Self { opener, pool: HashPool::new(TOGETHER_BYTES) })
    }
}

/// An unpacked blob of a walk.
struct Unpacked {
    walk: usize,
    blob: Listed,
    plain: Vec<u8>,
}

impl Message for Unpacked {
    fn content(&self) -> &[u8] {
        &self.plain
    }
}

/// A blob of a walk's piece that was opened where it lies.
struct InPiece {
    walk: usize,
    blob: Listed,
    place: Range<usize>,
}

/// A pack, and the blobs of it that are damaged, each with its offset.
struct Walked<'a> {
    number: u32,
    walk: Walk<'a>,
    faults: Vec<(u32, String)>,
}

impl Reader<'_> {
    /// Reads packs side by side.
    fn read(&self, opening: &mut Opening, packs: &[Pack]) -> Result<()> {
        let walked = |(number, id, bytes): &Pack| {
            let blobs = self.by_pack.entries(*number);
            let walk = Walk::new(self.repository, *id, *bytes, blobs, self.plan.piece_bytes);
            Walked { number: *number, walk, faults: Vec::new() }
        };
        let mut walked: Vec<Walked<'_>> = packs.iter().map(walked).collect();
        let mut hashes = Together::new(walked.len());
        loop {
            let mut is_over = true;
            for Walked { walk, .. } in &mut walked {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Error::new(ErrorKind::Interrupted, "check interrupted"));
                }
                is_over &= !walk.advance()?;
                self.monitor.progress().bytes_done.add(walk.piece().len() as u64);
            }
            if is_over {
                break;
            }
            hashes.update(&walked.iter().map(|walked| walked.walk.piece()).collect::<Vec<_>>());
            self.open(opening, &mut walked);
        }
        let rest = opening.pool.finish();
        self.compare(&mut walked, rest);
        for (walked, hash) in walked.into_iter().zip(hashes.finish()) {
            self.end(opening, walked, Id(hash))?;
        }
        Ok(())
    }

    /// Opens the blobs of all pieces.
    fn open(&self, opening: &mut Opening, walked: &mut [Walked<'_>]) {
        let mut in_pieces = Vec::new();
        for walk in 0..walked.len() {
            let blobs = walked.get_mut(walk).map(|walked| std::mem::take(&mut walked.walk.blobs));
            for blob in blobs.unwrap_or_default() {
                let Some(Walked { walk: own, faults, .. }) = walked.get_mut(walk) else { continue };
                let Some(sealed) = own.sealed(&blob.1) else {
                    own.left_over.push(blob);
                    continue;
                };
                match opening.opener.open_apart(sealed, blob.1.extent.plain_length) {
                    Ok(Apart::InPlace(place)) => in_pieces.push(InPiece { walk, blob, place }),
                    Ok(Apart::Unpacked(plain)) => {
                        let done = opening.pool.push(Unpacked { walk, blob, plain });
                        self.compare(walked, done);
                    }
                    Err(cause) => faults.push(self.bad_blob(&blob, &cause.to_string())),
                }
            }
        }
        self.compare_in_pieces(walked, &in_pieces);
    }

    /// Compares the hashes of what was unpacked with its ids.
    fn compare(&self, walked: &mut [Walked<'_>], done: Vec<(Unpacked, Id)>) {
        for (Unpacked { walk, blob, plain }, hash) in done {
            // What seems to be damage is computed again in the plain way.
            let is_right = hash == blob.1.id || Id::of(&plain) == blob.1.id;
            if let Some(walked) = walked.get_mut(walk).filter(|_| !is_right) {
                walked.faults.push(self.bad_blob(&blob, &BadBlob::OtherHash(hash).to_string()));
            }
        }
    }

    /// The same of what was opened where it lies.
    fn compare_in_pieces(&self, walked: &mut [Walked<'_>], blobs: &[InPiece]) {
        let plain = |InPiece { walk, blob, place }: &InPiece| {
            walked.get(*walk).map(|walked| walked.walk.at(&blob.1, place.clone())).unwrap_or_default()
        };
        let plains: Vec<&[u8]> = blobs.iter().map(plain).collect();
        let expected: Vec<Id> = blobs.iter().map(|InPiece { blob, .. }| blob.1.id).collect();
        let hashes = Id::of_expected(&plains, &expected);
        for (InPiece { walk, blob, .. }, hash) in blobs.iter().zip(hashes) {
            if let Some(walked) = walked.get_mut(*walk).filter(|_| hash != blob.1.id) {
                walked.faults.push(self.bad_blob(blob, &BadBlob::OtherHash(hash).to_string()));
            }
        }
    }

    /// Tells what is wrong with a pack that was walked.
    fn end(&self, opening: &mut Opening, walked: Walked<'_>, hash: Id) -> Result<()> {
        let Walked { number, mut walk, faults: mut bad_blobs } = walked;
        let mut faults = Vec::new();
        if let Some(cause) = walk.broken.take() {
            faults.push(cause);
        } else if hash != walk.pack {
            match walk.hash()? {
                Ok(again) if again == walk.pack => {}
                Ok(again) => faults.push(format!("unexpected pack id {again}")),
                Err(cause) => faults.push(cause),
            }
        }
        match walk.header()? {
            Ok(listed) => faults.extend(compare(&listed, &self.by_pack.entries(number))),
            Err(cause) => faults.push(cause),
        }
        for blob in std::mem::take(&mut walk.left_over) {
            if let Err(cause) = open_alone(opening, &walk, &blob.1)? {
                bad_blobs.push(self.bad_blob(&blob, &cause));
            }
        }
        bad_blobs.sort_unstable_by_key(|(offset, _)| *offset);
        faults.extend(bad_blobs.into_iter().map(|(_, fault)| fault));
        if !faults.is_empty() {
            let mut told: Vec<&str> = faults.iter().take(FAULTS_MAX).map(String::as_str).collect();
            if faults.len() > FAULTS_MAX {
                told.push("…");
            }
            let (pack, count) = (walk.pack, faults.len());
            let text = format!("pack {pack} contains {count} errors: [{}]", told.join("; "));
            self.findings.broken_pack(pack, &text);
        }
        self.monitor.progress().bytes_done.add(walk.unread());
        self.monitor.progress().files_done.add(1);
        Ok(())
    }

    /// Marks an entry as one that cannot be read. Its offset, and what to tell.
    fn bad_blob(&self, (ordinal, entry): &Listed, cause: &str) -> (u32, String) {
        self.inventory.bad.set(*ordinal);
        (entry.extent.offset, format!("{} blob {}: {cause}", entry.kind.word(), entry.id))
    }
}

/// Opens a blob that no piece held.
fn open_alone(opening: &mut Opening, walk: &Walk<'_>, blob: &IndexEntry) -> Result<Result<(), String>> {
    let extent = blob.extent;
    let read = walk.part(u64::from(extent.offset), extent.length as usize)?;
    let actual = read.and_then(|sealed| {
        let mut sealed = bytes::BytesMut::from(sealed);
        let opened = opening.opener.open_apart(&mut sealed, extent.plain_length);
        Ok(match opened.map_err(|cause| cause.to_string())? {
            Apart::Unpacked(plain) => Id::of(&plain),
            Apart::InPlace(place) => Id::of(sealed.get(place).unwrap_or_default()),
        })
    });
    Ok(actual.and_then(|id| if id == blob.id { Ok(()) } else { Err(BadBlob::OtherHash(id).to_string()) }))
}

/// The header against the index.
fn compare(blobs: &[PackedBlob], entries: &[(usize, IndexEntry)]) -> Vec<String> {
    let key = |blob: &PackedBlob| {
        (blob.extent.offset, blob.extent.length, blob.extent.plain_length, blob.id, blob.kind)
    };
    let in_header: std::collections::BTreeSet<_> = blobs.iter().map(key).collect();
    let in_index: std::collections::BTreeSet<_> = entries
        .iter()
        .map(|(_, entry)| key(&PackedBlob { id: entry.id, kind: entry.kind, extent: entry.extent }))
        .collect();
    let unlisted = in_header.difference(&in_index);
    let unlisted = unlisted.map(|(.., id, kind)| format!("{} blob {id} is not in the index", kind.word()));
    let strange = in_index.difference(&in_header);
    let strange =
        strange.map(|(.., id, kind)| format!("{} blob {id} of the index is not in its header", kind.word()));
    unlisted.chain(strange).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::blob::{BlobType, Extent};
    use crate::repository::index::{IndexBuilder, IndexPack};

    #[test]
    fn plans_fit_their_budget() {
        let share = |mebibytes: u64, threads| Share { memory_bytes: mebibytes << 20, threads };
        let pack = 16 << 20;
        let plan = |share, connections, lanes| Plan::new(share, connections, lanes, pack);
        let of = |workers, together, piece_bytes| Plan { workers, together, piece_bytes };
        // A disk: side by side where there are lanes.
        assert_eq!(plan(share(1024, 2), 5, 16), of(3, 8, PIECE_BYTES));
        assert_eq!(plan(share(1024, 2), 5, 1), of(3, 1, PIECE_BYTES));
        assert_eq!(plan(share(64, 2), 5, 16), of(1, 8, PIECE_BYTES));
        // An object store: whole packs.
        assert_eq!(plan(share(1024, 2), 16, 16), of(16, 1, u64::MAX));
        assert_eq!(plan(share(100, 2), 16, 16), of(2, 1, u64::MAX));
        let large = Plan::new(share(100, 2), 16, 16, 1 << 30);
        assert_eq!(large, of(1, 1, 76 << 20));
    }

    #[test]
    fn every_pack_is_in_one_group_and_groups_weigh_the_same() {
        let pack = |number: u32, blobs: u32| IndexPack {
            id: Id::of(&number.to_le_bytes()),
            blobs: (0..blobs)
                .map(|blob| PackedBlob {
                    id: Id::of(&[number, blob].map(u32::to_le_bytes).concat()),
                    kind: BlobType::Data,
                    extent: Extent { offset: blob * 100, length: 100, plain_length: None },
                })
                .collect(),
        };
        let mut builder = IndexBuilder::default();
        builder.add(&(0..20).map(|number| pack(number, 1 + number % 10)).collect::<Vec<_>>());
        let index = builder.finish();
        let packs: Vec<Pack> = (0..).zip(index.packs()).map(|(number, id)| (number, *id, 1000)).collect();
        let groups = groups(&packs, &index, 8);
        let weight = |group: &Vec<Pack>| group.iter().map(|(number, ..)| 1 + number % 10).sum::<u32>();
        let weights: Vec<u32> = groups.iter().map(weight).collect();
        assert_eq!(weights.iter().sum::<u32>(), 110);
        assert!(weights.len() == 3 && weights.iter().all(|weight| (33..=40).contains(weight)), "{weights:?}");
        let mut seen: Vec<u32> = groups.iter().flatten().map(|(number, ..)| *number).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
        assert!(groups.iter().all(|group| group.len() <= 8));
        assert!(super::groups(&[], &index, 8).is_empty());
    }
}
