//! The new index, and the proof that it holds all that is needed.
//!
//! Only index files that name a pack which goes, or one that another file names already, are replaced, and with
//! them small ones, which would otherwise pile up. What is written is what no file that stays names: where
//! nothing may be deleted, the next run finds the new files, and writes none again. Of a pack that stays every
//! entry is kept, needed or not, as its header has them too. The proof does not trust what was just done: it
//! reads the new files back from the store.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use super::Context;
use super::plan::Plan;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::blob::Extent;
use crate::repository::index::{ByPack, Index, IndexPack};
use crate::repository::pack::PackedBlob;
use crate::repository::reach::Bits;
use crate::repository::{Id, Repository, in_parallel};

/// Blobs an index file holds at most, as restic writes them.
const BLOBS_MAX: usize = 50_000;
/// Index files with fewer blobs are joined, when the index changes anyway or there are many of them.
const SMALL_BLOBS: usize = BLOBS_MAX / 2;
const SMALL_FILES_MAX: usize = 16;
/// Index files that are encoded at once; each takes some 20 MiB.
const WRITERS: usize = 2;

/// What each index file names.
pub(super) struct IndexFiles {
    files: Vec<File>,
}

struct File {
    id: Id,
    packs: Vec<Named>,
    blobs: usize,
}

/// A pack as one index file names it.
struct Named {
    pack: Id,
    /// How many of its blobs.
    blobs: u32,
}

/// The index files that go, and what must be written in their place.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    /// The files that go.
    pub(super) files: BTreeSet<Id>,
    /// Packs that stay, by number, and that no file names which stays.
    packs: BTreeSet<u32>,
}

impl IndexFiles {
    /// Reads index files, and the index of all of them, which must fit the memory budget.
    pub(super) fn load(repository: &Repository, listed: Vec<(Id, u64)>) -> Result<(Index, Self)> {
        let files = Mutex::new(Vec::with_capacity(listed.len()));
        let index = repository.load_index_files(listed, &|id, packs| {
            let packs = packs?;
            let blobs = packs.iter().map(|pack| pack.blobs.len()).sum();
            let named = |pack: &IndexPack| Named { pack: pack.id, blobs: distinct(&pack.blobs) };
            let file = File { id: *id, packs: packs.iter().map(named).collect(), blobs };
            files.lock().unwrap_or_else(PoisonError::into_inner).push(file);
            Ok(packs)
        })?;
        Ok((index, Self { files: files.into_inner().unwrap_or_else(PoisonError::into_inner) }))
    }

    /// Decides which index files are replaced.
    pub(super) fn replaced(&self, index: &Index, plan: &Plan) -> Replaced {
        let numbers = numbers(index);
        let number = |named: &Named| numbers.get(&named.pack).copied();
        let mut blobs_of = vec![0_u32; index.pack_count()];
        for entry in index.iter() {
            if let Some(blobs) = blobs_of.get_mut(entry.pack as usize) {
                *blobs += 1;
            }
        }
        // The largest first, always in the same order: what an earlier run wrote covers what it was written for.
        let mut files: Vec<&File> = self.files.iter().collect();
        files.sort_by_key(|file| (Reverse(file.blobs), file.id));
        let covered = Bits::new(index.pack_count());
        // A pack that a file names in part must not be left half in it.
        let is_new = |named: &Named| {
            number(named).is_some_and(|pack| {
                let is_whole = blobs_of.get(pack as usize) == Some(&named.blobs);
                is_whole && !plan.is_obsolete(pack) && !covered.is_set(pack as usize)
            })
        };
        let (mut staying, mut going) = (Vec::new(), Vec::new());
        for file in files {
            if file.packs.iter().all(is_new) {
                for pack in file.packs.iter().filter_map(number) {
                    covered.set(pack as usize);
                }
                staying.push(file);
            } else {
                going.push(file);
            }
        }
        let mut replaced = Replaced::default();
        let is_lost = |pack: &u32| !plan.is_obsolete(*pack) && !covered.is_set(*pack as usize);
        for file in going {
            replaced.files.insert(file.id);
            replaced.packs.extend(file.packs.iter().filter_map(number).filter(is_lost));
        }
        let small: Vec<&File> = staying.into_iter().filter(|file| file.blobs < SMALL_BLOBS).collect();
        let writes = !plan.repack.is_empty() || !replaced.packs.is_empty();
        let small_max = match (writes, replaced.files.is_empty()) {
            (true, _) => 0,
            // One alone would only be copied.
            (false, false) => 1,
            (false, true) => SMALL_FILES_MAX,
        };
        if small.len() > small_max {
            for file in small {
                replaced.files.insert(file.id);
                replaced.packs.extend(file.packs.iter().filter_map(number));
            }
        }
        replaced
    }
}

/// How many entries the index has of these, which may be listed twice.
fn distinct(blobs: &[PackedBlob]) -> u32 {
    if blobs.is_sorted_by(|one, next| one.extent.offset < next.extent.offset) {
        return blobs.len() as u32;
    }
    let entry = |blob: &PackedBlob| {
        let Extent { offset, length, plain_length } = blob.extent;
        (offset, blob.id, blob.kind, length, plain_length.unwrap_or_default())
    };
    blobs.iter().map(entry).collect::<BTreeSet<_>>().len() as u32
}

fn numbers(index: &Index) -> HashMap<Id, u32> {
    index.packs().iter().enumerate().map(|(number, id)| (*id, number as u32)).collect()
}

/// Writes what stands in the place of what is `replaced`, and `new`.
pub(super) fn write(
    context: &Context<'_>,
    by_pack: &ByPack<'_>,
    replaced: &Replaced,
    new: Vec<IndexPack>,
) -> Result<Vec<Id>> {
    let chunks = chunks(&replaced.packs, &new, |pack| by_pack.entries(pack).len());
    in_parallel(&chunks, WRITERS, |chunk| {
        context.may_change()?;
        let mut packs: Vec<IndexPack> =
            chunk.staying.iter().filter_map(|number| index_pack(by_pack, *number)).collect();
        packs.extend(new.get(chunk.new.clone()).unwrap_or_default().iter().cloned());
        context.repository.write_index_file(&packs)
    })
}

fn index_pack(by_pack: &ByPack<'_>, number: u32) -> Option<IndexPack> {
    let blobs = by_pack.entries(number).into_iter();
    let blobs = blobs.map(|(_, entry)| PackedBlob { id: entry.id, kind: entry.kind, extent: entry.extent });
    Some(IndexPack { id: by_pack.index().pack(number)?, blobs: blobs.collect() })
}

/// The packs of one index file.
#[derive(Debug, Default)]
struct Chunk {
    staying: Vec<u32>,
    new: std::ops::Range<usize>,
    blobs: usize,
}

/// The chunk that takes `blobs` more: the last, or a new one where that is full.
fn room(chunks: &mut Vec<Chunk>, blobs: usize) -> Option<&mut Chunk> {
    if chunks.last().is_none_or(|chunk| chunk.blobs > 0 && chunk.blobs + blobs > BLOBS_MAX) {
        chunks.push(Chunk::default());
    }
    let chunk = chunks.last_mut()?;
    chunk.blobs += blobs;
    Some(chunk)
}

fn chunks(staying: &BTreeSet<u32>, new: &[IndexPack], blobs_of: impl Fn(u32) -> usize) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    for pack in staying {
        if let Some(chunk) = room(&mut chunks, blobs_of(*pack)) {
            chunk.staying.push(*pack);
        }
    }
    for (place, pack) in new.iter().enumerate() {
        if let Some(chunk) = room(&mut chunks, pack.blobs.len()) {
            let start = if chunk.new.is_empty() { place } else { chunk.new.start };
            chunk.new = start..place + 1;
        }
    }
    chunks
}

/// What the proof is about.
pub(super) struct Proof<'a> {
    pub(super) by_pack: &'a ByPack<'a>,
    pub(super) used: &'a Bits,
    pub(super) plan: &'a Plan,
    pub(super) files: &'a IndexFiles,
    pub(super) replaced: &'a Replaced,
    pub(super) new_packs: &'a [(Id, u64)],
    pub(super) new_indexes: &'a [Id],
}

/// An error unless the index files that stay and the new ones, as the store has them, name every needed blob
/// in a pack that stays or is new.
pub(super) fn prove(context: &Context<'_>, proof: &Proof<'_>) -> Result<()> {
    let index = proof.by_pack.index();
    let numbers = numbers(index);
    let found = Bits::new(index.len());
    let find = |blob: &PackedBlob| {
        if let Some(ordinal) = index.ordinal(blob.kind, &blob.id) {
            found.set(ordinal);
        }
    };
    let stays = |pack: &Id| numbers.get(pack).copied().filter(|number| !proof.plan.is_obsolete(*number));
    for file in proof.files.files.iter().filter(|file| !proof.replaced.files.contains(&file.id)) {
        let packs = file.packs.iter().filter_map(|named| stays(&named.pack));
        for pack in packs.filter_map(|number| index_pack(proof.by_pack, number)) {
            pack.blobs.iter().for_each(find);
        }
    }
    let new: BTreeSet<Id> = proof.new_packs.iter().map(|(id, _)| *id).collect();
    in_parallel(proof.new_indexes, WRITERS, |id| {
        context.go_on()?;
        for pack in context.repository.read_index_file(id)? {
            if !new.contains(&pack.id) && stays(&pack.id).is_none() {
                return Err(unproven(format!(
                    "index {} names pack {}, which goes",
                    id.short(),
                    pack.id.short()
                )));
            }
            pack.blobs.iter().for_each(find);
        }
        Ok(())
    })?;
    let lost = index.iter().enumerate().find(|(place, _)| proof.used.is_set(*place) && !found.is_set(*place));
    match lost {
        Some((_, entry)) => {
            Err(unproven(format!("{} blob {} is not in it", entry.kind.word(), entry.id.short())))
        }
        None => Ok(()),
    }
}

fn unproven(cause: String) -> Error {
    Error::new(ErrorKind::Other, "the new index does not hold all that is needed")
        .because(cause)
        .then("Nothing was deleted; report this as a bug")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::repository::blob::BlobType;

    #[test]
    fn index_files_are_full_and_name_each_pack_once() {
        let extent = Extent { offset: 0, length: 40, plain_length: None };
        let blob = PackedBlob { id: Id::default(), kind: BlobType::Data, extent };
        let new: Vec<IndexPack> =
            (0..5_u8).map(|n| IndexPack { id: Id::of(&[n]), blobs: vec![blob; 20_000] }).collect();
        let chunks = chunks(&BTreeSet::from([3, 4, 9]), &new, |pack| if pack == 4 { 60_000 } else { 10_000 });
        let seen: Vec<_> = chunks.iter().map(|chunk| (chunk.staying.clone(), chunk.new.clone())).collect();
        assert_eq!(seen, [(vec![3], 0..0), (vec![4], 0..0), (vec![9], 0..2), (vec![], 2..4), (vec![], 4..5)]);
        assert!(chunks[1..].iter().all(|chunk| chunk.blobs <= BLOBS_MAX || chunk.staying == [4]));
    }
}
