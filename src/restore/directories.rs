//! Directories: made from the top before anything goes in, finished from the bottom when all is in.
//!
//! Until it is finished a directory has mode 0700, so that an unprivileged restore can fill one whose mode
//! forbids it. Its own times come last, because every entry that is made changes them. One level of the tree
//! at a time: within a level no directory stands in another.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::metadata::{Setter, Subject};
use super::plan::{Dirs, Place};
use super::run::{Run, Trouble, spread};
use super::target::{self, Handles, open_max};

/// Makes what is not there. What stands in the place of a directory goes first.
pub(super) fn make(run: &Run<'_>, root: &OwnedFd, dirs: &Dirs, threads: usize) {
    for level in dirs.wanted_levels() {
        let state = || Handles::new(root, dirs, open_max(threads));
        spread(run, &level, threads, state, |handles, dir| {
            if let Err(trouble) = make_one(dirs, *dir, handles) {
                run.item_failed(&dirs.path_text(*dir, b""), trouble);
            }
        });
    }
}

fn make_one(dirs: &Dirs, dir: u32, handles: &mut Handles<'_>) -> Result<(), Trouble> {
    let (name, place) = (dirs.name(dir), dirs.dir(dir).map(|dir| dir.place).unwrap_or_default());
    let failed = |errno| Trouble::system("make the directory", errno);
    let made = handles.with(dirs.parent(dir), |parent| {
        if place == Place::Usable {
            return make_usable(parent, name).map_err(failed);
        }
        if place == Place::Taken {
            target::remove(parent, name, false)?;
        }
        rustix::fs::mkdirat(parent, name, Mode::RWXU).map_err(failed)
    });
    made.map_err(|errno| Trouble::system("open the directory above it", errno)).flatten()
}

/// A directory that stands there lets its owner in until it is finished.
fn make_usable(parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let stat = target::standing(parent, name)?.ok_or(Errno::NOENT)?;
    if !target::is(&stat, FileType::Directory) {
        return Err(Errno::NOTDIR);
    }
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    if mode.contains(Mode::RWXU) {
        return Ok(());
    }
    // Whoever may not do this may well write there all the same, by group or capability.
    match rustix::fs::chmodat(parent, name, mode | Mode::RWXU, AtFlags::empty()) {
        Err(Errno::PERM) => Ok(()),
        done => done,
    }
}

/// Sets the metadata of all directories that are wanted, without the root: a snapshot does not know it.
pub(super) fn finish(run: &Run<'_>, root: &OwnedFd, dirs: &Dirs, setter: &Setter<'_>, threads: usize) {
    for level in dirs.wanted_levels().iter().rev() {
        let state = || Handles::new(root, dirs, open_max(threads));
        spread(run, level, threads, state, |handles, dir| match finish_one(dirs, *dir, handles, setter) {
            Ok(()) => {
                run.figures.files_restored.add(1);
                run.monitor.progress().files_done.add(1);
            }
            Err(trouble) => run.item_failed(&dirs.path_text(*dir, b""), trouble),
        });
    }
}

fn finish_one(dirs: &Dirs, dir: u32, handles: &mut Handles<'_>, setter: &Setter<'_>) -> Result<(), Trouble> {
    let Some(record) = dirs.dir(dir) else { return Ok(()) };
    let failed = |errno| Trouble::system("open the directory", errno);
    let name = dirs.name(dir);
    let opened = handles.with(dirs.parent(dir), |parent| target::open_to_list(parent, name, true)).flatten();
    let opened = opened.map_err(failed)?;
    setter.set(Subject::open(&opened), &record.meta, dirs.xattrs.of(&record.meta), false)
}
