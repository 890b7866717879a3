//! Reads trees: many at once, each byte of a tree pack at most about once.
//!
//! Trees of one snapshot lie close together in few packs, but a level of directories names them one by one.
//! So a miss reads a window around the tree and keeps it; each further miss in the same pack reads four times
//! as much, up to the whole. A small volume is one request, a few trees of a huge repository stay cheap.

use std::collections::HashMap;

use bytes::Bytes;

use super::blob::{BlobType, Opener};
use super::index::{Index, Location};
use super::tree::Tree;
use super::{Id, Repository, as_damage, damaged_blob, in_parallel, missing_blob, portions};
use crate::error::Result;

/// Asked before every request: whether the run is over, and no further one is wanted.
pub type IsOver<'a> = &'a (dyn Fn() -> bool + Sync);

/// Trees that a thread reads together, at most: as many as the widest CPU hashes at once, and so many bytes of them.
const TOGETHER: (usize, u64) = (16, 1 << 20);

/// How trees are read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// The first window of a pack, in bytes.
    pub first_window_bytes: u64,
    /// Windows are dropped when more than this is kept, in bytes.
    pub kept_bytes_max: u64,
}

/// The windows read so far.
pub struct TreeReader<'a> {
    repository: &'a Repository,
    index: &'a Index,
    reading: Reading,
    ends: HashMap<Id, u64>,
    packs: HashMap<Id, Windows>,
    kept_bytes: u64,
}

#[derive(Default, Clone)]
struct Windows {
    next_bytes: u64,
    read: Vec<(u64, Bytes)>,
}

impl Windows {
    fn sealed(&self, location: &Location) -> Option<Bytes> {
        let (offset, length) = (u64::from(location.extent.offset), location.extent.length as usize);
        self.read.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(offset.checked_sub(*start)?).ok()?;
            let to = from.checked_add(length).filter(|to| *to <= bytes.len())?;
            Some(bytes.slice(from..to))
        })
    }
}

impl std::fmt::Debug for TreeReader<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TreeReader({} bytes in {} packs)", self.kept_bytes, self.packs.len())
    }
}

impl<'a> TreeReader<'a> {
    /// A reader that has read nothing yet.
    pub fn new(repository: &'a Repository, index: &'a Index, reading: Reading) -> Self {
        let ends = index.pack_ends(BlobType::Tree);
        Self { repository, index, reading, ends, packs: HashMap::new(), kept_bytes: 0 }
    }

    /// Gives the memory of all windows back.
    pub fn drop_windows(&mut self) {
        self.packs.clear();
        self.kept_bytes = 0;
    }

    /// Whether a tree's sealed bytes are in memory.
    #[must_use]
    pub fn holds(&self, location: &Location) -> bool {
        self.packs.get(&location.pack).is_some_and(|windows| windows.sealed(location).is_some())
    }

    /// The most bytes that `fetch` reads of a pack, for one tree or for several of it.
    #[must_use]
    pub fn fetch_bytes(&self, pack: &Id, trees: usize) -> u64 {
        let end = self.ends.get(pack).copied().unwrap_or_default();
        let next = self.packs.get(pack).map_or(self.reading.first_window_bytes, |windows| windows.next_bytes);
        if trees > 1 { end } else { end.min(next) }
    }

    /// Reads the windows that hold these trees. What cannot be read is left out: `read` says why.
    pub fn fetch(&mut self, is_over: IsOver<'_>, ids: &[Id]) -> Result<()> {
        if self.kept_bytes > self.reading.kept_bytes_max {
            self.drop_windows();
        }
        let mut missing: HashMap<Id, Vec<Location>> = HashMap::new();
        for location in ids.iter().filter_map(|id| self.index.lookup(BlobType::Tree, id)) {
            if !self.holds(&location) {
                missing.entry(location.pack).or_default().push(location);
            }
        }
        let mut packs: Vec<(Id, Vec<Location>)> = missing.into_iter().collect();
        for (_, locations) in &mut packs {
            locations.sort_unstable_by_key(|location| location.extent.offset);
        }
        let connections = self.repository.backend().connections();
        let this = &*self;
        let read = in_parallel(&packs, connections, |(id, locations)| {
            Ok((*id, this.read_windows(is_over, id, locations)))
        })?;
        for (id, windows) in read {
            self.kept_bytes += windows.read.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
            let known = self.packs.entry(id).or_default();
            known.next_bytes = windows.next_bytes;
            known.read.extend(windows.read);
        }
        Ok(())
    }

    /// New windows of one pack.
    fn read_windows(&self, is_over: IsOver<'_>, pack: &Id, locations: &[Location]) -> Windows {
        let before = self.packs.get(pack).map_or(0, |windows| windows.next_bytes);
        let mut windows =
            Windows { next_bytes: before.max(self.reading.first_window_bytes), read: Vec::new() };
        for location in locations {
            if windows.sealed(location).is_some() || is_over() {
                continue;
            }
            let (offset, length) = (u64::from(location.extent.offset), u64::from(location.extent.length));
            let end_of_pack = self.ends.get(pack).copied().unwrap_or(offset + length);
            let (start, end) = window(offset, offset + length, windows.next_bytes, end_of_pack);
            // A pack that is read whole is kept in the cache, for whoever reads its trees again.
            let is_kept = self.repository.cache().is_some() && (start, end) == (0, end_of_pack);
            let read = if is_kept {
                self.repository.read_tree_pack(pack)
            } else {
                self.repository.read_tree_range(pack, start, (end - start) as usize)
            };
            match read {
                Ok(bytes) => windows.read.push((start, bytes)),
                Err(error) => {
                    tracing::debug!("cannot read trees at once: {error}");
                    break;
                }
            }
            windows.next_bytes = windows.next_bytes.saturating_mul(4);
        }
        windows
    }

    /// A tree, from the windows or on its own; from another pack when one copy is bad.
    pub fn read(&self, is_over: IsOver<'_>, opener: &mut Opener, id: &Id) -> Result<Tree> {
        let mut failure = missing_blob(BlobType::Tree, id);
        for location in self.index.locations(BlobType::Tree, id) {
            let kept = self.packs.get(&location.pack).and_then(|windows| windows.sealed(&location));
            let (alone, extent) = (kept.is_none(), location.extent);
            let read_alone = || {
                let (offset, length) = (u64::from(extent.offset), extent.length as usize);
                self.repository.read_tree_range(&location.pack, offset, length)
            };
            let mut outcome = kept
                .map_or_else(read_alone, Ok)
                .map_err(Into::into)
                .and_then(|sealed| open(opener, id, &sealed, &location));
            if outcome.is_err() && !alone {
                outcome =
                    read_alone().map_err(Into::into).and_then(|sealed| open(opener, id, &sealed, &location));
            }
            match outcome {
                Ok(tree) => return Ok(tree),
                Err(error) => failure = as_damage(error),
            }
            if is_over() {
                break;
            }
        }
        Err(failure)
    }

    /// Groups of neighbours that a thread reads together: so few trees that every thread has some, and so few bytes that
    /// all may be in memory; a tree that is longer is alone.
    pub fn groups<'t, T>(&self, trees: &'t [T], id: impl Fn(&T) -> Id, threads: usize) -> Vec<&'t [T]> {
        let (trees_max, bytes_max) = TOGETHER;
        let trees_max = trees.len().div_ceil(threads.max(1)).min(trees_max);
        portions(trees, trees_max, bytes_max, |tree| self.plain_bytes(&id(tree))).collect()
    }

    /// Many trees, in the order of their ids. Those that lie in the windows are hashed together.
    pub fn read_many(&self, is_over: IsOver<'_>, opener: &mut Opener, ids: &[Id]) -> Vec<Result<Tree>> {
        let plains: Vec<Vec<u8>> =
            ids.iter().map(|id| self.open_kept(opener, id).unwrap_or_default()).collect();
        let actual = Id::of_expected(&plains.iter().map(Vec::as_slice).collect::<Vec<_>>(), ids);
        let trees = ids.iter().zip(actual).zip(plains).map(|((id, actual), plain)| {
            let tree = (actual == *id).then(|| Tree::decode(&plain).ok()).flatten();
            tree.map_or_else(|| self.read(is_over, opener, id), Ok)
        });
        trees.collect()
    }

    /// What the first copy of a tree opens to, if a window holds it.
    fn open_kept(&self, opener: &mut Opener, id: &Id) -> Option<Vec<u8>> {
        let location = self.index.lookup(BlobType::Tree, id)?;
        let sealed = self.packs.get(&location.pack)?.sealed(&location)?;
        let mut plain = Vec::new();
        opener.open_unverified(&sealed, location.extent.plain_length, &mut plain).ok()?;
        Some(plain)
    }

    /// Bytes of a tree's plaintext; 0 when it is not stored.
    #[must_use]
    pub fn plain_bytes(&self, id: &Id) -> u64 {
        self.index.lookup(BlobType::Tree, id).map_or(0, |location| location.extent.plain_bytes())
    }
}

fn open(opener: &mut Opener, id: &Id, sealed: &[u8], location: &Location) -> Result<Tree> {
    let damaged = |cause: &dyn std::fmt::Display| damaged_blob(BlobType::Tree, id, &location.pack, cause);
    let mut plain = Vec::new();
    opener.open(id, sealed, location.extent.plain_length, &mut plain).map_err(|cause| damaged(&cause))?;
    Tree::decode(&plain).map_err(|cause| damaged(&cause))
}

/// A window of `bytes` bytes or more that holds `start..end`, mostly before it: writers store what is below a
/// directory before the directory.
fn window(start: u64, end: u64, bytes: u64, end_of_pack: u64) -> (u64, u64) {
    let end_of_pack = end_of_pack.max(end);
    let after = end.saturating_add(bytes / 4).min(end_of_pack);
    let before = after.saturating_sub(bytes.max(after - start));
    // What is left over at the front is taken at the back.
    let after = before.saturating_add(bytes).clamp(after, end_of_pack);
    (before, after)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use super::*;
    use crate::backend::memory::MemoryBackend;
    use crate::repository::blob::Extent;
    use crate::repository::index::{IndexBuilder, IndexPack};
    use crate::repository::pack::PackedBlob;
    use crate::repository::testing;

    #[test]
    fn groups_have_few_bytes_and_every_thread_some() {
        let lengths = [[1000_u32; 40].as_slice(), &[700 << 10; 3], &[50 << 20], &[300_000; 9]].concat();
        let tree = |(number, length): (u32, &u32)| {
            let extent = Extent { offset: 0, length: 100, plain_length: Some(*length) };
            PackedBlob { id: Id::of(&number.to_le_bytes()), kind: BlobType::Tree, extent }
        };
        let blobs: Vec<PackedBlob> = (0..).zip(&lengths).map(tree).collect();
        let ids: Vec<Id> = blobs.iter().map(|blob| blob.id).collect();
        let mut builder = IndexBuilder::default();
        builder.add(&[IndexPack { id: Id::default(), blobs }]);
        let (index, repository) = (builder.finish(), testing::create(Arc::new(MemoryBackend::new())));
        let reading = Reading { first_window_bytes: 1, kept_bytes_max: 1 };
        let reader = TreeReader::new(&repository, &index, reading);
        let groups = |ids, threads| reader.groups(ids, |id| *id, threads);
        let all = groups(&ids, 2);
        assert_eq!(all.concat(), ids);
        assert_eq!(all.iter().map(|group| group.len()).collect::<Vec<_>>(), [16, 16, 9, 1, 1, 1, 3, 3, 3]);
        assert_eq!(groups(ids.get(..6).unwrap(), 2).len(), 2);
        assert_eq!(groups(ids.get(..6).unwrap(), 9).len(), 6);
        assert!(groups(&[], 2).is_empty());
    }

    #[test]
    fn a_window_holds_the_tree_and_stays_in_the_pack() {
        assert_eq!(window(500, 600, 100, 1000), (500, 625));
        assert_eq!(window(500, 600, 400, 1000), (300, 700));
        assert_eq!(window(0, 10, 400, 1000), (0, 400));
        assert_eq!(window(990, 1000, 400, 1000), (600, 1000));
        assert_eq!(window(10, 20, 4000, 1000), (0, 1000));
        assert_eq!(window(10, 20, 4000, 0), (0, 20));
    }
}
