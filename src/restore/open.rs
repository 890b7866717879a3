//! Opens fetched blobs: MAC, decompression, hash. No byte goes on that does not have the hash of its id.
//!
//! Small blobs are opened in groups and hashed together, which fills the lanes of a wide CPU; a group stays
//! small enough for the CPU's cache. A blob that does not open is read again, alone, from every pack that an
//! index names for it: a bad transfer or one bad copy of two is not the end of a file.

use super::fetch::{Unit, as_damage};
use super::plan::Use;
use super::run::{Run, Trouble};
use crate::backend::FileType;
use crate::error::Result;
use crate::repository::blob::{BlobType, Opener};
use crate::repository::compression::{Compression, Zstd};
use crate::repository::crypto::Cipher;
use crate::repository::index::Index;
use crate::repository::{Id, Repository, damaged_blob, missing_blob};

/// Plaintext that is opened before it is hashed and written, in bytes, and how many blobs.
const GROUP_BYTES: u64 = 1 << 20;
const GROUP_BLOBS: usize = 32;
/// A larger blob is a group of its own, so that few buffers grow large.
const SMALL_BYTES: u64 = 256 << 10;

/// A worker's contexts and buffers, kept from blob to blob.
pub(super) struct Opening<'a> {
    repository: &'a Repository,
    index: &'a Index,
    cipher: Cipher,
    zstd: Zstd,
    alone: Opener,
    packed: Vec<u8>,
    plains: Vec<Plain>,
    ids: Vec<Id>,
}

#[derive(Default)]
struct Plain {
    bytes: Vec<u8>,
    opens: bool,
}

impl<'a> Opening<'a> {
    pub(super) fn new(repository: &'a Repository, index: &'a Index) -> Result<Self> {
        let mut plains = Vec::new();
        plains.resize_with(GROUP_BLOBS, Plain::default);
        Ok(Self {
            repository,
            index,
            cipher: repository.cipher().clone(),
            zstd: Zstd::new(Compression::Auto)?,
            alone: repository.opener()?,
            packed: Vec::new(),
            plains,
            ids: Vec::new(),
        })
    }

    /// Hands every blob of a unit to `write`, with all its uses: its plaintext, or why there is none.
    pub(super) fn open(
        &mut self,
        run: &Run<'_>,
        unit: &Unit,
        uses: &[Use],
        mut write: impl FnMut(&[Use], std::result::Result<&[u8], &Trouble>),
    ) {
        let mut rest = uses.get(unit.uses.clone()).unwrap_or_default();
        while !rest.is_empty() && !run.is_over() {
            let (group, after) = group(rest);
            self.open_group(unit, &group);
            for (place, blob_uses) in group.iter().enumerate() {
                let Some(blob) = blob_uses.first() else { continue };
                if run.is_over() {
                    return;
                }
                match self.plains.get(place).filter(|plain| plain.opens) {
                    Some(plain) => write(blob_uses, Ok(&plain.bytes)),
                    None => match self.read_alone(run, blob) {
                        Ok(plain) => write(blob_uses, Ok(&plain)),
                        Err(trouble) => write(blob_uses, Err(&trouble)),
                    },
                }
            }
            rest = after;
        }
    }

    fn open_group(&mut self, unit: &Unit, group: &[&[Use]]) {
        for (uses, plain) in group.iter().zip(&mut self.plains) {
            plain.opens = false;
            plain.bytes.clear();
            let Some((blob, sealed)) = uses.first().and_then(|blob| Some((blob, unit.sealed(blob)?))) else {
                continue;
            };
            plain.opens = match blob.plain_length() {
                None => self.cipher.open_into(sealed, &mut plain.bytes).is_ok(),
                Some(length) => {
                    self.cipher.open_into(sealed, &mut self.packed).is_ok()
                        && self.zstd.decompress_into(&self.packed, length as usize, &mut plain.bytes).is_ok()
                }
            };
        }
        let messages: Vec<&[u8]> =
            self.plains.iter().take(group.len()).map(|plain| plain.bytes.as_slice()).collect();
        Id::of_many(&messages, &mut self.ids);
        for ((uses, plain), actual) in group.iter().zip(&mut self.plains).zip(&self.ids) {
            plain.opens &= uses.first().is_some_and(|blob| blob.id == *actual);
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
        let fits = group.len() < GROUP_BLOBS && bytes < GROUP_BYTES && blob_bytes <= SMALL_BYTES;
        if !group.is_empty() && !fits {
            break;
        }
        let same = rest.iter().take_while(|other| other.offset == blob.offset).count();
        let (all, after) = rest.split_at_checked(same).unwrap_or((rest, &[]));
        group.push(all);
        rest = after;
        bytes += blob_bytes;
        if blob_bytes > SMALL_BYTES {
            break;
        }
    }
    (group, rest)
}
