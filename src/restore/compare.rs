//! Compares files that stand in the target with the snapshot, blob by blob: only what differs is fetched.
//!
//! A blob's place in a file and its length are known from the index, so what stands there is read and hashed;
//! size and time prove nothing. A file of one blob that is right gets its metadata while it is open. Work is shared
//! out by bytes, so that one large file occupies every thread. A file that cannot be read counts as different: it
//! is written anew.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, pread, retry_on_intr};

use super::metadata::{Setter, Subject};
use super::plan::{Batch, Dirs, Entry, Place};
use super::run::{Run, spread};
use super::target::{Handles, open_max};
use crate::repository::Id;
use crate::repository::hash_pool::{HashPool, Message, bytes_max};
use crate::repository::index::Index;

/// Bytes of content that one step compares, about: several times what is hashed side by side.
fn step_bytes() -> u64 {
    4 * bytes_max().max(1 << 20) as u64
}

/// What is compared, and with what.
pub(super) struct Compared<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) root: &'a OwnedFd,
    pub(super) index: &'a Index,
    pub(super) dirs: &'a Dirs,
    pub(super) batch: &'a Batch,
    /// Sets the metadata of files of one blob that are right, as they are open already; none: nothing is changed.
    pub(super) setter: Option<&'a Setter<'a>>,
}

impl Compared<'_> {
    /// Which of `batch.uses` stand in the target already, in their order.
    pub(super) fn matching(&self, threads: usize) -> Vec<bool> {
        let steps = steps(self.batch);
        let state = || Comparer {
            compared: self,
            handles: Handles::new(self.root, self.dirs, open_max(threads)),
            pool: HashPool::default(),
            open: 0,
            most_open: open_max(threads),
        };
        let compared = spread(self.run, &steps, threads, state, Comparer::compare);
        let mut matching = vec![false; self.batch.uses.len()];
        for (step, matched) in steps.iter().zip(compared) {
            if let Some(places) = matching.get_mut(step.clone()) {
                places.copy_from_slice(&matched);
            }
        }
        matching
    }

    /// A file that is right gets its metadata. Where that fails the file is opened once more later, and told of then.
    fn finish(&self, entry: &Entry, file: &OwnedFd) {
        let Some(setter) = self.setter else { return };
        let set = setter.set(Subject::open(file), &entry.meta, self.batch.xattrs.of(&entry.meta), false);
        if set.is_ok() {
            entry.done.store(true, Ordering::Relaxed);
            self.run.file_skipped(entry.bytes());
        }
    }
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
    /// The use's place in the step, its entry and its id.
    place: usize,
    entry: u32,
    id: Id,
    bytes: Vec<u8>,
    /// The file, when this is all of it, and nothing else has to be known of it.
    whole: Option<OwnedFd>,
}

impl Message for Standing {
    fn content(&self) -> &[u8] {
        &self.bytes
    }
}

struct Comparer<'a> {
    compared: &'a Compared<'a>,
    handles: Handles<'a>,
    pool: HashPool<Standing>,
    /// Files that are open as long as they are hashed, and how many may be.
    open: usize,
    most_open: usize,
}

impl Comparer<'_> {
    fn compare(&mut self, step: &std::ops::Range<usize>) -> Vec<bool> {
        let Compared { run, index, batch, .. } = *self.compared;
        let uses = batch.uses.get(step.clone()).unwrap_or_default();
        let mut matched = vec![false; uses.len()];
        let mut file: Option<(u32, Option<OwnedFd>)> = None;
        for (place, blob) in uses.iter().enumerate() {
            if run.is_over() {
                break;
            }
            let Some(entry) = batch.entry(blob.entry) else { continue };
            let end = blob.position.saturating_add(blob.plain_bytes());
            if end > entry.standing_bytes {
                continue;
            }
            if file.as_ref().is_none_or(|(number, _)| *number != blob.entry) {
                file = Some((blob.entry, self.open(entry)));
            }
            let Some((_, opened)) = &mut file else { continue };
            let bytes =
                opened.as_ref().and_then(|file| read(file, blob.position, blob.plain_bytes() as usize));
            if let Some(bytes) = bytes {
                let is_whole = entry.uses == 1 && entry.standing_bytes == end && !entry.standing_shared;
                let whole = opened.take_if(|_| is_whole && self.open < self.most_open);
                self.open += usize::from(whole.is_some());
                let standing = Standing { place, entry: blob.entry, id: blob.id(index), bytes, whole };
                let done = self.pool.push(standing);
                self.note(done, &mut matched);
            }
        }
        let done = self.pool.finish();
        self.note(done, &mut matched);
        matched
    }

    fn note(&mut self, done: Vec<(Standing, Id)>, matched: &mut [bool]) {
        for (standing, id) in done {
            self.open -= usize::from(standing.whole.is_some());
            if standing.id != id {
                continue;
            }
            if let Some(matched) = matched.get_mut(standing.place) {
                *matched = true;
            }
            if let (Some(file), Some(entry)) = (standing.whole, self.compared.batch.entry(standing.entry)) {
                self.compared.finish(entry, &file);
            }
        }
    }

    fn open(&mut self, entry: &Entry) -> Option<OwnedFd> {
        let name = self.compared.batch.name(entry);
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
