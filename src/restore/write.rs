//! Writes: each entry is made, filled and finished by the workers, in place where a file can be used.
//!
//! A new file of one blob is opened once: made, written, given its metadata, closed. A file of several blobs
//! gets each where it belongs, whichever comes first; the worker that writes the last one finishes it. A file
//! that lacks a blob is never finished: its time would say that it is right. Long runs of zeros in new files
//! are left out as holes when that is asked for.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::RestoreOptions;
use super::files::{OpenFile, OpenFiles};
use super::holes::{HOLE_BYTES, data_runs};
use super::metadata::{Setter, Subject};
use super::plan::{Batch, Dirs, Entry, HardLinks, Place, Use, What};
use super::run::{Run, Trouble};
use super::target::{self, Handles, open_max};

/// Files from this size on get their room at once, in bytes.
const ALLOCATE_BYTES: u64 = 1 << 20;

/// What the workers share.
pub(super) struct Shared<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) root: &'a OwnedFd,
    pub(super) options: &'a RestoreOptions,
    pub(super) dirs: &'a Dirs,
    pub(super) links: &'a HardLinks,
    pub(super) batch: &'a Batch,
    pub(super) setter: &'a Setter<'a>,
    pub(super) files: OpenFiles,
}

/// One worker.
pub(super) struct Writer<'a> {
    shared: &'a Shared<'a>,
    handles: Handles<'a>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(shared: &'a Shared<'a>) -> Self {
        Self { shared, handles: Handles::new(shared.root, shared.dirs, open_max(shared.options.threads)) }
    }

    /// A blob, or why there is none, for all its uses.
    pub(super) fn blob(&mut self, uses: &[Use], plain: Result<&[u8], &Trouble>) {
        for blob in uses {
            let Some(entry) = self.shared.batch.entry(blob.entry) else { continue };
            if self.shared.run.is_over() {
                return;
            }
            // Also for a file that lacks another blob: most of it is better than nothing.
            let written = match plain {
                Ok(plain) if is_whole(entry, plain) => self.whole(entry, plain),
                Ok(plain) => self.part(blob, entry, plain),
                Err(trouble) => Err(trouble.clone()),
            };
            match written {
                Ok(()) => self.shared.run.monitor.progress().bytes_done.add(blob.plain_bytes()),
                Err(trouble) => self.fail(entry, trouble),
            }
            if entry.blob_done() {
                self.last_blob_done(blob.entry, entry);
            }
        }
    }

    /// An entry that needs no blob.
    pub(super) fn entry(&mut self, entry: &Entry) {
        let made = match entry.what {
            What::File { .. } => self.file_without_blobs(entry),
            What::Symlink { .. } | What::Device { .. } | What::Fifo => self.special(entry),
            What::Link { first } => self.link(entry, first),
        };
        match made {
            Ok(()) => {}
            Err(trouble) => self.fail(entry, trouble),
        }
    }

    fn fail(&self, entry: &Entry, trouble: Trouble) {
        if !entry.failed.swap(true, Ordering::Relaxed) {
            let path = self.shared.dirs.path_text(entry.dir, self.shared.batch.name(entry));
            self.shared.run.item_failed(&path, trouble);
        }
    }

    fn restored(&self, entry: &Entry) {
        self.shared.run.figures.files_restored.add(1);
        self.shared.run.figures.bytes_restored.add(entry.bytes());
        self.shared.run.monitor.progress().files_done.add(1);
    }

    /// A new file of one blob, in one go.
    fn whole(&mut self, entry: &Entry, plain: &[u8]) -> Result<(), Trouble> {
        let meta = &entry.meta;
        let xattrs = self.shared.batch.xattrs.of(meta);
        // Its mode at once, where that lets nobody in whom the finished file keeps out.
        let rights = &self.shared.setter.rights;
        let mine = (meta.uid, meta.gid) == (rights.uid, rights.gid) && xattrs.is_empty();
        let mode = if mine { meta.mode & 0o777 } else { 0o600 };
        let file = self.make(entry, mode)?;
        self.write_new(&file, plain, 0, entry.bytes())?;
        self.finish(entry, &file, true)
    }

    /// A blob of a file that has others, or that stands there already.
    fn part(&mut self, blob: &Use, entry: &Entry, plain: &[u8]) -> Result<(), Trouble> {
        let shared = self.shared;
        let file: Arc<OpenFile> = shared.files.file(blob.entry, || self.open_part(entry))?;
        let _writing = file.writing();
        let failed = |errno| Trouble::system("write", errno);
        if entry.place == Place::Usable || !shared.options.sparse {
            return write_at(&file, plain, blob.position).map_err(failed);
        }
        for (start, end) in data_runs(plain, blob.position) {
            let data = plain.get(start..end).unwrap_or_default();
            write_at(&file, data, blob.position + start as u64).map_err(failed)?;
        }
        Ok(())
    }

    fn last_blob_done(&mut self, number: u32, entry: &Entry) {
        if is_single(entry) {
            return;
        }
        let finished = if entry.failed.load(Ordering::Acquire) {
            Ok(())
        } else {
            let file = self.shared.files.file(number, || self.open_part(entry));
            file.and_then(|file| self.finish(entry, &file, entry.place != Place::Usable))
        };
        self.shared.files.close(number);
        if let Err(trouble) = finished {
            self.fail(entry, trouble);
        }
    }

    /// Opens a file of several blobs: makes it, or takes what stands there, when this run did not do so yet.
    fn open_part(&mut self, entry: &Entry) -> Result<OwnedFd, Trouble> {
        if entry.begun.load(Ordering::Acquire) {
            return self.open_standing(entry);
        }
        let bytes = entry.bytes();
        let file =
            if entry.place == Place::Usable { self.open_standing(entry)? } else { self.make(entry, 0o600)? };
        if entry.place != Place::Usable || entry.standing_bytes != bytes {
            rustix::fs::ftruncate(&file, bytes).map_err(|errno| Trouble::system("set its size", errno))?;
        }
        if entry.place != Place::Usable && !self.shared.options.sparse {
            allocate(&file, bytes)?;
        }
        entry.begun.store(true, Ordering::Release);
        Ok(file)
    }

    /// A file that stands there; one of ours that may not be written is made writable.
    fn open_standing(&mut self, entry: &Entry) -> Result<OwnedFd, Trouble> {
        let name = self.shared.batch.name(entry);
        let failed = |errno| Trouble::system("open", errno);
        let open = |dir: &OwnedFd| {
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            match rustix::fs::openat(dir, name, flags, Mode::empty()) {
                Err(Errno::ACCESS) => {
                    make_accessible(dir, name)?;
                    rustix::fs::openat(dir, name, flags, Mode::empty())
                }
                opened => opened,
            }
        };
        let file = self.handles.with(entry.dir, open).flatten().map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        if target::is(&stat, FileType::RegularFile) { Ok(file) } else { Err(failed(Errno::INVAL)) }
    }

    /// Makes a file that is not there, after what stands in its place is gone.
    fn make(&mut self, entry: &Entry, mode: u32) -> Result<OwnedFd, Trouble> {
        let name = self.shared.batch.name(entry);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.in_place(entry, "make the file", |dir| {
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))
        })
    }

    /// Calls `make`, which fails where something stands, after what stands there is gone.
    fn in_place<R>(
        &mut self,
        entry: &Entry,
        action: &str,
        make: impl FnOnce(&OwnedFd) -> Result<R, Errno>,
    ) -> Result<R, Trouble> {
        let name = self.shared.batch.name(entry);
        let recursive = self.shared.options.delete;
        let done = self.handles.with(entry.dir, |dir| {
            if entry.place == Place::Taken {
                target::remove(dir, name, recursive)?;
            }
            make(dir).map_err(|errno| Trouble::system(action, errno))
        });
        done.map_err(|errno| Trouble::system("open its directory", errno)).flatten()
    }

    /// An empty file, one of holes alone, or one whose content stands there already.
    fn file_without_blobs(&mut self, entry: &Entry) -> Result<(), Trouble> {
        let bytes = entry.bytes();
        if entry.place != Place::Usable {
            let file = self.make(entry, 0o600)?;
            if bytes > 0 {
                rustix::fs::ftruncate(&file, bytes)
                    .map_err(|errno| Trouble::system("set its size", errno))?;
            }
            return self.finish(entry, &file, true);
        }
        if entry.standing_bytes != bytes {
            let file = self.open_standing(entry)?;
            rustix::fs::ftruncate(&file, bytes).map_err(|errno| Trouble::system("set its size", errno))?;
            return self.finish(entry, &file, false);
        }
        let file = self.open_to_finish(entry)?;
        self.set_metadata(entry, Subject::open(&file), false)?;
        self.shared.run.file_skipped(bytes);
        Ok(())
    }

    /// A file of which only the metadata is set.
    fn open_to_finish(&mut self, entry: &Entry) -> Result<OwnedFd, Trouble> {
        let name = self.shared.batch.name(entry);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let open = |dir: &OwnedFd| match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Err(Errno::ACCESS) => {
                make_accessible(dir, name)?;
                rustix::fs::openat(dir, name, flags, Mode::empty())
            }
            opened => opened,
        };
        self.handles.with(entry.dir, open).flatten().map_err(|errno| Trouble::system("open", errno))
    }

    /// A symlink, a device, a pipe. They are always made anew, as restic does.
    fn special(&mut self, entry: &Entry) -> Result<(), Trouble> {
        let shared = self.shared;
        let (name, mode) = (shared.batch.name(entry), Mode::from_raw_mode(0o600));
        if matches!(entry.what, What::Device { .. }) && !shared.setter.rights.mknod {
            shared.run.warn_once("devices", || {
                let path = shared.dirs.path_text(entry.dir, name);
                format!(
                    "{path} is a device, which this process may not make (CAP_MKNOD); devices are left out"
                )
            });
            shared.run.monitor.progress().files_done.add(1);
            return Ok(());
        }
        self.in_place(entry, "make", |dir| match entry.what {
            What::Symlink { target } => rustix::fs::symlinkat(shared.batch.texts.text(target), dir, name),
            What::Device { block, number } => {
                let kind = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
                rustix::fs::mknodat(dir, name, kind, mode, number)
            }
            _ => rustix::fs::mknodat(dir, name, FileType::Fifo, mode, 0),
        })?;
        let is_symlink = matches!(entry.what, What::Symlink { .. });
        let set = self.handles.with(entry.dir, |dir| {
            let subject = Subject::Named { dir: dir.as_fd(), name, is_symlink };
            shared.setter.set(subject, &entry.meta, shared.batch.xattrs.of(&entry.meta), false)
        });
        set.map_err(|errno| Trouble::system("open its directory", errno)).flatten()?;
        self.restored(entry);
        Ok(())
    }

    /// Another name of a file. What stands there and is that file already stays.
    fn link(&mut self, entry: &Entry, first: u32) -> Result<(), Trouble> {
        let shared = self.shared;
        let failed = |errno| Trouble::system("link it to its other name", errno);
        let (first_dir, first_name) = shared.links.first(first).ok_or_else(|| failed(Errno::NOENT))?;
        let (first_name, name) = (shared.dirs.kept_name(first_name), shared.batch.name(entry));
        // A handle of its own, because both directories are needed at once.
        let first_dir = self.handles.with(first_dir, OwnedFd::try_clone).map_err(failed)?;
        let first_dir = first_dir.map_err(|error| Trouble::other(error.to_string()))?;
        let there = target::standing(&first_dir, first_name).map_err(failed)?;
        let there = there
            .filter(|stat| target::is(stat, FileType::RegularFile))
            .ok_or_else(|| failed(Errno::NOENT))?;
        let linked = self.handles.with(entry.dir, |dir| {
            let standing = target::standing(dir, name).map_err(failed)?;
            if standing.is_some_and(|stat| (stat.st_dev, stat.st_ino) == (there.st_dev, there.st_ino)) {
                return Ok(());
            }
            if entry.place == Place::Taken {
                target::remove(dir, name, shared.options.delete)?;
            }
            rustix::fs::linkat(&first_dir, first_name, dir, name, AtFlags::empty()).map_err(failed)
        });
        linked.map_err(failed).flatten()?;
        self.restored(entry);
        Ok(())
    }

    fn set_metadata(&self, entry: &Entry, subject: Subject<'_>, made: bool) -> Result<(), Trouble> {
        self.shared.setter.set(subject, &entry.meta, self.shared.batch.xattrs.of(&entry.meta), made)
    }

    fn finish(&self, entry: &Entry, file: &OwnedFd, made: bool) -> Result<(), Trouble> {
        self.set_metadata(entry, Subject::open(file), made)?;
        self.restored(entry);
        Ok(())
    }

    /// All content of a new file.
    fn write_new(&self, file: &OwnedFd, plain: &[u8], position: u64, bytes: u64) -> Result<(), Trouble> {
        let failed = |errno| Trouble::system("write", errno);
        if !self.shared.options.sparse || plain.len() < HOLE_BYTES {
            return write_at(file, plain, position).map_err(failed);
        }
        let mut end_of_data = 0;
        for (start, end) in data_runs(plain, position) {
            let data = plain.get(start..end).unwrap_or_default();
            write_at(file, data, position + start as u64).map_err(failed)?;
            end_of_data = position + end as u64;
        }
        if end_of_data < bytes {
            rustix::fs::ftruncate(file, bytes).map_err(failed)?;
        }
        Ok(())
    }
}

/// A file that is made with its only blob in hand.
fn is_single(entry: &Entry) -> bool {
    entry.uses == 1 && entry.place != Place::Usable
}

fn is_whole(entry: &Entry, plain: &[u8]) -> bool {
    is_single(entry) && entry.bytes() == plain.len() as u64
}

/// Gives the owner of a file the right to read and write it; its final mode comes when it is finished.
fn make_accessible(dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match target::standing(dir, name)? {
        Some(stat) if target::is(&stat, FileType::RegularFile) => {
            rustix::fs::chmodat(dir, name, Mode::RUSR | Mode::WUSR, AtFlags::empty())
        }
        _ => Err(Errno::ACCESS),
    }
}

/// Room for a whole file, so that it lies in one piece and a full target is known early.
fn allocate(file: &OwnedFd, bytes: u64) -> Result<(), Trouble> {
    if bytes < ALLOCATE_BYTES {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(errno @ (Errno::NOSPC | Errno::DQUOT)) => Err(Trouble::system("make room for it", errno)),
        // Not every file system can; then room is found while writing.
        _ => Ok(()),
    }
}

fn write_at(file: &OwnedFd, data: &[u8], position: u64) -> Result<(), Errno> {
    let (mut rest, mut at) = (data, position);
    while !rest.is_empty() {
        match rustix::io::pwrite(file, rest, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                rest = rest.get(written..).unwrap_or_default();
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
