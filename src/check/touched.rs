//! Who is hit: which snapshots and files need what is lost.
//!
//! Trees are walked a second time, only where something is lost. What is remembered of each is its parent
//! (8 bytes an edge); going up from the trees that need a lost blob gives the snapshots, going down again in
//! the newest of them, through those trees alone, gives paths. Lists are bounded: a line for each of the
//! first `PLACES_MAX` places, and `PATHS_MAX` paths each.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use super::reachability::nonsense;
use super::structure::{Inventory, Lost};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Monitor;
use crate::repository::blob::BlobType;
use crate::repository::reach::{self, Visitor};
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::{Node, Tree};
use crate::repository::{Id, Repository};

/// Places that are told one by one.
const PLACES_MAX: usize = 64;
/// Paths that are named of each.
const PATHS_MAX: usize = 20;
/// Trees that are read to count the files of one place.
const TREES_MAX: usize = 20_000;

/// What needs lost blobs, and how trees hang together, by ordinal.
#[derive(Debug, Default)]
pub(crate) struct Map {
    /// Child and parent, sorted, each pair once.
    pub(crate) edges: Vec<(u32, u32)>,
    /// Trees with an entry that loses something of its own, by the place of what is lost.
    pub(crate) hits: BTreeMap<Lost, Vec<u32>>,
}

impl Map {
    /// Walks all trees below `roots`. What cannot be read must be marked in the inventory before.
    pub(crate) fn draw(
        repository: &Repository,
        inventory: &Inventory,
        roots: &[Id],
        threads: usize,
        stop: &AtomicBool,
    ) -> Result<Self> {
        let collect = Collect { inventory, edges: Mutex::default(), hits: Mutex::default() };
        reach::walk(repository, &inventory.index, roots, threads, &collect, stop)?;
        let mut edges = collect.edges.into_inner().unwrap_or_else(PoisonError::into_inner);
        edges.sort_unstable();
        edges.dedup();
        let mut hits = collect.hits.into_inner().unwrap_or_else(PoisonError::into_inner);
        for root in roots {
            if let Some(lost) = inventory.lost(BlobType::Tree, root) {
                hits.entry(lost).or_default();
            }
        }
        Ok(Self { edges, hits })
    }

    /// These trees and all that lead to them.
    pub(crate) fn above(&self, trees: impl IntoIterator<Item = u32>) -> HashSet<u32> {
        let mut above: HashSet<u32> = trees.into_iter().collect();
        let mut rest: Vec<u32> = above.iter().copied().collect();
        while let Some(child) = rest.pop() {
            let from = self.edges.partition_point(|(other, _)| *other < child);
            for (_, parent) in self.edges.iter().skip(from).take_while(|(other, _)| *other == child) {
                if above.insert(*parent) {
                    rest.push(*parent);
                }
            }
        }
        above
    }
}

/// Tells for each place of loss which snapshots and files it touches.
pub(super) fn tell(
    repository: &Repository,
    inventory: &Inventory,
    snapshots: &[(Id, Snapshot)],
    threads: usize,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<()> {
    let roots: Vec<Id> = snapshots.iter().map(|(_, snapshot)| snapshot.tree).collect();
    let map = Map::draw(repository, inventory, &roots, threads, stop)?;
    let tracer = Tracer { repository, inventory, snapshots, map: &map };
    for (lost, hits) in map.hits.iter().take(PLACES_MAX) {
        tracer.tell(*lost, hits, monitor)?;
    }
    let more = map.hits.len().saturating_sub(PLACES_MAX);
    if more > 0 {
        monitor.problem(&format!("{more} more packs with losses are not traced to files"));
    }
    Ok(())
}

struct Collect<'a> {
    inventory: &'a Inventory,
    edges: Mutex<Vec<(u32, u32)>>,
    hits: Mutex<BTreeMap<Lost, Vec<u32>>>,
}

impl Visitor for Collect<'_> {
    fn tree(&self, id: &Id, tree: &Tree) -> Result<()> {
        let index = &self.inventory.index;
        let Some(own) = index.ordinal(BlobType::Tree, id) else { return Ok(()) };
        let mut edges = Vec::new();
        let mut hits: HashSet<Lost> = HashSet::new();
        for node in &tree.nodes {
            let losses = losses(self.inventory, node);
            if losses.is_empty() {
                let child = node.subtree.and_then(|subtree| index.ordinal(BlobType::Tree, &subtree));
                edges.extend(child.map(|child| (child as u32, own as u32)));
            }
            hits.extend(losses);
        }
        self.edges.lock().unwrap_or_else(PoisonError::into_inner).extend(edges);
        if !hits.is_empty() {
            let mut all = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
            for lost in hits {
                all.entry(lost).or_default().push(own as u32);
            }
        }
        Ok(())
    }

    fn broken(&self, _id: &Id, _error: Error) -> Result<()> {
        Ok(())
    }
}

/// Where a node loses something of its own: content, or the whole directory.
pub(crate) fn losses(inventory: &Inventory, node: &Node) -> HashSet<Lost> {
    let data = node.content.iter().flatten().filter_map(|blob| inventory.lost(BlobType::Data, blob));
    let tree = node.subtree.and_then(|subtree| inventory.lost(BlobType::Tree, &subtree));
    let nonsense = nonsense(node).map(|_| Lost::Nonsense);
    data.chain(tree).chain(nonsense).collect()
}

struct Tracer<'a> {
    repository: &'a Repository,
    inventory: &'a Inventory,
    snapshots: &'a [(Id, Snapshot)],
    map: &'a Map,
}

impl Tracer<'_> {
    fn tell(&self, lost: Lost, hits: &[u32], monitor: &dyn Monitor) -> Result<()> {
        let place = match lost {
            Lost::Unlisted => "what no index lists".to_owned(),
            Lost::Nonsense => "entries that make no sense".to_owned(),
            Lost::InPack(number) => match self.inventory.index.pack(number) {
                Some(pack) => format!("what is lost of pack {pack}"),
                None => return Ok(()),
            },
        };
        let above = self.map.above(hits.iter().copied());
        let touched: Vec<&(Id, Snapshot)> =
            self.snapshots.iter().filter(|(_, snapshot)| self.is_touched(snapshot, lost, &above)).collect();
        let Some((newest, snapshot)) = touched.last() else { return Ok(()) };
        let (count, all) = (touched.len(), self.snapshots.len());
        if self.inventory.lost(BlobType::Tree, &snapshot.tree) == Some(lost) {
            let text =
                format!("{place} touches {count} of {all} snapshots; of {} all is lost", newest.short());
            monitor.problem(&text);
            return Ok(());
        }
        let paths = self.paths(snapshot.tree, lost, &above)?;
        let (files, short) = (paths.count, newest.short());
        let at_least = if paths.complete { "" } else { "at least " };
        monitor.problem(&format!(
            "{place} touches {count} of {all} snapshots; in {short}, the newest of them, {at_least}{files} paths:"
        ));
        for path in &paths.first {
            monitor.problem(&format!("  {short}:{}", String::from_utf8_lossy(path)));
        }
        if files > paths.first.len() {
            monitor.problem(&format!("  … and {} others", files - paths.first.len()));
        }
        Ok(())
    }

    fn is_touched(&self, snapshot: &Snapshot, lost: Lost, above: &HashSet<u32>) -> bool {
        let root = self.inventory.index.ordinal(BlobType::Tree, &snapshot.tree);
        root.is_some_and(|root| above.contains(&(root as u32)))
            || self.inventory.lost(BlobType::Tree, &snapshot.tree) == Some(lost)
    }

    /// Paths below a root that lose something, through the trees of `above` alone.
    fn paths(&self, root: Id, lost: Lost, above: &HashSet<u32>) -> Result<Paths> {
        let mut opener = self.repository.opener()?;
        let mut found = Paths { first: Vec::new(), count: 0, complete: true };
        let mut rest = vec![(Vec::new(), root)];
        let mut left = TREES_MAX;
        while let Some((path, id)) = rest.pop() {
            if left == 0 {
                found.complete = false;
                break;
            }
            left -= 1;
            let tree = match self.repository.read_tree(&self.inventory.index, &id, &mut opener) {
                Err(error) if error.kind == ErrorKind::Damaged => {
                    found.complete = false;
                    continue;
                }
                read => read?,
            };
            let mut below = Vec::new();
            for node in &tree.nodes {
                let path = || [path.as_slice(), b"/", &node.name].concat();
                if losses(self.inventory, node).contains(&lost) {
                    found.count += 1;
                    if found.first.len() < PATHS_MAX {
                        found.first.push(path());
                    }
                } else if let Some(subtree) = node.subtree {
                    let ordinal = self.inventory.index.ordinal(BlobType::Tree, &subtree);
                    if ordinal.is_some_and(|ordinal| above.contains(&(ordinal as u32))) {
                        below.push((path(), subtree));
                    }
                }
            }
            rest.extend(below.into_iter().rev());
        }
        Ok(found)
    }
}

struct Paths {
    first: Vec<Vec<u8>>,
    count: usize,
    complete: bool,
}
