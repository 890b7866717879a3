//! The snapshot that a backup is compared with: its trees, and whether a file is unchanged.
//!
//! A file is unchanged when type, size, mtime, ctime and inode are (as restic compares them) *and* every
//! blob of its old content is still in the index. A tree that cannot be read is a warning: its files are
//! read again.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use bytes::Bytes;
use rustix::fs::Stat;

use super::entry::NodeMaker;
use super::run::lock;
use crate::error::{Error, Result};
use crate::repository::blob::{BlobType, Opener};
use crate::repository::index::Index;
use crate::repository::tree::{Node, NodeKind, Tree};
use crate::repository::{Id, Repository, damaged_blob, missing_blob};

/// What may differ in an unchanged file (`RESTIC_IGNORE_CTIME`, `RESTIC_IGNORE_INODE`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ignore {
    /// The time of the inode's last change.
    pub ctime: bool,
    /// The inode number; implies `ctime`.
    pub inode: bool,
}

/// Whether a file is what its old node says, by `stat` alone.
#[must_use]
pub fn is_unchanged(old: &Node, stat: &Stat, maker: &NodeMaker, ignore: Ignore) -> bool {
    let new = maker.node(&old.name, stat);
    old.kind == NodeKind::File
        && new.kind == NodeKind::File
        && old.size == new.size
        && old.mtime.instant() == new.mtime.instant()
        && (ignore.ctime || ignore.inode || old.ctime.instant() == new.ctime.instant())
        && (ignore.inode || old.inode == new.inode)
}

/// A tree that is longer is not kept to be compared, in bytes.
const JSON_BYTES_MAX: usize = 1 << 20;

/// A directory as the parent snapshot has it.
#[derive(Debug)]
pub struct ParentTree {
    id: Id,
    /// As it is stored; empty where that is not kept.
    json: Vec<u8>,
    nodes: Vec<Node>,
}

impl ParentTree {
    /// What it says of an entry.
    #[must_use]
    pub fn entry(&self, name: &[u8]) -> Option<&Node> {
        let position = self.nodes.binary_search_by(|node| node.name.as_slice().cmp(name)).ok()?;
        self.nodes.get(position)
    }

    /// The id of `json`, if it is this tree to the byte.
    #[must_use]
    pub fn id_if_same(&self, json: &[u8]) -> Option<Id> {
        (self.json == json).then_some(self.id)
    }
}

/// Tree packs kept in memory at most.
const PACKS_MAX: usize = 2;
/// A larger pack is not fetched whole.
const PACK_BYTES_MAX: u64 = 32 << 20;

/// Reads the trees of the parent snapshot. Neighbours lie in one pack, so a pack is fetched whole once; a
/// pack that is wanted again after it was dropped is read blob by blob.
pub struct ParentTrees<'a> {
    repository: &'a Repository,
    index: &'a Index,
    packs: Mutex<Packs>,
    unreadable: Mutex<HashMap<Id, Error>>,
}

impl std::fmt::Debug for ParentTrees<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ParentTrees")
    }
}

#[derive(Default)]
struct Packs {
    recent: Vec<(Id, Bytes)>,
    fetched: HashSet<Id>,
    /// Where the trees of a pack end; known when the first is wanted.
    ends: Option<HashMap<Id, u64>>,
}

impl<'a> ParentTrees<'a> {
    /// The trees of `repository`.
    #[must_use]
    pub fn new(repository: &'a Repository, index: &'a Index) -> Self {
        Self { repository, index, packs: Mutex::default(), unreadable: Mutex::default() }
    }

    /// A tree by id.
    pub fn tree(&self, id: &Id, opener: &mut Opener) -> Result<ParentTree> {
        let tree = self.read(id, opener);
        if let Err(error) = &tree {
            lock(&self.unreadable).insert(*id, error.clone());
        }
        tree
    }

    /// Once a tree could not be read, others that the index lists may be gone as well: a new snapshot that
    /// relied on one would lack data. So from then on each is read before it is relied on.
    pub fn require(&self, id: &Id) -> Result<()> {
        let known = {
            let unreadable = lock(&self.unreadable);
            if unreadable.is_empty() || !self.index.contains(BlobType::Tree, id) {
                return Ok(());
            }
            unreadable.get(id).cloned()
        };
        match known {
            Some(error) => Err(error),
            None => self.tree(id, &mut self.repository.opener()?).map(drop),
        }
    }

    fn read(&self, id: &Id, opener: &mut Opener) -> Result<ParentTree> {
        let location =
            self.index.lookup(BlobType::Tree, id).ok_or_else(|| missing_blob(BlobType::Tree, id))?;
        let Some(pack) = self.pack(&location.pack)? else {
            let nodes = self.repository.read_tree(self.index, id, opener)?.nodes;
            return Ok(ParentTree { id: *id, json: Vec::new(), nodes });
        };
        let start = location.extent.offset as usize;
        let damaged = |cause: &dyn std::fmt::Display| damaged_blob(BlobType::Tree, id, &location.pack, cause);
        let sealed = pack
            .get(start..start + location.extent.length as usize)
            .ok_or_else(|| damaged(&"the pack is too short"))?;
        let mut json = Vec::new();
        opener.open(id, sealed, location.extent.plain_length, &mut json).map_err(|cause| damaged(&cause))?;
        let nodes = Tree::decode(&json).map_err(|cause| damaged(&cause))?.nodes;
        if json.len() > JSON_BYTES_MAX {
            json = Vec::new();
        }
        Ok(ParentTree { id: *id, json, nodes })
    }

    /// A whole pack; `None` when it is better read blob by blob.
    fn pack(&self, id: &Id) -> Result<Option<Bytes>> {
        let mut packs = lock(&self.packs);
        if let Some(position) = packs.recent.iter().position(|(recent, _)| recent == id) {
            let entry = packs.recent.remove(position);
            let bytes = entry.1.clone();
            packs.recent.push(entry);
            return Ok(Some(bytes));
        }
        if !packs.fetched.insert(*id) {
            return Ok(None);
        }
        let end =
            *packs.ends.get_or_insert_with(|| self.index.pack_ends(BlobType::Tree)).get(id).unwrap_or(&0);
        if end > PACK_BYTES_MAX {
            return Ok(None);
        }
        let bytes = match self.repository.read_tree_pack(id) {
            Err(error) if error.is_not_found() => return Ok(None),
            read => read?,
        };
        if packs.recent.len() >= PACKS_MAX {
            packs.recent.remove(0);
        }
        packs.recent.push((*id, bytes.clone()));
        Ok(Some(bytes))
    }
}

/// Whether all blobs of an old content are still there.
#[must_use]
pub fn content_is_stored(index: &Index, node: &Node) -> bool {
    node.content.iter().flatten().all(|id| index.contains(BlobType::Data, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_have_the_id_of_the_parents_tree() {
        let (json, other) = (br#"{"nodes":[]}"#, br#"{"nodes":[ ]}"#);
        let tree = |kept: &[u8]| ParentTree { id: Id::of(json), json: kept.to_vec(), nodes: Vec::new() };
        assert_eq!(tree(json).id_if_same(json), Some(Id::of(json)));
        assert_eq!(tree(json).id_if_same(other), None);
        assert_eq!(tree(b"").id_if_same(json), None);
    }
}
