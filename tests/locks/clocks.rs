//! Clocks that differ: the holder's, ours and the store's. A live lock is never taken for dead, a dead one
//! is in the end.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use volmover::backend::memory::MemoryBackend;
use volmover::backend::{Backend, FileType};
use volmover::clock::Clock;
use volmover::error::ErrorKind;
use volmover::repository::Repository;
use volmover::repository::lock::{LockMode, LockOptions};

use super::support::clock::SleepClock;
use super::support::mover::{self, Mover, access, lock_options};
use super::support::scratch;
use super::{MINUTE, Store, acquire, acquire_with, foreign};

/// The same time, shown wrong.
struct Skewed(Arc<SleepClock>, SignedDuration);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        self.0.now() + self.1
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        self.0.sleep(duration);
    }
}

/// A store and two movers on it, each with a clock that is so many minutes ahead.
struct World {
    clock: Arc<SleepClock>,
    backend: Arc<MemoryBackend>,
    ours: Mover,
    theirs: Mover,
}

impl World {
    fn new(store: i64, ours: i64, theirs: i64) -> Self {
        let clock = Arc::new(SleepClock::new());
        let skewed = |minutes| {
            Arc::new(Skewed(Arc::clone(&clock), SignedDuration::from_mins(minutes))) as Arc<dyn Clock>
        };
        let backend = Arc::new(MemoryBackend::with_clock(skewed(store)));
        Repository::create(Arc::clone(&backend) as _, &access(Arc::clone(&clock) as _)).unwrap();
        let mover = |minutes| Mover::open_at(Arc::clone(&backend) as _, skewed(minutes)).unwrap();
        Self { ours: mover(ours), theirs: mover(theirs), clock, backend }
    }

    /// After how many minutes their lock, never refreshed, is removed; up to 3 hours.
    fn dies_after(&self) -> u64 {
        foreign(&self.theirs, |_| ());
        (0..180)
            .find(|_| {
                let taken = acquire(&self.ours, LockMode::Shared);
                if let Err(error) = &taken {
                    assert_eq!(error.kind, ErrorKind::Locked);
                    self.clock.advance(MINUTE);
                }
                taken.is_ok()
            })
            .unwrap()
    }
}

#[track_caller]
fn assert_dies_after(minutes: u64, clocks: [i64; 3]) {
    let [store, ours, theirs] = clocks;
    let died = World::new(store, ours, theirs).dies_after();
    assert!((minutes..=minutes + 1).contains(&died), "{clocks:?}: {died}");
}

#[test]
fn a_lock_lives_half_an_hour_whichever_clock_is_wrong() {
    for (store, ours, theirs) in [(0, 0, 0), (120, 0, 0), (-120, 0, 0), (7, -3, -3), (9000, 5, 5)] {
        assert_dies_after(30, [store, ours, theirs]);
    }
    // Ours is fast, or theirs is slow: the store knows better.
    for (store, ours, theirs) in [(0, 40, 0), (0, 0, -40), (0, 60 * 24, 0), (-50, 40, -40)] {
        assert_dies_after(30, [store, ours, theirs]);
    }
    // Ours is slow, or theirs is fast: its own time must be old, too.
    for (store, ours, theirs) in [(0, -40, 0), (0, 0, 40), (100, 20, 60)] {
        assert_dies_after(70, [store, ours, theirs]);
    }
}

#[test]
fn a_lock_from_the_future_is_live_and_odd() {
    let world = World::new(0, 0, 90);
    foreign(&world.theirs, |file| file.exclusive = false);
    acquire(&world.ours, LockMode::Shared).unwrap().release().unwrap();
    let said = world.ours.monitor.warnings();
    assert_eq!(said.len(), 1, "once: {said:?}");
    assert!(said[0].starts_with("odd: a lock from the future, 90 min ahead of this clock"), "{said:?}");
    assert!(said[0].contains("PID 4711 on elsewhere"), "{said:?}");
    assert_eq!(world.backend.list(FileType::Lock).unwrap().len(), 1);
    let near = World::new(0, 0, 0);
    foreign(&near.theirs, |file| {
        file.exclusive = false;
        file.time = (near.clock.now() + Duration::from_secs(50)).to_string();
    });
    acquire(&near.ours, LockMode::Shared).unwrap();
    assert_eq!(near.ours.monitor.warnings(), [""; 0]);
}

/// With a live lock in the way nothing is written, and what is dead goes once the way is free.
#[test]
fn the_dead_go_whoever_else_is_there_and_in_either_mode() {
    for (exclusive, mode) in [(true, LockMode::Shared), (false, LockMode::Exclusive)] {
        let store = Store::new();
        let mover = store.mover();
        foreign(&mover, |file| file.exclusive = exclusive);
        foreign(&mover, |file| file.exclusive = !exclusive);
        store.clock.advance(31 * MINUTE);
        let living = foreign(&mover, |file| file.exclusive = exclusive);
        assert_eq!(acquire(&mover, mode).unwrap_err().kind, ErrorKind::Locked);
        store.backend.delete(FileType::Lock, &living).unwrap();
        acquire(&mover, mode).unwrap().release().unwrap();
        assert!(store.locks().is_empty());
        let removed = mover.monitor.warnings();
        let removed = removed.iter().filter(|line| line.starts_with("removed a stale lock: PID 4711 on"));
        assert_eq!(removed.count(), 2);
    }
}

/// A lock that dies while one waits for it is removed then.
#[test]
fn what_dies_while_one_waits_is_removed() {
    let store = Store::new();
    let mover = store.mover();
    foreign(&mover, |_| ());
    store.clock.advance(28 * MINUTE);
    let options = LockOptions { wait: 5 * MINUTE, ..lock_options() };
    acquire_with(&mover, LockMode::Exclusive, &options).unwrap();
    let said = mover.monitor.warnings();
    assert!(said[0].contains("waiting up to 300 s more"), "{said:?}");
    assert!(said.last().unwrap().starts_with("removed a stale lock: PID 4711"), "{said:?}");
}

/// What others wrote a moment ago may not be listed yet: a second list at once would not see it.
#[test]
fn only_lists_that_may_lag_are_waited_for() {
    let waited = |backend: Arc<dyn Backend>| {
        let clock = Arc::new(SleepClock::new());
        let mover = Mover::open_at(backend, Arc::clone(&clock) as _).unwrap();
        let before = clock.elapsed();
        acquire(&mover, LockMode::Exclusive).unwrap().release().unwrap();
        clock.elapsed().saturating_sub(before)
    };
    let store = World::new(0, 0, 0);
    assert_eq!(waited(Arc::clone(&store.backend) as _), Duration::from_millis(200));
    let folder = scratch();
    mover::create(folder.path(), 2);
    let local = mover::local(folder.path());
    let expected = if local.lists_at_once() { 0 } else { 200 };
    assert_eq!(waited(local), Duration::from_millis(expected));
}
