//! Walks the snapshot's trees and the target side by side, and records what is to be restored.
//!
//! The first walk meets every directory once and sums up what is needed; it records entries as long as the
//! batch has room. When it has none, the walk goes on counting alone, and `next_batch` reads the rest of the
//! trees again, batch by batch. Nothing in the target is changed here, but
//! for directories that may not be read. A name that could lead out of its
//! directory, a tree that cannot be read, a blob that no index lists: the item fails, the rest goes on.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32};

use rustix::fs::FileType;
use smallvec::SmallVec;

use super::holes::is_hole;
use super::plan::{Batch, Dirs, Entry, HardLinks, Place, ROOT, Use, What};
use super::run::{Run, Trouble, spread};
use super::target::{self, Handles, open_max};
use super::{Overwrite, RestoreOptions};
use crate::error::{Error, Result};
use crate::pattern::{Match, Patterns};
use crate::repository::blob::{BlobType, Opener};
use crate::repository::index::Index;
use crate::repository::tree::{Node, NodeKind, Tree};
use crate::repository::tree_reader::{Reading, TreeReader};
use crate::repository::{Id, Repository, missing_blob};

/// Directories that are read at once, and bytes of their trees.
const CHUNK_DIRS: usize = 256;
const CHUNK_BYTES: u64 = 12 << 20;

/// Sums of the whole snapshot, as far as it is selected.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Needs {
    /// Bytes that the target must have room for, beyond what is there.
    pub(super) bytes: u64,
    /// Entries that are not there yet.
    pub(super) entries: u64,
}

/// The walk, and what it found.
pub(super) struct Scan<'a> {
    run: &'a Run<'a>,
    repository: &'a Repository,
    index: &'a Index,
    options: &'a RestoreOptions,
    include: &'a Patterns,
    root: Option<&'a OwnedFd>,
    block_bytes: u64,
    trees: TreeReader<'a>,
    pub(super) dirs: Dirs,
    pub(super) links: HardLinks,
    pub(super) needs: Needs,
    /// Names in the target that the snapshot does not have, by directory.
    pub(super) extras: Vec<(u32, Vec<u8>)>,
    /// Files with several names that are used as they stand, by device and inode.
    claimed: HashSet<(u64, u64)>,
    /// Directories before this one are recorded.
    recorded: u32,
}

/// What stands at an entry's name.
#[derive(Debug, Clone, Copy)]
struct Standing {
    kind: FileType,
    bytes: u64,
    allocated_bytes: u64,
    links: u64,
    file: (u64, u64),
    mtime: (i64, u32),
}

/// A directory's tree beside what stands in the target.
struct Looked {
    nodes: Vec<Found>,
    extras: Vec<Vec<u8>>,
}

/// An entry, what stands at its name, and its blobs, if it is a file that is selected.
struct Found {
    node: Node,
    standing: Option<Standing>,
    said: Match,
    content: Result<Content, Trouble>,
}

/// A file's blobs, in their order.
#[derive(Default)]
struct Content {
    uses: SmallVec<[Use; 1]>,
    bytes: u64,
    hole_bytes: u64,
}

impl<'a> Scan<'a> {
    /// A walk from `tree`, which is restored into `root`; no root: into nothing, in a dry run.
    pub(super) fn new(
        run: &'a Run<'a>,
        repository: &'a Repository,
        index: &'a Index,
        options: &'a RestoreOptions,
        include: &'a Patterns,
        root: Option<&'a OwnedFd>,
        tree: Id,
    ) -> Self {
        let whole = include.is_empty();
        let reading = Reading {
            first_window_bytes: if whole { 4 << 20 } else { 256 << 10 },
            kept_bytes_max: (options.memory_bytes / 8).clamp(16 << 20, 64 << 20),
        };
        let block_bytes =
            root.and_then(|root| rustix::fs::fstatvfs(root).ok()).map_or(4096, |fs| fs.f_frsize);
        let place = if root.is_some() { Place::Usable } else { Place::Free };
        Self {
            run,
            repository,
            index,
            options,
            include,
            root,
            block_bytes: block_bytes.max(1),
            trees: TreeReader::new(repository, index, reading),
            dirs: Dirs::new(tree, place),
            links: HardLinks::default(),
            needs: Needs::default(),
            extras: Vec::new(),
            claimed: HashSet::new(),
            recorded: 0,
        }
    }

    /// The first walk: every directory, and a batch of up to `batch_bytes_max` bytes of memory.
    pub(super) fn first_batch(&mut self, batch_bytes_max: u64) -> Result<Batch> {
        let mut batch = Batch::default();
        let mut at = ROOT;
        let mut has_room = true;
        while at < self.dirs.len() {
            let (chunk, end) = self.chunk(at);
            for (dir, looked) in self.look(&chunk)? {
                if let Some(looked) = looked {
                    self.take(dir, looked, true, has_room.then_some(&mut batch));
                }
            }
            at = end;
            if has_room {
                self.recorded = end;
                has_room = batch.memory_bytes() < batch_bytes_max;
            }
        }
        self.trees.drop_windows();
        Ok(batch)
    }

    /// What the first walk had no room for, as far as there is room now.
    pub(super) fn next_batch(&mut self, batch_bytes_max: u64) -> Result<Option<Batch>> {
        let mut batch = Batch::default();
        while self.recorded < self.dirs.len() && batch.memory_bytes() < batch_bytes_max {
            let (chunk, end) = self.chunk(self.recorded);
            for (dir, looked) in self.look(&chunk)? {
                if let Some(looked) = looked {
                    self.take(dir, looked, false, Some(&mut batch));
                }
            }
            self.recorded = end;
        }
        self.trees.drop_windows();
        Ok((!batch.entries.is_empty()).then_some(batch))
    }

    /// Directories from `start` on that are read together, and the first that is not among them.
    fn chunk(&self, start: u32) -> (Vec<u32>, u32) {
        let mut chunk = Vec::new();
        let mut bytes = 0;
        let mut at = start;
        while let Some(dir) = self.dirs.dir(at).filter(|_| chunk.len() < CHUNK_DIRS) {
            bytes += self.trees.plain_bytes(&dir.subtree);
            if bytes > CHUNK_BYTES && !chunk.is_empty() {
                break;
            }
            chunk.push(at);
            at += 1;
        }
        (chunk, at)
    }

    /// Reads trees and what stands beside them. A tree that cannot be read fails when it is met first.
    fn look(&mut self, chunk: &[u32]) -> Result<Vec<(u32, Option<Looked>)>> {
        let ids: Vec<Id> = chunk.iter().map(|dir| self.subtree(*dir)).collect();
        self.trees.fetch(&|| self.run.is_over(), &ids)?;
        let this = &*self;
        let threads = this.options.threads;
        let state = || {
            let handles = this.root.map(|root| Handles::new(root, &this.dirs, open_max(threads)));
            (this.repository.opener(), handles)
        };
        let groups = this.trees.groups(chunk, |dir| this.subtree(*dir), threads);
        let looked = spread(self.run, &groups, threads, state, |(opener, handles), group| {
            this.look_at_group(group, opener.as_mut().map_err(|error| &*error), handles)
        });
        self.run.check()?;
        Ok(looked.into_iter().flatten().collect())
    }

    fn subtree(&self, dir: u32) -> Id {
        self.dirs.dir(dir).map(|record| record.subtree).unwrap_or_default()
    }

    fn look_at_group(
        &self,
        group: &[u32],
        opener: Result<&mut Opener, &Error>,
        handles: &mut Option<Handles<'_>>,
    ) -> Vec<(u32, Option<Looked>)> {
        let ids: Vec<Id> = group.iter().map(|dir| self.subtree(*dir)).collect();
        let trees = match opener {
            Ok(opener) => self.trees.read_many(&|| self.run.is_over(), opener, &ids),
            Err(error) => ids.iter().map(|_| Err(error.clone())).collect(),
        };
        let looked = group.iter().zip(trees).map(|(dir, tree)| {
            let looked = tree.map_err(Trouble::from).and_then(|tree| self.look_at(*dir, tree, handles));
            let looked = looked.map_err(|trouble| {
                self.run.item_failed(&self.dirs.path_text(*dir, b""), trouble);
            });
            (*dir, looked.ok())
        });
        looked.collect()
    }

    fn look_at(&self, dir: u32, tree: Tree, handles: &mut Option<Handles<'_>>) -> Result<Looked, Trouble> {
        let Some(record) = self.dirs.dir(dir) else { return Err(Trouble::other("no such directory")) };
        let nodes = tree.nodes;
        let found = |node: Node, standing| {
            let said = self.selects(dir, &node.name);
            let is_wanted = node.kind == NodeKind::File && said.matched;
            let content = if is_wanted { self.content(&node) } else { Ok(Content::default()) };
            Found { node, standing, said, content }
        };
        let Some(handles) = handles.as_mut().filter(|_| record.place == Place::Usable) else {
            let nodes = nodes.into_iter().map(|node| found(node, None)).collect();
            return Ok(Looked { nodes, extras: Vec::new() });
        };
        let failed = |errno| Trouble::system("list the directory in the target", errno);
        let names = if dir == ROOT {
            handles.with(ROOT, target::names).flatten()
        } else {
            let name = self.dirs.name(dir);
            handles
                .with(self.dirs.parent(dir), |parent| {
                    target::open_to_list(parent, name, !self.options.dry_run)
                })
                .flatten()
                .and_then(|list| target::names(&list))
        };
        let mut standing: HashSet<Vec<u8>> = names.map_err(failed)?.into_iter().collect();
        let mut beside = Vec::with_capacity(nodes.len());
        for node in nodes {
            let stat = if standing.remove(node.name.as_slice()) {
                handles.with(dir, |dir| target::standing(dir, &node.name)).flatten().map_err(failed)?
            } else {
                None
            };
            beside.push(found(node, stat.as_ref().map(Standing::of)));
        }
        let extras = if self.options.delete { standing.into_iter().collect() } else { Vec::new() };
        Ok(Looked { nodes: beside, extras })
    }

    /// Records a directory's entries in `batch`; `first`: its directories and its needs, too.
    fn take(&mut self, dir: u32, looked: Looked, first: bool, mut batch: Option<&mut Batch>) {
        for Found { mut node, standing, said, content } in looked.nodes {
            if !node.is_safe_name() {
                if first {
                    let item = self.dirs.path_text(dir, b"")
                        + " "
                        + &format!("{:?}", String::from_utf8_lossy(&node.name));
                    self.run.item_failed(&item, Trouble::damaged("its name would lead out of its directory"));
                }
                continue;
            }
            if node.kind == NodeKind::Dir {
                if first {
                    self.take_dir(dir, &mut node, standing, said);
                }
            } else if said.matched {
                let taken = self.take_entry(dir, &mut node, standing, content, first, batch.as_deref_mut());
                if let Err(trouble) = taken {
                    self.run.item_failed(&self.dirs.path_text(dir, &node.name), trouble);
                }
            }
        }
        if first {
            let extras = looked.extras.into_iter();
            let kept = extras.filter(|name| dir != ROOT || name.as_slice() != b"lost+found");
            let kept: Vec<_> = kept.filter(|name| self.selects(dir, name).matched).collect();
            self.extras.extend(kept.into_iter().map(|name| (dir, name)));
        }
    }

    fn selects(&self, dir: u32, name: &[u8]) -> Match {
        if self.include.is_empty() {
            return Match { matched: true, child_may_match: true };
        }
        self.include.matches(&self.dirs.path(dir, name))
    }

    fn take_dir(&mut self, dir: u32, node: &mut Node, standing: Option<Standing>, said: Match) {
        if !said.matched && !said.child_may_match {
            return;
        }
        let place = match standing {
            None => Place::Free,
            Some(standing) if standing.kind == FileType::Directory => Place::Usable,
            Some(_) => Place::Taken,
        };
        let name = node.name.clone();
        let added = node.subtree.and_then(|subtree| self.dirs.add(dir, node, subtree, place));
        let Some(added) = added else {
            self.run
                .item_failed(&self.dirs.path_text(dir, &name), Trouble::damaged("its node names no tree"));
            return;
        };
        if said.matched {
            self.want(added);
        }
    }

    fn want(&mut self, dir: u32) {
        let (needs, progress) = (&mut self.needs, self.run.monitor.progress());
        self.dirs.want(dir, |dir| {
            needs.entries += u64::from(dir.place != Place::Usable);
            progress.files_total.add(1);
        });
    }

    /// Records anything but a directory.
    fn take_entry(
        &mut self,
        dir: u32,
        node: &mut Node,
        standing: Option<Standing>,
        content: Result<Content, Trouble>,
        first: bool,
        batch: Option<&mut Batch>,
    ) -> Result<(), Trouble> {
        if matches!(node.kind, NodeKind::Socket | NodeKind::Irregular) {
            if node.kind == NodeKind::Irregular {
                let path = self.dirs.path_text(dir, &node.name);
                self.run.warn_once("irregular", || {
                    format!("{path} is of no known type and is left out, as others like it")
                });
            }
            return Ok(());
        }
        self.want(dir);
        let content = content?;
        let link = self.link(dir, node)?;
        let kept = self.keeps(node, standing);
        if first {
            self.count(node, &content, standing, link.is_some(), kept);
        }
        let Some(batch) = batch else { return Ok(()) };
        if kept {
            let bytes = if link.is_some() { 0 } else { content.bytes };
            self.run.file_skipped(bytes);
            self.run.monitor.progress().bytes_done.add(bytes);
            return Ok(());
        }
        self.record(dir, node, standing, &content, link, batch)
    }

    /// Whether what stands there stays as it is, by `Overwrite`.
    fn keeps(&self, node: &Node, standing: Option<Standing>) -> bool {
        match (self.options.overwrite, standing) {
            (Overwrite::Always | Overwrite::IfChanged, _) | (_, None) => false,
            (Overwrite::IfNewer, Some(standing)) => node.mtime.instant() <= standing.mtime,
            (Overwrite::Never, Some(_)) => true,
        }
    }

    /// The number of the file that this is another name of; `None` when this is its first name or its only one.
    fn link(&mut self, dir: u32, node: &Node) -> Result<Option<u32>, Trouble> {
        if node.kind != NodeKind::File || node.links < 2 || node.inode == 0 {
            return Ok(None);
        }
        let too_long = || Trouble::other("its name is too long");
        let number = self.links.number(node, dir, &mut self.dirs).ok_or_else(too_long)?;
        let (first_dir, first_name) = self.links.first(number).ok_or_else(too_long)?;
        let is_first = first_dir == dir && self.dirs.kept_name(first_name) == node.name.as_slice();
        Ok((!is_first).then_some(number))
    }

    fn content(&self, node: &Node) -> Result<Content, Trouble> {
        let ids = node.content.as_deref().unwrap_or_default();
        let mut content = Content { uses: SmallVec::with_capacity(ids.len()), ..Content::default() };
        for id in ids {
            let found = Use::find(self.index, id, content.bytes);
            let blob = found.ok_or_else(|| Trouble::from(missing_blob(BlobType::Data, id)))?;
            let bytes = blob.plain_bytes();
            content.bytes += bytes;
            content.hole_bytes += if self.options.sparse && is_hole(bytes, || *id) { bytes } else { 0 };
            content.uses.push(blob);
        }
        if content.bytes != node.size {
            // A file that grew while an old restic read it: the content is what was read.
            self.run.warn_once("size", || {
                let (bytes, size, name) = (content.bytes, node.size, String::from_utf8_lossy(&node.name));
                format!(
                    "{name} is recorded with {size} bytes, its content has {bytes}: the content is restored"
                )
            });
        }
        Ok(content)
    }

    fn count(
        &mut self,
        node: &Node,
        content: &Content,
        standing: Option<Standing>,
        is_link: bool,
        kept: bool,
    ) {
        let progress = self.run.monitor.progress();
        progress.files_total.add(1);
        self.needs.entries += u64::from(standing.is_none() && !is_link);
        if is_link {
            return;
        }
        progress.bytes_total.add(content.bytes);
        if kept {
            return;
        }
        let needed = (content.bytes - content.hole_bytes).next_multiple_of(self.block_bytes);
        let there = standing.filter(|standing| standing.may_be(node));
        self.needs.bytes += needed.saturating_sub(there.map_or(0, |standing| standing.allocated_bytes));
    }

    fn record(
        &mut self,
        dir: u32,
        node: &mut Node,
        standing: Option<Standing>,
        content: &Content,
        link: Option<u32>,
        batch: &mut Batch,
    ) -> Result<(), Trouble> {
        let too_long = || Trouble::other("its name or its target is too long");
        let name = batch.texts.add(&node.name).ok_or_else(too_long)?;
        let what = match (link, node.kind) {
            (Some(first), _) => What::Link { first },
            (None, NodeKind::Symlink) => {
                What::Symlink { target: batch.texts.add(&node.link_target).ok_or_else(too_long)? }
            }
            (None, NodeKind::BlockDevice) => What::Device { block: true, number: node.device },
            (None, NodeKind::CharDevice) => What::Device { block: false, number: node.device },
            (None, NodeKind::Fifo) => What::Fifo,
            (None, _) => What::File { bytes: content.bytes },
        };
        let place = self.place(node, what, standing);
        let number = batch.entries.len() as u32;
        let uses_start = batch.uses.len() as u32;
        let trusted = place == Place::Usable
            && self.options.overwrite == Overwrite::IfChanged
            && standing
                .is_some_and(|there| there.bytes == content.bytes && there.mtime == node.mtime.instant());
        if matches!(what, What::File { .. }) && !trusted {
            batch.uses.extend(content.uses.iter().map(|blob| blob.of_entry(number)));
        }
        let uses = batch.uses.len() as u32 - uses_start;
        batch.entries.push(Entry {
            dir,
            name,
            what,
            meta: batch.xattrs.meta(node),
            place,
            standing_bytes: standing.map_or(0, |standing| standing.bytes),
            standing_shared: standing.is_some_and(|standing| standing.links > 1),
            uses,
            pending: AtomicU32::new(0),
            begun: AtomicBool::new(false),
            done: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        });
        Ok(())
    }

    /// What can become of what stands there; a file with several names is used for one file alone.
    fn place(&mut self, node: &Node, what: What, standing: Option<Standing>) -> Place {
        let Some(standing) = standing else { return Place::Free };
        let usable = matches!(what, What::File { .. })
            && standing.may_be(node)
            && (standing.links < 2 || self.claimed.insert(standing.file));
        if usable { Place::Usable } else { Place::Taken }
    }
}

impl Standing {
    fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            bytes: stat.st_size.cast_unsigned(),
            allocated_bytes: stat.st_blocks.cast_unsigned() * 512,
            links: u64::from(stat.st_nlink as u32),
            file: (stat.st_dev, stat.st_ino),
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
        }
    }

    /// Whether it may be a node's file: a file that has more names than the node knows is somebody else's too.
    fn may_be(&self, node: &Node) -> bool {
        self.kind == FileType::RegularFile && self.links <= node.links.max(1)
    }
}

/// The tree of a folder inside a snapshot (`ID:folder`).
pub fn subtree(repository: &Repository, index: &Index, tree: Id, folder: &str) -> Result<Id> {
    let mut opener = repository.opener()?;
    let mut at = tree;
    for part in folder.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let nodes = repository.read_tree(index, &at, &mut opener)?.nodes;
        let node = nodes.into_iter().find(|node| node.name.as_slice() == part.as_bytes());
        at = match node.as_ref().map(|node| (node.kind, node.subtree)) {
            Some((NodeKind::Dir, Some(subtree))) => subtree,
            found => {
                let cause =
                    if found.is_none() { "the snapshot has no such folder" } else { "it is not a folder" };
                return Err(Error::new(crate::error::ErrorKind::Other, "cannot restore the folder")
                    .at(folder)
                    .because(cause)
                    .then("List the snapshot's entries with ls"));
            }
        };
    }
    Ok(at)
}
