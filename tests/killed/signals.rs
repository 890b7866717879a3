//! Signals to a running backup.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use volmover::backend::FileType;
use volmover::repository::Id;

use crate::program::World;
use crate::support::children::{Running, wait_until};
use crate::support::fixture::copy_folder;
use crate::support::mover::Mover;
use crate::support::restic::{REFEREES, Restic};
use crate::support::scaled;
use crate::support::scratch;

pub fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// How many packs there are; drafts are none.
fn packs(repository: &Path) -> usize {
    let folders = std::fs::read_dir(repository.join("data")).unwrap();
    let names = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    names.filter(|entry| entry.as_ref().unwrap().file_name().len() == 64).count()
}

/// The seed of this run: another each time, unless `VOLMOVER_TEST_SEED` says which.
pub fn seed() -> u64 {
    match std::env::var("VOLMOVER_TEST_SEED") {
        Ok(seed) => seed.parse().expect("VOLMOVER_TEST_SEED is a whole number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into(),
    }
}

/// A number from 0 to 1 that the seed and the run decide.
pub fn share(seed: u64, run: usize) -> f64 {
    let Id([first, second, ..]) = Id::of(format!("{seed} {run}").as_bytes());
    f64::from(u16::from_be_bytes([first, second])) / f64::from(u16::MAX)
}

/// Ten times, a hundred in CI: a kill somewhere between the start and the end of a backup.
#[test]
fn a_kill_at_a_random_moment_loses_nothing() {
    let world = World::new(14);
    let fresh = || {
        let copy = scratch();
        copy_folder(world.repository.path(), copy.path());
        copy
    };
    let whole = fresh();
    let start = Instant::now();
    assert!(world.backup(whole.path()).output().unwrap().status.success());
    let longest = start.elapsed();
    let seed = seed();
    for run in 0..scaled(10) {
        let delay = longest.mul_f64(share(seed, run));
        let what = format!("VOLMOVER_TEST_SEED={seed}, run {run}, killed after {delay:?}");
        let copy = fresh();
        let mut backup = Running::start(&mut world.backup(copy.path()));
        std::thread::sleep(delay);
        backup.kill().unwrap();
        backup.wait().unwrap();
        world.assert_whole(copy.path(), &what);
        let Some(restic) = Restic::on(REFEREES[0], copy.path()) else { return };
        let check = restic.run(&["check", "--no-lock"]);
        assert!(check.status.success(), "{what}: {}", String::from_utf8_lossy(&check.stderr));
        let again = world.backup(copy.path()).output().unwrap();
        assert!(again.status.success(), "{what}: {}", String::from_utf8_lossy(&again.stderr));
        world.assert_whole(copy.path(), &format!("{what}, then a backup"));
    }
}

/// Exit 143 soon, no lock, no snapshot, and every pack that was uploaded is indexed for the next run.
#[test]
fn a_terminated_backup_leaves_no_lock_and_an_index() {
    let world = World::new(40);
    let repository = world.repository.path();
    let before = packs(repository);
    let mut command = world.backup(repository);
    let mut backup = Running::start(command.env("MOVER_LIMIT_UPLOAD", "16384"));
    wait_until("some packs", || packs(repository) >= before + 3);
    backup.signal(Signal::TERM);
    let start = Instant::now();
    let status = backup.wait().unwrap();
    assert_eq!(status.code(), Some(143));
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!((count(&repository.join("locks")), count(&repository.join("snapshots"))), (0, 1));
    let mover = Mover::open(repository).unwrap();
    let index = mover.repository.load_index().unwrap();
    assert_eq!(index.pack_count(), mover.repository.ids(FileType::Pack).unwrap().len());
    world.assert_whole(repository, "terminated");
    let again = mover.backup(world.source.path()).unwrap().summary;
    assert!(again.data_added < 38 << 20, "{again:?}");
    world.assert_whole(repository, "terminated, then a backup");
}

/// restic asks by SIGHUP whether the process of a lock lives: the answer must not be its end.
#[test]
fn a_backup_outlives_restics_question_whether_it_lives() {
    let world = World::new(24);
    let repository = world.repository.path();
    let before = packs(repository);
    let mut command = world.backup(repository);
    let mut backup = Running::start(command.env("MOVER_LIMIT_UPLOAD", "16384"));
    wait_until("a pack", || packs(repository) > before);
    backup.signal(Signal::HUP);
    if let Some(restic) = Restic::on(REFEREES[0], repository) {
        restic.ok(&["unlock"]);
        assert_eq!(count(&repository.join("locks")), 1, "the lock of a process that lives");
    }
    assert!(backup.wait().unwrap().success());
    world.assert_whole(repository, "after SIGHUP");
}
