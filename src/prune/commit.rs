//! The new index, and the proof that it holds all that is needed.
//!
//! Only index files that name a pack which goes are written anew, and with them small ones, which would
//! otherwise pile up; of a pack that stays every entry is kept, needed or not, as its header has them too.
//! The proof does not trust what was just done: it reads the new files back from the store.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use super::Context;
use super::plan::Plan;
use crate::error::{Error, ErrorKind, Result};
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
    packs: Vec<Id>,
    blobs: usize,
}

impl IndexFiles {
    /// Reads index files, and the index of all of them, which must fit the memory budget.
    pub(super) fn load(repository: &Repository, listed: Vec<(Id, u64)>) -> Result<(Index, Self)> {
        let files = Mutex::new(Vec::with_capacity(listed.len()));
        let index = repository.load_index_files(listed, &|id, packs| {
            let packs = packs?;
            let blobs = packs.iter().map(|pack| pack.blobs.len()).sum();
            let file = File { id: *id, packs: packs.iter().map(|pack| pack.id).collect(), blobs };
            files.lock().unwrap_or_else(PoisonError::into_inner).push(file);
            Ok(packs)
        })?;
        Ok((index, Self { files: files.into_inner().unwrap_or_else(PoisonError::into_inner) }))
    }

    /// The index files that are to be replaced.
    pub(super) fn rewriting(&self, index: &Index, plan: &Plan) -> BTreeSet<Id> {
        let numbers = numbers(index);
        let mut named = vec![0_u32; index.pack_count()];
        let number = |pack: &Id| numbers.get(pack).copied().unwrap_or_default();
        for pack in self.files.iter().flat_map(|file| &file.packs) {
            if let Some(times) = named.get_mut(number(pack) as usize) {
                *times += 1;
            }
        }
        // A pack that several files name must not be left half in one of them.
        let is_shared = |pack: u32| named.get(pack as usize).is_some_and(|times| *times > 1);
        let changes = |file: &&File| {
            file.packs.iter().map(number).any(|pack| plan.is_obsolete(pack) || is_shared(pack))
        };
        let mut rewriting: BTreeSet<Id> = self.files.iter().filter(changes).map(|file| file.id).collect();
        let small: Vec<Id> =
            self.files.iter().filter(|file| file.blobs < SMALL_BLOBS).map(|file| file.id).collect();
        if !rewriting.is_empty() || small.len() > SMALL_FILES_MAX {
            rewriting.extend(small);
        }
        rewriting
    }
}

fn numbers(index: &Index) -> HashMap<Id, u32> {
    index.packs().iter().enumerate().map(|(number, id)| (*id, number as u32)).collect()
}

/// Writes what replaces `rewriting`: its packs that stay, and `new`.
pub(super) fn write(
    context: &Context<'_>,
    by_pack: &ByPack<'_>,
    files: &IndexFiles,
    plan: &Plan,
    rewriting: &BTreeSet<Id>,
    new: Vec<IndexPack>,
) -> Result<Vec<Id>> {
    let index = by_pack.index();
    let numbers = numbers(index);
    let replaced = files.files.iter().filter(|file| rewriting.contains(&file.id));
    let staying: BTreeSet<u32> = replaced
        .flat_map(|file| &file.packs)
        .filter_map(|pack| numbers.get(pack).copied())
        .filter(|pack| !plan.is_obsolete(*pack))
        .collect();
    let chunks = chunks(&staying, &new, |pack| by_pack.entries(pack).len());
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
    pub(super) rewriting: &'a BTreeSet<Id>,
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
    for file in proof.files.files.iter().filter(|file| !proof.rewriting.contains(&file.id)) {
        for pack in file.packs.iter().filter_map(stays).filter_map(|number| index_pack(proof.by_pack, number))
        {
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
    use crate::repository::blob::{BlobType, Extent};

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
