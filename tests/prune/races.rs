//! A prune in the moments in which a backup takes its lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::Request;
use volmover::backend::{Backend, FileType};
use volmover::ops;

use crate::stage::Stage;
use crate::support::listing;
use crate::support::mover::backup_options;
use crate::support::scratch;
use crate::world::{assert_nothing_dangles, open, open_at, prune, thinned_of};

/// A whole prune by somebody whose lists showed no other's lock: they were made before those were written.
fn prune_unseen(memory: &Arc<MemoryBackend>) {
    let locks: Vec<_> = memory.list(FileType::Lock).unwrap().into_iter().map(|file| file.name).collect();
    let files: Vec<_> = locks.iter().map(|name| memory.read(FileType::Lock, name).unwrap()).collect();
    for name in &locks {
        memory.delete(FileType::Lock, name).unwrap();
    }
    assert!(prune(&open(memory)).unwrap().packs_deleted > 0);
    for (name, file) in locks.iter().zip(&files) {
        memory.write(FileType::Lock, name, file).unwrap();
    }
}

/// It listed before the backup's lock was written, and ends before the backup lists again: neither sees the other.
/// What the backup read until then names packs that are gone.
#[test]
fn a_prune_between_the_two_lists_of_a_backup_costs_nothing() {
    let folder = scratch();
    let memory = thinned_of(folder.path());
    let (inner, lists) = (Arc::clone(&memory), AtomicUsize::new(0));
    let stage = Stage::before(&memory, move |request, kind| {
        let is_list = (request, kind) == (Request::List, FileType::Lock);
        if is_list && lists.fetch_add(1, Ordering::SeqCst) == 1 {
            // The reading beside it has the time to end.
            std::thread::sleep(std::time::Duration::from_millis(200));
            prune_unseen(&inner);
        }
    });
    let mover = open_at(Arc::new(stage));
    let saved = ops::backup::run(&mover.session(), backup_options(folder.path())).unwrap().summary;
    assert_nothing_dangles(&memory, "after the prune");
    let restored = open(&memory).restored(&saved.snapshot_id.unwrap());
    listing::assert_same(&listing::list(folder.path()), &restored, "saved while a prune ran");
}
