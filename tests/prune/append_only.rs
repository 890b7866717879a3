//! A store that takes files and deletes none but locks: prune fails, every time alike, and what it wrote at first it
//! does not write again.

use std::sync::Arc;

use volmover::backend::fault::{Fault, Rule};
use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::Request;
use volmover::backend::{Backend, BackendErrorKind, FileType};
use volmover::error::ErrorKind;
use volmover::ops;
use volmover::ops::prune::PruneOptions;

use crate::support::clock::SleepClock;
use crate::support::mover::{self, Mover, backup_options};
use crate::support::scratch;
use crate::support::source;
use crate::world::{PACK_BYTES, World, assert_clean, open, open_at, options};

fn append_only(memory: &Arc<MemoryBackend>) -> Mover {
    let fault = Fault::new(Arc::clone(memory) as _, Arc::new(SleepClock::new()));
    for kind in [FileType::Snapshot, FileType::Index, FileType::Pack] {
        fault.add(Rule::on(&[Request::Delete]).kind(kind).forever().fail(BackendErrorKind::Denied));
    }
    open_at(Arc::new(fault))
}

/// The first prune writes what it would, the others nothing; returns how many index files the first added.
#[track_caller]
fn converges(memory: &Arc<MemoryBackend>, options: &PruneOptions) -> usize {
    let prune = || {
        let error = ops::prune::run(&append_only(memory).session(), options).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
        assert!(error.to_string().ends_with("prune with credentials that may delete"), "{error}");
        (memory.content(), memory.list(FileType::Index).unwrap().len())
    };
    let before = memory.list(FileType::Index).unwrap().len();
    let (first, indexes) = prune();
    for round in 2..5 {
        let (content, now) = prune();
        assert!(content == first, "prune {round} left {now} index files, the first {indexes}");
    }
    indexes - before
}

#[test]
fn what_is_written_once_is_not_written_again() {
    for version in [1, 2] {
        let world = World::new(version);
        let memory = world.store();
        assert!(converges(&memory, &options()) > 0);
        world.assert_whole(&memory, "nothing could be deleted");
        world.assert_next_finishes(&memory, "nothing could be deleted");
    }
}

/// Many small packs in as many index files: both are joined once, and a backup beside them changes nothing.
#[test]
fn what_was_joined_is_not_joined_again() {
    let (folder, memory) = (scratch(), Arc::new(MemoryBackend::new()));
    mover::create_in(memory.as_ref(), 2);
    let backup = |round: u64| {
        source::files(&folder.path().join(round.to_string()), 2, 5000, round);
        let mover = Mover::open_backend(Arc::clone(&memory) as _).unwrap();
        ops::backup::run(&mover.session(), backup_options(folder.path())).unwrap();
    };
    (0..20).for_each(backup);
    let options = PruneOptions { repack_below_bytes: Some(PACK_BYTES as u64), ..options() };
    let options = PruneOptions { pack_bytes: 64 * PACK_BYTES, ..options };
    assert_eq!(converges(&memory, &options), 1);
    backup(20);
    assert_eq!(converges(&memory, &options), 1, "the new file and the joined one are joined once");
    let mover = open(&memory);
    ops::prune::run(&mover.session(), &options).unwrap();
    assert_clean(&mover, "once it may delete");
}
