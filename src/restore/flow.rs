//! Fetchers and workers for the blobs of a batch: what both a restore and a verify without a disk run on.
//!
//! Fetchers keep `connections` requests going, workers open what arrives; what lies between them stays within
//! a budget. What becomes of a blob is the `Work`'s business: one is made for each worker.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};

use super::RestoreOptions;
use super::fetch::{self, Budget, Unit};
use super::open::{Opening, group_bytes};
use super::plan::{Packs, Use};
use super::run::{Run, Trouble};
use crate::backend::DISK_CONNECTIONS_MAX;
use crate::error::{Error, ErrorKind};
use crate::repository::Repository;
use crate::repository::index::Index;

/// Data in flight from a disk, in bytes, and its requests.
const DISK_BYTES: (u64, u64) = (16 << 20, 2 << 20);
/// The same of an object store; a pack of restic's default size is one request.
const OBJECTS_BYTES: (u64, u64) = (64 << 20, 20 << 20);
/// What a worker's buffers take when chunks are large, in bytes.
const WORKER_BYTES: u64 = 16 << 20;

/// What a worker does.
pub(super) trait Work {
    /// Before the first data arrives.
    fn begin(&mut self) {}
    /// Data has arrived; `first` is the first blob of it.
    fn unit(&mut self, _first: &Use) {}
    /// A blob, or why there is none, for all its uses.
    fn blob(&mut self, uses: &[Use], plain: Result<&[u8], &Trouble>);
}

/// Where blobs come from, and with how much at once.
pub(super) struct Flow<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) repository: &'a Repository,
    pub(super) index: &'a Index,
    pub(super) packs: &'a Packs,
    pub(super) options: &'a RestoreOptions,
}

impl Flow<'_> {
    /// Hands every blob of `uses`, which are sorted by pack and offset, to a worker.
    pub(super) fn run<W: Work>(&self, uses: &[Use], work: impl Fn() -> W + Sync) {
        let (run, options) = (self.run, self.options);
        let (in_flight, request_bytes) = match options.connections {
            ..=DISK_CONNECTIONS_MAX => {
                // A worker opens a group while the next one is read, and there are two workers at least.
                let group = group_bytes() as u64;
                (DISK_BYTES.0.max(4 * group), DISK_BYTES.1.max(group))
            }
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
                fetch::fetch(run, self.repository, self.packs, uses, request, &budget, &sender);
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
            threads.extend((0..self.workers()).map(|_| scope.spawn(work)));
            for thread in threads {
                // The guard has told of a panic.
                drop(thread.join());
            }
        });
    }

    /// Threads that open: as many as were asked for, and have memory for their buffers.
    fn workers(&self) -> usize {
        let most = usize::try_from(self.options.memory_bytes / 4 / WORKER_BYTES).unwrap_or(usize::MAX);
        self.options.threads.clamp(1, most.max(1))
    }

    fn work(&self, uses: &[Use], units: &Receiver<Unit>, mut work: impl Work) {
        let mut opening = match Opening::new(self.repository, self.index) {
            Ok(opening) => opening,
            Err(error) => return self.run.end(error),
        };
        work.begin();
        for mut unit in units {
            if self.run.is_over() {
                // What is left is taken and dropped, so that nobody waits for room.
                continue;
            }
            if let Some(first) = uses.get(unit.uses.start) {
                work.unit(first);
            }
            opening.open(self.run, &mut unit, uses, |uses, plain| work.blob(uses, plain));
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
