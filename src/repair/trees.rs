//! Rewriting trees without what is lost, from the leaves up.
//!
//! A file keeps the blobs that are left, and its size becomes theirs; a directory that cannot be read
//! becomes an empty one; an entry of no known type goes. Only trees that lose something, and those above
//! them, are read. Each is rewritten once, whichever snapshots hold it. New trees are collected into packs
//! and indexed by `finish`; before that nothing refers to them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::check::structure::Inventory;
use crate::check::touched::{Map, losses};
use crate::error::{Error, ErrorKind, Result};
use crate::repository::blob::{BlobType, Opener, Sealer};
use crate::repository::index::IndexPack;
use crate::repository::lock::Lock;
use crate::repository::pack::PackBuilder;
use crate::repository::tree::{Name, Node, NodeKind, Tree};
use crate::repository::{Id, Repository, in_parallel_with};

/// Where a pack of new trees closes, in bytes.
const PACK_BYTES: usize = 16 << 20;

/// What an entry loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Some or all of a file's content.
    Content,
    /// A whole directory: it becomes an empty one.
    Directory,
    /// The entry itself.
    Entry,
}

/// A tree that was rewritten.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) id: Id,
    pub(super) losses: Vec<(Name, Loss)>,
    /// Rewritten trees below, by name and ordinal.
    pub(super) below: Vec<(Name, u32)>,
}

/// All rewritten trees, by the ordinal of the old one.
pub(super) type Trees = HashMap<u32, Rewritten>;

/// Rewrites every tree that loses something, and those above. `store` takes the new ones.
pub(super) fn rewrite(
    repository: &Repository,
    inventory: &Inventory,
    map: &Map,
    store: &Store<'_>,
    threads: usize,
    stop: &AtomicBool,
) -> Result<Trees> {
    let affected = map.above(map.hits.values().flatten().copied());
    let mut waiting: HashMap<u32, usize> = affected.iter().map(|tree| (*tree, 0)).collect();
    let edges: Vec<(u32, u32)> =
        map.edges.iter().filter(|(child, _)| affected.contains(child)).copied().collect();
    for (_, parent) in &edges {
        *waiting.entry(*parent).or_default() += 1;
    }
    let mut ready: Vec<u32> = waiting.iter().filter(|(_, left)| **left == 0).map(|(tree, _)| *tree).collect();
    let mut done = Trees::new();
    while !ready.is_empty() {
        let work = |opener: &mut Opener, tree: &u32| {
            if stop.load(Ordering::Relaxed) {
                let error = Error::new(ErrorKind::Interrupted, "repair interrupted");
                return Err(error.then("No snapshot was changed"));
            }
            rewrite_one(repository, inventory, &done, store, opener, *tree)
        };
        let round = in_parallel_with(&ready, threads, || repository.opener(), work)?;
        let finished = std::mem::take(&mut ready);
        done.extend(finished.iter().copied().zip(round));
        for child in finished {
            let from = edges.partition_point(|(other, _)| *other < child);
            for (_, parent) in edges.iter().skip(from).take_while(|(other, _)| *other == child) {
                if let Some(left) = waiting.get_mut(parent) {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        ready.push(*parent);
                    }
                }
            }
        }
    }
    Ok(done)
}

fn rewrite_one(
    repository: &Repository,
    inventory: &Inventory,
    done: &Trees,
    store: &Store<'_>,
    opener: &mut Opener,
    ordinal: u32,
) -> Result<Rewritten> {
    let index = &inventory.index;
    let old = index.at(ordinal as usize).map(|entry| entry.id).unwrap_or_default();
    let tree = repository.read_tree(index, &old, opener)?;
    let mut rewritten = Rewritten { id: old, losses: Vec::new(), below: Vec::new() };
    let mut nodes = Vec::with_capacity(tree.nodes.len());
    for mut node in tree.nodes {
        let below = node.subtree.and_then(|subtree| index.ordinal(BlobType::Tree, &subtree));
        let below = below.and_then(|below| Some((below as u32, done.get(&(below as u32))?.id)));
        if !losses(inventory, &node).is_empty() {
            let loss = cut(&mut node, inventory, store)?;
            rewritten.losses.push((node.name.clone(), loss));
            if loss == Loss::Entry {
                continue;
            }
        } else if let Some((below, id)) = below {
            node.subtree = Some(id);
            rewritten.below.push((node.name.clone(), below));
        }
        nodes.push(node);
    }
    rewritten.id = store.add(&Tree { nodes })?;
    Ok(rewritten)
}

/// Takes what is lost out of a node.
fn cut(node: &mut Node, inventory: &Inventory, store: &Store<'_>) -> Result<Loss> {
    match node.kind {
        NodeKind::Dir => {
            node.subtree = Some(store.add(&Tree::default())?);
            Ok(Loss::Directory)
        }
        NodeKind::File => {
            let mut content = node.content.take().unwrap_or_default();
            content.retain(|blob| inventory.lost(BlobType::Data, blob).is_none());
            let plain = |blob| inventory.index.lookup(BlobType::Data, blob).map(|at| at.extent.plain_bytes());
            node.size = content.iter().filter_map(plain).sum();
            node.content = Some(content);
            Ok(Loss::Content)
        }
        _ => Ok(Loss::Entry),
    }
}

/// Where new trees go. Without a lock they are named and not stored: a dry run.
pub(super) struct Store<'a> {
    repository: &'a Repository,
    inventory: &'a Inventory,
    lock: Option<&'a Lock>,
    state: Mutex<State>,
}

struct State {
    sealer: Sealer,
    known: HashSet<Id>,
    open: PackBuilder<Vec<u8>>,
    packs: Vec<IndexPack>,
}

impl<'a> Store<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        inventory: &'a Inventory,
        lock: Option<&'a Lock>,
    ) -> Result<Self> {
        let state = State {
            sealer: repository.sealer()?,
            known: HashSet::new(),
            open: PackBuilder::new(BlobType::Tree, Vec::new()),
            packs: Vec::new(),
        };
        Ok(Self { repository, inventory, lock, state: Mutex::new(state) })
    }

    /// The id of a tree, which is stored unless it is already.
    fn add(&self, tree: &Tree) -> Result<Id> {
        let json = tree.encode();
        let id = Id::of(&json);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = self.inventory.lost(BlobType::Tree, &id).is_none();
        if stored || self.lock.is_none() || !state.known.insert(id) {
            return Ok(id);
        }
        let State { sealer, open, .. } = &mut *state;
        let random = self.repository.random();
        open.append(id, Sealer::bound(json.len()), |tail| {
            sealer.seal(BlobType::Tree, &id, &json, tail, random)
        })?;
        if open.len() + open.header_bytes() >= PACK_BYTES {
            self.close(&mut state)?;
        }
        Ok(id)
    }

    fn close(&self, state: &mut State) -> Result<()> {
        let full = std::mem::replace(&mut state.open, PackBuilder::new(BlobType::Tree, Vec::new()));
        if full.is_empty() {
            return Ok(());
        }
        let pack = full.finish(self.repository.cipher(), self.repository.random())?;
        self.repository.write_pack(&pack)?;
        state.packs.push(IndexPack { id: pack.id, blobs: pack.blobs });
        Ok(())
    }

    /// Writes what is left, and the index of all new packs.
    pub(super) fn finish(&self) -> Result<()> {
        let Some(lock) = self.lock else { return Ok(()) };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.close(&mut state)?;
        if !state.packs.is_empty() {
            lock.check()?;
            self.repository.write_index_file(&state.packs)?;
        }
        Ok(())
    }
}
