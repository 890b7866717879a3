//! Everything that snapshots reach: each tree once, whichever snapshots hold it.
//!
//! ```text
//! roots → pending trees by pack → the packs with most of them → windows → decode → subtrees → pending …
//! ```
//!
//! Trees are read in the order of packs and not of directories, so a pack is read about once: what it is
//! needed for has come together by then, and what is below a tree mostly lies in the same pack. Memory: a
//! bit an index entry, 4 bytes a tree that waits, and the windows. Nothing is decided here: the visitor says
//! whether a tree that cannot be read ends the walk. One that no index lists is told like a broken one.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::blob::{BlobType, Opener};
use super::index::{Index, Location};
use super::tree::Tree;
use super::tree_reader::{Reading, TreeReader};
use super::{Id, Repository, in_parallel_with, missing_blob};
use crate::error::{Error, ErrorKind, Result};

/// The first window of a pack, in bytes; further ones are larger.
const WINDOW_BYTES: u64 = 4 << 20;
/// Windows that are kept, in bytes, and besides them what one round reads; a larger pack is kept whole.
const WINDOWS_BYTES: u64 = 32 << 20;
/// Packs that are read in one round.
const PACKS_MAX: usize = 256;

/// Who is told of trees.
pub trait Visitor: Sync {
    /// A tree was read; called once per tree id, on many threads.
    fn tree(&self, id: &Id, tree: &Tree) -> Result<()>;

    /// A tree that is damaged or missing: returning the error ends the walk; `Ok` goes on without it. Called
    /// once per tree id. A store out of reach ends the walk without asking.
    fn broken(&self, id: &Id, error: Error) -> Result<()>;
}

/// Visits every tree below `roots` with `threads` threads; `stop` ends it as interrupted.
pub fn walk(
    repository: &Repository,
    index: &Index,
    roots: &[Id],
    threads: usize,
    visitor: &dyn Visitor,
    stop: &AtomicBool,
) -> Result<()> {
    let reading = Reading { first_window_bytes: WINDOW_BYTES, kept_bytes_max: WINDOWS_BYTES };
    let mut walk = Walk {
        index,
        threads,
        visitor,
        stop,
        reader: TreeReader::new(repository, index, reading),
        visited: Bits::new(index.len()),
        missing: Mutex::default(),
        pending: HashMap::new(),
    };
    let roots = walk.new_of(roots.iter().copied())?;
    walk.defer(roots);
    loop {
        let mut ready = walk.choose()?;
        if ready.is_empty() {
            return Ok(());
        }
        while !ready.is_empty() {
            let found = walk.read(repository, &ready)?;
            ready.clear();
            for ordinal in found {
                match index
                    .at(ordinal as usize)
                    .and_then(|entry| walk.location(ordinal).map(|at| (entry, at)))
                {
                    Some((_, location)) if walk.reader.holds(&location) => ready.push(ordinal),
                    Some((entry, _)) => walk.pending.entry(entry.pack).or_default().push(ordinal),
                    None => {}
                }
            }
        }
    }
}

struct Walk<'a> {
    index: &'a Index,
    threads: usize,
    visitor: &'a dyn Visitor,
    stop: &'a AtomicBool,
    reader: TreeReader<'a>,
    visited: Bits,
    /// Trees that no index lists.
    missing: Mutex<HashSet<Id>>,
    /// Trees that wait to be read, by the number of their pack.
    pending: HashMap<u32, Vec<u32>>,
}

impl Walk<'_> {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn location(&self, ordinal: u32) -> Option<Location> {
        let entry = self.index.at(ordinal as usize)?;
        Some(Location { pack: self.index.pack(entry.pack)?, extent: entry.extent })
    }

    fn ids(&self, ordinals: &[u32]) -> Vec<Id> {
        let entries = ordinals.iter().filter_map(|ordinal| self.index.at(*ordinal as usize));
        entries.map(|entry| entry.id).collect()
    }

    fn defer(&mut self, ordinals: Vec<u32>) {
        for ordinal in ordinals {
            if let Some(entry) = self.index.at(ordinal as usize) {
                self.pending.entry(entry.pack).or_default().push(ordinal);
            }
        }
    }

    /// Those of `ids` that are met for the first time, by ordinal.
    fn new_of(&self, ids: impl Iterator<Item = Id>) -> Result<Vec<u32>> {
        let mut new = Vec::new();
        for id in ids {
            match self.index.ordinal(BlobType::Tree, &id) {
                Some(ordinal) if self.visited.set(ordinal) => new.push(ordinal as u32),
                Some(_) => {}
                None => {
                    let first = self.missing.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
                    if first {
                        self.visitor.broken(&id, missing_blob(BlobType::Tree, &id))?;
                    }
                }
            }
        }
        Ok(new)
    }

    /// Takes the trees that wait for the packs with most of them, as many packs as memory allows, and reads
    /// their windows.
    fn choose(&mut self) -> Result<Vec<u32>> {
        let mut packs: Vec<(u32, usize)> =
            self.pending.iter().map(|(pack, trees)| (*pack, trees.len())).collect();
        packs.sort_unstable_by_key(|(pack, trees)| (std::cmp::Reverse(*trees), *pack));
        let mut chosen = Vec::new();
        let mut bytes = 0;
        for (pack, trees) in packs.into_iter().take(PACKS_MAX) {
            bytes += self.index.pack(pack).map_or(0, |id| self.reader.fetch_bytes(&id, trees));
            if bytes > WINDOWS_BYTES && !chosen.is_empty() {
                break;
            }
            chosen.extend(self.pending.remove(&pack).unwrap_or_default());
        }
        let ids = self.ids(&chosen);
        let stop = self.stop;
        self.reader.fetch(&|| stop.load(Ordering::Relaxed), &ids)?;
        Ok(chosen)
    }

    /// Reads trees and returns what is met in them for the first time.
    fn read(&self, repository: &Repository, ordinals: &[u32]) -> Result<Vec<u32>> {
        let ids = self.ids(ordinals);
        let groups = self.reader.groups(&ids, |id| *id, self.threads);
        let found = in_parallel_with(
            &groups,
            self.threads,
            || repository.opener(),
            |opener, ids| self.read_group(opener, ids),
        )?;
        Ok(found.into_iter().flatten().collect())
    }

    fn read_group(&self, opener: &mut Opener, ids: &[Id]) -> Result<Vec<u32>> {
        if self.is_over() {
            return Err(interrupted());
        }
        let mut found = Vec::new();
        for (id, tree) in ids.iter().zip(self.reader.read_many(&|| self.is_over(), opener, ids)) {
            match tree {
                Ok(tree) => {
                    self.visitor.tree(id, &tree)?;
                    found.extend(self.new_of(tree.nodes.iter().filter_map(|node| node.subtree))?);
                }
                // A store that was waited for fails because of the signal: the signal is the cause.
                Err(_) if self.is_over() => return Err(interrupted()),
                Err(error) if error.kind == ErrorKind::Damaged => self.visitor.broken(id, error)?,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "interrupted while reading trees")
}

/// A bit a blob, set by many threads.
#[derive(Debug)]
pub struct Bits(Vec<AtomicU64>);

impl Bits {
    /// So many bits, none set.
    #[must_use]
    pub fn new(bits: usize) -> Self {
        Self((0..bits.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Sets a bit; whether it was not set before.
    pub fn set(&self, bit: usize) -> bool {
        let mask = 1 << (bit % 64);
        self.0.get(bit / 64).is_some_and(|word| word.fetch_or(mask, Ordering::Relaxed) & mask == 0)
    }

    /// Whether a bit is set.
    #[must_use]
    pub fn is_set(&self, bit: usize) -> bool {
        self.0.get(bit / 64).is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (bit % 64)) != 0)
    }
}
