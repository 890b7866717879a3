//! Stores that lie or fail while a lock is being taken, and runs that end then: no lock stays behind, and
//! nobody goes on who does not know.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use volmover::backend::fault::{Fault, Rule};
use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::Request;
use volmover::backend::{Backend, BackendErrorKind, FileType};
use volmover::clock::{Clock, SystemClock};
use volmover::error::ErrorKind;
use volmover::repository::Repository;
use volmover::repository::lock::{Lock, LockMode, LockOptions, Releaser};

use super::support::clock::SleepClock;
use super::support::mover::{Mover, access, lock_options};
use super::{MINUTE, acquire, acquire_with, foreign, wait_until};

struct World {
    memory: Arc<MemoryBackend>,
    fault: Arc<Fault>,
    mover: Mover,
}

impl World {
    fn new() -> Self {
        let memory = Arc::new(MemoryBackend::new());
        let clock = Arc::new(SystemClock::new());
        Repository::create(Arc::clone(&memory) as _, &access(Arc::clone(&clock) as _)).unwrap();
        let fault = Arc::new(Fault::new(Arc::clone(&memory) as _, clock));
        let mover = Mover::open_backend(Arc::clone(&fault) as _).unwrap();
        Self { memory, fault, mover }
    }

    fn locks(&self) -> usize {
        self.memory.list(FileType::Lock).unwrap().len()
    }
}

/// The list before, the write, the list after: whichever fails, before or after its effect.
#[test]
fn a_store_that_fails_meanwhile_keeps_no_lock() {
    use Request::{List, Write};
    for (rule, kind) in [
        (Rule::on(&[List]).kind(FileType::Lock), BackendErrorKind::Other),
        (Rule::on(&[List]).kind(FileType::Lock).skip(1), BackendErrorKind::Other),
        (Rule::on(&[List]).kind(FileType::Lock).skip(1), BackendErrorKind::Unreachable),
        (Rule::on(&[Write]).kind(FileType::Lock), BackendErrorKind::Full),
    ] {
        let world = World::new();
        world.fault.add(rule.fail(kind));
        acquire(&world.mover, LockMode::Exclusive).unwrap_err();
        assert_eq!((world.fault.hits(), world.locks()), (1, 0), "{kind:?}");
    }
    let world = World::new();
    world.fault.add(Rule::on(&[Write]).kind(FileType::Lock).fail_after(BackendErrorKind::Unreachable));
    acquire(&world.mover, LockMode::Shared).unwrap_err();
    assert_eq!(world.locks(), 0, "written, though the store said no");
}

/// A list that does not show what was just written may hide a prune.
#[test]
fn a_stale_list_grants_no_lock() {
    for mode in [LockMode::Shared, LockMode::Exclusive] {
        let world = World::new();
        world.fault.add(Rule::on(&[Request::List]).kind(FileType::Lock).stale_list().forever());
        let refused = acquire(&world.mover, mode).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Other);
        assert!(refused.to_string().contains("does not show the one that was just written"), "{refused}");
        assert_eq!(world.locks(), 0);
    }
}

#[test]
fn a_lock_that_may_not_be_removed_is_passed_over_when_it_is_stale() {
    let clock = Arc::new(SleepClock::new());
    let memory = Arc::new(MemoryBackend::with_clock(Arc::clone(&clock) as _));
    Repository::create(Arc::clone(&memory) as _, &access(Arc::clone(&clock) as _)).unwrap();
    let fault = Arc::new(Fault::new(Arc::clone(&memory) as _, Arc::clone(&clock) as _));
    let mover = Mover::open_at(Arc::clone(&fault) as _, Arc::clone(&clock) as _).unwrap();
    let dead = foreign(&mover, |_| ());
    clock.advance(31 * MINUTE);
    fault.add(Rule::on(&[Request::Delete]).name(&dead).forever().fail(BackendErrorKind::Denied));
    acquire(&mover, LockMode::Exclusive).unwrap().release().unwrap();
    assert_eq!(memory.list(FileType::Lock).unwrap().len(), 1);
    let said = mover.monitor.warnings();
    assert!(said[0].starts_with("a stale lock stays where it is: PID 4711 on elsewhere"), "{said:?}");
}

/// Whoever ends the process while the lock settles has been told how to remove it.
#[test]
fn a_lock_that_settles_can_be_given_back_from_elsewhere() {
    let world = World::new();
    let hang = Rule::on(&[Request::List]).kind(FileType::Lock).skip(1).delay(Duration::from_millis(700));
    world.fault.add(hang);
    let told: Mutex<Option<Releaser>> = Mutex::default();
    let held = |releaser| *told.lock().unwrap() = Some(releaser);
    let Mover { repository, monitor, stop, .. } = &world.mover;
    std::thread::scope(|scope| {
        let taking = scope.spawn(|| {
            Lock::acquire_as(repository, LockMode::Exclusive, &lock_options(), monitor, stop, &held, &|| ())
        });
        wait_until("the lock", || world.locks() == 1);
        told.lock().unwrap().take().unwrap().release().unwrap();
        assert_eq!(world.locks(), 0);
        assert_eq!(taking.join().unwrap().unwrap_err().kind, ErrorKind::Interrupted);
    });
    assert_eq!(world.locks(), 0);
}

/// A clock on which the first wait is interrupted.
struct Stops(SleepClock, Arc<AtomicBool>);

impl Clock for Stops {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        self.0.sleep(duration);
        self.1.store(true, Ordering::SeqCst);
    }
}

#[test]
fn every_wait_ends_with_the_run() {
    let cases: [fn(&Mover); 3] = [
        // It settles.
        |_| (),
        // It asks again for one that cannot be read.
        |mover| {
            let garbage = bytes::Bytes::from_static(b"garbage");
            mover.repository.backend().write(FileType::Lock, &"0".repeat(64), &garbage).unwrap();
        },
        // It waits for one that lives.
        |mover| drop(foreign(mover, |_| ())),
    ];
    for (number, prepare) in cases.into_iter().enumerate() {
        let memory: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        let stop = Arc::new(AtomicBool::new(false));
        let clock = Arc::new(Stops(SleepClock::new(), Arc::clone(&stop)));
        Repository::create(Arc::clone(&memory), &access(Arc::clone(&clock) as _)).unwrap();
        let mover = Mover::open_at(Arc::clone(&memory), Arc::clone(&clock) as _).unwrap();
        prepare(&mover);
        let options = LockOptions { wait: 5 * MINUTE, ..lock_options() };
        let taken = Lock::acquire(&mover.repository, LockMode::Shared, &options, &mover.monitor, &stop);
        assert_eq!(taken.unwrap_err().kind, ErrorKind::Interrupted, "case {number}");
        assert!(clock.elapsed() <= Duration::from_millis(200), "case {number}: {:?}", clock.elapsed());
        let left = memory.list(FileType::Lock).unwrap();
        assert_eq!(left.len(), usize::from(number > 0), "case {number}: none of ours");
    }
}

/// Nobody asks for it: the refresher looks, and a long deletion learns of it without asking the store.
#[test]
fn the_loss_of_an_exclusive_lock_is_noticed_between_two_refreshes() {
    let world = World::new();
    let options = LockOptions { refresh: MINUTE / 3, ..lock_options() };
    let exclusive = acquire_with(&world.mover, LockMode::Exclusive, &options).unwrap();
    assert!(!exclusive.is_lost());
    for file in world.memory.list(FileType::Lock).unwrap() {
        world.memory.delete(FileType::Lock, &file.name).unwrap();
    }
    wait_until("the loss", || exclusive.is_lost());
    assert_eq!(exclusive.check().unwrap_err().kind, ErrorKind::Locked);
}

/// The store is away when it is given back, for a moment: it is asked again, also after a stop.
#[test]
fn giving_back_is_tried_again() {
    let world = World::new();
    let lock = acquire(&world.mover, LockMode::Shared).unwrap();
    world.fault.add(Rule::on(&[Request::Delete]).times(2).fail(BackendErrorKind::Unreachable));
    lock.release().unwrap();
    assert_eq!(world.locks(), 0);
    let lock = acquire(&world.mover, LockMode::Shared).unwrap();
    world.fault.add(Rule::on(&[Request::Delete]).forever().fail(BackendErrorKind::Unreachable));
    assert_eq!(lock.release().unwrap_err().kind, ErrorKind::Unreachable);
}

/// What was read while a lock settled counts only if that lock was granted.
#[test]
fn what_is_read_while_a_lock_settles_is_read_anew_when_it_is_withdrawn() {
    let mut world = World::new();
    world.mover.locks.wait = MINUTE;
    let other = Mover::open_backend(Arc::clone(&world.memory) as _).unwrap();
    let others = acquire(&other, LockMode::Exclusive).unwrap();
    world.fault.add(Rule::on(&[Request::List]).kind(FileType::Lock).cut_list(0));
    let reads = AtomicUsize::new(0);
    let read = || Ok(reads.fetch_add(1, Ordering::SeqCst) + 1);
    let given = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let session = world.mover.session();
            session.locked_after(LockMode::Shared, read, |_, given| Ok(given)).unwrap()
        });
        wait_until("the second list", || !world.mover.monitor.warnings().is_empty());
        assert_eq!((reads.load(Ordering::SeqCst), world.locks()), (1, 1), "ours was withdrawn");
        others.release().unwrap();
        work.join().unwrap()
    });
    assert_eq!((given, reads.load(Ordering::SeqCst)), (2, 2));
}

/// What was listed while the repository was opened spares the first list, and decides nothing.
#[test]
fn a_list_from_the_opening_is_used_once_and_decides_nothing() {
    let mut world = World::new();
    let opened = Arc::clone(&world.mover.repository);
    let counting = Rule::on(&[Request::List]).kind(FileType::Lock).forever().delay(Duration::ZERO);
    world.fault.add(counting);
    let mut acquire_after = |listed| {
        world.mover.repository = Arc::new((*opened).clone().with_listed_locks(listed));
        let before = world.fault.hits();
        let taken = acquire(&world.mover, LockMode::Exclusive).and_then(Lock::release);
        (taken.map_err(|error| error.kind), world.fault.hits() - before)
    };
    assert_eq!(acquire_after(Vec::new()), (Ok(()), 1));
    let other = Mover::open_backend(Arc::clone(&world.memory) as _).unwrap();
    let name = foreign(&other, |_| ());
    let listed = world.memory.list(FileType::Lock).unwrap();
    assert_eq!(acquire_after(Vec::new()), (Err(ErrorKind::Locked), 1), "written since");
    world.memory.delete(FileType::Lock, &name).unwrap();
    assert_eq!(acquire_after(listed), (Ok(()), 1), "gone since");
    acquire(&world.mover, LockMode::Exclusive).and_then(Lock::release).unwrap();
    assert_eq!(world.fault.hits(), 5, "the next lock lists twice");
}
