//! Compares files that stand in the target with the snapshot, blob by blob: only what differs is fetched.
//!
//! A blob's place in a file and its length are known from the index, so what stands there is read and hashed;
//! size and time prove nothing. Work is shared out by bytes, so that one large file occupies every thread. A
//! file that cannot be read counts as different: it is written anew.

use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, pread, retry_on_intr};

use super::plan::{Batch, Dirs, Entry, Place};
use super::run::{Run, spread};
use super::target::Handles;
use crate::repository::Id;
use crate::repository::hash_pool::{HashPool, Message, bytes_max};
use crate::repository::index::Index;

/// Bytes of content that one step compares, about: several times what is hashed side by side.
fn step_bytes() -> u64 {
    4 * bytes_max().max(1 << 20) as u64
}

/// Which of `batch.uses` stand in the target already, in their order.
pub(super) fn matching(
    run: &Run<'_>,
    root: &OwnedFd,
    index: &Index,
    dirs: &Dirs,
    batch: &Batch,
    threads: usize,
) -> Vec<bool> {
    let steps = steps(batch);
    let handles = (256 / threads.max(1)).max(8);
    let state =
        || Comparer { handles: Handles::new(root, dirs, handles), index, batch, pool: HashPool::default() };
    let compared = spread(run, &steps, threads, state, |comparer, step| comparer.compare(run, step));
    let mut matching = vec![false; batch.uses.len()];
    for (step, matched) in steps.iter().zip(compared) {
        if let Some(places) = matching.get_mut(step.clone()) {
            places.copy_from_slice(&matched);
        }
    }
    matching
}

/// Runs of uses of usable files.
fn steps(batch: &Batch) -> Vec<std::ops::Range<usize>> {
    let mut steps: Vec<std::ops::Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (number, blob) in batch.uses.iter().enumerate() {
        if batch.entry(blob.entry).is_none_or(|entry| entry.place != Place::Usable) {
            continue;
        }
        if let Some(step) = steps.last_mut().filter(|step| step.end == number && bytes < step_bytes()) {
            step.end += 1;
        } else {
            steps.push(number..number + 1);
            bytes = 0;
        }
        bytes += blob.plain_bytes();
    }
    steps
}

/// What stands at a blob's place.
struct Standing {
    /// The use's place in the step, and its id.
    place: usize,
    id: Id,
    bytes: Vec<u8>,
}

impl Message for Standing {
    fn content(&self) -> &[u8] {
        &self.bytes
    }
}

struct Comparer<'a> {
    handles: Handles<'a>,
    index: &'a Index,
    batch: &'a Batch,
    pool: HashPool<Standing>,
}

impl Comparer<'_> {
    fn compare(&mut self, run: &Run<'_>, step: &std::ops::Range<usize>) -> Vec<bool> {
        let uses = self.batch.uses.get(step.clone()).unwrap_or_default();
        let mut matched = vec![false; uses.len()];
        let mut file: Option<(u32, Option<OwnedFd>)> = None;
        for (place, blob) in uses.iter().enumerate() {
            if run.is_over() {
                break;
            }
            let Some(entry) = self.batch.entry(blob.entry) else { continue };
            let end = blob.position.saturating_add(blob.plain_bytes());
            if end > entry.standing_bytes {
                continue;
            }
            if file.as_ref().is_none_or(|(number, _)| *number != blob.entry) {
                file = Some((blob.entry, self.open(entry)));
            }
            let Some((_, Some(file))) = &file else { continue };
            if let Some(bytes) = read(file, blob.position, blob.plain_bytes() as usize) {
                note(self.pool.push(Standing { place, id: blob.id(self.index), bytes }), &mut matched);
            }
        }
        note(self.pool.finish(), &mut matched);
        matched
    }

    fn open(&mut self, entry: &Entry) -> Option<OwnedFd> {
        let name = self.batch.name(entry);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        // A time of access that stays as it is need not be set again.
        let open = |dir: &OwnedFd| match rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty())
        {
            Err(Errno::PERM) => rustix::fs::openat(dir, name, flags, Mode::empty()),
            opened => opened,
        };
        self.handles.with(entry.dir, open).flatten().ok()
    }
}

fn note(done: Vec<(Standing, Id)>, matched: &mut [bool]) {
    for (standing, id) in done {
        if let Some(matched) = matched.get_mut(standing.place) {
            *matched = standing.id == id;
        }
    }
}

/// So many bytes of what stands at a place of a file; one that ends before holds something else.
fn read(file: &OwnedFd, position: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let next = position + bytes.len() as u64;
        match retry_on_intr(|| pread(file, spare_capacity(&mut bytes), next)) {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
    bytes.truncate(length);
    Some(bytes)
}
