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
use crate::repository::blob::{BadBlob, BlobType, Opener};
use crate::repository::index::{Index, Location};
use crate::repository::tree::{Node, NodeKind, TreeText};
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

/// A directory as the parent snapshot has it.
#[derive(Debug)]
pub struct ParentTree {
    /// Its id.
    pub id: Id,
    /// What it says.
    pub text: TreeText,
}

/// Tree packs kept in memory at most.
const PACKS_MAX: usize = 2;
/// Trees that are longer together are not read together, in bytes.
const TOGETHER_BYTES: u64 = 256 << 10;
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

    /// Trees by id, hashed side by side: as many of the first as are not long together, one at least. What is the
    /// matter with one tree is its own.
    pub fn trees(&self, ids: &[Id], opener: &mut Opener) -> Vec<Result<ParentTree>> {
        let mut read = Vec::new();
        let mut bytes = 0;
        for id in ids {
            let location = self.index.lookup(BlobType::Tree, id);
            bytes += location.map_or(0, |location| location.extent.plain_bytes());
            if !read.is_empty() && bytes > TOGETHER_BYTES {
                break;
            }
            let location = location.ok_or_else(|| missing_blob(BlobType::Tree, id));
            read.push(location.and_then(|location| Ok((location, self.read(id, &location, opener)?))));
        }
        let texts: Vec<&[u8]> = read.iter().flatten().map(|(_, json)| json.as_slice()).collect();
        let expected: Vec<Id> =
            ids.iter().zip(&read).filter(|(_, read)| read.is_ok()).map(|(id, _)| *id).collect();
        let mut hashes = Id::of_expected(&texts, &expected).into_iter();
        let trees = ids.iter().zip(read).map(|(id, read)| {
            let (location, json) = read?;
            match hashes.next().unwrap_or_default() {
                hash if hash == *id => Ok(ParentTree { id: *id, text: TreeText::new(json) }),
                hash => Err(damaged_blob(BlobType::Tree, id, &location.pack, &BadBlob::OtherHash(hash))),
            }
        });
        let trees: Vec<_> = trees.collect();
        for (id, tree) in ids.iter().zip(&trees) {
            if let Err(error) = tree {
                lock(&self.unreadable).insert(*id, error.clone());
            }
        }
        trees
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
            None => self
                .trees(&[*id], &mut self.repository.opener()?)
                .into_iter()
                .try_for_each(|tree| tree.map(drop)),
        }
    }

    /// The JSON of a tree, whose hash is not compared yet.
    fn read(&self, id: &Id, location: &Location, opener: &mut Opener) -> Result<Vec<u8>> {
        let Some(pack) = self.pack(&location.pack)? else {
            return self.repository.read_blob(self.index, BlobType::Tree, id, opener);
        };
        let start = location.extent.offset as usize;
        let damaged = |cause: &dyn std::fmt::Display| damaged_blob(BlobType::Tree, id, &location.pack, cause);
        let sealed = pack
            .get(start..start + location.extent.length as usize)
            .ok_or_else(|| damaged(&"the pack is too short"))?;
        let mut json = Vec::new();
        let opened = opener.open_unverified(sealed, location.extent.plain_length, &mut json);
        opened.map_err(|cause| damaged(&cause))?;
        Ok(json)
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
pub fn is_stored(index: &Index, content: &[Id]) -> bool {
    content.iter().all(|id| index.contains(BlobType::Data, id))
}
