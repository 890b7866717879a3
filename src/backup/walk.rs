//! The walk: directories are listed, entries stat'ed and compared with the parent, by several readers.
//!
//! Readers take work from one stack, the newest first, so that a subtree is finished before the next is
//! begun and few directories are open at a time. A large directory is shared out in parts. Whatever cannot
//! be read is reported and left out; the walk goes on.

use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::Stages;
use super::directory::Directory;
use super::entry::xattrs;
use super::parent::{content_is_stored, is_unchanged};
use super::queue::Task;
use super::read::Reader;
use super::run::{NAP, Run, lock};
use crate::repository::tree::{Node, NodeKind};

/// Entries of a directory that one reader takes at a time.
const PART: usize = 512;

/// A part of a directory's entries.
pub struct Part {
    directory: Arc<Directory>,
    handle: Arc<OwnedFd>,
    names: Vec<(usize, Vec<u8>)>,
}

/// What a reader does next.
pub enum Work {
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
            Work::List(directory) => list(stages, reader, &directory),
            Work::Entries(part) => look_at(stages, reader, &part),
        }
        stages.frontier.done();
        if stages.run.is_over() {
            return;
        }
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
    load_previous(stages, reader, directory);
    names.sort_unstable();
    // A directory that changes while it is listed may name an entry twice.
    names.dedup();
    if directory.expect(names.len()) {
        stages.queue.push(Task::Tree(Arc::clone(directory)));
        return;
    }
    let handle = Arc::new(handle);
    let mut parts = Vec::new();
    let mut names = names.into_iter().enumerate();
    loop {
        let part: Vec<_> = names.by_ref().take(PART).collect();
        if part.is_empty() {
            break;
        }
        parts.push(Part { directory: Arc::clone(directory), handle: Arc::clone(&handle), names: part });
    }
    let mut parts = parts.into_iter();
    let first = parts.next();
    stages.frontier.push(parts.map(Work::Entries));
    if let Some(first) = first {
        look_at(stages, reader, &first);
    }
}

/// A directory that cannot be read has no node; the root without one fails the run.
fn leave_out(stages: &Stages<'_>, directory: &Arc<Directory>) {
    match &directory.above {
        Some((above, slot)) => stages.complete(above, *slot, None),
        None => stages.run.fail(
            crate::error::Error::new(crate::error::ErrorKind::Other, "cannot read the source")
                .at(directory.path.display().to_string())
                .then("Check that the volume is mounted and its permissions"),
        ),
    }
}

/// Loads what the parent snapshot has of a directory. What cannot be read is not relied on.
fn load_previous(stages: &Stages<'_>, reader: &mut Reader<'_>, directory: &Directory) {
    let subtree = directory.previous.as_ref().and_then(|previous| previous.subtree);
    let (Some(parent), Some(subtree), Some(opener)) = (stages.parent, subtree, reader.opener.as_mut()) else {
        return;
    };
    match parent.tree(&subtree, opener) {
        Ok(tree) => directory.set_previous_tree(tree),
        Err(error) => {
            let place = directory.path.display();
            stages
                .monitor
                .warn(&format!("{place}: cannot compare with the parent, reading all files: {error}"));
        }
    }
}

fn look_at(stages: &Stages<'_>, reader: &mut Reader<'_>, part: &Part) {
    let mut path = part.directory.path.clone();
    let mut below = Vec::new();
    for (slot, name) in &part.names {
        if stages.run.is_over() {
            return;
        }
        path.push(OsStr::from_bytes(name));
        if let Some(directory) = entry(stages, reader, part, *slot, name, &path) {
            below.push(Work::List(directory));
        }
        path.pop();
    }
    stages.frontier.push(below.into_iter());
}

/// One entry: a directory is returned, everything else is done or handed to a worker.
fn entry(
    stages: &Stages<'_>,
    reader: &mut Reader<'_>,
    part: &Part,
    slot: usize,
    name: &[u8],
    path: &Path,
) -> Option<Arc<Directory>> {
    let directory = &part.directory;
    let skip = |stages: &Stages<'_>| stages.complete(directory, slot, None);
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
            return Some(below(directory, slot, node, path));
        }
        NodeKind::File => file(stages, reader, part, (slot, &stat), node, path),
        NodeKind::Symlink => match readlinkat(&*part.handle, name, Vec::new()) {
            Ok(target) => {
                node.link_target = target.into_bytes();
                add_xattrs(stages, path, &mut node);
                stages.other_done(directory, slot, node);
            }
            Err(error) => {
                stages.item_failed("archival", path, &cannot("read the link", error));
                skip(stages);
            }
        },
        NodeKind::BlockDevice | NodeKind::CharDevice | NodeKind::Fifo => {
            add_xattrs(stages, path, &mut node);
            stages.other_done(directory, slot, node);
        }
    }
    None
}

fn below(above: &Arc<Directory>, slot: usize, node: Node, path: &Path) -> Arc<Directory> {
    let previous =
        above.previous_entry(&node.name).filter(|previous| previous.kind == NodeKind::Dir).cloned();
    let above = Some((Arc::clone(above), slot));
    Arc::new(Directory::new(PathBuf::from(path), above, node, previous))
}

fn file(
    stages: &Stages<'_>,
    reader: &mut Reader<'_>,
    part: &Part,
    (slot, stat): (usize, &Stat),
    mut node: Node,
    path: &Path,
) {
    let directory = &part.directory;
    add_xattrs(stages, path, &mut node);
    stages.found(node.size);
    let previous = directory.previous_entry(&node.name);
    if let Some(previous) =
        previous.filter(|old| is_unchanged(old, stat, stages.maker, stages.options.ignore))
    {
        if content_is_stored(stages.index, previous) {
            node.content = Some(previous.content.clone().unwrap_or_default());
            return stages.file_done(directory, slot, node);
        }
        let lost = "parts of it are not in the repository any more: saving it again";
        stages.monitor.warn(&format!("{}: {lost}", path.display()));
    }
    reader.read(directory, slot, &part.handle, node, path);
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
