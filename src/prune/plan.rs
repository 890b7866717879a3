//! Which packs stay, which are repacked and which go: restic 0.19's choices.
//!
//! ```text
//! no index names it                       goes
//! no needed blob                          goes
//! all needed, of one type                 stays; small ones are candidates where there are ten of them
//! otherwise (partly used, mixed, raw trees in version 2)      candidate
//! ```
//! Candidates: trees first, then small packs, then by the share that is unused; repacked until no more than
//! `unused_max` would stay unused, or `repack_bytes_max` is reached. Trees and small ones are always wanted.
//!
//! Of a blob that is stored several times one copy is kept. Packs choose, always in the same order: first those
//! that stay if they get all they hold, the largest first; each takes all or waits. What is left is taken by
//! the others, sound ones first. What a prune repacks is what the others took, so a new pack shares nothing
//! with one that got all, and gets all the next time: where a prune was interrupted, or may not delete, the
//! next chooses the same, and the sources of the new packs get nothing.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::Options;
use super::lists::Lists;
use crate::backend::FileType;
use crate::error::{Error, Result};
use crate::report::PruneSummary;
use crate::repository::Id;
use crate::repository::blob::BlobType;
use crate::repository::crypto::SEAL_BYTES;
use crate::repository::index::{Index, IndexEntry};
use crate::repository::pack::{ENTRY_PACKED_BYTES, ENTRY_RAW_BYTES, LENGTH_BYTES};
use crate::repository::reach::Bits;

/// Fewer small packs are not worth the trouble, and one would be repacked at every prune.
const SMALL_PACKS_MIN: usize = 10;
/// A pack is small below 4/5 of this, or of what all but 3 % of the packs reach, if that is more.
const SMALL_BYTES_MIN: u64 = 4 << 20;

/// What is done with the packs, by their numbers in the index.
pub(super) struct Plan {
    /// The entries whose blobs stay, or are copied out of `repack`.
    pub(super) kept: Bits,
    pub(super) repack: Vec<u32>,
    remove: Vec<u32>,
    /// Packs that the index names and nobody needs or has.
    gone_already: Vec<u32>,
    orphans: Vec<Id>,
    /// The packs of the three lists by number.
    obsolete: Bits,
    pub(super) summary: PruneSummary,
}

impl Plan {
    pub(super) fn changes_nothing(&self) -> bool {
        self.repack.is_empty()
            && self.remove.is_empty()
            && self.gone_already.is_empty()
            && self.orphans.is_empty()
    }

    /// Whether no index may name a pack any more.
    pub(super) fn is_obsolete(&self, pack: u32) -> bool {
        self.obsolete.is_set(pack as usize)
    }

    /// The packs to delete.
    pub(super) fn obsolete(&self, index: &Index) -> Vec<Id> {
        let indexed = self.remove.iter().chain(&self.repack).filter_map(|number| index.pack(*number));
        self.orphans.iter().copied().chain(indexed).collect()
    }
}

#[derive(Default, Clone)]
struct Pack {
    listed_bytes: Option<u64>,
    file_bytes: u64,
    used_blobs: u64,
    unused_blobs: u64,
    header_bytes: u64,
    /// The header counts as used.
    used_bytes: u64,
    unused_bytes: u64,
    has_data: bool,
    has_trees: bool,
    has_raw: bool,
}

impl Pack {
    fn is_sound(&self) -> bool {
        self.listed_bytes == Some(self.file_bytes)
    }

    fn is_data(&self) -> bool {
        self.has_data && !self.has_trees
    }

    fn is_mixed(&self) -> bool {
        self.has_data && self.has_trees
    }

    fn bytes(&self) -> u64 {
        self.used_bytes + self.unused_bytes
    }

    fn count(&mut self, entry: &IndexEntry, used: bool) {
        let bytes = u64::from(entry.extent.length);
        if used {
            self.used_blobs += 1;
            self.used_bytes += bytes;
        } else {
            self.unused_blobs += 1;
            self.unused_bytes += bytes;
        }
    }
}

/// Decides. An error when what is needed is missing.
pub(super) fn plan(
    index: &Index,
    used: &Bits,
    lists: &Lists,
    options: &Options,
    version: u32,
) -> Result<Plan> {
    let mut packs = measure(index, lists);
    let mut summary = PruneSummary::default();
    let must_compress = |pack: &Pack| must_compress(pack, options, version);
    let kept = keep(index, used, &mut packs, &mut summary, must_compress);
    require_needed(index, &packs)?;

    let named: HashSet<Id> = index.packs().iter().copied().collect();
    let orphans: Vec<(Id, u64)> = lists.packs.iter().filter(|(id, _)| !named.contains(id)).copied().collect();
    let mut plan = Plan {
        kept,
        repack: Vec::new(),
        remove: Vec::new(),
        gone_already: Vec::new(),
        orphans: orphans.iter().map(|(id, _)| *id).collect(),
        obsolete: Bits::new(packs.len()),
        summary,
    };
    plan.summary.packs_unreferenced = orphans.len() as u64;
    plan.summary.bytes_unreferenced = orphans.iter().map(|(_, bytes)| bytes).sum();
    let small_bytes = small_bytes(&packs, options);
    let candidates = sort_out(&mut plan, &packs, small_bytes, options, version);
    choose(&mut plan, &packs, candidates, small_bytes, options, version);
    for number in plan.repack.iter().chain(&plan.remove).chain(&plan.gone_already) {
        plan.obsolete.set(*number as usize);
    }
    conclude(&mut plan.summary, &packs);
    Ok(plan)
}

/// Sizes and types by the index, and the listed sizes.
fn measure(index: &Index, lists: &Lists) -> Vec<Pack> {
    let end_bytes = (SEAL_BYTES + LENGTH_BYTES) as u64;
    let empty = |id: &Id| Pack {
        listed_bytes: lists.pack_bytes(id),
        file_bytes: end_bytes,
        header_bytes: end_bytes,
        used_bytes: end_bytes,
        ..Pack::default()
    };
    let mut packs: Vec<Pack> = index.packs().iter().map(empty).collect();
    for entry in index.iter() {
        let Some(pack) = packs.get_mut(entry.pack as usize) else { continue };
        let raw = entry.extent.plain_length.is_none();
        let entry_bytes = if raw { ENTRY_RAW_BYTES } else { ENTRY_PACKED_BYTES } as u64;
        pack.file_bytes += u64::from(entry.extent.length) + entry_bytes;
        pack.header_bytes += entry_bytes;
        pack.used_bytes += entry_bytes;
        pack.has_raw |= raw;
        match entry.kind {
            BlobType::Data => pack.has_data = true,
            BlobType::Tree => pack.has_trees = true,
        }
    }
    packs
}

/// Decides which copy of each needed blob is kept, and counts.
fn keep(
    index: &Index,
    used: &Bits,
    packs: &mut [Pack],
    summary: &mut PruneSummary,
    must_compress: impl Fn(&Pack) -> bool,
) -> Bits {
    let kept = Bits::new(index.len());
    // The first copies of needed blobs with several: packs choose when all others are counted.
    let mut copied: Vec<u32> = Vec::new();
    let mut end_run = |run: &[(usize, IndexEntry)], packs: &mut [Pack]| {
        for kind in [BlobType::Data, BlobType::Tree] {
            let mut copies = run.iter().filter(|(_, entry)| entry.kind == kind);
            let Some((ordinal, first)) = copies.next() else { continue };
            let (is_needed, is_copied) = (used.is_set(*ordinal), copies.next().is_some());
            if is_needed && is_copied {
                copied.push(*ordinal as u32);
            } else if is_needed {
                kept.set(*ordinal);
                count(packs, first, true);
            } else {
                let all = run.iter().filter(|(_, entry)| entry.kind == kind);
                all.for_each(|(_, entry)| count(packs, entry, false));
            }
        }
    };
    let mut run: Vec<(usize, IndexEntry)> = Vec::new();
    for (ordinal, entry) in index.iter().enumerate() {
        if run.first().is_some_and(|(_, first)| first.id != entry.id) {
            end_run(&run, packs);
            run.clear();
        }
        run.push((ordinal, entry));
    }
    end_run(&run, packs);
    if !copied.is_empty() {
        share(index, packs, &copied, &kept, summary, must_compress);
    }
    kept
}

/// Lets the packs choose among copies, by the ordinals of the first ones.
fn share(
    index: &Index,
    packs: &mut [Pack],
    copied: &[u32],
    kept: &Bits,
    summary: &mut PruneSummary,
    must_compress: impl Fn(&Pack) -> bool,
) {
    let (undecided, by_pack) = (Bits::new(index.len()), index.by_pack());
    let mut needed_bytes: Vec<u64> = vec![0; packs.len()];
    for first in copied {
        undecided.set(*first as usize);
        for entry in copies(index, *first as usize) {
            if let Some(bytes) = needed_bytes.get_mut(entry.pack as usize) {
                *bytes += u64::from(entry.extent.length);
            }
        }
    }
    let holders = needed_bytes.iter().zip(packs.iter()).enumerate().filter(|(_, (bytes, _))| **bytes > 0);
    let mut holders: Vec<_> = holders
        .map(|(number, (bytes, pack))| {
            let is_used = pack.unused_blobs == 0;
            let stays = pack.is_sound() && is_used && !pack.is_mixed() && !must_compress(pack);
            let worth = (stays, pack.is_sound(), is_used, bytes + pack.used_bytes);
            (Reverse(worth), index.pack(number as u32), number as u32)
        })
        .collect();
    holders.sort_unstable();
    let claims = |number: u32| {
        let first = |entry: &IndexEntry| index.ordinal(entry.kind, &entry.id);
        let claims = by_pack.entries(number).into_iter();
        let claims = claims.filter_map(|(ordinal, entry)| Some((first(&entry)?, ordinal, entry)));
        claims.filter(|(first, ..)| undecided.is_set(*first)).collect::<Vec<_>>()
    };
    let taken = Bits::new(index.len());
    let mut waiting = Vec::new();
    for (Reverse((stays, ..)), _, number) in &holders {
        let claims = claims(*number);
        let distinct: HashSet<usize> = claims.iter().map(|(first, ..)| *first).collect();
        if *stays && distinct.len() == claims.len() && !distinct.iter().any(|first| taken.is_set(*first)) {
            for (first, ordinal, entry) in &claims {
                taken.set(*first);
                kept.set(*ordinal);
                count(packs, entry, true);
            }
        } else {
            waiting.push(*number);
        }
    }
    for number in waiting {
        for (first, ordinal, entry) in claims(number) {
            let gets = taken.set(first);
            if gets {
                kept.set(ordinal);
            } else {
                summary.blobs_duplicate += 1;
                summary.bytes_duplicate += u64::from(entry.extent.length);
            }
            count(packs, &entry, gets);
        }
    }
}

/// The copies of a blob, by the ordinal of the first.
fn copies(index: &Index, first: usize) -> impl Iterator<Item = IndexEntry> {
    let blob = index.at(first);
    let is_copy = move |entry: &IndexEntry| blob.is_some_and(|blob| blob.id == entry.id);
    let run = (first..).map_while(|ordinal| index.at(ordinal)).take_while(is_copy);
    run.filter(move |entry| blob.is_some_and(|blob| blob.kind == entry.kind))
}

fn count(packs: &mut [Pack], entry: &IndexEntry, used: bool) {
    if let Some(pack) = packs.get_mut(entry.pack as usize) {
        pack.count(entry, used);
    }
}

fn require_needed(index: &Index, packs: &[Pack]) -> Result<()> {
    for (id, pack) in index.packs().iter().zip(packs).filter(|(_, pack)| pack.used_blobs > 0) {
        let cause = match pack.listed_bytes {
            None => "no such file".to_owned(),
            Some(listed) if listed != pack.file_bytes => {
                format!("it has {listed} bytes, by the index it has {}", pack.file_bytes)
            }
            Some(_) => continue,
        };
        let place = format!("{}/{id}", FileType::Pack.folder());
        return Err(Error::damaged("a pack that snapshots need is damaged", place, cause)
            .then("Nothing was changed. Run check to see what else is damaged"));
    }
    Ok(())
}

/// Below this a pack is small, in bytes.
fn small_bytes(packs: &[Pack], options: &Options) -> u64 {
    if let Some(bytes) = options.repack_below_bytes {
        return bytes;
    }
    let mut sizes: Vec<u64> = packs.iter().filter_map(|pack| pack.listed_bytes).collect();
    sizes.sort_unstable();
    let reached = sizes.get(sizes.len() * 3 / 100).copied().unwrap_or_default();
    reached.max(SMALL_BYTES_MIN) / 5 * 4
}

fn must_compress(pack: &Pack, options: &Options, version: u32) -> bool {
    version >= 2 && pack.has_raw && (pack.has_trees || options.uncompressed)
}

/// Takes what goes, leaves what stays, returns the candidates for repacking.
fn sort_out(plan: &mut Plan, packs: &[Pack], small_bytes: u64, options: &Options, version: u32) -> Vec<u32> {
    let mut candidates = Vec::new();
    let mut small = Vec::new();
    for (number, pack) in packs.iter().enumerate() {
        let number = number as u32;
        match (pack.used_blobs, pack.listed_bytes) {
            (0, None) => {
                plan.gone_already.push(number);
                plan.summary.blobs_removed += pack.unused_blobs;
            }
            (0, Some(listed)) => {
                plan.remove.push(number);
                plan.summary.packs_removed += 1;
                plan.summary.blobs_removed += pack.unused_blobs;
                plan.summary.bytes_removed += listed;
            }
            _ if options.cacheable_only && pack.is_data() => {}
            _ if pack.unused_blobs == 0 && !pack.is_mixed() && !must_compress(pack, options, version) => {
                if pack.file_bytes < small_bytes {
                    small.push(number);
                }
            }
            _ => candidates.push(number),
        }
    }
    if small.len() >= SMALL_PACKS_MIN {
        candidates.append(&mut small);
    }
    candidates
}

/// Repacks the candidates that are worth most, within the limits.
fn choose(
    plan: &mut Plan,
    packs: &[Pack],
    candidates: Vec<u32>,
    small_bytes: u64,
    options: &Options,
    version: u32,
) {
    let mut candidates: Vec<(u32, &Pack)> =
        candidates.into_iter().filter_map(|number| Some((number, packs.get(number as usize)?))).collect();
    candidates.sort_by(|(_, a), (_, b)| {
        // unused / used, greatest first, without dividing.
        let by_share = (u128::from(b.unused_bytes) * u128::from(a.used_bytes))
            .cmp(&(u128::from(a.unused_bytes) * u128::from(b.used_bytes)));
        let first = |pack: &Pack| (pack.is_data(), pack.bytes() >= small_bytes);
        first(a).cmp(&first(b)).then(by_share)
    });
    let live = || packs.iter().filter(|pack| pack.used_blobs > 0);
    // As by restic, what may stay unused is a share of the blobs alone, without the headers.
    let used_bytes: u64 = live().map(|pack| pack.used_bytes - pack.header_bytes).sum();
    let mut unused_bytes: u64 = live().map(|pack| pack.unused_bytes).sum();
    let unused_bytes_max = options.unused_max.bytes(used_bytes);
    for (number, pack) in candidates {
        let fits =
            options.repack_bytes_max.is_none_or(|most| plan.summary.bytes_repacked + pack.bytes() < most);
        let wanted = !pack.is_data() || must_compress(pack, options, version) || pack.bytes() < small_bytes;
        if fits && (wanted || unused_bytes >= unused_bytes_max) {
            unused_bytes -= pack.unused_bytes;
            let summary = &mut plan.summary;
            summary.packs_repacked += 1;
            summary.blobs_repacked += pack.used_blobs + pack.unused_blobs;
            summary.bytes_repacked += pack.bytes();
            summary.blobs_repacked_away += pack.unused_blobs;
            summary.bytes_repacked_away += pack.unused_bytes;
            plan.repack.push(number);
        }
    }
    plan.summary.bytes_unused_after = unused_bytes;
}

fn conclude(summary: &mut PruneSummary, packs: &[Pack]) {
    let blobs: u64 = packs.iter().map(|pack| pack.used_blobs + pack.unused_blobs).sum();
    let listed: u64 = packs.iter().filter_map(|pack| pack.listed_bytes).sum();
    summary.blobs_used = packs.iter().map(|pack| pack.used_blobs).sum();
    summary.bytes_used = packs.iter().filter(|pack| pack.used_blobs > 0).map(|pack| pack.used_bytes).sum();
    summary.blobs_remaining = blobs - summary.blobs_removed - summary.blobs_repacked_away;
    summary.bytes_remaining =
        listed.saturating_sub(summary.bytes_removed).saturating_sub(summary.bytes_repacked_away);
    summary.packs_kept = packs.len() as u64 - summary.packs_removed - summary.packs_repacked;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prune::UnusedMax;
    use crate::repository::blob::Extent;
    use crate::repository::index::{IndexBuilder, IndexPack};
    use crate::repository::pack::PackedBlob;

    const OPTIONS: Options = Options {
        unused_max: UnusedMax::Percent(5.0),
        repack_bytes_max: None,
        repack_below_bytes: Some(0),
        pack_bytes: 16 << 20,
        cacheable_only: false,
        uncompressed: false,
        expected: Vec::new(),
        without: Vec::new(),
        dry_run: false,
    };

    /// Twenty packs of a thousand blobs of 100 bytes, so many of each unused; their headers are a quarter of them.
    fn repacked(unused_each: u32) -> u64 {
        let id = |number: u32| Id::of(&number.to_le_bytes());
        let blob = |number: u32| {
            let extent = Extent { offset: number % 1000 * 100, length: 100, plain_length: None };
            PackedBlob { id: id(number), kind: BlobType::Data, extent }
        };
        let pack = |number: u32| IndexPack {
            id: id(u32::MAX - number),
            blobs: (number * 1000..(number + 1) * 1000).map(blob).collect(),
        };
        let packs: Vec<IndexPack> = (0..20).map(pack).collect();
        let mut builder = IndexBuilder::default();
        builder.add(&packs);
        let (index, used) = (builder.finish(), Bits::new(20_000));
        for number in (0..20_000).filter(|number| number % 1000 >= unused_each) {
            used.set(index.ordinal(BlobType::Data, &id(number)).unwrap_or_default());
        }
        let bytes = 1000 * (100 + ENTRY_RAW_BYTES as u64) + (SEAL_BYTES + LENGTH_BYTES) as u64;
        let mut listed: Vec<(Id, u64)> = packs.iter().map(|pack| (pack.id, bytes)).collect();
        listed.sort_unstable();
        let lists = Lists { snapshots: Vec::new(), indexes: Vec::new(), packs: listed };
        plan(&index, &used, &lists, &OPTIONS, 2).map_or(u64::MAX, |plan| plan.summary.packs_repacked)
    }

    #[test]
    fn what_may_stay_unused_is_a_share_of_blobs_without_headers() {
        assert_eq!(repacked(49), 0);
        // 6 % of the blobs, 5 % of blobs and headers; four of twenty bring it to 5 % of the blobs.
        assert_eq!(repacked(60), 4);
    }
}
