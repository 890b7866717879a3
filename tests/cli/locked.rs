//! Locks of others: waited for, then respected; and signals, which leave no lock behind.

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use volmover::repository::lock::LockMode;

use super::call::{Call, PASSWORD, Ran, Repo, source};
use super::support::children::wait_until;
use super::support::scratch;

#[test]
fn a_lock_of_another_is_respected() {
    let (repo, source) = (Repo::new(), source());
    let mover = repo.mover();
    let call = |operation: &str| repo.call(operation).with("DATA_DIR", source.path());
    let exclusive = mover.session().locked(LockMode::Exclusive, |_| {
        for operation in ["backup", "restore", "snapshots"] {
            let ran = call(operation).with("MOVER_LOCK_WAIT", "0").fails(11, "Fatal: ");
            let pid = format!("PID {} on ", std::process::id());
            assert!(ran.last().contains(&pid) && ran.last().contains("lock"), "{}", ran.last());
        }
        Ok(repo.count("locks"))
    });
    assert_eq!(exclusive, Ok(1), "the others left none");
    let shared = mover.session().locked(LockMode::Shared, |_| Ok(call("backup").ok()));
    assert!(shared.unwrap().contains(" saved"));
    assert_eq!(repo.count("locks"), 0);
}

#[test]
fn who_waits_for_a_lock_is_ended_by_a_signal() {
    let (repo, source, place) = (Repo::new(), source(), scratch());
    let (mover, message) = (repo.mover(), place.path().join("message"));
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let held = mover.session().locked(LockMode::Exclusive, |_| {
            let start = Instant::now();
            let call = repo.call("backup").with("DATA_DIR", source.path());
            let mut running = call.with("MOVER_TERMINATION_LOG", &message).start();
            let mut err = Vec::new();
            let mut stream = running.stderr.take().unwrap();
            // The first words say that it waits.
            let mut byte = [0];
            while !err.ends_with(b"\n") {
                assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&err));
                err.push(byte[0]);
            }
            running.signal(signal);
            stream.read_to_end(&mut err).unwrap();
            let mut out = String::new();
            running.stdout.take().unwrap().read_to_string(&mut out).unwrap();
            let code = running.wait().unwrap().code().unwrap();
            assert!(start.elapsed() < Duration::from_secs(10));
            Ok((Ran { code, out, err: String::from_utf8(err).unwrap() }, repo.count("locks")))
        });
        let (ran, locks) = held.unwrap();
        ran.assert_failed(code, "Fatal: ");
        ran.assert_told(&std::fs::read_to_string(&message).unwrap());
        assert_eq!(locks, 1, "only the one that was waited for");
        assert_eq!((repo.count("locks"), repo.count("snapshots")), (0, 0));
    }
}

/// Before the first operation, with the password known: nothing is done yet.
#[test]
fn a_random_wait_comes_first_and_is_ended_by_a_signal() {
    let (source, place) = (source(), scratch());
    let [script, asked, repository] = ["password", "asked", "repository"].map(|name| place.path().join(name));
    std::fs::write(&script, format!("#!/bin/sh\n: >{}\necho {PASSWORD}\n", asked.display())).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let call = Call::new("backup").with("DATA_DIR", source.path()).with("RESTIC_REPOSITORY", &repository);
    let call = call.with("RESTIC_PASSWORD_COMMAND", &script).with("MOVER_JITTER", "100000h");
    let running = call.start();
    wait_until("the password", || asked.exists());
    running.signal(Signal::TERM);
    let ran = Ran::of(&running.finish());
    ran.assert_failed(143, "Fatal: interrupted before the first operation");
    assert!(!repository.exists());
    // Without it there is no wait.
    call.with("MOVER_JITTER", "0s").ok();
}

#[test]
fn while_nothing_moves_a_log_says_whose_lock_is_waited_for() {
    let (repo, source) = (Repo::new(), source());
    let held = repo.mover().session().locked(LockMode::Exclusive, |_| {
        let call = repo.call("backup").with("DATA_DIR", source.path()).with("RESTIC_PROGRESS_FPS", "60");
        let mut running = call.start();
        let lines = BufReader::new(running.stderr.take().unwrap()).lines().map(Result::unwrap);
        let said = lines.filter(|line| line.starts_with('[')).find(|line| line.contains("waiting for"));
        running.signal(Signal::TERM);
        running.wait().unwrap();
        Ok(said.unwrap())
    });
    let said = held.unwrap();
    assert!(said.contains(&format!("] waiting for the lock of PID {} on ", std::process::id())), "{said}");
}

#[test]
fn a_backup_that_is_terminated_gives_its_lock_back() {
    let (repo, source) = (Repo::new(), source());
    std::fs::write(source.path().join("large"), vec![7; 64 << 20]).unwrap();
    let slow = repo.call("backup").with("DATA_DIR", source.path()).with("MOVER_LIMIT_UPLOAD", "1");
    let mut running = slow.start();
    wait_until("its lock", || repo.count("locks") == 1);
    // Past the settling of the lock.
    std::thread::sleep(Duration::from_millis(400));
    running.signal(Signal::TERM);
    let (mut out, mut err) = (String::new(), String::new());
    running.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    running.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    let code = running.wait().unwrap().code().unwrap();
    Ran { code, out, err }.assert_failed(143, "Fatal: ");
    assert_eq!((repo.count("locks"), repo.count("snapshots")), (0, 0));
}

#[test]
fn unlock_without_a_repository_or_without_locks_has_nothing_to_do() {
    let folder = scratch();
    let missing = folder.path().join("missing");
    let said = super::call::Call::on("unlock", &missing).ok();
    assert_eq!(said, format!("no repository at {}, so there are no locks to remove\n", missing.display()));
    assert!(!missing.exists());
    assert_eq!(Repo::new().call("unlock").ok(), "", "as restic");
}

#[test]
fn unlock_removes_what_is_left_and_says_so() {
    let repo = Repo::new();
    let mover = repo.mover();
    let unlock = |all: &str, dry_run: &str| {
        repo.call("unlock").with("MOVER_UNLOCK_ALL", all).with("MOVER_DRY_RUN", dry_run).run()
    };
    let held = mover.session().locked(LockMode::Exclusive, |_| {
        assert_eq!((unlock("0", "0").out.as_str(), repo.count("locks")), ("", 1));
        let shown = unlock("1", "1");
        assert_eq!((shown.out.as_str(), repo.count("locks")), ("would remove 1 locks\n", 1));
        let ran = unlock("1", "0");
        assert_eq!((ran.code, ran.out.as_str()), (0, "successfully removed 1 locks\n"));
        let whose = format!("Warning: removing a live lock: PID {} on ", std::process::id());
        assert!(ran.err.contains(&whose), "{}", ran.err);
        Ok(repo.count("locks"))
    });
    assert_eq!(held, Ok(0));
}
