//! Opens fetched blobs: MAC, decompression, hash. No byte goes on that does not have the hash of its id.
//!
//! Blobs are opened in groups and hashed together, which fills the lanes of a wide CPU; where there are none a group
//! stays small enough for the CPU's cache. A blob that does not open is read again, alone, from every pack that an
//! index names for it: a bad transfer or one bad copy of two is not the end of a file.

use std::ops::Range;

use super::fetch::Unit;
use super::plan::Use;
use super::run::{Run, Trouble};
use crate::backend::FileType;
use crate::error::Result;
use crate::repository::blob::{BlobType, InPlace, Opener, Plain, TOGETHER_BYTES};
use crate::repository::index::Index;
use crate::repository::{Id, Repository, as_damage, damaged_blob, missing_blob};

/// Blobs that are opened before they are hashed and written.
const GROUP_BLOBS: usize = 64;

/// Their plaintext, but for a single blob that is longer, in bytes.
pub(super) fn group_bytes() -> usize {
    if Id::at_once() > 1 { TOGETHER_BYTES } else { 1 << 20 }
}

/// A worker's contexts and buffers, kept from blob to blob.
pub(super) struct Opening<'a> {
    repository: &'a Repository,
    index: &'a Index,
    opener: InPlace,
    alone: Opener,
    opened: Vec<Opened>,
}

/// Where a blob's plaintext lies.
#[derive(Clone)]
enum Opened {
    /// It does not open.
    Bad,
    /// At this place of the unit, where its sealed bytes lay.
    InPlace(Range<usize>),
    /// At this place of the worker's buffer.
    Unpacked(Range<usize>),
}

impl<'a> Opening<'a> {
    pub(super) fn new(repository: &'a Repository, index: &'a Index) -> Result<Self> {
        Ok(Self {
            repository,
            index,
            opener: InPlace::new(repository.cipher().clone())?,
            alone: repository.opener()?,
            opened: Vec::new(),
        })
    }

    /// Hands every blob of a unit to `write`, with all its uses: its plaintext, or why there is none.
    pub(super) fn open(
        &mut self,
        run: &Run<'_>,
        unit: &mut Unit,
        uses: &[Use],
        mut write: impl FnMut(&[Use], std::result::Result<&[u8], &Trouble>),
    ) {
        let mut rest = uses.get(unit.uses.clone()).unwrap_or_default();
        while !rest.is_empty() && !run.is_over() {
            let (group, after) = group(rest);
            if let Err(wrong) = self.open_group(unit, &group) {
                return run.end(wrong);
            }
            for (place, blob_uses) in group.iter().enumerate() {
                let Some(blob) = blob_uses.first() else { continue };
                if run.is_over() {
                    return;
                }
                match self.plain(unit, place) {
                    Some(plain) => write(blob_uses, Ok(plain)),
                    None => match self.read_alone(run, blob) {
                        Ok(plain) => write(blob_uses, Ok(&plain)),
                        Err(trouble) => write(blob_uses, Err(&trouble)),
                    },
                }
            }
            rest = after;
        }
    }

    fn open_group(&mut self, unit: &mut Unit, group: &[&[Use]]) -> Result<()> {
        self.opened.clear();
        self.opener.clear(group_bytes());
        for uses in group {
            let opened = uses.first().and_then(|blob| self.open_one(unit, blob));
            self.opened.push(opened.unwrap_or(Opened::Bad));
        }
        let messages: Vec<&[u8]> =
            (0..group.len()).map(|place| self.plain(unit, place).unwrap_or_default()).collect();
        let ids = Id::of_many(&messages)?;
        for ((uses, opened), actual) in group.iter().zip(&mut self.opened).zip(&ids) {
            if uses.first().is_none_or(|blob| blob.id != *actual) {
                *opened = Opened::Bad;
            }
        }
        Ok(())
    }

    fn open_one(&mut self, unit: &mut Unit, blob: &Use) -> Option<Opened> {
        let (from, sealed) = unit.sealed(blob)?;
        Some(match self.opener.open(sealed, blob.plain_length()).ok()? {
            Plain::InPlace(range) => Opened::InPlace(from + range.start..from + range.end),
            Plain::Unpacked(range) => Opened::Unpacked(range),
        })
    }

    /// The plaintext of a blob of the group.
    fn plain<'p>(&'p self, unit: &'p Unit, place: usize) -> Option<&'p [u8]> {
        match self.opened.get(place)? {
            Opened::Bad => None,
            Opened::InPlace(range) => Some(unit.at(range.clone())),
            Opened::Unpacked(range) => Some(self.opener.plains().at(range.clone())),
        }
    }

    /// Reads a blob on its own, from every place that is known for it.
    fn read_alone(&mut self, run: &Run<'_>, blob: &Use) -> std::result::Result<Vec<u8>, Trouble> {
        let mut failure = missing_blob(BlobType::Data, &blob.id);
        for location in self.index.locations(BlobType::Data, &blob.id) {
            let (pack, extent) = (location.pack, location.extent);
            let (offset, length) = (u64::from(extent.offset), extent.length as usize);
            let mut plain = Vec::new();
            let read = self.repository.backend().read_range(FileType::Pack, &pack.hex(), offset, length);
            let opened = read.map_err(|error| as_damage(error.into())).and_then(|sealed| {
                let opened = self.alone.open(&blob.id, &sealed, extent.plain_length, &mut plain);
                opened.map_err(|cause| damaged_blob(BlobType::Data, &blob.id, &pack, &cause))
            });
            match opened {
                Ok(()) => {
                    let id = blob.id.short();
                    run.monitor.warn(&format!(
                        "blob {id} was damaged when it was read first; its second reading is right"
                    ));
                    return Ok(plain);
                }
                Err(error) => failure = error,
            }
            if run.is_over() {
                break;
            }
        }
        Err(failure.into())
    }
}

/// The first blobs of `uses` that are opened together, each with its uses, and the rest.
fn group(uses: &[Use]) -> (Vec<&[Use]>, &[Use]) {
    let mut group = Vec::new();
    let mut bytes = 0;
    let mut rest = uses;
    while let Some(blob) = rest.first() {
        let blob_bytes = blob.plain_bytes();
        let fits = group.len() < GROUP_BLOBS && bytes + blob_bytes <= group_bytes() as u64;
        if !group.is_empty() && !fits {
            break;
        }
        let same = rest.iter().take_while(|other| other.offset == blob.offset).count();
        let (all, after) = rest.split_at_checked(same).unwrap_or((rest, &[]));
        group.push(all);
        rest = after;
        bytes += blob_bytes;
    }
    (group, rest)
}
