//! What becomes of locks when the real binary ends at any moment, and of thirty that begin at once.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::program::World;
use crate::signals::{count, seed, share};
use crate::support::children::Running;
use crate::support::fixture::{PASSWORD, copy_folder};
use crate::support::mover::{self, Mover};
use crate::support::{scaled, source};

fn locks(repository: &Path) -> usize {
    count(&repository.join("locks"))
}

/// An operation on a repository, and its target if it needs one.
type Begin = fn(&World, &Path, &Path) -> Command;

/// Ten moments of each, a hundred in CI: SIGTERM, wherever it meets the run, leaves no lock.
#[test]
fn a_run_that_is_terminated_at_a_random_moment_leaves_no_lock() {
    let world = World::new(14);
    let seed = seed();
    let operations: [(&str, Begin); 2] = [
        ("backup", |world, repository, _| world.backup(repository)),
        ("restore", |world, repository, target| world.restore(repository, target)),
    ];
    for (operation, begin) in operations {
        let run = |delay: Option<std::time::Duration>, what: &str| {
            let (repository, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
            copy_folder(world.repository.path(), repository.path());
            let mut running = Running::start(&mut begin(&world, repository.path(), target.path()));
            if let Some(delay) = delay {
                std::thread::sleep(delay);
                running.signal(Signal::TERM);
            }
            let status = running.wait().unwrap();
            // Before the signals are watched it ends by the signal itself, and holds no lock yet.
            let ended = matches!(status.code(), Some(0 | 143) | None);
            assert!(ended, "{what}: {status}");
            assert_eq!(locks(repository.path()), 0, "{what}");
            status.code()
        };
        let start = Instant::now();
        assert_eq!(run(None, operation), Some(0));
        let longest = start.elapsed();
        let mut terminated = 0;
        for number in 0..scaled(10) {
            let delay = longest.mul_f64(share(seed, number));
            let what = format!("VOLMOVER_TEST_SEED={seed}, {operation} {number}, terminated after {delay:?}");
            terminated += usize::from(run(Some(delay), &what) == Some(143));
        }
        assert!(terminated > 0, "{operation}: no signal met the run");
    }
}

/// The lock that a killed backup leaves is shared: it is in no backup's way, and `unlock` says whose it was.
#[test]
fn after_a_kill_the_next_backup_goes_through_at_once() {
    let world = World::new(14);
    let repository = world.repository.path();
    let mut command = world.backup(repository);
    let mut backup = Running::start(command.env("MOVER_LIMIT_UPLOAD", "1024"));
    crate::support::children::wait_until("its lock", || locks(repository) == 1);
    backup.kill().unwrap();
    backup.wait().unwrap();
    assert_eq!(locks(repository), 1);
    let again = world.backup(repository).env("MOVER_LOCK_WAIT", "0").output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    world.assert_whole(repository, "after a kill");
}

/// A fleet at minute 0: every one of them saves its snapshot, and none is told that the repository is locked.
#[test]
fn thirty_movers_at_once_are_thirty_snapshots() {
    let (repository, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    mover::create(repository.path(), 2);
    source::files(data.path(), 3, 50_000, 7);
    let movers: Vec<Running> = (0..30)
        .map(|number| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_volmover"));
            command
                .arg("backup")
                .env_clear()
                .env("RESTIC_REPOSITORY", repository.path())
                .env("RESTIC_PASSWORD", PASSWORD)
                .env("DATA_DIR", data.path())
                .env("MOVER_HOST", format!("mover-{number}"))
                .env("MOVER_LOCK_WAIT", "0")
                .env("MOVER_THREADS", "1")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::inherit());
            Running::start(&mut command)
        })
        .collect();
    for mut mover in movers {
        assert_eq!(mover.wait().unwrap().code(), Some(0));
    }
    assert_eq!((count(&repository.path().join("snapshots")), locks(repository.path())), (30, 0));
    let mover = Mover::open(repository.path()).unwrap();
    let hosts: std::collections::BTreeSet<String> =
        mover.repository.snapshots().unwrap().into_iter().map(|(_, snapshot)| snapshot.hostname).collect();
    assert_eq!(hosts.len(), 30);
    let list = crate::support::listing::list(data.path());
    for id in mover.snapshot_ids() {
        crate::support::listing::assert_same(&list, &mover.restored(&id), &id);
    }
}
