//! Compares a directory with a snapshot: names, kinds, content, size, mode, owner, time, links, attributes.
//!
//! Everything is read back from the disk and hashed against the ids of the snapshot; what the writer believes
//! counts for nothing. Differences are `-` (missing here), `+` (only here), `T` (another kind), `M` (content),
//! `U` (metadata alone), as restic's diff marks them. What this process may not set, or the file system does
//! not know, is not asked for. Nothing is changed, but for files of a scratch directory that deny reading.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{Advice, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::content::Content;
use super::rules::Rules;
use crate::error::Result;
use crate::repository::blob::Opener;
use crate::repository::index::Index;
use crate::repository::tree::{Node, NodeKind};
use crate::repository::tree_reader::{Reading, TreeReader};
use crate::repository::{Id, Repository};
use crate::restore::plan::{Dirs, Place, ROOT};
use crate::restore::run::{Run, Trouble, lock, spread};
use crate::restore::target::{self, Handles, open_max};

/// Directories that are compared at once.
const CHUNK_DIRS: usize = 256;
/// So many differences are named.
const NAMED_MAX: usize = 100;

/// One difference between a snapshot and a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The path in the snapshot.
    pub path: String,
    /// `-`, `+`, `T`, `M` or `U`.
    pub change: char,
    /// What differs, in words; empty where `change` says it all.
    pub what: String,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compared {
    /// Entries of the snapshot that were looked at.
    pub entries: u64,
    /// Regular files of the snapshot, each name counted.
    pub files: u64,
    /// Bytes of all files' content; a file with several names counts once.
    pub bytes: u64,
    /// How many differences there are.
    pub differences_total: u64,
    /// The first of them, by path.
    pub differences: Vec<Difference>,
}

/// A comparison under way.
pub(super) struct Comparing<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) repository: &'a Repository,
    pub(super) index: &'a Index,
    pub(super) rules: Rules<'a>,
    pub(super) threads: usize,
    /// What windows of trees are cut from, in bytes.
    pub(super) memory_bytes: u64,
}

/// A directory's tree beside what stands on the disk.
#[derive(Default)]
struct Beside {
    differences: Vec<Difference>,
    directories: Vec<Node>,
    entries: u64,
    files: u64,
    bytes: u64,
}

/// Which file of the disk stands for a file of the snapshot that has several names; none yet: it was met only.
type Inodes = Mutex<HashMap<(u64, u64), Option<(u64, u64)>>>;

impl Comparing<'_> {
    /// Compares all of `tree` with `root`. What cannot be read is a failed item of the run.
    pub(super) fn compare(&self, tree: Id, root: &OwnedFd) -> Result<Compared> {
        let kept_bytes_max = (self.memory_bytes / 8).clamp(16 << 20, 64 << 20);
        let reading = Reading { first_window_bytes: 4 << 20, kept_bytes_max };
        let mut trees = TreeReader::new(self.repository, self.index, reading);
        let mut dirs = Dirs::new(tree, Place::Usable);
        let (inodes, mut compared) = (Inodes::default(), Compared::default());
        let mut at = ROOT;
        while at < dirs.len() {
            let chunk: Vec<u32> = (at..dirs.len()).take(CHUNK_DIRS).collect();
            let subtrees: Vec<Id> =
                chunk.iter().filter_map(|dir| dirs.dir(*dir)).map(|dir| dir.subtree).collect();
            trees.fetch(&|| self.run.is_over(), &subtrees)?;
            let state = || {
                let handles = Handles::new(root, &dirs, open_max(self.threads));
                Walker {
                    comparing: self,
                    trees: &trees,
                    dirs: &dirs,
                    handles,
                    inodes: &inodes,
                    content: None,
                }
            };
            let found = spread(self.run, &chunk, self.threads, state, |walker, dir| {
                let beside = walker.directory(*dir).unwrap_or_else(|trouble| {
                    self.run.item_failed(&dirs.path_text(*dir, b""), trouble);
                    Beside::default()
                });
                (*dir, beside)
            });
            self.run.check()?;
            at += chunk.len() as u32;
            for (dir, beside) in found {
                compared.take(&beside);
                for mut node in beside.directories {
                    if let Some(subtree) = node.subtree {
                        dirs.add(dir, &mut node, subtree, Place::Usable);
                    }
                }
            }
        }
        compared.differences.sort();
        Ok(compared)
    }
}

impl Compared {
    fn take(&mut self, beside: &Beside) {
        self.entries += beside.entries;
        self.files += beside.files;
        self.bytes += beside.bytes;
        self.differences_total += beside.differences.len() as u64;
        let room = NAMED_MAX.saturating_sub(self.differences.len());
        self.differences.extend(beside.differences.iter().take(room).cloned());
    }
}

/// One thread of a comparison.
struct Walker<'a> {
    comparing: &'a Comparing<'a>,
    trees: &'a TreeReader<'a>,
    dirs: &'a Dirs,
    handles: Handles<'a>,
    inodes: &'a Inodes,
    content: Option<(Opener, Content)>,
}

impl Walker<'_> {
    fn directory(&mut self, dir: u32) -> Result<Beside, Trouble> {
        let Comparing { run, repository, .. } = self.comparing;
        let subtree = self.dirs.dir(dir).map(|dir| dir.subtree).unwrap_or_default();
        let (mut opener, mut content) = match self.content.take() {
            Some(kept) => kept,
            None => (repository.opener()?, Content::default()),
        };
        let nodes = self.trees.read(&|| run.is_over(), &mut opener, &subtree)?.nodes;
        let mut names = self.names(dir)?;
        let mut beside = Beside::default();
        for node in nodes {
            if run.is_over() {
                break;
            }
            if matches!(node.kind, NodeKind::Socket | NodeKind::Irregular) || !node.is_safe_name() {
                names.remove(node.name.as_slice());
                continue;
            }
            beside.entries += 1;
            if node.kind == NodeKind::File {
                beside.files += 1;
                beside.bytes += if self.is_first_name(&node) { node.size } else { 0 };
            }
            let there = names.remove(node.name.as_slice());
            match self.entry(dir, &node, there, &mut content) {
                Ok(None) => {}
                Ok(Some((change, what))) => {
                    let path = self.dirs.path_text(dir, &node.name);
                    beside.differences.push(Difference { path, change, what });
                    if matches!(change, '-' | 'T') {
                        continue;
                    }
                }
                Err(trouble) => run.item_failed(&self.dirs.path_text(dir, &node.name), trouble),
            }
            if node.kind == NodeKind::Dir {
                beside.directories.push(node);
            }
        }
        self.extras(dir, names, &mut beside)?;
        self.content = Some((opener, content));
        Ok(beside)
    }

    fn names(&mut self, dir: u32) -> Result<HashSet<Vec<u8>>, Trouble> {
        let failed = |errno| Trouble::system("list the directory", errno);
        let scratch = self.comparing.rules.is_scratch();
        let names = if dir == ROOT {
            self.handles.with(ROOT, target::names).flatten()
        } else {
            let name = self.dirs.name(dir);
            let open = |parent: &OwnedFd| target::open_to_list(parent, name, scratch);
            self.handles.with(self.dirs.parent(dir), open).flatten().and_then(|list| target::names(&list))
        };
        Ok(names.map_err(failed)?.into_iter().collect())
    }

    /// What only the directory has. Sockets are never in a snapshot, `lost+found` belongs to the file system.
    fn extras(&mut self, dir: u32, names: HashSet<Vec<u8>>, beside: &mut Beside) -> Result<(), Trouble> {
        for name in names {
            let kept = dir == ROOT && name == b"lost+found";
            let standing = self.handles.with(dir, |dir| target::standing(dir, &name)).flatten();
            let standing = standing.map_err(|errno| Trouble::system("look at it", errno))?;
            if kept || standing.is_none_or(|stat| target::is(&stat, FileType::Socket)) {
                continue;
            }
            let path = self.dirs.path_text(dir, &name);
            beside.differences.push(Difference { path, change: '+', what: String::new() });
        }
        Ok(())
    }

    /// How an entry differs.
    fn entry(
        &mut self,
        dir: u32,
        node: &Node,
        there: bool,
        content: &mut Content,
    ) -> Result<Option<(char, String)>, Trouble> {
        let rules = &self.comparing.rules;
        let failed = |errno| Trouble::system("look at it", errno);
        let stat = if there {
            self.handles.with(dir, |dir| target::standing(dir, &node.name)).flatten().map_err(failed)?
        } else {
            None
        };
        let Some(stat) = stat else {
            let device = matches!(node.kind, NodeKind::BlockDevice | NodeKind::CharDevice);
            // A restore without the right to make devices leaves them out, and says so.
            return Ok((!device || rules.makes_devices()).then(|| ('-', String::new())));
        };
        if !target::is(&stat, kind(node.kind)) {
            return Ok(Some(('T', String::new())));
        }
        let mut differs = rules.metadata(node, &stat);
        if self.another_file(node, &stat) {
            differs.push("its names are of different files".to_owned());
        }
        let inside = self.handles.with(dir, |parent| self.comparing.inside(parent, node, &stat, content));
        let (changed, attributes) = inside.map_err(failed)??;
        if let Some(what) = changed {
            return Ok(Some(('M', what)));
        }
        differs.extend(attributes);
        Ok((!differs.is_empty()).then(|| ('U', differs.join(", "))))
    }

    /// Whether no other name of the file was met before.
    fn is_first_name(&self, node: &Node) -> bool {
        if !has_names(node) {
            return true;
        }
        let mut inodes = lock(self.inodes);
        let met = inodes.contains_key(&(node.inode, node.device_id));
        inodes.entry((node.inode, node.device_id)).or_default();
        !met
    }

    /// Whether a name of a file with several names leads to another file than the names before it.
    fn another_file(&self, node: &Node, stat: &Stat) -> bool {
        if !has_names(node) {
            return false;
        }
        let file = (stat.st_dev, stat.st_ino);
        let mut inodes = lock(self.inodes);
        *inodes.entry((node.inode, node.device_id)).or_default().get_or_insert(file) != file
    }
}

fn has_names(node: &Node) -> bool {
    node.kind == NodeKind::File && node.links > 1 && node.inode != 0
}

/// How content differs, and how attributes do.
type Inside = (Option<String>, Vec<String>);

impl Comparing<'_> {
    fn inside(
        &self,
        parent: &OwnedFd,
        node: &Node,
        stat: &Stat,
        content: &mut Content,
    ) -> Result<Inside, Trouble> {
        let failed = |errno| Trouble::system("read it", errno);
        match node.kind {
            NodeKind::Symlink => {
                let found = rustix::fs::readlinkat(parent, &*node.name, Vec::new()).map_err(failed)?;
                let differs = found.as_bytes() != node.link_target;
                Ok((differs.then(|| "it links to something else".to_owned()), Vec::new()))
            }
            NodeKind::BlockDevice | NodeKind::CharDevice => {
                let differs = stat.st_rdev != node.device;
                Ok((differs.then(|| "it is another device".to_owned()), Vec::new()))
            }
            NodeKind::File => {
                let file = self.open(parent, &node.name).map_err(failed)?;
                let changed = content.compare(self.run, self.index, node, stat, &file)?;
                Ok((changed, self.rules.attributes(node, file.as_fd()).map_err(failed)?))
            }
            NodeKind::Dir => {
                let opened =
                    target::open_to_list(parent, &node.name, self.rules.is_scratch()).map_err(failed)?;
                Ok((None, self.rules.attributes(node, opened.as_fd()).map_err(failed)?))
            }
            NodeKind::Fifo | NodeKind::Socket | NodeKind::Irregular => Ok((None, Vec::new())),
        }
    }

    /// Opens for reading; a file of the scratch directory gets its own mode back at once.
    fn open(&self, parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Err(Errno::ACCESS) if self.rules.is_scratch() => {
                let stat = target::standing(parent, name)?.ok_or(Errno::NOENT)?;
                rustix::fs::chmodat(parent, name, Mode::RUSR, AtFlags::empty())?;
                let opened = rustix::fs::openat(parent, name, flags, Mode::empty());
                rustix::fs::chmodat(
                    parent,
                    name,
                    Mode::from_raw_mode(stat.st_mode & 0o7777),
                    AtFlags::empty(),
                )?;
                opened
            }
            opened => opened,
        }?;
        if self.rules.is_scratch() {
            // What the restore wrote comes from the disk again, not from memory, where the system lets it go.
            let _ = rustix::fs::fadvise(&opened, 0, None, Advice::DontNeed);
        }
        Ok(opened)
    }
}

fn kind(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Dir => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::BlockDevice => FileType::BlockDevice,
        NodeKind::CharDevice => FileType::CharacterDevice,
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::Socket => FileType::Socket,
        NodeKind::Irregular => FileType::Unknown,
    }
}

/// Opens a directory that is to be compared.
pub(super) fn open(path: &Path) -> Result<OwnedFd> {
    target::open(path, false)?.ok_or_else(|| {
        crate::error::Error::usage("the directory to compare with does not exist")
            .at(path.display().to_string())
            .then("Name one that is mounted")
    })
}
