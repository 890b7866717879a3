//! What becomes of locks when the real binary ends at any moment, and of thirty that begin at once.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use tempfile::TempDir;
use volmover::backend::FileType;
use volmover::ops;
use volmover::repository::lock::LockFile;

use crate::program::{World, prune};
use crate::signals::{count, seed, share};
use crate::support::children::{Running, wait_until};
use crate::support::fixture::{PASSWORD, copy_folder};
use crate::support::mover::{self, Mover};
use crate::support::{scaled, scratch, source};

fn locks(repository: &Path) -> usize {
    count(&repository.join("locks"))
}

/// Whether there is a lock file, and not its draft alone.
fn has_lock(repository: &Path) -> bool {
    let files = fs::read_dir(repository.join("locks")).into_iter().flatten();
    files.flatten().any(|file| file.file_name().len() == 64)
}

/// An operation on a repository, and its target if it needs one.
type Begin = fn(&World, &Path, &Path) -> Command;

/// Twenty moments of each, a hundred in CI: SIGTERM, wherever it meets the run, leaves no lock, and a prune
/// leaves every snapshot whole.
#[test]
fn a_run_that_is_terminated_at_a_random_moment_leaves_no_lock() {
    let world = World::new(8);
    let prunable = world.prunable();
    let seed = seed();
    let operations: [(&str, &TempDir, Begin); 3] = [
        ("backup", &world.repository, |world, repository, _| world.backup(repository)),
        ("restore", &world.repository, |world, repository, target| world.restore(repository, target)),
        ("prune", &prunable, |_, repository, _| prune(repository)),
    ];
    for (operation, made, begin) in operations {
        let run = |delay: Option<std::time::Duration>, what: &str| {
            let (repository, target) = (scratch(), scratch());
            copy_folder(made.path(), repository.path());
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
            if operation == "prune" {
                world.assert_whole(repository.path(), what);
            }
            status.code()
        };
        let start = Instant::now();
        assert_eq!(run(None, operation), Some(0));
        let mut longest = start.elapsed();
        let mut terminated = 0;
        for number in 0..scaled(10).max(20) {
            let delay = longest.mul_f64(share(seed, number));
            let what = format!("VOLMOVER_TEST_SEED={seed}, {operation} {number}, terminated after {delay:?}");
            let code = run(Some(delay), &what);
            terminated += usize::from(code == Some(143));
            // It was quicker than the first: the signals came too late, and the next come sooner.
            if code == Some(0) {
                longest = longest.min(delay);
            }
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
    wait_until("its lock", || has_lock(repository));
    backup.kill().unwrap();
    backup.wait().unwrap();
    assert_eq!(locks(repository), 1);
    let again = world.backup(repository).env("MOVER_LOCK_WAIT", "0").output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    world.assert_whole(repository, "after a kill");
}

/// A prune needs to be alone: it goes by host and process id where those mean something, and else waits until
/// the lock is half an hour old. Either way it says whose lock it removed.
#[test]
fn after_a_kill_the_next_prune_finds_the_holder_gone() {
    let world = World::new(14);
    let repository = world.repository.path();
    let mut command = world.backup(repository);
    let mut backup = Running::start(command.env("MOVER_LIMIT_UPLOAD", "1024"));
    wait_until("its lock", || has_lock(repository));
    let pid = backup.id();
    backup.kill().unwrap();
    backup.wait().unwrap();
    let removed = format!("removed a stale lock: PID {pid} on ");
    let mover = Mover::open(repository).unwrap();

    // A process of the same host, outside of any container.
    let copy = scratch();
    copy_folder(repository, copy.path());
    let mut same_host = Mover::open(copy.path()).unwrap();
    same_host.locks.holder.contained = false;
    ops::prune::run(&same_host.session(), &mover::prune_options(4 << 20)).unwrap();
    assert!(same_host.monitor.warnings()[0].contains(&removed), "{:?}", same_host.monitor.warnings());
    assert_eq!(locks(copy.path()), 0);

    // Another pod.
    let again = || prune(repository).env("MOVER_LOCK_WAIT", "0").output().unwrap();
    let id = mover.repository.ids(FileType::Lock).unwrap().pop().unwrap();
    let json = mover.repository.read_unpacked(FileType::Lock, &id).unwrap();
    let file: LockFile = serde_json::from_slice(&json).unwrap();
    let mut elsewhere = LockFile { hostname: "another-pod".to_owned(), ..file };
    let mut age = |minutes: u64| {
        fs::remove_dir_all(repository.join("locks")).unwrap();
        fs::create_dir(repository.join("locks")).unwrap();
        let age = Duration::from_secs(60 * minutes);
        elsewhere.time = (jiff::Timestamp::now() - age).to_string();
        let json = serde_json::to_vec(&elsewhere).unwrap();
        let id = mover.repository.write_unpacked(FileType::Lock, &json).unwrap();
        let file = fs::File::open(repository.join("locks").join(id.hex())).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    };
    age(29);
    let refused = again();
    assert_eq!((refused.status.code(), locks(repository)), (Some(11), 1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains(&format!("already locked by PID {pid} on another-pod")), "{said}");
    age(31);
    let done = again();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!((done.status.code(), locks(repository)), (Some(0), 0), "{said}");
    assert!(said.contains(&format!("{removed}another-pod")), "{said}");
    world.assert_whole(repository, "after a kill and a prune");
}

/// A fleet at minute 0: every one of them saves its snapshot, and none is told that the repository is locked.
#[test]
fn thirty_movers_at_once_are_thirty_snapshots() {
    let (repository, data) = (scratch(), scratch());
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
