//! Directories that are being saved: entries finish in any order, and the last one completes its directory.
//!
//! An entry that would be written as it stands in the parent snapshot's tree is kept as its place there. If all of a
//! directory are, its tree is that tree, and neither written nor hashed again.
//!
//! Invariant: a directory's tree is built exactly once, when every entry is done or was left out.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::exclude::IgnoreFile;
use super::parent::ParentTree;
use super::run::lock;
use crate::repository::Id;
use crate::repository::tree::{Node, encode_node_into, join_into};

/// What became of an entry.
#[derive(Debug)]
pub enum Entry {
    /// It is left out.
    LeftOut,
    /// It is written at this place of the parent snapshot's tree as it would be written now.
    AsInParent(Range<usize>),
    /// As it is written.
    Text(Box<[u8]>),
}

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
    /// Where that stands in the tree above.
    pub place: Range<usize>,
    previous_tree: OnceLock<ParentTree>,
    ignore_files: OnceLock<Vec<Arc<IgnoreFile>>>,
    entries: Mutex<Vec<Entry>>,
    open: AtomicUsize,
}

impl Directory {
    /// A directory whose entries are not listed yet.
    pub fn new(
        path: PathBuf,
        above: Option<(Arc<Self>, usize)>,
        node: Node,
        previous: Option<(Node, Range<usize>)>,
    ) -> Self {
        let (previous, place) = previous.unzip();
        Self {
            path,
            device: node.device_id,
            ignore_files: OnceLock::new(),
            above,
            node: Mutex::new(Some(node)),
            previous,
            place: place.unwrap_or_default(),
            previous_tree: OnceLock::new(),
            entries: Mutex::default(),
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
        lock(&self.entries).resize_with(entries, || Entry::LeftOut);
        self.open.store(entries, Ordering::SeqCst);
        entries == 0
    }

    /// An entry is done, or left out; `true` when it was the last.
    pub fn complete(&self, slot: usize, entry: Entry) -> bool {
        if let Some(place) = lock(&self.entries).get_mut(slot) {
            *place = entry;
        }
        self.open.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// A done entry, whose node may stand at `place` of the parent snapshot's tree.
    pub fn entry(&self, node: &Node, place: &Range<usize>) -> Entry {
        let mut text = Vec::new();
        encode_node_into(node, &mut text);
        match self.previous_tree() {
            Some(tree) if tree.text.node(place) == text => Entry::AsInParent(place.clone()),
            _ => Entry::Text(text.into_boxed_slice()),
        }
    }

    /// The id of its tree, when it is complete and all is as in the parent snapshot.
    pub fn unchanged(&self) -> Option<Id> {
        let tree = self.previous_tree()?;
        let entries = lock(&self.entries);
        let is_unchanged = !entries.iter().any(|entry| matches!(entry, Entry::Text(_)));
        let places = entries.iter().filter_map(|entry| match entry {
            Entry::AsInParent(place) => Some(place),
            _ => None,
        });
        (is_unchanged && tree.text.is_all(places)).then_some(tree.id)
    }

    /// Appends the JSON of its tree, when it is complete; once.
    pub fn write_into(&self, json: &mut Vec<u8>) {
        let entries = std::mem::take(&mut *lock(&self.entries));
        let texts = entries.iter().filter_map(|entry| match entry {
            Entry::LeftOut => None,
            Entry::AsInParent(place) => Some(self.previous_tree()?.text.node(place)),
            Entry::Text(text) => Some(text),
        });
        join_into(texts, json);
    }

    /// Its tree in the parent snapshot; set once, shortly before its entries are looked at, so that only the
    /// directories under way and their next neighbours hold one.
    pub fn set_previous_tree(&self, tree: ParentTree) {
        let _ = self.previous_tree.set(tree);
    }

    /// Its tree in the parent snapshot.
    pub fn previous_tree(&self) -> Option<&ParentTree> {
        self.previous_tree.get()
    }
}
