//! `--delete`: removes what the snapshot does not have, from directories that were restored.
//!
//! It comes after everything is in place, and not at all when an item failed: then it is not sure what belongs
//! there. Only what the scan saw goes, only what the include patterns select, never `lost+found` at the
//! target's root. Symlinks are removed, not followed.

use std::os::fd::OwnedFd;

use super::plan::Dirs;
use super::run::{Run, Trouble};
use super::target::{self, Handles};

/// Removes the extra names, or counts what would go.
pub(super) fn extras(run: &Run<'_>, root: &OwnedFd, dirs: &Dirs, extras: &[(u32, Vec<u8>)], dry_run: bool) {
    let failed_items = run.failed_items();
    if failed_items > 0 && !extras.is_empty() {
        let count = extras.len();
        run.monitor
            .warn(&format!("{failed_items} items failed, so --delete left {count} extra entries in place"));
        return;
    }
    let mut handles = Handles::new(root, dirs, 64);
    let wanted = extras.iter().filter(|(dir, _)| dirs.dir(*dir).is_some_and(|dir| dir.wanted));
    for (dir, name) in wanted {
        if run.is_over() {
            return;
        }
        let gone = handles.with(*dir, |dir| {
            if dry_run {
                target::count(dir, name).map_err(|errno| Trouble::system("list it", errno))
            } else {
                target::remove(dir, name, true)
            }
        });
        match gone.map_err(|errno| Trouble::system("open its directory", errno)).flatten() {
            Ok(count) => run.figures.files_deleted.add(count),
            Err(trouble) => run.item_failed(&dirs.path_text(*dir, name), trouble),
        }
    }
}
