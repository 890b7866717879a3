//! Nothing is lost, whatever ends a backup: a store that fails at its nth write, a kill at any moment.
//!
//! Then all earlier snapshots restore, restic finds nothing wrong but packs that no index names, and the
//! next backup succeeds and uses what was uploaded. The order of writes that this rests on is held here too.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use support::fixture::copy_folder;
use support::listing;
use support::mover::{self, Mover, backup_options};
use support::restic::{REFEREES, Restic};
use support::scratch;
use support::source;
use tempfile::TempDir;
use volmover::backend::fault::{CHANGES, Fault, Rule};
use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::{Record, Recorded, Request};
use volmover::backend::{Backend, BackendErrorKind, FileType};
use volmover::clock::SystemClock;
use volmover::error::{ErrorKind, Result};
use volmover::ops::{self, backup::Backup, backup::BackupOptions};
use volmover::report::Monitor;
use volmover::repository::index;

/// Small packs, so that there are several.
fn backup(mover: &Mover, source: &Path) -> Result<Backup> {
    let options = BackupOptions { pack_bytes: 128 << 10, ..backup_options(source) };
    ops::backup::run(&mover.session(), options)
}

fn faulty(inner: Arc<dyn Backend>) -> Arc<Fault> {
    Arc::new(Fault::new(inner, Arc::new(SystemClock::new())))
}

/// A crash at the nth change: from then on nothing reaches the store; of the nth itself the effect may
/// have, and only its answer be lost.
fn crash_at(fault: &Fault, nth: u64, with_effect: bool) {
    if with_effect {
        fault.add(Rule::on(&CHANGES).skip(nth).fail_after(BackendErrorKind::Other));
        fault.add(Rule::on(&CHANGES).skip(nth + 1).forever().fail(BackendErrorKind::Other));
    } else {
        fault.add(Rule::on(&CHANGES).skip(nth).forever().fail(BackendErrorKind::Other));
    }
}

/// A source in two states, a repository that holds the first, and the lists of both.
struct World {
    source: TempDir,
    repository: TempDir,
    lists: [String; 2],
}

impl World {
    fn new(version: u32) -> Self {
        let (source, repository) = (scratch(), scratch());
        mover::create(repository.path(), version);
        source::every_kind(source.path());
        source::files(source.path(), 5, 60 << 10, 1);
        let first = listing::list(source.path());
        backup(&Mover::open(repository.path()).unwrap(), source.path()).unwrap();
        source::files(&source.path().join("dir"), 8, 60 << 10, 2);
        std::fs::write(source.path().join("short.txt"), "changed").unwrap();
        let second = listing::list(source.path());
        Self { source, repository, lists: [first, second] }
    }

    fn copy(&self) -> TempDir {
        let copy = scratch();
        copy_folder(self.repository.path(), copy.path());
        copy
    }

    /// Every snapshot restores to the state it was made of; the first is there.
    #[track_caller]
    fn assert_whole(&self, mover: &Mover, what: &str) {
        let ids = mover.snapshot_ids();
        assert!((1..=3).contains(&ids.len()), "{what}: {ids:?}");
        for (number, id) in ids.iter().enumerate() {
            let list = &self.lists[number.min(1)];
            listing::assert_same(list, &mover.restored(id), &format!("{what}, snapshot {number}"));
        }
    }
}

/// restic must say nothing worse than that some packs are in no index. Locks of the dead stay.
#[track_caller]
fn assert_restic_is_content(repository: &Path, what: &str) {
    let Some(restic) = Restic::on(REFEREES[0], repository) else { return };
    let output = restic.run(&["check", "--no-lock"]);
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&said));
}

fn crash_at_every_write(version: u32, with_effect: bool) {
    let world = World::new(version);
    for nth in 0.. {
        let what = format!("crash at change {nth}, effect {with_effect}");
        let copy = world.copy();
        let fault = faulty(mover::local(copy.path()));
        crash_at(&fault, nth, with_effect);
        let died = Mover::open_backend(Arc::clone(&fault) as _).unwrap();
        let crashed = backup(&died, world.source.path());
        if fault.hits() == 0 {
            crashed.unwrap();
            assert!(nth >= 8, "{nth} changes: lock, packs, indexes, snapshot, lock");
            return;
        }
        let mover = Mover::open(copy.path()).unwrap();
        // A backup whose lock alone stayed behind is done, and says so.
        let is_done = mover.snapshot_ids().len() == 2 && died.monitor.warnings().len() == 1;
        assert!(crashed.is_err() || is_done, "{what}: {crashed:?}");
        world.assert_whole(&mover, &what);
        assert_restic_is_content(copy.path(), &what);
        backup(&mover, world.source.path()).unwrap();
        world.assert_whole(&mover, &format!("{what}, then a backup"));
        let last = mover.snapshot_ids().pop().unwrap();
        listing::assert_same(&world.lists[1], &mover.restored(&last), &what);
        assert_restic_is_content(copy.path(), &format!("{what}, then a backup"));
    }
}

#[test]
fn a_crash_before_any_write_loses_nothing() {
    crash_at_every_write(2, false);
}

#[test]
fn a_crash_after_any_write_loses_nothing() {
    crash_at_every_write(2, true);
}

#[test]
fn a_crash_in_a_repository_of_version_1_loses_nothing() {
    crash_at_every_write(1, false);
}

/// One write fails for good and the store lives on: the run ends with an error, no snapshot, and no lock.
#[test]
fn a_write_that_fails_for_good_leaves_no_lock() {
    let world = World::new(2);
    for kind in [FileType::Pack, FileType::Index, FileType::Snapshot] {
        for (failure, exit_code) in [
            (BackendErrorKind::Full, 20),
            (BackendErrorKind::Denied, 23),
            (BackendErrorKind::Unreachable, 22),
            (BackendErrorKind::Throttled, 22),
        ] {
            let copy = world.copy();
            let fault = faulty(mover::local(copy.path()));
            fault.add(Rule::on(&[Request::Write]).kind(kind).fail(failure));
            let mover = Mover::open_backend(Arc::clone(&fault) as _).unwrap();
            let error = backup(&mover, world.source.path()).unwrap_err();
            assert_eq!(error.kind.exit_code(), exit_code, "{error}");
            assert!(error.to_string().contains(&format!("{}/", kind.folder())), "{error}");
            assert_eq!(mover.snapshot_ids().len(), 1);
            assert!(mover.repository.backend().list(FileType::Lock).unwrap().is_empty());
        }
    }
}

/// What was read wrongly must never be stored as if it were right.
#[test]
fn a_list_or_an_index_that_fails_ends_the_backup() {
    let world = World::new(2);
    for rule in [
        Rule::on(&[Request::List]).kind(FileType::Snapshot),
        Rule::on(&[Request::List]).kind(FileType::Index),
        Rule::on(&[Request::List]).kind(FileType::Lock),
        Rule::on(&[Request::Read]).kind(FileType::Index),
        Rule::on(&[Request::Read]).kind(FileType::Snapshot),
    ] {
        let copy = world.copy();
        let fault = faulty(mover::local(copy.path()));
        let mover = Mover::open_backend(Arc::clone(&fault) as _).unwrap();
        fault.add(rule.clone().fail(BackendErrorKind::Unreachable));
        let error = backup(&mover, world.source.path()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{rule:?}: {error}");
        assert_eq!(mover.snapshot_ids().len(), 1);
        assert!(mover.repository.backend().list(FileType::Lock).unwrap().is_empty());
    }
}

/// The requests of one sort for one kind of file, in their order.
fn those_of(requests: &[Recorded], request: Request, kind: FileType) -> Vec<&Recorded> {
    let wanted = |recorded: &&Recorded| recorded.request == request && recorded.kind == Some(kind);
    requests.iter().filter(wanted).collect()
}

/// Packs before the index that names them, indexes before the snapshot, the lock around all of it.
#[test]
fn writes_come_in_the_order_that_a_crash_needs() {
    let (folder, memory) = (scratch(), Arc::new(MemoryBackend::new()));
    mover::create_in(memory.as_ref(), 2);
    source::files(folder.path(), 160, 60 << 10, 1);
    let record = Arc::new(Record::keeping_all(memory));
    let mover = Mover::open_backend(Arc::clone(&record) as _).unwrap();
    record.clear();
    backup(&mover, folder.path()).unwrap();
    let requests = record.requests();
    let of = |request, kind| those_of(&requests, request, kind);
    let packs: BTreeMap<&str, &Recorded> =
        of(Request::Write, FileType::Pack).into_iter().map(|write| (write.name.as_str(), write)).collect();
    let indexes = of(Request::Write, FileType::Index);
    assert!(packs.len() > 16 && indexes.len() > 1, "{} packs, {} indexes", packs.len(), indexes.len());
    let mut named = 0;
    for write in &indexes {
        let json = mover.repository.read_unpacked(FileType::Index, &write.name.parse().unwrap()).unwrap();
        for pack in index::decode(&json).unwrap() {
            assert!(packs[pack.id.hex().as_str()].finished < write.started, "an index before its pack");
            named += 1;
        }
    }
    assert_eq!(named, packs.len(), "each pack is in one index");
    let [snapshot] = of(Request::Write, FileType::Snapshot)[..] else { panic!("one snapshot") };
    assert!(indexes.iter().all(|write| write.finished < snapshot.started));
    let [lock] = of(Request::Write, FileType::Lock)[..] else { panic!("one lock") };
    let [unlock] = of(Request::Delete, FileType::Lock)[..] else { panic!("one lock") };
    assert!(packs.values().all(|write| lock.finished < write.started));
    assert!(snapshot.finished < unlock.started);
    let listed = |kind| of(Request::List, kind)[0];
    assert!(listed(FileType::Snapshot).finished < listed(FileType::Index).started);
}

#[test]
fn what_was_read_before_the_lock_stood_is_looked_for_again_under_it() {
    let (folder, memory) = (scratch(), Arc::new(MemoryBackend::new()));
    mover::create_in(memory.as_ref(), 2);
    source::files(folder.path(), 3, 60 << 10, 1);
    let record = Arc::new(Record::keeping_all(memory));
    let mover = Mover::open_backend(Arc::clone(&record) as _).unwrap();
    backup(&mover, folder.path()).unwrap();
    record.clear();
    source::files(folder.path(), 4, 60 << 10, 2);
    backup(&mover, folder.path()).unwrap();
    let requests = record.requests();
    let of = |request, kind| those_of(&requests, request, kind);
    let (lock, pack) = (of(Request::Write, FileType::Lock)[0], of(Request::Write, FileType::Pack)[0]);
    let lists = of(Request::List, FileType::Index);
    assert_eq!(lists.len(), 2);
    assert!(lock.finished < lists[1].started && lists[1].finished < pack.started);
}

/// A repository in memory, a source of some 200 packs' worth, and how many packs a whole backup writes.
fn large() -> (TempDir, Arc<MemoryBackend>, u64) {
    let (folder, memory) = (scratch(), Arc::new(MemoryBackend::new()));
    mover::create_in(memory.as_ref(), 2);
    source::files(folder.path(), 300, 90 << 10, 1);
    let empty = memory.content();
    backup(&Mover::open_backend(Arc::clone(&memory) as _).unwrap(), folder.path()).unwrap();
    let packs = memory.list(FileType::Pack).unwrap().len() as u64;
    memory.set_content(empty);
    (folder, memory, packs)
}

/// The share of the whole that the next run had to upload.
fn uploaded_next(memory: &Arc<MemoryBackend>, source: &Path) -> f64 {
    let mover = Mover::open_backend(Arc::clone(memory) as _).unwrap();
    let summary = backup(&mover, source).unwrap().summary;
    listing::assert_same(&listing::list(source), &mover.restored("latest"), "after half a backup");
    summary.data_added as f64 / summary.total_bytes_processed as f64
}

#[test]
fn a_backup_that_was_killed_at_half_goes_on_where_it_was() {
    let (folder, memory, packs) = large();
    let fault = faulty(Arc::clone(&memory) as _);
    fault.add(Rule::on(&[Request::Write]).kind(FileType::Pack).skip(packs / 2).fail(BackendErrorKind::Other));
    // The process is gone: neither an index nor anything else is written after that.
    let killed = Mover::open_backend(Arc::new(Dying { fault: Arc::clone(&fault) })).unwrap();
    backup(&killed, folder.path()).unwrap_err();
    assert!(memory.list(FileType::Pack).unwrap().len() as u64 >= packs / 2);
    let share = uploaded_next(&memory, folder.path());
    assert!(share < 0.6, "{share}");
}

/// A store that nothing reaches any more once a scripted fault was hit.
struct Dying {
    fault: Arc<Fault>,
}

impl Dying {
    fn alive(&self) -> volmover::backend::BackendResult<()> {
        match self.fault.hits() {
            0 => Ok(()),
            _ => Err(volmover::backend::BackendError::at(BackendErrorKind::Other, "write", "all", "dead")),
        }
    }
}

impl Backend for Dying {
    fn location(&self) -> String {
        self.fault.location()
    }

    fn connections(&self) -> usize {
        4
    }

    fn list(&self, kind: FileType) -> volmover::backend::BackendResult<Vec<volmover::backend::Listed>> {
        self.fault.list(kind)
    }

    fn stat(&self, kind: FileType, name: &str) -> volmover::backend::BackendResult<u64> {
        self.fault.stat(kind, name)
    }

    fn read(&self, kind: FileType, name: &str) -> volmover::backend::BackendResult<bytes::Bytes> {
        self.fault.read(kind, name)
    }

    fn read_range(
        &self,
        kind: FileType,
        name: &str,
        offset: u64,
        length: usize,
    ) -> volmover::backend::BackendResult<bytes::Bytes> {
        self.fault.read_range(kind, name, offset, length)
    }

    fn write(&self, kind: FileType, name: &str, data: &bytes::Bytes) -> volmover::backend::BackendResult<()> {
        self.alive()?;
        self.fault.write(kind, name, data)
    }

    fn write_new(
        &self,
        kind: FileType,
        name: &str,
        data: &bytes::Bytes,
    ) -> volmover::backend::BackendResult<()> {
        self.alive()?;
        self.fault.write_new(kind, name, data)
    }

    fn delete(&self, kind: FileType, name: &str) -> volmover::backend::BackendResult<()> {
        self.alive()?;
        self.fault.delete(kind, name)
    }

    fn create(&self) -> volmover::backend::BackendResult<()> {
        self.fault.create()
    }
}

/// SIGTERM as the library sees it: what was uploaded is indexed before the run ends.
#[test]
fn a_backup_that_was_stopped_at_half_goes_on_where_it_was() {
    let (folder, memory, packs) = large();
    let mover = Mover::open_backend(Arc::clone(&memory) as _).unwrap();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| backup(&mover, folder.path()));
        while (memory.list(FileType::Pack).unwrap().len() as u64) < packs / 2 && !running.is_finished() {
            std::thread::yield_now();
        }
        mover.stop.store(true, Ordering::SeqCst);
        assert_eq!(running.join().unwrap().unwrap_err().kind, ErrorKind::Interrupted);
    });
    assert!(memory.list(FileType::Snapshot).unwrap().is_empty());
    assert!(memory.list(FileType::Lock).unwrap().is_empty());
    let stored = memory.list(FileType::Pack).unwrap().len();
    assert_eq!(mover.repository.load_index().unwrap().pack_count(), stored, "every pack is indexed");
    assert!(uploaded_next(&memory, folder.path()) < 0.6);
    assert!(mover.monitor.progress().bytes_added.value() > 0);
}
