//! Fetchers and workers for the blobs of a batch: what both a restore and a verify without a disk run on.
//!
//! Fetchers keep `connections` requests going, workers open what arrives; what lies between them stays within
//! a budget. What becomes of a blob is the `Work`'s business: one is made for each worker.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::RestoreOptions;
use super::fetch::{self, Budget, Unit};
use super::open::Opening;
use super::plan::Use;
use super::run::{Run, Trouble};
use crate::backend::DISK_CONNECTIONS_MAX;
use crate::error::{Error, ErrorKind};
use crate::repository::Repository;
use crate::repository::index::Index;

/// Data in flight from a disk, in bytes, and its requests.
const DISK_BYTES: (u64, u64) = (10 << 20, 2 << 20);
/// The same of an object store; a pack of restic's default size is one request.
const OBJECTS_BYTES: (u64, u64) = (64 << 20, 20 << 20);
/// So long a worker waits for what it could hash beside what it holds.
const PATIENCE: Duration = Duration::from_millis(5);

/// What a worker does.
pub(super) trait Work {
    /// Before the first data arrives.
    fn begin(&mut self) {}
    /// Data has arrived; `first` is the first blob of it.
    fn unit(&mut self, _first: &Use) {}
    /// Whether who hands over a blob would wait for another worker.
    fn is_busy(&self, _uses: &[Use]) -> bool {
        false
    }
    /// A blob, or why there is none, for all its uses.
    fn blob(&mut self, uses: &[Use], plain: Result<&[u8], &Trouble>);
}

/// Where blobs come from, and with how much at once.
pub(super) struct Flow<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) repository: &'a Repository,
    pub(super) index: &'a Index,
    pub(super) options: &'a RestoreOptions,
}

impl Flow<'_> {
    /// Hands every blob of `uses`, which are sorted by pack and offset, to a worker.
    pub(super) fn run<W: Work>(&self, uses: &[Use], work: impl Fn() -> W + Sync) {
        let (run, options) = (self.run, self.options);
        let (in_flight, request_bytes) = match options.connections {
            ..=DISK_CONNECTIONS_MAX => DISK_BYTES,
            _ => OBJECTS_BYTES,
        };
        let in_flight = in_flight.min(options.memory_bytes / 3).max(8 << 20);
        let requests = fetch::requests(uses, request_bytes.min(in_flight / 3));
        let budget = Budget::new(in_flight);
        let (sender, units) = crossbeam_channel::unbounded::<Unit>();
        let next_request = AtomicUsize::new(0);
        let fetch = |sender: Sender<Unit>| {
            let _guard = EndOnPanic(run);
            while let Some(request) = next(run, &requests, &next_request) {
                fetch::fetch(run, self.repository, self.index, uses, request, &budget, &sender);
            }
        };
        let work = || {
            let _guard = EndOnPanic(run);
            self.work(uses, &units, work());
        };
        std::thread::scope(|scope| {
            let fetchers = options.connections.max(1).min(requests.len());
            let fetchers: Vec<_> = std::iter::repeat_with(|| sender.clone()).take(fetchers).collect();
            drop(sender);
            let mut threads: Vec<_> =
                fetchers.into_iter().map(|sender| scope.spawn(|| fetch(sender))).collect();
            threads.extend((0..options.workers()).map(|_| scope.spawn(work)));
            for thread in threads {
                // The guard has told of a panic.
                drop(thread.join());
            }
        });
    }

    fn work(&self, uses: &[Use], units: &Receiver<Unit>, mut work: impl Work) {
        let mut opening = match Opening::new(self.run, self.repository, self.index, uses) {
            Ok(opening) => opening,
            Err(error) => return self.run.end(error),
        };
        work.begin();
        loop {
            let arrived = units.recv_timeout(PATIENCE).or_else(|_| {
                // Whoever fetches may wait for what is held here.
                opening.finish(&mut work);
                units.recv()
            });
            let Ok(unit) = arrived else { return };
            // When the run is over, what is left is taken and dropped, so that nobody waits for room.
            if self.run.is_over() {
                continue;
            }
            if let Some(first) = uses.get(unit.uses.start) {
                work.unit(first);
            }
            opening.open(unit, &mut work);
        }
    }
}

/// Ends the run when its thread panics, so that no other waits for it for ever.
struct EndOnPanic<'a>(&'a Run<'a>);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let what = self.0.words.failed;
            self.0.end(Error::new(ErrorKind::Other, what).because("a thread died, which is a bug"));
        }
    }
}

/// The next item that no other thread took; none when the run is over.
pub(super) fn next<'i, T>(run: &Run<'_>, items: &'i [T], taken: &AtomicUsize) -> Option<&'i T> {
    if run.is_over() {
        return None;
    }
    items.get(taken.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::atomic::AtomicBool;
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;

    use super::super::run::{RESTORE, lock};
    use super::super::stream::{Means, reading};
    use super::*;
    use crate::backend::FileType;
    use crate::backend::memory::MemoryBackend;
    use crate::random::{Random, SystemRandom};
    use crate::report::SilentMonitor;
    use crate::repository::blob::{BlobType, Extent};
    use crate::repository::index::{IndexBuilder, IndexPack};
    use crate::repository::pack::PackedBlob;
    use crate::repository::{Id, testing};

    /// Others are in the way of each of `turns` questions but the last.
    struct Crowded<'a> {
        turns: usize,
        asked: &'a AtomicUsize,
        done: &'a Mutex<Vec<(u64, Id)>>,
    }

    impl Work for Crowded<'_> {
        fn is_busy(&self, _uses: &[Use]) -> bool {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            !asked.is_multiple_of(self.turns)
        }

        fn blob(&mut self, uses: &[Use], plain: Result<&[u8], &Trouble>) {
            let done = uses.iter().map(|blob| (blob.position, Id::of(plain.unwrap())));
            lock(self.done).extend(done);
        }
    }

    #[test]
    fn what_waits_for_another_worker_is_handed_over_once_all_the_same() {
        let repository = testing::create(Arc::new(MemoryBackend::new()));
        let (mut noise, mut stored, mut blobs) = (vec![0; 1 << 20], Vec::new(), Vec::new());
        SystemRandom.fill(&mut noise).unwrap();
        for number in 0..60 {
            let plain = noise.get(number..noise.len() >> (number % 4)).unwrap();
            let (offset, sealed) = (stored.len(), repository.cipher().seal(plain, &SystemRandom).unwrap());
            stored.extend_from_slice(&sealed);
            let extent = Extent { offset: offset as u32, length: sealed.len() as u32, plain_length: None };
            blobs.push(PackedBlob { id: Id::of(plain), kind: BlobType::Data, extent });
        }
        let pack = Id::of(&stored);
        repository.backend().write(FileType::Pack, &pack.hex(), &Bytes::from(stored)).unwrap();
        let expected: Vec<(u64, Id)> = (0..).zip(&blobs).map(|(place, blob)| (place, blob.id)).collect();
        let mut builder = IndexBuilder::default();
        builder.add(&[IndexPack { id: pack, blobs }]);
        let index = builder.finish();
        let uses: Vec<Use> =
            expected.iter().map(|(place, id)| Use::find(&index, id, *place).unwrap()).collect();
        let (monitor, stop) = (SilentMonitor::default(), AtomicBool::new(false));
        let options = reading(Means { threads: 2, connections: 2, memory_bytes: 1 << 30 });
        for turns in [1, 2, 5, usize::MAX] {
            let run = Run::new(&monitor, &stop, &RESTORE);
            let flow = Flow { run: &run, repository: &repository, index: &index, options: &options };
            let (asked, done) = (AtomicUsize::new(0), Mutex::default());
            flow.run(&uses, || Crowded { turns, asked: &asked, done: &done });
            run.check().unwrap();
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            assert_eq!(done, expected, "{turns}");
            assert!(asked.into_inner() > 0);
        }
    }
}
