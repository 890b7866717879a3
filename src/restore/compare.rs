//! Compares files that stand in the target with the snapshot, blob by blob: only what differs is fetched.
//!
//! A blob's place in a file and its length are known from the index, so what stands there is read and hashed;
//! size and time prove nothing. Work is shared out by bytes, so that one large file occupies every thread. A
//! file that cannot be read counts as different: it is written anew.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use super::plan::{Batch, Dirs, Place, Use};
use super::run::{Run, spread};
use super::target::Handles;
use crate::repository::Id;

/// Bytes of content that one step compares, about.
const STEP_BYTES: u64 = 4 << 20;
/// Bytes that are hashed together, and how many messages: enough to fill the lanes of a wide CPU.
const HASH_BYTES: usize = 1 << 20;
const HASH_MESSAGES: usize = 32;

/// Which of `batch.uses` stand in the target already, in their order.
pub(super) fn matching(
    run: &Run<'_>,
    root: &OwnedFd,
    dirs: &Dirs,
    batch: &Batch,
    threads: usize,
) -> Vec<bool> {
    let steps = steps(batch);
    let handles = (256 / threads.max(1)).max(8);
    let state = || Comparer { handles: Handles::new(root, dirs, handles), batch, held: Held::default() };
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
        if let Some(step) = steps.last_mut().filter(|step| step.end == number && bytes < STEP_BYTES) {
            step.end += 1;
        } else {
            steps.push(number..number + 1);
            bytes = 0;
        }
        bytes += blob.plain_bytes();
    }
    steps
}

/// What was read and is not hashed yet.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    /// The use's place in the step, its id, and where its bytes lie.
    blobs: Vec<(usize, Id, std::ops::Range<usize>)>,
}

struct Comparer<'a> {
    handles: Handles<'a>,
    batch: &'a Batch,
    held: Held,
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
            if file.as_ref().is_none_or(|(entry, _)| *entry != blob.entry) {
                file = Some((blob.entry, self.open(blob)));
            }
            if let Some((_, Some(file))) = &file {
                self.held.read(file, place, blob);
            }
            if self.held.bytes.len() >= HASH_BYTES || self.held.blobs.len() >= HASH_MESSAGES {
                self.held.hash(run, &mut matched);
            }
        }
        self.held.hash(run, &mut matched);
        matched
    }

    fn open(&mut self, blob: &Use) -> Option<OwnedFd> {
        let entry = self.batch.entry(blob.entry)?;
        let name = self.batch.name(entry);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        self.handles.with(entry.dir, |dir| rustix::fs::openat(dir, name, flags, Mode::empty())).flatten().ok()
    }
}

impl Held {
    /// Reads what stands at a blob's place; a file that ends before it holds something else.
    fn read(&mut self, file: &OwnedFd, place: usize, blob: &Use) {
        let start = self.bytes.len();
        let end = start + blob.plain_bytes() as usize;
        self.bytes.resize(end, 0);
        let mut read = start;
        while let Some(room) = self.bytes.get_mut(read..end).filter(|room| !room.is_empty()) {
            match rustix::io::pread(file, room, blob.position + (read - start) as u64) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) | Err(_) => break,
                Ok(count) => read += count,
            }
        }
        if read == end {
            self.blobs.push((place, blob.id, start..end));
        } else {
            self.bytes.truncate(start);
        }
    }

    fn hash(&mut self, run: &Run<'_>, matched: &mut [bool]) {
        let slice = |range: &std::ops::Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        let messages: Vec<&[u8]> = self.blobs.iter().map(|(_, _, range)| slice(range)).collect();
        let ids = Id::of_many(&messages).unwrap_or_else(|wrong| {
            run.end(wrong.into());
            Vec::new()
        });
        for ((place, id, _), actual) in self.blobs.iter().zip(&ids) {
            if let Some(matched) = matched.get_mut(*place) {
                *matched = id == actual;
            }
        }
        self.bytes.clear();
        self.blobs.clear();
    }
}
