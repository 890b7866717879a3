//! What the cache's entries hold: binary forms that take no parsing of JSON.
//!
//! ```text
//! index     = pack ‖ …;       pack = id (32) ‖ number of blobs (u32) ‖ blob ‖ …
//! blob      = id (32) ‖ offset (u32) ‖ length, top bit: a tree (u32) ‖ plain length, 0: stored raw (u32)
//! snapshots = snapshot ‖ …;   snapshot = id (32) ‖ bytes of its JSON (u32) ‖ JSON
//! ```
//!
//! Numbers are little endian. Packs of trees are kept as they are stored.

use std::collections::HashMap;
use std::ops::Range;

use crate::repository::Id;
use crate::repository::blob::{BlobType, Extent};
use crate::repository::index::IndexPack;
use crate::repository::pack::PackedBlob;

const TREE_BIT: u32 = 1 << 31;

/// What an index file lists.
pub(super) fn encode_index(packs: &[IndexPack]) -> Vec<u8> {
    let mut form = Vec::new();
    for pack in packs {
        form.extend_from_slice(&pack.id.0);
        form.extend_from_slice(&(pack.blobs.len() as u32).to_le_bytes());
        for blob in &pack.blobs {
            let tree = if blob.kind == BlobType::Tree { TREE_BIT } else { 0 };
            form.extend_from_slice(&blob.id.0);
            for number in [
                blob.extent.offset,
                blob.extent.length & !TREE_BIT | tree,
                blob.extent.plain_length.unwrap_or_default(),
            ] {
                form.extend_from_slice(&number.to_le_bytes());
            }
        }
    }
    form
}

/// The same, read back; `None` when it is not in this form.
pub(super) fn decode_index(mut form: &[u8]) -> Option<Vec<IndexPack>> {
    let mut packs = Vec::new();
    while !form.is_empty() {
        let id = take_id(&mut form)?;
        let count = take_number(&mut form)?;
        let mut blobs = Vec::with_capacity((count as usize).min(form.len() / 44));
        for _ in 0..count {
            let id = take_id(&mut form)?;
            let (offset, length) = (take_number(&mut form)?, take_number(&mut form)?);
            let plain_length = Some(take_number(&mut form)?).filter(|bytes| *bytes != 0);
            let kind = if length & TREE_BIT == 0 { BlobType::Data } else { BlobType::Tree };
            blobs.push(PackedBlob {
                id,
                kind,
                extent: Extent { offset, length: length & !TREE_BIT, plain_length },
            });
        }
        packs.push(IndexPack { id, blobs });
    }
    Some(packs)
}

/// Snapshots with their JSON.
pub(super) fn encode_snapshots<'a>(snapshots: impl Iterator<Item = (&'a Id, &'a [u8])>) -> Vec<u8> {
    let mut form = Vec::new();
    for (id, json) in snapshots {
        form.extend_from_slice(&id.0);
        form.extend_from_slice(&(json.len() as u32).to_le_bytes());
        form.extend_from_slice(json);
    }
    form
}

/// The snapshots of an entry, which keep its form: there may be many thousands.
#[derive(Debug, Default)]
pub(in crate::repository) struct KeptSnapshots {
    form: Vec<u8>,
    places: HashMap<Id, Range<usize>>,
}

impl KeptSnapshots {
    /// `None` when it is not in this form.
    pub(super) fn decode(form: Vec<u8>) -> Option<Self> {
        let mut places = HashMap::new();
        let mut rest = form.as_slice();
        while !rest.is_empty() {
            let id = take_id(&mut rest)?;
            let length = take_number(&mut rest)? as usize;
            let start = form.len() - rest.len();
            rest = rest.get(length..)?;
            places.insert(id, start..start + length);
        }
        Some(Self { form, places })
    }

    /// How many there are.
    pub(in crate::repository) fn len(&self) -> usize {
        self.places.len()
    }

    /// The JSON of one.
    pub(in crate::repository) fn json(&self, id: &Id) -> Option<&[u8]> {
        self.form.get(self.places.get(id)?.clone())
    }
}

fn take_id(form: &mut &[u8]) -> Option<Id> {
    let (id, rest) = form.split_first_chunk()?;
    *form = rest;
    Some(Id(*id))
}

fn take_number(form: &mut &[u8]) -> Option<u32> {
    let (number, rest) = form.split_first_chunk()?;
    *form = rest;
    Some(u32::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn both_forms_read_back_and_no_part_of_one_does() {
        let blob = |n: u8, kind, plain_length| PackedBlob {
            id: Id([n; 32]),
            kind,
            extent: Extent { offset: 1000 + u32::from(n), length: 77, plain_length },
        };
        let packs = vec![
            IndexPack {
                id: Id([1; 32]),
                blobs: vec![blob(2, BlobType::Data, None), blob(3, BlobType::Tree, Some(9))],
            },
            IndexPack { id: Id([4; 32]), blobs: Vec::new() },
        ];
        let form = encode_index(&packs);
        assert_eq!(decode_index(&form).unwrap(), packs);
        let first = 36 + 2 * 44;
        for length in 1..form.len() {
            assert_eq!(decode_index(&form[..length]).is_some(), length == first, "{length}");
        }
        let snapshots = [(Id([5; 32]), Vec::new()), (Id([6; 32]), b"{}".to_vec())];
        let form = encode_snapshots(snapshots.iter().map(|(id, json)| (id, json.as_slice())));
        assert!(KeptSnapshots::decode(form[..form.len() - 1].to_vec()).is_none());
        let kept = KeptSnapshots::decode(form).unwrap();
        assert_eq!(kept.len(), snapshots.len());
        assert!(snapshots.iter().all(|(id, json)| kept.json(id) == Some(json)));
        assert_eq!(kept.json(&Id([7; 32])), None);
    }
}
