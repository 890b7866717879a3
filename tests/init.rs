//! Creating a repository is a race that one of any number of starters wins, and an existing one is never
//! touched.
//!
//! A fleet starts on one empty path at the same second; any starter may die or be slow between any two
//! writes. In the end there is one config and one key, and whoever was told that it has a repository has
//! that one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use support::clock::{FastClock, SleepClock};
use support::fixture::{self, PASSWORD};
use support::mover::{self, access};
use support::restic::{REFEREES, Restic};
use support::scratch;
use volmover::backend::fault::{CHANGES, Fault, Rule};
use volmover::backend::local::LocalBackend;
use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::{Record, Request};
use volmover::backend::{Backend, BackendErrorKind, FileType};
use volmover::clock::{Clock, SystemClock};
use volmover::error::{Error, ErrorKind, Result};
use volmover::random::SystemRandom;
use volmover::repository::Repository;
use volmover::repository::config_file::RepositoryConfig;
use volmover::repository::crypto::SealKey;
use volmover::repository::open::{Access, INIT_GRACE, Origin};

const STARTERS: usize = 20;

type Started = Result<(Repository, Origin)>;

fn start(backend: Arc<dyn Backend>, clock: &Arc<dyn Clock>) -> Started {
    Repository::open_or_create(backend, &access(Arc::clone(clock)))
}

/// Starts twenty at once, each on a store of its own making.
fn race(clock: &Arc<dyn Clock>, store: impl Fn() -> Arc<dyn Backend> + Sync) -> Vec<Started> {
    let barrier = std::sync::Barrier::new(STARTERS);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..STARTERS)
            .map(|_| {
                scope.spawn(|| {
                    let backend = store();
                    barrier.wait();
                    start(backend, clock)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// One config, one key, one repository that all have; one starter made it.
#[track_caller]
fn assert_one(backend: &dyn Backend, started: &[Started]) {
    let ids: Vec<&str> =
        started.iter().map(|started| started.as_ref().unwrap().0.config().id.as_str()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:#?}");
    let origins = started.iter().map(|started| started.as_ref().unwrap().1);
    assert_eq!(origins.filter(|origin| *origin == Origin::Created).count(), 1);
    assert_eq!(backend.list(FileType::Key).unwrap().len(), 1, "a stray key makes restic fail at random");
    assert_eq!(id_stored(backend), ids[0]);
}

fn id_stored(backend: &dyn Backend) -> String {
    let key = backend.list(FileType::Key).unwrap();
    let key = backend.read(FileType::Key, &key[0].name).unwrap();
    let key = volmover::repository::key::KeyFile::decode(&key).unwrap().open(PASSWORD.as_bytes(), 1).unwrap();
    let mut plain = Vec::new();
    key.cipher().open_into(&backend.read(FileType::Config, "").unwrap(), &mut plain).unwrap();
    RepositoryConfig::decode(&plain).unwrap().id
}

/// The config of an init that died before it wrote its key.
fn leave_config(backend: &dyn Backend) -> SealKey {
    let master = SealKey::random(&SystemRandom).unwrap();
    let config = RepositoryConfig::create(&SystemRandom).unwrap().encode();
    let sealed = Bytes::from(master.cipher().seal(&config, &SystemRandom).unwrap());
    backend.create().unwrap();
    backend.write_new(FileType::Config, "", &sealed).unwrap();
    master
}

fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

#[test]
fn twenty_starters_make_one_repository_in_a_folder() {
    for _ in 0..support::scaled(2) {
        let folder = scratch();
        let root = folder.path().join("not/yet/there");
        let started = race(&system(), || Arc::new(LocalBackend::open(&root, 4)));
        assert_one(&LocalBackend::open(&root, 4), &started);
        let Some(restic) = Restic::on(REFEREES[0], &root) else { continue };
        restic.check();
    }
}

#[test]
fn twenty_starters_make_one_repository_in_memory() {
    for _ in 0..support::scaled(5) {
        let memory = Arc::new(MemoryBackend::new());
        let started = race(&system(), || Arc::clone(&memory) as _);
        assert_one(memory.as_ref(), &started);
    }
}

/// Every request takes a while, as on a store far away: all twenty find nothing at first.
#[test]
fn twenty_slow_starters_make_one_repository() {
    let clock: Arc<dyn Clock> = Arc::new(FastClock::new());
    let memory = Arc::new(MemoryBackend::new());
    let slow = || -> Arc<dyn Backend> {
        let fault = Fault::new(Arc::clone(&memory) as _, Arc::clone(&clock));
        let all = [Request::Read, Request::List, Request::Write, Request::WriteNew, Request::Delete];
        fault.add(Rule::on(&all).forever().delay(Duration::from_secs(2)));
        Arc::new(fault)
    };
    assert_one(memory.as_ref(), &race(&clock, slow));
}

#[test]
fn config_comes_first_and_exclusively_then_the_key() {
    let record = Arc::new(Record::keeping_all(Arc::new(MemoryBackend::new())));
    Repository::create(Arc::clone(&record) as _, &access(system())).unwrap();
    let writes: Vec<_> = record
        .requests()
        .into_iter()
        .filter(|request| matches!(request.request, Request::Write | Request::WriteNew))
        .map(|request| (request.request, request.kind.unwrap()))
        .collect();
    assert_eq!(writes, [(Request::WriteNew, FileType::Config), (Request::Write, FileType::Key)]);
}

#[test]
fn a_config_that_stays_without_a_key_is_taken_over() {
    let memory = Arc::new(MemoryBackend::new());
    leave_config(memory.as_ref());
    let clock = Arc::new(SleepClock::new());
    let before = clock.elapsed();
    let started = start(Arc::clone(&memory) as _, &(Arc::clone(&clock) as _));
    assert!(clock.elapsed().checked_sub(before).unwrap() >= INIT_GRACE);
    assert_one(memory.as_ref(), &[started]);
}

/// The last thing it sees before it deletes the config is that the config is still the dead one's: whoever
/// was quicker has another there by now.
#[test]
fn a_take_over_looks_at_the_config_last() {
    let memory = Arc::new(MemoryBackend::new());
    leave_config(memory.as_ref());
    let record = Arc::new(Record::keeping_all(memory));
    start(Arc::clone(&record) as _, &(Arc::new(SleepClock::new()) as _)).unwrap();
    let requests = record.requests();
    let delete = requests.iter().position(|request| request.request == Request::Delete).unwrap();
    let before = [&requests[delete - 2], &requests[delete - 1]];
    assert_eq!(
        before.map(|request| (request.request, request.kind)),
        [(Request::List, Some(FileType::Key)), (Request::Read, Some(FileType::Config)),]
    );
}

#[test]
fn twenty_starters_take_one_dead_init_over() {
    for _ in 0..support::scaled(3) {
        let clock: Arc<dyn Clock> = Arc::new(FastClock::new());
        let memory = Arc::new(MemoryBackend::new());
        leave_config(memory.as_ref());
        let started = race(&clock, || Arc::clone(&memory) as _);
        assert_one(memory.as_ref(), &started);
    }
}

/// A clock that lets something happen once it is so late.
struct Later<F: Fn() + Send + Sync> {
    clock: SleepClock,
    at: Duration,
    then: F,
}

impl<F: Fn() + Send + Sync> Clock for Later<F> {
    fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        let before = self.clock.elapsed();
        self.clock.sleep(duration);
        if before < self.at && self.clock.elapsed() >= self.at {
            (self.then)();
        }
    }
}

#[test]
fn the_losers_wait_for_the_key() {
    for seconds in [1, 30, 59] {
        let memory = Arc::new(MemoryBackend::new());
        let master = leave_config(memory.as_ref());
        let store = Arc::clone(&memory);
        let clock: Arc<dyn Clock> = Arc::new(Later {
            clock: SleepClock::new(),
            at: Duration::from_secs(seconds),
            then: move || drop(mover::write_key(store.as_ref(), &master, PASSWORD)),
        });
        let (repository, origin) = start(Arc::clone(&memory) as _, &clock).unwrap();
        assert_eq!(origin, Origin::Opened, "after {seconds} s");
        assert_eq!(repository.config().id, id_stored(memory.as_ref()));
        Repository::open(Arc::clone(&memory) as _, &access(system())).unwrap();
    }
}

/// Slower than the grace: another takes over, and the slow one must find that out and leave no key behind.
#[test]
fn a_starter_that_was_too_slow_uses_what_the_other_made() {
    let clock: Arc<dyn Clock> = Arc::new(FastClock::new());
    let memory = Arc::new(MemoryBackend::new());
    let fault = Arc::new(Fault::new(Arc::clone(&memory) as _, Arc::clone(&clock)));
    fault.add(Rule::on(&[Request::Write]).kind(FileType::Key).delay(2 * INIT_GRACE));
    let slow = std::thread::scope(|scope| {
        let slow = scope.spawn(|| start(Arc::clone(&fault) as _, &clock));
        while memory.read(FileType::Config, "").is_err() {
            std::thread::yield_now();
        }
        let quick = start(Arc::clone(&memory) as _, &clock);
        assert_eq!(quick.as_ref().unwrap().1, Origin::Created);
        (quick, slow.join().unwrap())
    });
    assert_eq!(slow.1.as_ref().unwrap().1, Origin::Opened);
    assert_one(memory.as_ref(), &[slow.0, slow.1]);
}

/// An init that dies at its nth change, with or without the effect of that one, is made good by the next.
#[test]
fn an_init_that_died_anywhere_is_made_good_by_the_next() {
    for after in [false, true] {
        for skipped in 0.. {
            let memory = Arc::new(MemoryBackend::new());
            let fault = Arc::new(Fault::new(Arc::clone(&memory) as _, system()));
            let once = Rule::on(&CHANGES).skip(skipped);
            fault.add(if after {
                once.fail_after(BackendErrorKind::Other)
            } else {
                once.fail(BackendErrorKind::Other)
            });
            fault.add(Rule::on(&CHANGES).skip(skipped + 1).forever().fail(BackendErrorKind::Other));
            let died = start(Arc::clone(&fault) as _, &system());
            if fault.hits() == 0 {
                assert!(skipped >= 2, "an init makes two changes at least");
                died.unwrap();
                break;
            }
            died.unwrap_err();
            let clock: Arc<dyn Clock> = Arc::new(SleepClock::new());
            let (repository, _) = start(Arc::clone(&memory) as _, &clock).unwrap();
            assert_eq!(memory.list(FileType::Key).unwrap().len(), 1);
            assert_eq!(repository.config().id, id_stored(memory.as_ref()));
        }
    }
}

fn refused(backend: Arc<dyn Backend>) -> Error {
    let memory = backend;
    Repository::create(memory, &access(system())).unwrap_err()
}

#[test]
fn an_existing_repository_is_an_error_and_is_not_touched() {
    let memory = Arc::new(MemoryBackend::new());
    start(Arc::clone(&memory) as _, &system()).unwrap();
    let before = memory.content();
    let error = refused(Arc::clone(&memory) as _);
    assert_eq!(error.kind.exit_code(), 1);
    assert!(error.to_string().contains("config file already exists"), "{error}");
    assert_eq!(memory.content(), before);
}

#[test]
fn leftovers_without_a_config_are_refused_and_not_touched() {
    for kind in [FileType::Key, FileType::Index, FileType::Snapshot, FileType::Pack] {
        let memory = Arc::new(MemoryBackend::new());
        memory.write(kind, &"a".repeat(64), &Bytes::from_static(b"something")).unwrap();
        let before = memory.content();
        for error in
            [refused(Arc::clone(&memory) as _), start(Arc::clone(&memory) as _, &system()).unwrap_err()]
        {
            assert_eq!(error.kind.exit_code(), 1);
            assert!(error.to_string().contains(&format!("{}/ holds files", kind.folder())), "{error}");
        }
        assert_eq!(memory.content(), before);
    }
}

/// All keys gone, but data there: no init died here, and nothing may be taken over.
#[test]
fn a_repository_that_lost_its_keys_is_never_taken_over() {
    for kind in [FileType::Index, FileType::Snapshot, FileType::Pack] {
        let memory = Arc::new(MemoryBackend::new());
        leave_config(memory.as_ref());
        memory.write(kind, &"a".repeat(64), &Bytes::from_static(b"something")).unwrap();
        let before = memory.content();
        let clock: Arc<dyn Clock> = Arc::new(SleepClock::new());
        assert_eq!(start(Arc::clone(&memory) as _, &clock).unwrap_err().kind, ErrorKind::Damaged);
        let opened = Repository::open(Arc::clone(&memory) as _, &access(clock));
        assert_eq!(opened.unwrap_err().kind, ErrorKind::Damaged);
        assert_eq!(memory.content(), before);
    }
}

/// Whoever only opens creates nothing.
#[test]
fn opening_what_is_missing_is_exit_10_and_writes_nothing() {
    let memory = Arc::new(MemoryBackend::new());
    let error = Repository::open(Arc::clone(&memory) as _, &access(system())).unwrap_err();
    assert_eq!(error.kind.exit_code(), 10);
    assert_eq!(memory.content(), MemoryBackend::new().content());
    let folder = scratch();
    let root = folder.path().join("absent");
    assert_eq!(Repository::open(mover::local(&root), &access(system())).unwrap_err().kind.exit_code(), 10);
    assert!(!root.exists());
}

#[test]
fn a_stray_key_of_a_loser_is_passed_over() {
    let folder = scratch();
    mover::create(folder.path(), 2);
    let backend = mover::local(folder.path());
    let own = backend.list(FileType::Key).unwrap()[0].name.clone();
    // One that is tried before the right one.
    while backend.list(FileType::Key).unwrap().iter().all(|file| file.name >= own) {
        mover::write_key(backend.as_ref(), &SealKey::random(&SystemRandom).unwrap(), PASSWORD);
    }
    let id = Repository::open(Arc::clone(&backend), &access(system())).unwrap().config().id.clone();
    let (opened, origin) = start(backend, &system()).unwrap();
    assert_eq!((opened.config().id.as_str(), origin), (id.as_str(), Origin::Opened));
}

/// The key that does not fit may be what a slow init left behind: the right one comes yet.
#[test]
fn beside_a_stray_key_the_right_one_is_waited_for() {
    let memory = Arc::new(MemoryBackend::new());
    let master = leave_config(memory.as_ref());
    mover::write_key(memory.as_ref(), &SealKey::random(&SystemRandom).unwrap(), PASSWORD);
    let store = Arc::clone(&memory);
    let clock: Arc<dyn Clock> = Arc::new(Later {
        clock: SleepClock::new(),
        at: Duration::from_secs(10),
        then: move || drop(mover::write_key(store.as_ref(), &master, PASSWORD)),
    });
    assert_eq!(start(Arc::clone(&memory) as _, &clock).unwrap().1, Origin::Opened);
}

/// An empty repository whose config is damaged has a key: it is no init that died.
#[test]
fn a_config_with_a_key_is_never_taken_over() {
    let memory = Arc::new(MemoryBackend::new());
    start(Arc::clone(&memory) as _, &system()).unwrap();
    memory.corrupt(FileType::Config, "", |content| content[20] ^= 1);
    let before = memory.content();
    let clock: Arc<dyn Clock> = Arc::new(SleepClock::new());
    let error = start(Arc::clone(&memory) as _, &clock).unwrap_err();
    assert_eq!(error.kind.exit_code(), 21);
    assert!(error.to_string().contains("config"), "{error}");
    assert_eq!(memory.content(), before);
}

fn open_fixture(folder: &Path, password: &[u8], key_hint: Option<&str>) -> Result<Repository> {
    let access = Access { password, key_hint, ..access(system()) };
    Repository::open(mover::local(folder), &access)
}

#[test]
fn any_of_several_keys_opens() {
    let copy = fixture::copy("two-keys");
    for password in [PASSWORD.as_bytes(), b"second"] {
        open_fixture(copy.path(), password, None).unwrap();
    }
    let error = open_fixture(copy.path(), b"third", None).unwrap_err();
    assert_eq!(error.kind.exit_code(), 12);
    assert!(!error.to_string().contains("third"), "{error}");
}

/// Twenty keys are tried; the hint says which first.
#[test]
fn beyond_twenty_keys_a_hint_is_needed() {
    let copy = fixture::copy("two-keys");
    let backend = mover::local(copy.path());
    let right: Vec<String> = backend.list(FileType::Key).unwrap().into_iter().map(|file| file.name).collect();
    let last = right.iter().max().unwrap();
    while backend.list(FileType::Key).unwrap().iter().filter(|file| file.name < *last).count() < 21 {
        mover::write_key(backend.as_ref(), &SealKey::random(&SystemRandom).unwrap(), "another");
    }
    let before_hint =
        [PASSWORD, "second"].map(|password| open_fixture(copy.path(), password.as_bytes(), None));
    let failed: Vec<&Error> = before_hint.iter().filter_map(|opened| opened.as_ref().err()).collect();
    assert!(!failed.is_empty());
    for error in failed {
        assert_eq!(error.kind.exit_code(), 1, "not 12: the right key may not have been tried");
        assert!(error.to_string().contains("RESTIC_KEY_HINT"), "{error}");
    }
    let hinted = [PASSWORD, "second"]
        .map(|password| open_fixture(copy.path(), password.as_bytes(), Some(&last[..10])).is_ok());
    assert!(hinted.contains(&true), "the hinted key is tried first");
}

/// A damaged key beside a whole one is no reason to fail.
#[test]
fn a_damaged_key_is_passed_over_when_another_opens() {
    let copy = fixture::copy("small");
    let keys = copy.path().join("keys");
    let whole = fs::read_dir(&keys).unwrap().next().unwrap().unwrap().path();
    let content = fs::read(whole).unwrap();
    fs::write(keys.join("0".repeat(64)), &content[..content.len() / 2]).unwrap();
    open_fixture(copy.path(), PASSWORD.as_bytes(), None).unwrap();
}

#[test]
fn restic_opens_what_init_made() {
    let folder = scratch();
    let (repository, _) = start(mover::local(folder.path()), &system()).unwrap();
    for version in REFEREES {
        let Some(restic) = Restic::on(version, folder.path()) else { continue };
        let config: serde_json::Value = serde_json::from_str(&restic.ok(&["cat", "config"])).unwrap();
        assert_eq!(config["id"], repository.config().id.as_str());
        assert_eq!(config["version"], 2);
        let keys = restic.ok(&["key", "list", "--json"]);
        let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
        assert_eq!((&keys[0]["userName"], &keys[0]["hostName"]), (&"tester".into(), &"test".into()));
    }
}
