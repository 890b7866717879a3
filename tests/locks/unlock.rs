//! `unlock`: what it removes, what it leaves, and what it says; beside the real restic.

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use volmover::backend::{Backend, FileType};
use volmover::ops::unlock::{self, UnlockOptions};
use volmover::repository::lock::LockMode;

use super::support::children::Running;
use super::support::clock::SleepClock;
use super::support::mover::{self, Mover};
use super::support::restic::{REFEREES, Restic};
use super::support::scratch;
use super::{MINUTE, Store, acquire, foreign, wait_until};

const STALE: UnlockOptions = UnlockOptions { all: false, dry_run: false };
const ALL: UnlockOptions = UnlockOptions { all: true, dry_run: false };

fn unlock(mover: &Mover, options: UnlockOptions) -> u64 {
    unlock::run(&mover.session(), options).unwrap()
}

#[test]
fn it_removes_the_dead_and_with_all_everything() {
    let store = Store::new();
    let mover = store.mover();
    assert_eq!(unlock(&mover, STALE), 0);
    foreign(&mover, |_| ());
    store.clock.advance(31 * MINUTE);
    let living = foreign(&mover, |file| file.pid = 12);
    let (empty, garbage) = ("0".repeat(64), "1".repeat(64));
    store.backend.write(FileType::Lock, &empty, &Bytes::new()).unwrap();
    store.backend.write(FileType::Lock, &garbage, &Bytes::from_static(b"garbage")).unwrap();
    let shows = |all| unlock(&mover, UnlockOptions { all, dry_run: true });
    assert_eq!((shows(false), shows(true), store.locks().len()), (1, 4, 4));
    assert_eq!(unlock(&mover, STALE), 1);
    assert_eq!(store.locks(), [empty, garbage, living].into());
    let said = mover.monitor.warnings();
    assert!(said.last().unwrap().starts_with("removing a stale lock: PID 4711 on elsewhere by"), "{said:?}");
    assert_eq!(unlock(&mover, STALE), 0);
    assert_eq!(unlock(&mover, ALL), 3);
    assert!(store.locks().is_empty());
    let said = mover.monitor.warnings();
    assert!(said.iter().any(|line| line.starts_with("removing a live lock: PID 12 on")), "{said:?}");
    assert!(
        said.iter().any(|line| line.starts_with("removing locks/11") && line.contains("cannot be read")),
        "{said:?}"
    );
}

/// It takes no lock, so a prune at work is no reason to wait; and what lives stays.
#[test]
fn it_waits_for_nobody() {
    let store = Store::new();
    let mover = store.mover();
    let held = acquire(&mover, LockMode::Exclusive).unwrap();
    assert_eq!((unlock(&mover, STALE), store.locks().len()), (0, 1));
    held.check().unwrap();
    held.release().unwrap();
}

/// A clock that is fast here does not make the others' locks old.
#[test]
fn it_asks_the_store_what_time_it_is() {
    let folder = scratch();
    mover::create(folder.path(), 2);
    let clock = Arc::new(SleepClock::new());
    let mover = Mover::open_at(mover::local(folder.path()), Arc::clone(&clock) as _).unwrap();
    let name = foreign(&mover, |_| ());
    clock.advance(40 * MINUTE);
    assert_eq!(unlock(&mover, STALE), 0, "the file is a moment old");
    let file = std::fs::File::open(folder.path().join("locks").join(name)).unwrap();
    file.set_modified(SystemTime::now() - 31 * MINUTE).unwrap();
    assert_eq!(unlock(&mover, STALE), 1);
    assert_eq!(std::fs::read_dir(folder.path().join("locks")).unwrap().count(), 0, "no probe stays");
}

/// A restic that reads its standard input holds its lock as long as that is open.
#[test]
fn restics_lock_stays_while_it_runs_and_goes_when_it_was_killed() {
    for version in REFEREES {
        let folder = scratch();
        mover::create(folder.path(), 2);
        let Some(restic) = Restic::on(version, folder.path()) else { return };
        let backend = mover::local(folder.path());
        let locks = || backend.list(FileType::Lock).unwrap().len();
        let start = || {
            let mut command = restic.command(&["backup", "--stdin", "--host", "volsync"]);
            let mut running = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::null()));
            running.stdin.as_mut().unwrap().write_all(b"some bytes\n").unwrap();
            wait_until("restic's lock", || locks() == 1);
            running
        };
        let mut mover = Mover::open(folder.path()).unwrap();
        mover.locks.holder.contained = false;
        let mut running = start();
        assert_eq!(unlock(&mover, STALE), 0);
        running.kill().unwrap();
        running.wait().unwrap();
        assert_eq!((locks(), unlock(&mover, STALE), locks()), (1, 1, 0));
        let running = start();
        assert_eq!((unlock(&mover, ALL), locks()), (1, 0));
        drop(running);
        // The other way round: restic's unlock knows ours.
        let held = acquire(&mover, LockMode::Shared).unwrap();
        assert_eq!(restic.ok(&["unlock"]), "");
        held.check().unwrap();
        held.release().unwrap();
        foreign(&mover, |file| file.time = "2024-01-01T00:00:00Z".to_owned());
        assert_eq!(restic.ok(&["unlock"]), "successfully removed 1 locks\n");
    }
}
