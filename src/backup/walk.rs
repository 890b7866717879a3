//! The walk: directories are listed, entries stat'ed and compared with the parent, by several readers.
//!
//! Readers take work from one stack, the newest first, so that a subtree is finished before the next is
//! begun and few directories are open at a time. A large directory is shared out in parts; what the parent has of
//! small ones next to one another is read together. Whatever cannot be read is reported and left out; the walk
//! goes on.

use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::Stages;
use super::directory::{Directory, Entry};
use super::entry::xattrs;
use super::parent::{is_stored, is_unchanged};
use super::read::Reader;
use super::run::{NAP, Run, lock};
use crate::repository::Id;
use crate::repository::tree::{Node, NodeKind, encode_head_into};

/// Entries of a directory that one reader takes at a time.
const PART: usize = 512;
/// Neighbouring directories whose trees in the parent are read together: as many as the widest CPU hashes at once.
const FAMILY: usize = 16;

/// A part of a directory's entries.
pub struct Part {
    directory: Arc<Directory>,
    handle: Arc<OwnedFd>,
    names: Vec<(usize, Vec<u8>)>,
    /// Where the parent's tree has the next entry, if nothing changed.
    expected: Option<usize>,
}

/// What a reader does next.
pub enum Work {
    /// Read what the parent has of directories next to one another, and list them.
    Family(Vec<Arc<Directory>>),
    /// List a directory.
    List(Arc<Directory>),
    /// Look at some of its entries.
    Entries(Part),
}

/// The stack of work that readers share.
#[derive(Default)]
pub struct Frontier {
    stack: Mutex<Stack>,
    changed: Condvar,
}

#[derive(Default)]
struct Stack {
    work: Vec<Work>,
    busy: usize,
}

impl Frontier {
    /// Adds work; the last is done first.
    pub fn push(&self, work: impl DoubleEndedIterator<Item = Work>) {
        lock(&self.stack).work.extend(work.rev());
        self.changed.notify_all();
    }

    /// Work that is there now, if any.
    fn try_pop(&self) -> Option<Work> {
        let mut stack = lock(&self.stack);
        let work = stack.work.pop()?;
        stack.busy += 1;
        Some(work)
    }

    /// Waits for work; `None` when there is none and no reader is at work that could bring some.
    fn pop(&self, run: &Run<'_>) -> Option<Work> {
        let mut stack = lock(&self.stack);
        loop {
            if run.is_over() {
                return None;
            }
            if let Some(work) = stack.work.pop() {
                stack.busy += 1;
                return Some(work);
            }
            if stack.busy == 0 {
                return None;
            }
            stack = self.changed.wait_timeout(stack, NAP).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn done(&self) {
        let mut stack = lock(&self.stack);
        stack.busy -= 1;
        if stack.busy == 0 {
            self.changed.notify_all();
        }
    }
}

/// A reader's loop: until there is nothing left to walk.
pub fn walk(stages: &Stages<'_>, reader: &mut Reader<'_>) {
    loop {
        let work = stages.frontier.try_pop().or_else(|| {
            reader.flush();
            stages.frontier.pop(stages.run)
        });
        let Some(work) = work else { return };
        match work {
            Work::Family(family) => list_family(stages, reader, family),
            Work::List(directory) => list(stages, reader, &directory),
            Work::Entries(part) => look_at(stages, reader, part),
        }
        stages.frontier.done();
        if stages.run.is_over() {
            return;
        }
    }
}

fn list_family(stages: &Stages<'_>, reader: &mut Reader<'_>, mut family: Vec<Arc<Directory>>) {
    let ready = load_previous(stages, reader, &family);
    let others = family.split_off(ready);
    let mut ready = family.into_iter();
    let first = ready.next();
    let others = (!others.is_empty()).then_some(Work::Family(others));
    stages.frontier.push(ready.map(Work::List).chain(others));
    if let Some(first) = first {
        list(stages, reader, &first);
    }
}

fn list(stages: &Stages<'_>, reader: &mut Reader<'_>, directory: &Arc<Directory>) {
    // The root may be reached through a link: the source is the user's choice.
    let follow = if directory.above.is_none() { OFlags::empty() } else { OFlags::NOFOLLOW };
    let listed = open_directory(&directory.path, follow).and_then(|handle| Ok((names(&handle)?, handle)));
    let (mut names, handle) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            stages.item_failed("archival", &directory.path, &cannot("read the directory", error));
            return leave_out(stages, directory);
        }
    };
    let excludes = &stages.options.excludes;
    excludes.names(directory, &mut names);
    let mut ignore_files = Vec::new();
    for (path, file) in excludes.read_ignore_files(directory, &names) {
        match file {
            Ok(file) => ignore_files.push(file),
            Err(cause) => {
                stages.item_failed("archival", &path, &format!("cannot use the ignore file: {cause}"));
            }
        }
    }
    directory.add_ignore_files(ignore_files);
    names.sort_unstable();
    // A directory that changes while it is listed may name an entry twice.
    names.dedup();
    if directory.expect(names.len()) {
        return stages.all_done(Arc::clone(directory));
    }
    let handle = Arc::new(handle);
    let mut parts = Vec::new();
    let mut names = names.into_iter().enumerate();
    loop {
        let part: Vec<_> = names.by_ref().take(PART).collect();
        if part.is_empty() {
            break;
        }
        let tree = directory.previous_tree().filter(|_| parts.is_empty());
        let expected = tree.and_then(|tree| tree.text.first());
        parts.push(Part {
            directory: Arc::clone(directory),
            handle: Arc::clone(&handle),
            names: part,
            expected,
        });
    }
    let mut parts = parts.into_iter();
    let first = parts.next();
    stages.frontier.push(parts.map(Work::Entries));
    if let Some(first) = first {
        look_at(stages, reader, first);
    }
}

/// A directory that cannot be read has no node; the root without one fails the run.
fn leave_out(stages: &Stages<'_>, directory: &Arc<Directory>) {
    match &directory.above {
        Some((above, slot)) => stages.complete(above, *slot, Entry::LeftOut),
        None => stages.run.fail(
            crate::error::Error::new(crate::error::ErrorKind::Other, "cannot read the source")
                .at(directory.path.display().to_string())
                .then("Check that the volume is mounted and its permissions"),
        ),
    }
}

/// Loads what the parent snapshot has of directories, and says of how many of them. What cannot be read is not
/// relied on.
fn load_previous(stages: &Stages<'_>, reader: &mut Reader<'_>, family: &[Arc<Directory>]) -> usize {
    let (Some(parent), Some(opener)) = (stages.parent, reader.opener.as_mut()) else { return family.len() };
    let subtree = |directory: &Arc<Directory>| directory.previous.as_ref()?.subtree;
    let known: Vec<_> = family.iter().enumerate().filter_map(|(n, of)| Some((n, of, subtree(of)?))).collect();
    let ids: Vec<Id> = known.iter().map(|(_, _, id)| *id).collect();
    let trees = parent.trees(&ids, opener);
    let next = known.get(trees.len()).map_or(family.len(), |(number, ..)| *number);
    for ((_, directory, _), tree) in known.iter().zip(trees) {
        match tree {
            Ok(tree) => directory.set_previous_tree(tree),
            Err(error) => {
                let place = directory.path.display();
                stages
                    .monitor
                    .warn(&format!("{place}: cannot compare with the parent, reading all files: {error}"));
            }
        }
    }
    next
}

fn look_at(stages: &Stages<'_>, reader: &mut Reader<'_>, mut part: Part) {
    let mut path = part.directory.path.clone();
    let mut below = Vec::new();
    for (slot, name) in std::mem::take(&mut part.names) {
        if stages.run.is_over() {
            return;
        }
        path.push(OsStr::from_bytes(&name));
        if let Some(directory) = entry(stages, reader, &mut part, slot, &name, &path) {
            below.push(directory);
        }
        path.pop();
    }
    stages.frontier.push(below.chunks(FAMILY).map(|family| Work::Family(family.to_vec())));
}

/// One entry: a directory is returned, everything else is done or handed to a worker.
fn entry(
    stages: &Stages<'_>,
    reader: &mut Reader<'_>,
    part: &mut Part,
    slot: usize,
    name: &[u8],
    path: &Path,
) -> Option<Arc<Directory>> {
    let directory = &Arc::clone(&part.directory);
    let skip = |stages: &Stages<'_>| stages.complete(directory, slot, Entry::LeftOut);
    let stat = match statat(&*part.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(error) => {
            stages.item_failed("archival", path, &cannot("lstat", error));
            skip(stages);
            return None;
        }
    };
    if stages.options.excludes.entry(directory, stages.root_device, path, &stat) {
        skip(stages);
        return None;
    }
    let mut node = stages.maker.node(name, &stat);
    match node.kind {
        NodeKind::Socket | NodeKind::Irregular => skip(stages),
        NodeKind::Dir => {
            add_xattrs(stages, path, &mut node);
            let previous = part.previous(stages, name, path).filter(|(node, _)| node.kind == NodeKind::Dir);
            let above = Some((Arc::clone(directory), slot));
            return Some(Arc::new(Directory::new(PathBuf::from(path), above, node, previous)));
        }
        NodeKind::File => file(stages, reader, part, (slot, &stat), node, path),
        NodeKind::Symlink => match readlinkat(&*part.handle, name, Vec::new()) {
            Ok(target) => {
                node.link_target = target.into_bytes();
                add_xattrs(stages, path, &mut node);
                other(stages, part, slot, &node, path);
            }
            Err(error) => {
                stages.item_failed("archival", path, &cannot("read the link", error));
                skip(stages);
            }
        },
        NodeKind::BlockDevice | NodeKind::CharDevice | NodeKind::Fifo => {
            add_xattrs(stages, path, &mut node);
            other(stages, part, slot, &node, path);
        }
    }
    None
}

/// A link, device or fifo.
fn other(stages: &Stages<'_>, part: &mut Part, slot: usize, node: &Node, path: &Path) {
    let place = part.previous(stages, &node.name, path).map(|(_, place)| place);
    let entry = part.directory.entry(node, &place.unwrap_or_default());
    stages.complete(&part.directory, slot, entry);
}

fn file(
    stages: &Stages<'_>,
    reader: &mut Reader<'_>,
    part: &mut Part,
    (slot, stat): (usize, &Stat),
    mut node: Node,
    path: &Path,
) {
    add_xattrs(stages, path, &mut node);
    stages.found(node.size);
    let lost = || {
        let lost = "parts of it are not in the repository any more: saving it again";
        stages.monitor.warn(&format!("{}: {lost}", path.display()));
    };
    if let Some(place) = part.unchanged_file(&node, &mut reader.head, &mut reader.content) {
        if is_stored(stages.index, &reader.content) {
            return stages.file_unchanged(&part.directory, slot, node.size, place);
        }
        lost();
    } else if let Some((previous, _)) = part
        .previous(stages, &node.name, path)
        .filter(|(old, _)| is_unchanged(old, stat, stages.maker, stages.options.ignore))
    {
        let content = previous.content.unwrap_or_default();
        if is_stored(stages.index, &content) {
            node.content = Some(content);
            return stages.file_done(&part.directory, slot, &node);
        }
        lost();
    }
    reader.read(&part.directory, slot, &part.handle, node, path);
}

impl Part {
    /// Where the parent's tree has a file, if what it says of it is what would be written now; `content` becomes its
    /// content. Whoever has that entry next is expected behind it.
    fn unchanged_file(
        &mut self,
        node: &Node,
        head: &mut Vec<u8>,
        content: &mut Vec<Id>,
    ) -> Option<Range<usize>> {
        let text = &self.directory.previous_tree()?.text;
        let expected = self.expected?;
        head.clear();
        encode_head_into(node, head);
        let place = text.file(expected, head, content)?;
        self.expected = text.after(&place);
        Some(place)
    }

    /// The node of an entry in the parent's tree, and where that has it.
    fn previous(&mut self, stages: &Stages<'_>, name: &[u8], path: &Path) -> Option<(Node, Range<usize>)> {
        let text = &self.directory.previous_tree()?.text;
        match text.find(name, self.expected) {
            Ok(found) => {
                let (node, place) = found?;
                self.expected = text.after(&place);
                Some((node, place))
            }
            Err(cause) => {
                let cannot = "cannot compare with the parent";
                stages
                    .monitor
                    .warn(&format!("{}: {cannot}: the tree does not decode: {cause}", path.display()));
                None
            }
        }
    }
}

fn add_xattrs(stages: &Stages<'_>, path: &Path, node: &mut Node) {
    match xattrs(path) {
        Ok(found) => node.xattrs = found,
        Err(error) => stages.item_failed("archival", path, &cannot("read extended attributes", error)),
    }
}

/// What failed, in the words of the system.
pub fn cannot(what: &str, error: Errno) -> String {
    format!("cannot {what}: {}", std::io::Error::from(error))
}

fn open_directory(path: &Path, follow: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | follow;
    openat(rustix::fs::CWD, path, flags, Mode::empty())
}

fn names(handle: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = vec![MaybeUninit::uninit(); 32 << 10];
    let mut entries = RawDir::new(handle, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_bytes().to_vec());
        }
    }
    Ok(names)
}
