//! Fetches what the plan needs: ranges of packs, many at once, never more in memory than the budget.
//!
//! Blobs that lie close together are one request: requests cost time and money, a few unneeded bytes between
//! them do not. A request that fails because the pack is damaged or gone is handed on without bytes: the
//! workers then look for each of its blobs alone, also in other packs. A store out of reach ends the run.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use crossbeam_channel::Sender;

use super::plan::Use;
use super::run::{Run, lock};
use crate::backend::{BackendErrorKind, FileType};
use crate::repository::Repository;
use crate::repository::index::Index;

/// Unneeded bytes that are always read along.
const GAP_BYTES: u64 = 64 << 10;
/// Unneeded bytes that are read along where they are not more than the needed ones before them.
const GAP_BYTES_MAX: u64 = 1 << 20;

/// A part of a request that a worker takes, but for a blob that is longer, in bytes.
const UNIT_BYTES: u64 = 1 << 20;

/// A request of so many bytes, or for one blob, is in flight until it is opened; another until the last blob of it that
/// was opened in place is dropped: what holds a blob counts its bytes, and not what else was read with it.
const SHORT_BYTES: u64 = 2 << 20;

/// A run of uses of one pack that is fetched at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) pack: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    /// Places in the sorted uses.
    pub(super) uses: std::ops::Range<usize>,
}

impl Request {
    fn is_of_one_blob(&self, uses: &[Use]) -> bool {
        let uses = uses.get(self.uses.clone()).unwrap_or_default();
        uses.first().map(|blob| blob.offset) == uses.last().map(|blob| blob.offset)
    }
}

/// Cuts uses, sorted by pack and offset, into requests of up to `bytes_max` bytes (or one blob).
pub(super) fn requests(uses: &[Use], bytes_max: u64) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    let mut needed = 0;
    for (place, blob) in uses.iter().enumerate() {
        let (start, end) = (u64::from(blob.offset), blob.end());
        if let Some(last) = requests.last_mut().filter(|last| last.pack == blob.pack) {
            let gap = start.saturating_sub(last.end);
            let close = gap <= GAP_BYTES || (gap <= GAP_BYTES_MAX && gap <= needed);
            let fits = end <= last.end || end - last.start <= bytes_max;
            if close && fits {
                needed += end.saturating_sub(last.end.max(start));
                last.end = last.end.max(end);
                last.uses.end = place + 1;
                continue;
            }
        }
        requests.push(Request { pack: blob.pack, start, end, uses: place..place + 1 });
        needed = end - start;
    }
    requests
}

/// Bytes that may be in flight. Whoever takes some waits until they are there; they come back on drop.
pub(super) struct Budget {
    bytes_max: u64,
    free: Mutex<u64>,
    freed: Condvar,
}

/// A share of the budget.
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, free: Mutex::new(bytes_max), freed: Condvar::new() })
    }

    /// `None` when the run is over. One that is larger than the whole budget gets all of it.
    fn take(self: &Arc<Self>, bytes: u64, run: &Run<'_>) -> Option<Share> {
        let bytes = bytes.min(self.bytes_max);
        let mut free = lock(&self.free);
        while *free < bytes {
            if run.is_over() {
                return None;
            }
            let nap = Duration::from_millis(50);
            free = self
                .freed
                .wait_timeout(free, nap)
                .map_or_else(|poison| poison.into_inner().0, |(free, _)| free);
        }
        *free -= bytes;
        Some(Share { budget: Arc::clone(self), bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *lock(&self.budget.free) += self.bytes;
        self.budget.freed.notify_all();
    }
}

/// A part of a fetched range: what a worker takes at a time.
pub(super) struct Unit {
    /// None: the range could not be read.
    bytes: Option<BytesMut>,
    /// Where they begin in the pack.
    start: u64,
    /// Places in the sorted uses.
    pub(super) uses: std::ops::Range<usize>,
    share: Arc<Share>,
    is_short: bool,
}

impl Unit {
    /// Takes the sealed bytes of a blob out, when they could be read and no blob before it took them, with the share
    /// that they go on to take.
    pub(super) fn take(&mut self, blob: &Use) -> Option<(BytesMut, Option<Arc<Share>>)> {
        let bytes = self.bytes.as_mut()?;
        let from = usize::try_from(u64::from(blob.offset).checked_sub(self.start)?).ok()?;
        let to = from.checked_add(blob.length as usize).filter(|to| *to <= bytes.len())?;
        let sealed = bytes.split_to(to).split_off(from);
        self.start = blob.end();
        Some((sealed, (!self.is_short).then(|| Arc::clone(&self.share))))
    }
}

/// Fetches one request and hands it to the workers.
pub(super) fn fetch(
    run: &Run<'_>,
    repository: &Repository,
    index: &Index,
    uses: &[Use],
    request: &Request,
    budget: &Arc<Budget>,
    workers: &Sender<Unit>,
) {
    let length = request.end - request.start;
    let Some(share) = budget.take(length, run) else { return };
    let pack = index.pack(request.pack).unwrap_or_default();
    let read = repository.backend().read_range(FileType::Pack, &pack.hex(), request.start, length as usize);
    let bytes = match read {
        Ok(bytes) => Some(bytes),
        Err(error) => match error.kind {
            BackendErrorKind::Unreachable | BackendErrorKind::Throttled | BackendErrorKind::Denied => {
                return run.end(error.into());
            }
            _ => None,
        },
    };
    // In most stores nobody else holds these bytes, so that they need not be copied to be opened in place.
    let mut bytes = bytes.map(|bytes| bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared)));
    let share = Arc::new(share);
    let units = units(uses, request, UNIT_BYTES);
    let is_short = length <= SHORT_BYTES || request.is_of_one_blob(uses);
    let starts: Vec<u64> = units
        .iter()
        .skip(1)
        .filter_map(|unit| uses.get(unit.start))
        .map(|blob| u64::from(blob.offset))
        .chain([request.end])
        .collect();
    let mut start = request.start;
    for (unit_uses, next_start) in units.into_iter().zip(starts) {
        let length = (next_start - start) as usize;
        let own = bytes.as_mut().map(|bytes| bytes.split_to(length.min(bytes.len())));
        let unit = Unit { bytes: own, start, uses: unit_uses, share: Arc::clone(&share), is_short };
        if workers.send(unit).is_err() {
            return;
        }
        start = next_start;
    }
}

/// Cuts a request between blobs, so that several workers share it. Uses of one blob stay together.
fn units(uses: &[Use], request: &Request, bytes_min: u64) -> Vec<std::ops::Range<usize>> {
    let mut units: Vec<std::ops::Range<usize>> = Vec::new();
    let mut unit_start = request.start;
    let mut last_offset = None;
    for place in request.uses.clone() {
        let Some(blob) = uses.get(place) else { break };
        let begins = last_offset != Some(blob.offset)
            && (units.is_empty() || u64::from(blob.offset).saturating_sub(unit_start) >= bytes_min);
        if begins {
            unit_start = u64::from(blob.offset);
            units.push(place..place + 1);
        } else if let Some(unit) = units.last_mut() {
            unit.end = place + 1;
        }
        last_offset = Some(blob.offset);
    }
    units
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::repository::Id;
    use crate::repository::blob::{BlobType, Extent};
    use crate::repository::index::IndexEntry;

    fn blob(pack: u32, offset: u32, length: u32) -> Use {
        let extent = Extent { offset, length, plain_length: None };
        Use::new(0, &IndexEntry { id: Id::default(), kind: BlobType::Data, pack, extent }, 0)
    }

    fn ranges(uses: &[Use], max: u64) -> Vec<(u32, u64, u64, usize)> {
        requests(uses, max).into_iter().map(|r| (r.pack, r.start, r.end, r.uses.len())).collect()
    }

    #[test]
    fn close_blobs_are_one_request_and_packs_are_not_mixed() {
        let uses = [blob(0, 0, 100), blob(0, 0, 100), blob(0, 60_000, 100), blob(1, 60_100, 10)];
        assert_eq!(ranges(&uses, 1 << 20), [(0, 0, 60_100, 3), (1, 60_100, 60_110, 1)]);
        // A far blob is a request of its own, unless as much was needed before.
        assert_eq!(ranges(&[blob(0, 0, 100), blob(0, 200_000, 100)], 1 << 20).len(), 2);
        assert_eq!(ranges(&[blob(0, 0, 300_000), blob(0, 500_000, 100)], 1 << 20).len(), 1);
        assert_eq!(ranges(&[blob(0, 0, 3_000_000), blob(0, 6_000_000, 100)], 1 << 30).len(), 2);
    }

    #[test]
    fn requests_keep_the_limit_but_for_one_blob() {
        let uses: Vec<Use> = (0..10).map(|n| blob(0, n * 1000, 1000)).collect();
        assert!(requests(&uses, 2500).iter().all(|r| r.end - r.start <= 2500));
        assert_eq!(requests(&uses, 2500).iter().map(|r| r.uses.len()).sum::<usize>(), 10);
        assert_eq!(requests(&uses, 10).len(), 10);
    }

    #[test]
    fn units_hold_every_use_once_and_never_part_a_blob() {
        let mut uses: Vec<Use> = (0..9).map(|n| blob(0, n * 600_000, 600_000)).collect();
        uses.insert(3, uses[2]);
        let request = &requests(&uses, 1 << 30)[0];
        let units = units(&uses, request, 1 << 20);
        assert!(units.len() > 3);
        assert_eq!(units[0].start, 0);
        assert_eq!(units.last().unwrap().end, uses.len());
        for pair in units.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
            assert_ne!(uses[pair[0].end - 1].offset, uses[pair[1].start].offset);
        }
    }
}
