//! Directories that are being saved: entries finish in any order, and the last one completes its directory.
//!
//! Invariant: a directory's tree is built exactly once, when every entry has a node or was left out.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::exclude::IgnoreFile;
use super::parent::ParentTree;
use super::run::lock;
use crate::repository::Id;
use crate::repository::tree::Node;

/// A directory on its way to a tree.
#[derive(Debug)]
pub struct Directory {
    /// Where it is read.
    pub path: PathBuf,
    /// The directory above, and the place in it; `None` for the root.
    pub above: Option<(Arc<Directory>, usize)>,
    /// The device that it lies on.
    pub device: u64,
    /// Its own node, still without subtree.
    pub node: Mutex<Option<Node>>,
    /// Its node in the parent snapshot.
    pub previous: Option<Node>,
    previous_tree: OnceLock<ParentTree>,
    ignore_files: OnceLock<Vec<Arc<IgnoreFile>>>,
    slots: Mutex<Vec<Option<Node>>>,
    open: AtomicUsize,
}

impl Directory {
    /// A directory whose entries are not listed yet.
    pub fn new(path: PathBuf, above: Option<(Arc<Self>, usize)>, node: Node, previous: Option<Node>) -> Self {
        Self {
            path,
            device: node.device_id,
            ignore_files: OnceLock::new(),
            above,
            node: Mutex::new(Some(node)),
            previous,
            previous_tree: OnceLock::new(),
            slots: Mutex::default(),
            open: AtomicUsize::new(0),
        }
    }

    /// The ignore files that hold for its entries: its own and those from above.
    pub fn ignore_files(&self) -> &[Arc<IgnoreFile>] {
        match (self.ignore_files.get(), &self.above) {
            (Some(files), _) => files,
            (None, Some((above, _))) => above.ignore_files(),
            (None, None) => &[],
        }
    }

    /// Adds ignore files of its own to those from above; once, before its entries are looked at.
    pub fn add_ignore_files(&self, own: Vec<IgnoreFile>) {
        if !own.is_empty() {
            let all = self.ignore_files().iter().cloned().chain(own.into_iter().map(Arc::new));
            let _ = self.ignore_files.set(all.collect());
        }
    }

    /// Says how many entries there are; `true` when it is complete at once, because there are none.
    pub fn expect(&self, entries: usize) -> bool {
        lock(&self.slots).resize_with(entries, || None);
        self.open.store(entries, Ordering::SeqCst);
        entries == 0
    }

    /// An entry is done, or left out; `true` when it was the last.
    pub fn complete(&self, slot: usize, node: Option<Node>) -> bool {
        if let Some(place) = lock(&self.slots).get_mut(slot) {
            *place = node;
        }
        self.open.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// The nodes of a complete directory, in the order of names.
    pub fn take_nodes(&self) -> Vec<Node> {
        std::mem::take(&mut *lock(&self.slots)).into_iter().flatten().collect()
    }

    /// Its tree in the parent snapshot; set once, when its entries are about to be looked at, so that only the
    /// directories under way hold one.
    pub fn set_previous_tree(&self, tree: ParentTree) {
        let _ = self.previous_tree.set(tree);
    }

    /// What the parent snapshot says of an entry.
    pub fn previous_entry(&self, name: &[u8]) -> Option<&Node> {
        self.previous_tree.get()?.entry(name)
    }

    /// The id of its tree: that of the parent snapshot's, if both are the same.
    pub fn tree_id(&self, json: &[u8]) -> Id {
        let same = self.previous_tree.get().and_then(|previous| previous.id_if_same(json));
        same.unwrap_or_else(|| Id::of(json))
    }
}
