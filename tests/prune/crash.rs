//! Whatever ends a prune: all snapshots restore, and the next prune finishes the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use volmover::backend::fault::{CHANGES, Fault, Rule};
use volmover::backend::record::Request;
use volmover::backend::{Backend, BackendErrorKind, FileType};
use volmover::clock::SystemClock;
use volmover::error::ErrorKind;

use crate::stage::Stage;
use crate::support::mover::Mover;
use crate::support::scaled;
use crate::world::{World, assert_clean, open, prune};

/// restic reads everything after every nth crash; at the long scale after each.
fn is_sample(nth: u64) -> bool {
    nth.is_multiple_of(if scaled(1) >= 10 { 1 } else { 9 })
}

/// From the nth change on nothing reaches the store; of the nth itself the effect may have.
fn crash_at_every_change(version: u32, with_effect: bool) {
    let world = World::new(version);
    for nth in 0.. {
        let what = format!("version {version}, crash at change {nth}, effect {with_effect}");
        let memory = world.store();
        let fault = Arc::new(Fault::new(Arc::clone(&memory) as _, Arc::new(SystemClock::new())));
        if with_effect {
            fault.add(Rule::on(&CHANGES).skip(nth).fail_after(BackendErrorKind::Other));
        }
        let later = nth + u64::from(with_effect);
        fault.add(Rule::on(&CHANGES).skip(later).forever().fail(BackendErrorKind::Other));
        let crashed = prune(&Mover::open_backend(Arc::clone(&fault) as _).unwrap());
        if fault.hits() == 0 {
            let summary = crashed.unwrap();
            assert!(nth > 20 && summary.packs_written > 1, "{nth} changes, {summary:?}");
            assert_clean(&open(&memory), &what);
            world.assert_whole(&memory, &what);
            world.assert_restic_is_content(&memory, &what);
            return;
        }
        // One whose lock alone stayed behind is done.
        let lock_alone = memory.list(FileType::Lock).unwrap().len() == usize::from(!with_effect);
        assert!(crashed.is_err() || lock_alone, "{what}: {crashed:?}");
        world.assert_whole(&memory, &what);
        if is_sample(nth) {
            world.assert_restic_is_content(&memory, &what);
        }
        world.assert_next_finishes(&memory, &what);
    }
}

#[test]
fn before_any_change() {
    crash_at_every_change(2, false);
}

#[test]
fn after_any_change() {
    crash_at_every_change(2, true);
}

#[test]
fn in_a_repository_of_version_1() {
    crash_at_every_change(1, false);
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
        let mut mover = Mover::open_backend(Arc::new(stage)).unwrap();
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
        let error = prune(&Mover::open_backend(Arc::new(stage)).unwrap()).unwrap_err();
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
    let world = World::new(2);
    let whole = world.store();
    let packs = prune(&open(&whole)).unwrap().packs_written;
    let memory = world.store();
    let fault = Arc::new(Fault::new(Arc::clone(&memory) as _, Arc::new(SystemClock::new())));
    fault.add(Rule::on(&[Request::Write]).kind(FileType::Pack).skip(packs / 2).fail(BackendErrorKind::Full));
    let error = prune(&Mover::open_backend(Arc::clone(&fault) as _).unwrap()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace);
    let next = prune(&open(&memory)).unwrap();
    assert!(next.packs_written < packs, "{} of {packs} packs again", next.packs_written);
    assert_clean(&open(&memory), "after a full store");
    world.assert_whole(&memory, "after a full store");
}
