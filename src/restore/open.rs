//! Opens fetched blobs: MAC, decompression, hash. No byte goes on that does not have the hash of its id.
//!
//! What was opened is hashed side by side with what comes after it, which fills the lanes of a wide CPU. A blob that
//! does not open is read again, alone, from every pack that an index names for it: a bad transfer or one bad copy of
//! two is not the end of a file.

use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;

use super::fetch::{Share, Unit};
use super::flow::Work;
use super::plan::Use;
use super::run::{Run, Trouble};
use crate::backend::FileType;
use crate::error::Result;
use crate::repository::blob::{Apart, BlobType, InPlace, Opener};
use crate::repository::hash_pool::{HashPool, Message};
use crate::repository::index::Index;
use crate::repository::{Id, Repository, as_damage, damaged_blob, missing_blob};

/// What may wait for another worker, in bytes.
const LATE_BYTES_MAX: usize = 4 << 20;

/// A worker's contexts, and what it opened and did not hash yet.
pub(super) struct Opening<'a> {
    run: &'a Run<'a>,
    repository: &'a Repository,
    index: &'a Index,
    uses: &'a [Use],
    opener: InPlace,
    alone: Opener,
    pool: HashPool<Opened>,
    /// What was hashed when another worker was in its way.
    late: Vec<(Opened, Id)>,
}

/// A blob that opens.
struct Opened {
    /// Places in the uses.
    uses: Range<usize>,
    plain: Plain,
}

enum Plain {
    /// Where its sealed bytes lay.
    InPlace {
        sealed: BytesMut,
        place: Range<usize>,
        _share: Option<Arc<Share>>,
    },
    Unpacked(Vec<u8>),
}

impl Message for Opened {
    fn content(&self) -> &[u8] {
        match &self.plain {
            Plain::InPlace { sealed, place, .. } => sealed.get(place.clone()).unwrap_or_default(),
            Plain::Unpacked(plain) => plain,
        }
    }

    /// Of what was unpacked less may wait: no share of what may be in flight bounds it.
    fn held_bytes(&self) -> usize {
        match &self.plain {
            Plain::InPlace { .. } => self.content().len(),
            Plain::Unpacked(plain) => plain.len() + plain.len() / 2,
        }
    }
}

impl<'a> Opening<'a> {
    /// Of blobs of `uses`, which are sorted by pack and offset.
    pub(super) fn new(
        run: &'a Run<'a>,
        repository: &'a Repository,
        index: &'a Index,
        uses: &'a [Use],
    ) -> Result<Self> {
        let (opener, alone) = (InPlace::new(repository.cipher().clone())?, repository.opener()?);
        let (pool, late) = (HashPool::default(), Vec::new());
        Ok(Self { run, repository, index, uses, opener, alone, pool, late })
    }

    /// Takes in every blob of a unit, and hands those that are done to `work`.
    pub(super) fn open(&mut self, mut unit: Unit, work: &mut impl Work) {
        let mut next = unit.uses.start;
        while next < unit.uses.end && !self.run.is_over() {
            let rest = self.uses.get(next..unit.uses.end).unwrap_or_default();
            let Some(blob) = rest.first() else { return };
            let uses = next..next + rest.iter().take_while(|other| other.offset == blob.offset).count();
            next = uses.end;
            if let Some(plain) = self.open_one(&mut unit, blob) {
                let done = self.pool.push(Opened { uses, plain });
                self.hand_over(done, work, LATE_BYTES_MAX);
            } else {
                self.hand_over_alone(&uses, work);
            }
        }
    }

    /// Hands what is left to `work`.
    pub(super) fn finish(&mut self, work: &mut impl Work) {
        let done = self.pool.finish();
        self.hand_over(done, work, 0);
    }

    fn open_one(&mut self, unit: &mut Unit, blob: &Use) -> Option<Plain> {
        let (mut sealed, share) = unit.take(blob)?;
        let opened = self.opener.open_apart(&mut sealed, blob.plain_length()).ok()?;
        Some(match opened {
            Apart::Unpacked(plain) => Plain::Unpacked(plain),
            Apart::InPlace(place) => Plain::InPlace { sealed, place, _share: share },
        })
    }

    /// Those that came late first. Where another worker is in the way of one, it waits, and the next is tried, until
    /// `late_bytes_max` wait.
    fn hand_over(&mut self, done: Vec<(Opened, Id)>, work: &mut impl Work, late_bytes_max: usize) {
        let mut late_bytes = 0;
        let mut late = std::mem::take(&mut self.late);
        late.extend(done);
        for (opened, id) in late {
            if self.run.is_over() {
                return;
            }
            let bytes = opened.content().len();
            match self.uses.get(opened.uses.clone()) {
                Some(uses) if late_bytes + bytes <= late_bytes_max && work.is_busy(uses) => {
                    late_bytes += bytes;
                    self.late.push((opened, id));
                }
                Some(uses) if uses.first().is_some_and(|blob| blob.id(self.index) == id) => {
                    work.blob(uses, Ok(opened.content()));
                }
                _ => self.hand_over_alone(&opened.uses, work),
            }
        }
    }

    /// Hands over a blob that is read on its own.
    fn hand_over_alone(&mut self, uses: &Range<usize>, work: &mut impl Work) {
        let Some(uses @ [blob, ..]) = self.uses.get(uses.clone()) else { return };
        match self.read_alone(blob) {
            Ok(plain) => work.blob(uses, Ok(&plain)),
            Err(trouble) => work.blob(uses, Err(&trouble)),
        }
    }

    /// Reads a blob on its own, from every place that is known for it.
    fn read_alone(&mut self, blob: &Use) -> std::result::Result<Vec<u8>, Trouble> {
        let id = blob.id(self.index);
        let mut failure = missing_blob(BlobType::Data, &id);
        for location in self.index.locations(BlobType::Data, &id) {
            let (pack, extent) = (location.pack, location.extent);
            let (offset, length) = (u64::from(extent.offset), extent.length as usize);
            let mut plain = Vec::new();
            let read = self.repository.backend().read_range(FileType::Pack, &pack.hex(), offset, length);
            let opened = read.map_err(|error| as_damage(error.into())).and_then(|sealed| {
                let opened = self.alone.open(&id, &sealed, extent.plain_length, &mut plain);
                opened.map_err(|cause| damaged_blob(BlobType::Data, &id, &pack, &cause))
            });
            match opened {
                Ok(()) => {
                    let id = id.short();
                    self.run.monitor.warn(&format!(
                        "blob {id} was damaged when it was read first; its second reading is right"
                    ));
                    return Ok(plain);
                }
                Err(error) => failure = error,
            }
            if self.run.is_over() {
                break;
            }
        }
        Err(failure.into())
    }
}
