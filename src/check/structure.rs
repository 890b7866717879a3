//! The structure: index files decode, and every pack that they list is there with the size that they say.
//!
//! What is damaged is told and left out; the rest is checked as if it were all. Packs that no index lists
//! are hints: a backup that died leaves them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::findings::{Findings, Kind, cause};
use crate::backend::FileType;
use crate::error::{ErrorKind, Result};
use crate::repository::blob::BlobType;
use crate::repository::crypto::SEAL_BYTES;
use crate::repository::index::Index;
use crate::repository::pack::{ENTRY_PACKED_BYTES, ENTRY_RAW_BYTES, LENGTH_BYTES};
use crate::repository::reach::Bits;
use crate::repository::{Id, Repository};

/// What the repository holds, as its index and its store say.
pub(crate) struct Inventory {
    pub(crate) index: Index,
    /// The size of each pack of the index by its number, in bytes; `None` where the store has no such file.
    pub(super) pack_bytes: Vec<Option<u64>>,
    /// Entries of the index, by ordinal, that cannot be read.
    pub(crate) bad: Bits,
}

impl Inventory {
    /// Whether no place of a blob is readable; the number of the pack of its first place, if it has any.
    pub(crate) fn lost(&self, kind: BlobType, id: &Id) -> Option<Lost> {
        let Some(first) = self.index.ordinal(kind, id) else { return Some(Lost::Unlisted) };
        let places = (first..).map_while(|ordinal| Some((ordinal, self.index.at(ordinal)?)));
        let mut same =
            places.take_while(|(_, entry)| entry.id == *id).filter(|(_, entry)| entry.kind == kind);
        let pack = self.index.at(first)?.pack;
        same.all(|(ordinal, _)| self.bad.is_set(ordinal)).then_some(Lost::InPack(pack))
    }
}

/// Where a lost blob should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Lost {
    /// In the pack of this number.
    InPack(u32),
    /// No index lists it.
    Unlisted,
    /// Nowhere: an entry itself says nonsense.
    Nonsense,
}

/// Loads what can be loaded of the index.
pub(super) fn load_indexes(repository: &Repository, findings: &Findings<'_>) -> Result<Index> {
    let times = Mutex::new(HashMap::<Id, u32>::new());
    let files = repository.files(FileType::Index)?;
    let index = repository.load_index_files(files, &|id, packs| match packs {
        Ok(packs) => {
            let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
            for pack in &packs {
                *times.entry(pack.id).or_default() += 1;
            }
            Ok(packs)
        }
        Err(error) if error.kind == ErrorKind::Damaged => {
            findings.problem(Kind::Index, &format!("error loading index {id}: {}", cause(&error)));
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    })?;
    let times = times.into_inner().unwrap_or_else(PoisonError::into_inner);
    let twice = times.values().filter(|times| **times > 1).count();
    if twice > 0 {
        findings
            .hint(true, &format!("{twice} packs are listed by several index files; prune puts that right"));
    }
    Ok(index)
}

/// Compares the index with the list of packs.
pub(super) fn check_packs(
    repository: &Repository,
    index: Index,
    findings: &Findings<'_>,
) -> Result<Inventory> {
    let mut stored: HashMap<Id, u64> = repository.files(FileType::Pack)?.into_iter().collect();
    let shapes = shapes(&index);
    let (mut mixed, mut absent) = (0_u64, vec![false; shapes.len()]);
    let mut pack_bytes = Vec::with_capacity(shapes.len());
    for ((pack, shape), gone) in index.packs().iter().zip(&shapes).zip(&mut absent) {
        mixed += u64::from(shape.data && shape.trees);
        let size = stored.remove(pack);
        match size {
            None => findings.problem(Kind::PackGone, &format!("pack {pack}: does not exist")),
            Some(bytes) if bytes != shape.bytes => {
                let text =
                    format!("pack {pack}: unexpected file size: got {bytes}, expected {}", shape.bytes);
                findings.broken_pack(*pack, &text);
            }
            Some(_) => {}
        }
        *gone = size.is_none();
        pack_bytes.push(size);
    }
    if !stored.is_empty() {
        findings.orphans(stored.len());
    }
    if mixed > 0 {
        findings.hint(true, &format!("{mixed} packs hold data and trees; prune puts that right"));
    }
    let bad = Bits::new(index.len());
    let mut duplicates = 0_u64;
    let mut last = None;
    for (ordinal, entry) in index.iter().enumerate() {
        if absent.get(entry.pack as usize).copied().unwrap_or(true) {
            bad.set(ordinal);
        }
        duplicates += u64::from(last == Some((entry.id, entry.kind)));
        last = Some((entry.id, entry.kind));
    }
    if duplicates > 0 {
        findings.hint(true, &format!("{duplicates} blobs are stored more than once; prune frees that space"));
    }
    Ok(Inventory { index, pack_bytes, bad })
}

#[derive(Clone, Copy)]
struct Shape {
    bytes: u64,
    data: bool,
    trees: bool,
}

/// The size of each pack by its entries, and what it holds.
fn shapes(index: &Index) -> Vec<Shape> {
    let empty = Shape { bytes: (SEAL_BYTES + LENGTH_BYTES) as u64, data: false, trees: false };
    let mut shapes = vec![empty; index.pack_count()];
    for entry in index.iter() {
        let Some(shape) = shapes.get_mut(entry.pack as usize) else { continue };
        let compressed = entry.extent.plain_length.is_some();
        let in_header = if compressed { ENTRY_PACKED_BYTES } else { ENTRY_RAW_BYTES };
        shape.bytes += u64::from(entry.extent.length) + in_header as u64;
        shape.data |= entry.kind == BlobType::Data;
        shape.trees |= entry.kind == BlobType::Tree;
    }
    shapes
}
