//! Locks keep writers apart: who may work beside whom, how long one waits, which locks are dead, and what
//! becomes of a lock that somebody removes.
//!
//! Time is injected: thirty minutes pass at once. What restic makes of our locks, and we of its, is in
//! `interop.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(unreachable_pub, reason = "modules of one binary")]

mod clocks;
mod hostile;
#[path = "../support/mod.rs"]
mod support;
mod unlock;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::scratch;
use bytes::Bytes;
use support::clock::SleepClock;
use support::fixture;
use support::mover::{self, Mover, access, lock_options};
use support::source;
use volmover::backend::fault::{Fault, Rule};
use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::Request;
use volmover::backend::{Backend, BackendErrorKind, FileType};
use volmover::clock::{Clock, SystemClock};
use volmover::error::{Error, ErrorKind, Result};
use volmover::repository::Repository;
use volmover::repository::lock::{Lock, LockFile, LockMode, LockOptions};

use LockMode::{Exclusive, Shared};

pub(crate) const MINUTE: Duration = Duration::from_mins(1);

/// A repository in memory, and the clock that it and its store go by.
pub(crate) struct Store {
    clock: Arc<SleepClock>,
    backend: Arc<MemoryBackend>,
}

impl Store {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(SleepClock::new());
        let backend = Arc::new(MemoryBackend::with_clock(Arc::clone(&clock) as Arc<dyn Clock>));
        Repository::create(Arc::clone(&backend) as Arc<dyn Backend>, &access(Arc::clone(&clock) as _))
            .unwrap();
        Self { clock, backend }
    }

    pub(crate) fn mover(&self) -> Mover {
        Mover::open_at(Arc::clone(&self.backend) as _, Arc::clone(&self.clock) as _).unwrap()
    }

    pub(crate) fn locks(&self) -> BTreeSet<String> {
        self.backend.list(FileType::Lock).unwrap().into_iter().map(|file| file.name).collect()
    }
}

pub(crate) fn acquire(mover: &Mover, mode: LockMode) -> Result<Lock> {
    acquire_with(mover, mode, &mover.locks)
}

pub(crate) fn acquire_with(mover: &Mover, mode: LockMode, options: &LockOptions) -> Result<Lock> {
    Lock::acquire(&mover.repository, mode, options, &mover.monitor, &mover.stop)
}

#[track_caller]
fn assert_locked(refused: Result<Lock>, exclusively: bool) -> Error {
    let error = refused.unwrap_err();
    let (pid, host) = (std::process::id(), lock_options().holder.hostname);
    let how = if exclusively { "already locked exclusively by" } else { "already locked by" };
    let said = error.to_string();
    assert_eq!(error.kind.exit_code(), 11, "{said}");
    assert!(said.contains(&format!("repository is {how} PID {pid} on {host} by ")), "{said}");
    error
}

/// Writes a lock file as another process might have.
pub(crate) fn foreign(mover: &Mover, edit: impl FnOnce(&mut LockFile)) -> String {
    let mut file = LockFile {
        time: mover.repository.clock().now().to_string(),
        exclusive: true,
        hostname: "elsewhere".to_owned(),
        username: "somebody".to_owned(),
        pid: 4711,
        uid: 0,
        gid: 0,
    };
    edit(&mut file);
    let json = serde_json::to_vec(&file).unwrap();
    mover.repository.write_unpacked(FileType::Lock, &json).unwrap().hex()
}

#[test]
fn shared_locks_stand_beside_each_other_and_exclusive_ones_alone() {
    let store = Store::new();
    let mover = store.mover();
    let first = acquire(&mover, Shared).unwrap();
    let second = acquire(&mover, Shared).unwrap();
    assert_eq!(store.locks().len(), 2);
    assert_locked(acquire(&mover, Exclusive), false);
    drop((first, second));
    let alone = acquire(&mover, Exclusive).unwrap();
    assert_locked(acquire(&mover, Shared), true);
    assert_locked(acquire(&mover, Exclusive), true);
    assert_eq!(store.locks().len(), 1, "whoever is refused leaves nothing behind");
    alone.release().unwrap();
    assert!(store.locks().is_empty());
}

#[test]
fn of_many_at_once_one_at_most_holds_the_exclusive_lock() {
    let backend = Arc::new(MemoryBackend::new());
    Repository::create(Arc::clone(&backend) as _, &access(Arc::new(SystemClock::new()))).unwrap();
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mover = Mover::open_backend(Arc::clone(&backend) as _).unwrap();
                if let Ok(lock) = acquire(&mover, Exclusive) {
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(300));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    lock.release().unwrap();
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 1);
    assert!(backend.list(FileType::Lock).unwrap().is_empty());
}

#[test]
fn waits_as_long_as_told_and_says_for_whom() {
    let store = Store::new();
    let mover = store.mover();
    let _held = acquire(&mover, Exclusive).unwrap();
    let before = store.clock.elapsed();
    let options = LockOptions { wait: 5 * MINUTE, ..lock_options() };
    let error = assert_locked(acquire_with(&mover, Shared, &options), true);
    let waited = store.clock.elapsed().checked_sub(before).unwrap();
    assert!((5 * MINUTE..6 * MINUTE).contains(&waited), "{waited:?}");
    assert!(error.next.unwrap().contains("unlock"));
    let told = mover.monitor.warnings();
    assert!((5..=31).contains(&told.len()), "{told:#?}");
    assert!(told[0].contains("waiting up to 300 s more"), "{}", told[0]);
}

#[test]
fn goes_on_once_the_other_is_done() {
    let backend = Arc::new(MemoryBackend::new());
    Repository::create(Arc::clone(&backend) as _, &access(Arc::new(SystemClock::new()))).unwrap();
    let mover = Mover::open_backend(backend as _).unwrap();
    let held = acquire(&mover, Exclusive).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            held.release().unwrap();
        });
        let options = LockOptions { wait: MINUTE, ..lock_options() };
        acquire_with(&mover, Shared, &options).unwrap();
    });
}

#[test]
fn a_signal_ends_the_wait() {
    let store = Store::new();
    let mover = store.mover();
    let _held = acquire(&mover, Exclusive).unwrap();
    let stop = AtomicBool::new(true);
    let options = LockOptions { wait: 5 * MINUTE, ..lock_options() };
    let refused = Lock::acquire(&mover.repository, Shared, &options, &mover.monitor, &stop);
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Interrupted);
    assert_eq!(store.locks().len(), 1);
}

#[test]
fn a_lock_of_31_minutes_ago_is_removed_and_named() {
    let store = Store::new();
    let mover = store.mover();
    let dead = foreign(&mover, |_| {});
    store.clock.advance(29 * MINUTE);
    assert_eq!(acquire(&mover, Shared).unwrap_err().kind, ErrorKind::Locked);
    assert!(store.locks().contains(&dead));
    store.clock.advance(2 * MINUTE);
    let _lock = acquire(&mover, Exclusive).unwrap();
    assert!(!store.locks().contains(&dead));
    let warnings = mover.monitor.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("removed a stale lock: PID 4711 on elsewhere by somebody since "));
}

/// The holder's clock may be wrong; the store's own says that the lock is fresh.
#[test]
fn an_old_time_in_a_fresh_file_is_not_stale() {
    let store = Store::new();
    let mover = store.mover();
    foreign(&mover, |file| file.time = "2024-01-01T00:00:00Z".to_owned());
    assert_eq!(acquire(&mover, Shared).unwrap_err().kind, ErrorKind::Locked);
}

#[test]
fn a_lock_that_restic_left_when_it_was_killed_is_removed() {
    let copy = fixture::copy("stale-lock");
    let clock = Arc::new(SleepClock::new());
    let mover = Mover::open_at(mover::local(copy.path()), Arc::clone(&clock) as _).unwrap();
    let refused = acquire(&mover, Exclusive).unwrap_err().to_string();
    assert!(refused.contains("already locked by PID") && refused.contains(" on fixture by "), "{refused}");
    acquire(&mover, Shared).unwrap().release().unwrap();
    clock.advance(31 * MINUTE);
    acquire(&mover, Exclusive).unwrap_err();
    for file in copy.path().join("locks").read_dir().unwrap() {
        let file = std::fs::File::open(file.unwrap().path()).unwrap();
        file.set_modified(std::time::SystemTime::now() - 31 * MINUTE).unwrap();
    }
    acquire(&mover, Exclusive).unwrap().release().unwrap();
    assert_eq!(copy.path().join("locks").read_dir().unwrap().count(), 0);
    assert!(mover.monitor.warnings()[0].contains("fixture"));
}

#[test]
fn a_lock_whose_process_is_gone_is_stale_where_process_ids_mean_something() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let gone = i32::try_from(child.id()).unwrap();
    child.wait().unwrap();
    let cases = [(false, gone, true), (true, gone, false), (false, 1, false), (false, 0, false)];
    for (contained, pid, is_stale) in cases {
        let store = Store::new();
        let mover = store.mover();
        let mut options = lock_options();
        options.holder.contained = contained;
        foreign(&mover, |file| {
            file.pid = pid;
            file.hostname = options.holder.hostname.clone();
        });
        let acquired = acquire_with(&mover, Exclusive, &options);
        assert_eq!(acquired.is_ok(), is_stale, "contained {contained}, pid {pid}");
    }
}

#[test]
fn a_file_without_content_is_nobodys_lock() {
    let store = Store::new();
    let mover = store.mover();
    let name = "0".repeat(64);
    store.backend.write(FileType::Lock, &name, &Bytes::new()).unwrap();
    acquire(&mover, Exclusive).unwrap().release().unwrap();
    assert!(store.locks().contains(&name), "somebody may be writing it");
}

#[test]
fn a_lock_that_cannot_be_read_is_an_error_after_some_tries() {
    let store = Store::new();
    let mover = store.mover();
    let name = "0".repeat(64);
    store.backend.write(FileType::Lock, &name, &Bytes::from_static(b"garbage")).unwrap();
    let before = store.clock.elapsed();
    let error = acquire(&mover, Exclusive).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Damaged);
    assert!(error.to_string().contains(&format!("locks/{name}")), "{error}");
    assert!(store.clock.elapsed().checked_sub(before).unwrap() >= Duration::from_secs(35));
    assert_eq!(store.locks().len(), 1);
}

#[test]
fn it_is_given_back_on_every_way_out() {
    let store = Store::new();
    let mover = store.mover();
    drop(acquire(&mover, Shared).unwrap());
    assert!(store.locks().is_empty());
    let failed = mover.session().locked(Shared, |_| Err::<(), _>(Error::new(ErrorKind::Other, "no")));
    assert_eq!(failed.unwrap_err().what, "no");
    assert!(store.locks().is_empty());
    let session = mover.session();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = session.locked(Shared, |_| -> Result<()> { panic!("on purpose") });
    }));
    assert!(panicked.is_err() && store.locks().is_empty());
    let lock = acquire(&mover, Shared).unwrap();
    lock.releaser().release().unwrap();
    assert!(store.locks().is_empty());
    lock.release().unwrap();
}

/// Polls until `done`, for ten seconds at most.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_refresh_writes_a_new_file_and_removes_the_old_one() {
    let store = Store::new();
    let mover = store.mover();
    let options = LockOptions { refresh: Duration::from_millis(10), ..lock_options() };
    let lock = acquire_with(&mover, Shared, &options).unwrap();
    let first = store.locks();
    for _ in 0..3 {
        store.clock.advance(20 * MINUTE);
        let before = store.locks();
        wait_until("a refresh", || store.locks().len() == 1 && store.locks() != before);
        lock.check().unwrap();
    }
    assert!(first.is_disjoint(&store.locks()));
    lock.release().unwrap();
    assert!(store.locks().is_empty());
}

#[test]
fn a_lock_that_was_deleted_is_lost() {
    let store = Store::new();
    let mover = store.mover();
    let options = LockOptions { refresh: Duration::from_millis(10), ..lock_options() };
    let lock = acquire_with(&mover, Shared, &options).unwrap();
    lock.check().unwrap();
    // A refresh between the list and the delete has taken that file away itself.
    wait_until("the loss", || {
        for name in store.locks() {
            let _ = store.backend.delete(FileType::Lock, &name);
        }
        lock.check().is_err()
    });
    let error = lock.check().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Locked);
    assert!(error.to_string().contains("lock on the repository was lost"), "{error}");
}

#[test]
fn a_lock_that_cannot_be_refreshed_is_lost_in_the_end() {
    let clock = Arc::new(SleepClock::new());
    let memory: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    Repository::create(Arc::clone(&memory), &access(Arc::clone(&clock) as _)).unwrap();
    let fault = Arc::new(Fault::new(memory, Arc::new(SystemClock::new())));
    let mover = Mover::open_at(Arc::clone(&fault) as _, Arc::clone(&clock) as _).unwrap();
    let options = LockOptions { refresh: Duration::from_millis(10), ..lock_options() };
    let lock = acquire_with(&mover, Shared, &options).unwrap();
    fault.add(Rule::on(&[Request::Write]).forever().fail(BackendErrorKind::Unreachable));
    let before = fault.hits();
    wait_until("a refresh that fails", || fault.hits() > before + 2);
    lock.check().unwrap();
    clock.advance(23 * MINUTE);
    assert_eq!(lock.check().unwrap_err().kind, ErrorKind::Locked);
    fault.clear();
    wait_until("a refresh", || lock.check().is_ok());
    // Whether it is still there must be known, not assumed, before anything is committed.
    fault.add(Rule::on(&[Request::Stat]).forever().fail(BackendErrorKind::Unreachable));
    assert_eq!(lock.check().unwrap_err().kind, ErrorKind::Unreachable);
}

/// What a prune that took the lock away may have deleted must not be referred to any more.
#[test]
fn a_backup_that_lost_its_lock_writes_no_snapshot() {
    let memory = Arc::new(MemoryBackend::new());
    Repository::create(Arc::clone(&memory) as _, &access(Arc::new(SystemClock::new()))).unwrap();
    let fault = Arc::new(Fault::new(Arc::clone(&memory) as _, Arc::new(SystemClock::new())));
    fault.add(Rule::on(&[Request::Write]).kind(FileType::Pack).delay(Duration::from_millis(400)));
    let mut mover = Mover::open_backend(Arc::clone(&fault) as _).unwrap();
    mover.locks.refresh = Duration::from_millis(50);
    let folder = scratch();
    source::files(folder.path(), 3, 1000, 1);
    std::thread::scope(|scope| {
        let backup = scope.spawn(|| mover.backup(folder.path()));
        wait_until("a pack on its way", || fault.hits() > 0);
        while !backup.is_finished() {
            for file in memory.list(FileType::Lock).unwrap() {
                let _ = memory.delete(FileType::Lock, &file.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(backup.join().unwrap().unwrap_err().kind, ErrorKind::Locked);
    });
    assert!(memory.list(FileType::Snapshot).unwrap().is_empty());
}
