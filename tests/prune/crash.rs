//! Whatever ends a prune, alone or behind a forget: all snapshots restore, and the next prune finishes the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use volmover::backend::fault::{CHANGES, Fault, Rule};
use volmover::backend::limit::Limit;
use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::Request;
use volmover::backend::{Backend, BackendErrorKind, DISK_CONNECTIONS_MAX, FileType, Listed};
use volmover::clock::SystemClock;
use volmover::error::{ErrorKind, Result};
use volmover::ops;

use crate::stage::Stage;
use crate::support::mover::Mover;
use crate::support::scaled;
use crate::world::{
    self, World, assert_clean, assert_nothing_dangles, holding, open, open_at, options, prune, thinned,
};

/// restic reads everything after every nth crash; at the long scale after each.
fn is_sample(nth: u64) -> bool {
    nth.is_multiple_of(if scaled(1) >= 10 { 1 } else { 9 })
}

fn prune_alone(mover: &Mover) -> Result<()> {
    prune(mover).map(|_| ())
}

/// Two of four snapshots go, and what they alone needed.
fn forget_and_prune(mover: &Mover) -> Result<()> {
    let request = world::forget_and_prune(KEPT, options());
    let session = mover.session();
    ops::forget::verdict(&session, &ops::forget::run(&session, &request)?)
}

const KEPT: usize = 2;

fn crash_at_every_change(world: &World, run: fn(&Mover) -> Result<()>, with_effect: bool) {
    crash_at_every_change_of(open_at, world, run, with_effect);
}

/// From the nth change on nothing reaches the store; of the nth itself the effect may have.
fn crash_at_every_change_of(
    open_at: fn(Arc<dyn Backend>) -> Mover,
    world: &World,
    run: fn(&Mover) -> Result<()>,
    with_effect: bool,
) {
    for nth in 0.. {
        let what = format!("crash at change {nth}, effect {with_effect}");
        let memory = world.store();
        let fault = Arc::new(Fault::new(Arc::clone(&memory) as _, Arc::new(SystemClock::new())));
        if with_effect {
            fault.add(Rule::on(&CHANGES).skip(nth).fail_after(BackendErrorKind::Other));
        }
        let later = nth + u64::from(with_effect);
        fault.add(Rule::on(&CHANGES).skip(later).forever().fail(BackendErrorKind::Other));
        let crashed = run(&open_at(Arc::clone(&fault) as _));
        if fault.hits() == 0 {
            crashed.unwrap();
            let packs = memory.list(FileType::Pack).unwrap();
            let was_there = |pack: &&Listed| world.store().stat(FileType::Pack, &pack.name).is_ok();
            let new = packs.len() - packs.iter().filter(was_there).count();
            assert!(nth > 20 && new > 0, "{nth} changes, {new} new packs");
            assert_clean(&open(&memory), &what);
            world.assert_whole(&memory, &what);
            world.assert_restic_is_content(&memory, &what);
            return;
        }
        // One whose lock alone stayed behind is done.
        let lock_alone = memory.list(FileType::Lock).unwrap().len() == usize::from(!with_effect);
        assert!(crashed.is_err() || lock_alone, "{what}: {crashed:?}");
        world.assert_whole(&memory, &what);
        assert_nothing_dangles(&memory, &what);
        if is_sample(nth) {
            world.assert_restic_is_content(&memory, &what);
        }
        world.assert_next_finishes(&memory, &what);
    }
}

#[test]
fn before_any_change() {
    crash_at_every_change(&World::new(2), prune_alone, false);
}

#[test]
fn after_any_change() {
    crash_at_every_change(&World::new(2), prune_alone, true);
}

/// Where others upload than who copies.
#[test]
fn before_and_after_any_change_of_a_store_that_is_far_away() {
    let far = |backend| open_at(Arc::new(Limit::new(backend, 2 * DISK_CONNECTIONS_MAX)));
    for with_effect in [false, true] {
        crash_at_every_change_of(far, &World::new(2), prune_alone, with_effect);
    }
}

#[test]
fn in_a_repository_of_version_1() {
    crash_at_every_change(&World::new(1), prune_alone, false);
}

#[test]
fn before_any_change_of_a_forget_with_prune() {
    crash_at_every_change(&World::new(2).keeping(KEPT), forget_and_prune, false);
}

#[test]
fn after_any_change_of_a_forget_with_prune() {
    crash_at_every_change(&World::new(2).keeping(KEPT), forget_and_prune, true);
}

/// SIGTERM as the library sees it, at every request that changes or lists: sound, unlocked, told as such.
#[test]
fn a_stop_at_any_moment_leaves_a_sound_repository() {
    let world = World::new(2);
    for nth in 0.. {
        let what = format!("stopped at request {nth}");
        let memory = world.store();
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (raise, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let stage = Stage::before(&memory, move |_, _| {
            if counted.fetch_add(1, Ordering::SeqCst) == nth {
                raise.store(true, Ordering::SeqCst);
            }
        });
        let mut mover = open_at(Arc::new(stage));
        count.store(0, Ordering::SeqCst);
        // The session looks at a flag of its own; both are one here.
        let done = std::thread::scope(|scope| {
            let shared = &mover;
            let watch = Arc::clone(&stop);
            let running = scope.spawn(|| prune(shared));
            while !running.is_finished() {
                shared.stop.store(watch.load(Ordering::SeqCst), Ordering::SeqCst);
                std::thread::yield_now();
            }
            running.join().unwrap()
        });
        if count.load(Ordering::SeqCst) <= nth {
            done.unwrap();
            return;
        }
        if let Err(error) = done {
            assert_eq!(error.kind, ErrorKind::Interrupted, "{what}: {error}");
        }
        mover.stop = AtomicBool::new(false);
        assert!(memory.list(FileType::Lock).unwrap().is_empty(), "{what}");
        world.assert_whole(&memory, &what);
        assert_nothing_dangles(&memory, &what);
        world.assert_next_finishes(&memory, &what);
    }
}

/// The lock is deleted under a running prune, when it writes its first pack, its first index or deletes its
/// first file: nothing is deleted from then on.
#[test]
fn a_lock_that_is_gone_stops_it_before_it_deletes() {
    let world = World::new(2);
    for (request, kind) in
        [(Request::Write, FileType::Pack), (Request::Write, FileType::Index), (Request::List, FileType::Pack)]
    {
        let memory = world.store();
        let (inner, done) = (Arc::clone(&memory), AtomicBool::new(false));
        let stage = Stage::before(&memory, move |asked, of| {
            if (asked, of) == (request, kind) && !done.swap(true, Ordering::SeqCst) {
                crate::world::break_locks(&inner);
            }
        });
        let error = prune(&open_at(Arc::new(stage))).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Locked, "{error}");
        for (kind, name, data) in world.content.files() {
            assert_eq!(&memory.read(kind, name).unwrap(), data, "{kind:?} {name} is as it was");
        }
        world.assert_next_finishes(&memory, "after a lost lock");
    }
}

/// What an interrupted prune has uploaded and indexed is used by the next.
#[test]
fn the_next_prune_uploads_only_what_the_last_did_not() {
    interrupted_and_finished(&thinned());
}

/// The copies that are kept are the same, whatever names chance gave the packs.
#[test]
fn the_next_prune_keeps_the_same_copies() {
    for _ in 0..scaled(4) {
        interrupted_and_finished(&World::new(2).store());
    }
}

#[track_caller]
fn interrupted_and_finished(memory: &Arc<MemoryBackend>) {
    let lists: Vec<String> = {
        let mover = open(memory);
        mover.snapshot_ids().iter().map(|id| mover.restored(id)).collect()
    };
    let packs = prune(&open(&holding(&memory.content()))).unwrap().packs_written;
    assert!(packs > 1, "{packs}");
    let fault = Arc::new(Fault::new(Arc::clone(memory) as _, Arc::new(SystemClock::new())));
    fault.add(Rule::on(&[Request::Write]).kind(FileType::Pack).skip(packs / 2).fail(BackendErrorKind::Full));
    let error = prune(&open_at(Arc::clone(&fault) as _)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace);
    let next = open(memory);
    let again = prune(&next).unwrap().packs_written;
    assert!(again <= packs - packs / 2, "{again} of {packs} packs again");
    assert_clean(&next, "after a full store");
    let restored: Vec<String> = next.snapshot_ids().iter().map(|id| next.restored(id)).collect();
    assert_eq!(lists, restored);
}
