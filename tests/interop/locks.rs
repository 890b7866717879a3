//! Each program respects the locks of the other, and says whose they are.

use std::io::Write;
use std::process::Stdio;

use volmover::backend::FileType;
use volmover::error::ErrorKind;
use volmover::repository::lock::{Lock, LockMode};

use crate::place::Place;
use crate::support::children::{Running, wait_until};
use crate::support::mover::{Mover, lock_options};
use crate::support::restic::REFEREES;
use crate::support::scratch;
use crate::support::source;

fn acquire(mover: &Mover, mode: LockMode) -> volmover::error::Result<Lock> {
    Lock::acquire(&mover.repository, mode, &mover.locks, &mover.monitor, &mover.stop)
}

/// A restic that backs up its standard input, which stays open, holds a shared lock.
#[test]
fn a_running_restic_is_respected() {
    for version in REFEREES {
        let folder = scratch();
        source::files(folder.path(), 2, 100, 1);
        let place = Place::folder(2);
        let Some(restic) = place.restic(version) else { return };
        let mut command = restic.command(&["backup", "--stdin", "--host", "volsync"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut running = Running::start(&mut command);
        running.stdin.as_mut().unwrap().write_all(b"some bytes\n").unwrap();
        wait_until("restic's lock", || place.backend.list(FileType::Lock).unwrap().len() == 1);
        let mover = place.mover();
        let refused = acquire(&mover, LockMode::Exclusive).unwrap_err();
        assert_eq!(refused.kind.exit_code(), 11);
        let holder = format!("by PID {} on {} by ", running.id(), lock_options().holder.hostname);
        assert!(refused.to_string().contains(&holder), "{refused}");
        mover.backup(folder.path()).unwrap();
        mover.restored("latest");
        assert_eq!(place.backend.list(FileType::Lock).unwrap().len(), 1, "restic's own lock stays");
        drop(running.stdin.take());
        assert!(running.wait().unwrap().success());
        acquire(&mover, LockMode::Exclusive).unwrap().release().unwrap();
        assert_eq!(mover.snapshot_ids().len(), 2);
        restic.check();
    }
}

#[test]
fn restic_respects_ours() {
    for version in REFEREES {
        let folder = scratch();
        source::files(folder.path(), 2, 100, 1);
        let place = Place::folder(2);
        let Some(restic) = place.restic(version) else { return };
        let mover = place.mover();
        let refused = |arguments: &[&str], how: &str| {
            let output = restic.command(arguments).current_dir(folder.path()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(11), "{said}");
            let holder = format!("already {how} PID {} on ", std::process::id());
            assert!(said.contains(&holder), "{said}");
        };
        let shared = acquire(&mover, LockMode::Shared).unwrap();
        restic.backup(folder.path(), &[]);
        refused(&["prune"], "locked by");
        refused(&["forget", "--keep-last", "1", "--prune"], "locked by");
        shared.release().unwrap();
        let exclusive = acquire(&mover, LockMode::Exclusive).unwrap();
        refused(&["backup", "."], "locked exclusively by");
        exclusive.release().unwrap();
        restic.ok(&["prune"]);
    }
}

/// restic reads our lock files: what they say is what `list locks` and `cat lock` show.
#[test]
fn restic_reads_our_locks() {
    let place = Place::folder(2);
    let Some(restic) = place.restic(REFEREES[0]) else { return };
    let mover = place.mover();
    let _lock = acquire(&mover, LockMode::Shared).unwrap();
    let name = place.backend.list(FileType::Lock).unwrap()[0].name.clone();
    assert_eq!(restic.ok(&["list", "locks", "--no-lock"]).trim(), name);
    let lock: serde_json::Value =
        serde_json::from_str(&restic.ok(&["cat", "lock", &name, "--no-lock"])).unwrap();
    assert_eq!((&lock["exclusive"], &lock["pid"]), (&false.into(), &std::process::id().into()));
    restic.ok(&["unlock"]);
    assert_eq!(place.backend.list(FileType::Lock).unwrap().len(), 1, "it is not stale");
}

/// A lock that `restic unlock --remove-all` took away is lost: nothing is committed under it any more.
#[test]
fn a_lock_that_restic_removed_is_lost() {
    let place = Place::folder(2);
    let Some(restic) = place.restic(REFEREES[0]) else { return };
    let mut mover = place.mover();
    mover.locks.refresh = std::time::Duration::from_millis(300);
    let lock = acquire(&mover, LockMode::Shared).unwrap();
    restic.ok(&["unlock", "--remove-all"]);
    wait_until("the loss", || lock.check().is_err());
    assert_eq!(lock.check().unwrap_err().kind, ErrorKind::Locked);
}
