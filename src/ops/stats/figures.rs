//! What a walk of the trees remembers, and how it adds up.
//!
//! Of each tree, once: how many entries it has, the sizes of its files, its hard links, and which trees and
//! blobs it needs, as 4 bytes each. Sums over a snapshot are taken over this graph in memory, with the sum
//! of a subtree kept: ten thousand snapshots that share most of their trees cost little more than one.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::{Blobs, SnapshotStats, Stats, too_large};
use crate::error::{Error, Result};
use crate::repository::blob::BlobType;
use crate::repository::crypto::SEAL_BYTES;
use crate::repository::id::Hasher;
use crate::repository::index::Index;
use crate::repository::reach::{Bits, Visitor};
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::{Node, NodeKind, Tree};
use crate::repository::{Id, missing_blob};

/// Who is told of a tree or blob that is damaged or missing: returning the error ends the count.
pub(in crate::ops) type OnBroken<'a> = &'a (dyn Fn(Error) -> Result<()> + Sync);

/// One tree.
#[derive(Default)]
struct Figures {
    entries: u64,
    /// Sizes of what is no hard link.
    bytes: u64,
    /// Inode, device and size of each hard link.
    links: Vec<(u64, u64, u64)>,
    /// Trees by ordinal, in order.
    children: Vec<u32>,
    /// Data blobs by ordinal.
    blobs: Vec<u32>,
}

/// A tree with all below it.
#[derive(Clone, Copy, Default)]
struct Sum {
    entries: u64,
    bytes: u64,
    has_links: bool,
}

#[derive(Default)]
struct State {
    trees: HashMap<u32, Figures>,
    contents: HashSet<[u8; 16]>,
    distinct_bytes: u64,
    bytes: u64,
}

/// What the walk remembers.
pub(super) struct Collected<'a, 'b> {
    index: &'a Index,
    memory_bytes: u64,
    broken: OnBroken<'b>,
    state: Mutex<State>,
}

/// All trees with what they need, once the walk is over.
pub(in crate::ops) struct Graph<'a> {
    index: &'a Index,
    trees: HashMap<u32, Figures>,
    sums: HashMap<u32, Sum>,
    distinct_files: u64,
    distinct_bytes: u64,
}

impl Visitor for Collected<'_, '_> {
    fn tree(&self, id: &Id, tree: &Tree) -> Result<()> {
        let Some(own) = self.index.ordinal(BlobType::Tree, id) else { return Ok(()) };
        let mut figures = Figures::default();
        let mut contents = Vec::new();
        for node in &tree.nodes {
            self.count(node, &mut figures)?;
            // Whatever has no content counts as one more, as restic counts: an empty file, or else a folder.
            contents.push((content_key(node), node.size));
        }
        let bytes = size_of::<Figures>()
            + 8
            + 24 * figures.links.len()
            + 4 * (figures.children.len() + figures.blobs.len())
            + 20 * contents.len();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes += bytes as u64;
        if state.bytes > self.memory_bytes {
            return Err(too_large(state.bytes));
        }
        for (key, size) in contents {
            if state.contents.insert(key) {
                state.distinct_bytes += size;
            }
        }
        state.trees.insert(own as u32, figures);
        Ok(())
    }

    fn broken(&self, _id: &Id, error: Error) -> Result<()> {
        (self.broken)(error)
    }
}

/// Names a content: equal lists of blobs, equal keys.
fn content_key(node: &Node) -> [u8; 16] {
    let mut hasher = Hasher::default();
    node.content.iter().flatten().for_each(|blob| hasher.update(&blob.0));
    let id = hasher.finish();
    id.0.first_chunk::<16>().copied().unwrap_or_default()
}

impl<'a, 'b> Collected<'a, 'b> {
    /// Nothing yet; more than `memory_bytes` is an error.
    pub(super) fn new(index: &'a Index, memory_bytes: u64, broken: OnBroken<'b>) -> Self {
        Self { index, memory_bytes, broken, state: Mutex::default() }
    }

    fn count(&self, node: &Node, figures: &mut Figures) -> Result<()> {
        figures.entries += 1;
        // As restic counts: whoever says that it has other names counts once by inode, where it has one.
        if node.links == 1 || node.inode == 0 || node.kind == NodeKind::Dir {
            figures.bytes = figures.bytes.saturating_add(node.size);
        } else if node.size > 0 {
            figures.links.push((node.inode, node.device_id, node.size));
        }
        // A folder whose tree no index lists is told of by the walk.
        let subtree = node.subtree.and_then(|id| self.index.ordinal(BlobType::Tree, &id));
        figures.children.extend(subtree.map(|ordinal| ordinal as u32));
        for blob in node.content.iter().flatten() {
            match self.index.ordinal(BlobType::Data, blob) {
                Some(ordinal) => figures.blobs.push(ordinal as u32),
                None => (self.broken)(missing_blob(BlobType::Data, blob))?,
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Graph<'a> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        Graph {
            index: self.index,
            trees: state.trees,
            sums: HashMap::new(),
            distinct_files: state.contents.len() as u64,
            distinct_bytes: state.distinct_bytes,
        }
    }
}

impl Graph<'_> {
    /// The figures of `snapshots`, oldest first, and of all together.
    pub(super) fn add_up(
        &mut self,
        snapshots: Vec<(Id, Snapshot)>,
        stats: &mut Stats,
        broken: OnBroken<'_>,
    ) -> Result<()> {
        stats.distinct_files = self.distinct_files;
        stats.distinct_bytes = self.distinct_bytes;
        let seen = Bits::new(self.index.len());
        for (id, snapshot) in snapshots {
            let mut one = SnapshotStats { id, snapshot, ..SnapshotStats::default() };
            match self.index.ordinal(BlobType::Tree, &one.snapshot.tree) {
                Some(root) => self.add_one(root as u32, &seen, &mut one, stats),
                None => broken(missing_blob(BlobType::Tree, &one.snapshot.tree))?,
            }
            stats.restore_bytes = stats.restore_bytes.saturating_add(one.restore_bytes);
            stats.entries += one.entries;
            stats.snapshots.push(one);
        }
        Ok(())
    }

    fn add_one(&mut self, root: u32, seen: &Bits, one: &mut SnapshotStats, stats: &mut Stats) {
        let sum = total(root, &self.trees, &mut self.sums);
        let linked = if sum.has_links { linked_bytes(root, &self.trees, &self.sums) } else { 0 };
        let before = stats.needed.stored_bytes;
        need(root, &self.trees, self.index, seen, &mut stats.needed);
        one.restore_bytes = sum.bytes.saturating_add(linked);
        one.entries = sum.entries;
        one.added_bytes = stats.needed.stored_bytes - before;
    }

    /// Bytes of the files in a folder and all below it, by its tree; hard links count once.
    pub(in crate::ops) fn bytes_below(&self, tree: &Id) -> u64 {
        let Some(tree) = self.index.ordinal(BlobType::Tree, tree).map(|ordinal| ordinal as u32) else {
            return 0;
        };
        let sum = self.sums.get(&tree).copied().unwrap_or_default();
        let linked = if sum.has_links { linked_bytes(tree, &self.trees, &self.sums) } else { 0 };
        sum.bytes.saturating_add(linked)
    }

    /// What the snapshot with the root `new` needs and the one with the root `old` does not, as stored: by
    /// folder, each blob in the first folder that needs it.
    pub(in crate::ops) fn added_below(&self, old: Option<&Id>, new: &Id) -> Added<'_> {
        let seen = Bits::new(self.index.len());
        let root = |id: &Id| self.index.ordinal(BlobType::Tree, id).map(|ordinal| ordinal as u32);
        if let Some(old) = old.and_then(root) {
            need(old, &self.trees, self.index, &seen, &mut Blobs::default());
        }
        let mut bytes = HashMap::new();
        let root = root(new).filter(|root| seen.set(*root as usize));
        let mut rest: Vec<Step> = root.into_iter().map(Step::Into).collect();
        while let Some(step) = rest.pop() {
            match step {
                Step::Into(tree) => {
                    let Some(figures) = self.trees.get(&tree) else { continue };
                    let new = |ordinal: &&u32| seen.set(**ordinal as usize);
                    let own = figures.blobs.iter().filter(new).chain([&tree]);
                    bytes.insert(tree, own.map(|blob| self.stored_bytes(*blob)).sum::<u64>());
                    let below: Vec<u32> = figures.children.iter().filter(new).copied().collect();
                    let into = below.clone();
                    rest.push(Step::OutOf(tree, below));
                    rest.extend(into.into_iter().map(Step::Into));
                }
                Step::OutOf(tree, below) => {
                    let below: u64 = below.iter().filter_map(|child| bytes.get(child)).sum();
                    *bytes.entry(tree).or_default() += below;
                }
            }
        }
        Added { index: self.index, bytes }
    }

    fn stored_bytes(&self, ordinal: u32) -> u64 {
        self.index.at(ordinal as usize).map_or(0, |entry| u64::from(entry.extent.length))
    }
}

/// A walk down and up again, without recursion: folders may be nested as deep as anybody likes.
enum Step {
    Into(u32),
    /// With the folders below that were met here first.
    OutOf(u32, Vec<u32>),
}

/// New data by folder.
pub(in crate::ops) struct Added<'a> {
    index: &'a Index,
    bytes: HashMap<u32, u64>,
}

impl Added<'_> {
    /// Of a folder and all below it, by its tree.
    pub(in crate::ops) fn bytes_below(&self, tree: &Id) -> u64 {
        let ordinal = self.index.ordinal(BlobType::Tree, tree).map(|ordinal| ordinal as u32);
        ordinal.and_then(|ordinal| self.bytes.get(&ordinal)).copied().unwrap_or(0)
    }
}

/// The sum of a tree and all below it, children before parents.
fn total(root: u32, trees: &HashMap<u32, Figures>, sums: &mut HashMap<u32, Sum>) -> Sum {
    let mut rest = vec![root];
    while let Some(tree) = rest.last().copied() {
        let Some(figures) = trees.get(&tree).filter(|_| !sums.contains_key(&tree)) else {
            rest.pop();
            continue;
        };
        let waiting =
            figures.children.iter().filter(|child| !sums.contains_key(child) && trees.contains_key(child));
        let before = rest.len();
        rest.extend(waiting);
        if rest.len() > before {
            continue;
        }
        rest.pop();
        let mut sum =
            Sum { entries: figures.entries, bytes: figures.bytes, has_links: !figures.links.is_empty() };
        for child in figures.children.iter().filter_map(|child| sums.get(child)) {
            sum.entries = sum.entries.saturating_add(child.entries);
            sum.bytes = sum.bytes.saturating_add(child.bytes);
            sum.has_links |= child.has_links;
        }
        sums.insert(tree, sum);
    }
    sums.get(&root).copied().unwrap_or_default()
}

/// Sizes of the hard links below a tree, each inode once; the first in the order of paths counts.
fn linked_bytes(root: u32, trees: &HashMap<u32, Figures>, sums: &HashMap<u32, Sum>) -> u64 {
    let mut seen = HashSet::new();
    let mut visited = HashSet::new();
    let mut bytes = 0_u64;
    let mut rest = vec![root];
    while let Some(tree) = rest.pop() {
        let Some(figures) = trees.get(&tree) else { continue };
        if !visited.insert(tree) {
            continue;
        }
        for (inode, device, size) in &figures.links {
            if seen.insert((*inode, *device)) {
                bytes = bytes.saturating_add(*size);
            }
        }
        let linked = |child: &&u32| sums.get(child).is_some_and(|sum| sum.has_links);
        rest.extend(figures.children.iter().rev().filter(linked));
    }
    bytes
}

/// Adds the blobs that a tree and all below it need and that were not seen.
fn need(root: u32, trees: &HashMap<u32, Figures>, index: &Index, seen: &Bits, needed: &mut Blobs) {
    let mut add = |ordinal: u32| {
        let new = seen.set(ordinal as usize);
        if let Some(entry) = index.at(ordinal as usize).filter(|_| new) {
            let (stored, plain) =
                (u64::from(entry.extent.length), entry.extent.plain_bytes() + SEAL_BYTES as u64);
            needed.count += 1;
            needed.stored_bytes += stored;
            needed.plain_bytes += plain;
            if entry.extent.plain_length.is_some() {
                needed.compressed_stored_bytes += stored;
                needed.compressed_plain_bytes += plain;
            }
        }
        new
    };
    let mut rest = vec![root];
    while let Some(tree) = rest.pop() {
        if add(tree)
            && let Some(figures) = trees.get(&tree)
        {
            figures.blobs.iter().for_each(|blob| _ = add(*blob));
            rest.extend(&figures.children);
        }
    }
}
