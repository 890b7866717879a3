//! What a walk of the trees remembers, and how it adds up.
//!
//! Of each tree, once: how many entries it has, the sizes of its files, its hard links, and which trees and
//! blobs it needs, as 4 bytes each. Sums over a snapshot are taken over this graph in memory, with the sum
//! of a subtree kept: ten thousand snapshots that share most of their trees cost little more than one.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use super::{Blobs, SnapshotStats, Stats, too_large};
use crate::error::{Error, Result};
use crate::repository::blob::BlobType;
use crate::repository::crypto::SEAL_BYTES;
use crate::repository::id::Hasher;
use crate::repository::index::Index;
use crate::repository::reach::{self, Bits, Visitor};
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::{Node, NodeKind, Tree};
use crate::repository::{Id, Repository, missing_blob};

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
#[derive(Clone, Copy)]
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

/// All that is remembered.
pub(super) struct Collected<'a> {
    index: &'a Index,
    memory_bytes: u64,
    state: Mutex<State>,
}

impl Visitor for Collected<'_> {
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
        Err(error)
    }
}

/// Names a content: equal lists of blobs, equal keys.
fn content_key(node: &Node) -> [u8; 16] {
    let mut hasher = Hasher::default();
    node.content.iter().flatten().for_each(|blob| hasher.update(&blob.0));
    let id = hasher.finish();
    id.0.first_chunk::<16>().copied().unwrap_or_default()
}

impl<'a> Collected<'a> {
    /// Reads all trees below `roots`.
    pub(super) fn walk(
        repository: &Repository,
        index: &'a Index,
        roots: &[Id],
        threads: usize,
        memory_bytes: u64,
        stop: &AtomicBool,
    ) -> Result<Self> {
        let collected = Self { index, memory_bytes, state: Mutex::default() };
        reach::walk(repository, index, roots, threads, &collected, stop)?;
        Ok(collected)
    }

    fn count(&self, node: &Node, figures: &mut Figures) -> Result<()> {
        figures.entries += 1;
        // As restic counts: whoever says that it has other names counts once by inode, where it has one.
        if node.links == 1 || node.inode == 0 || node.kind == NodeKind::Dir {
            figures.bytes = figures.bytes.saturating_add(node.size);
        } else if node.size > 0 {
            figures.links.push((node.inode, node.device_id, node.size));
        }
        let known = |kind, id: &Id| {
            self.index.ordinal(kind, id).map(|ordinal| ordinal as u32).ok_or_else(|| missing_blob(kind, id))
        };
        if let Some(subtree) = &node.subtree {
            figures.children.push(known(BlobType::Tree, subtree)?);
        }
        for blob in node.content.iter().flatten() {
            figures.blobs.push(known(BlobType::Data, blob)?);
        }
        Ok(())
    }

    /// The figures of `snapshots`, oldest first, and of all together.
    pub(super) fn add_up(
        self,
        index: &Index,
        snapshots: Vec<(Id, Snapshot)>,
        stats: &mut Stats,
    ) -> Result<()> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        stats.distinct_files = state.contents.len() as u64;
        stats.distinct_bytes = state.distinct_bytes;
        let mut sums = HashMap::new();
        let seen = Bits::new(index.len());
        for (id, snapshot) in snapshots {
            let root = index.ordinal(BlobType::Tree, &snapshot.tree);
            let root = root.ok_or_else(|| missing_blob(BlobType::Tree, &snapshot.tree))? as u32;
            let sum = total(root, &state.trees, &mut sums);
            let linked = if sum.has_links { linked_bytes(root, &state.trees, &sums) } else { 0 };
            let before = stats.needed.stored_bytes;
            need(root, &state.trees, index, &seen, &mut stats.needed);
            let restore_bytes = sum.bytes.saturating_add(linked);
            stats.restore_bytes = stats.restore_bytes.saturating_add(restore_bytes);
            stats.entries += sum.entries;
            stats.snapshots.push(SnapshotStats {
                id,
                snapshot,
                restore_bytes,
                entries: sum.entries,
                added_bytes: stats.needed.stored_bytes - before,
            });
        }
        Ok(())
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
    sums.get(&root).copied().unwrap_or(Sum { entries: 0, bytes: 0, has_links: false })
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
