//! The quirks of the original mover, a row of the contract each, and what this one does instead.
//!
//! Both are run, on the same kind of volume and repository; rows about the choice of a snapshot are in `selection`.
//! Not to be seen here, because restic has no part in it and only the script's own text would show it: that the
//! operator records a prune of an empty source (the operator's), that a message is lost (the shell's capture; its
//! exit code is seen), that nothing eligible gives no hint (the script prints no list; this one's is tested), and
//! that a shell as process 1 passes no SIGTERM on (here restic is killed; `signals` has this one's).

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::job::{Job, Mounted, Security, Store, volume_of};
use crate::minio::Minio;
use crate::original::Original;
use crate::peers::restic;
use crate::scenarios::{KEEP, saved_listing, volume, volumes_can_be_given};
use crate::support::children::Running;
use crate::support::listing::{assert_same, list};

fn source(place: &dyn Store, volume: &tempfile::TempDir) -> Job {
    Job::source("backup", volume.path()).on(place).with("FORGET_OPTIONS", KEEP)
}

/// Damages a file of the repository, which nobody may write to.
pub fn overwrite(path: &std::path::Path, content: &[u8]) {
    let modes = |mode| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    modes(0o600);
    fs::write(path, content).unwrap();
    modes(0o400);
}

fn destination(place: &dyn Store) -> (tempfile::TempDir, Job) {
    let target = volume_of(Security::Default.user());
    let job = Job::destination(target.path()).on(place);
    (target, job)
}

#[test]
fn an_empty_source_creates_nothing() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, empty) = (Mounted::empty(), volume_of(Security::Default.user()));
    fs::create_dir(empty.path().join("lost+found")).unwrap();
    let shown = source(&place, &empty).succeeds();
    assert!(shown.starts_with("== Directory is empty skipping backup ===\n"), "{shown}");
    assert!(!place.path().exists());
    let tail = source(&place, &empty).with("MOVER_ON_EMPTY", "fail").fails(24);
    assert!(tail.ends_with('\n') && tail.contains("\nFatal: the source is empty: "), "{tail}");
}

/// Bytes below `data/`.
fn stored(place: &Mounted) -> u64 {
    let folders = fs::read_dir(place.path().join("data")).unwrap();
    let packs = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    packs.map(|pack| pack.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn an_empty_source_s_repository_is_pruned() {
    if !volumes_can_be_given() {
        return;
    }
    let Some(original) = Original::found() else { return };
    let weekly = |place: &Mounted, volume: &tempfile::TempDir| {
        Job::source("unlock backup prune", volume.path()).on(place)
    };
    let (place, empty) = (Mounted::empty(), volume_of(Security::Default.user()));
    // Unlock is passed over, and nothing is created.
    for code in [original.source(&weekly(&place, &empty)).code, weekly(&place, &empty).run().code] {
        assert!(code == 0 && !place.path().exists());
    }
    assert_eq!(original.call(&weekly(&place, &empty), &["unlock"]).code, 10);
    let volume = volume(Security::Default.user());
    for round in 0..2 {
        fs::write(volume.path().join("text"), format!("round {round}")).unwrap();
        let ran = original.source(&Job::source("backup", volume.path()).on(&place));
        assert_eq!(ran.code, 0, "{}", ran.log);
    }
    let before = stored(&place);
    assert_eq!(original.source(&weekly(&place, &empty)).code, 0);
    assert_eq!(stored(&place), before);
    let ran = weekly(&place, &empty).with("MOVER_PRUNE_MAX_UNUSED", "0").run();
    assert_eq!((ran.code, place.count("snapshots")), (0, 1), "{}", ran.log);
    assert!(stored(&place) < before, "{}", ran.log);
}

#[test]
fn a_missing_repository_is_created_on_restore_loudly() {
    if !volumes_can_be_given() {
        return;
    }
    let place = Mounted::empty();
    let (_target, job) = destination(&place);
    if let Some(original) = Original::found() {
        let elsewhere = Mounted::empty();
        let ran = original.destination(&destination(&elsewhere).1);
        assert_eq!((ran.code, elsewhere.count("keys")), (0, 1), "{}", ran.log);
        assert!(!ran.log.contains("Warning"), "{}", ran.log);
    }
    let tail = job.clone().with("MOVER_ON_MISSING", "fail").fails(10);
    assert!(tail.contains("Fatal: repository does not exist: ") && !place.path().exists(), "{tail}");
    let ran = job.run();
    assert_eq!(ran.code, 0, "{}", ran.log);
    // The warning comes by the other stream, so it may stand between them.
    let (_, after) = ran.log.split_once("=== Initialize Dir ===\n").unwrap_or_else(|| panic!("{}", ran.log));
    assert!(after.contains("created restic repository "), "{}", ran.log);
    assert!(ran.log.contains("Warning: there was no repository to restore from"), "{}", ran.log);
}

#[test]
fn a_missing_bucket_is_made_at_once() {
    if !volumes_can_be_given() {
        return;
    }
    let Some(minio) = Minio::start(false) else { return };
    let place = minio.place("absent/app");
    let Some(restic) = restic("restic-0.18", &place) else { return };
    // The original looks again and again, with longer and longer waits.
    let mut looking = Running::start(restic.command(&["cat", "config"]).stderr(Stdio::piped()));
    let said = BufReader::new(looking.stderr.take().unwrap()).lines().next().unwrap().unwrap();
    drop(looking);
    assert!(said.contains("retrying after") && said.contains("bucket does not exist"), "{said}");
    let target = volume_of(Security::Default.user());
    let ran = Job::destination(target.path()).on(&place).with("MOVER_LOG", "debug").run();
    assert_eq!(ran.code, 0, "{}", ran.log);
    assert!(ran.log.contains("created restic repository ") && !ran.log.contains("retry"), "{}", ran.log);
}

#[test]
fn a_malformed_time_or_number_restores_nothing() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::new(), volume(Security::Default.user()));
    source(&place, &volume).succeeds();
    let (target, job) = destination(&place);
    fs::write(target.path().join("standing"), "stays").unwrap();
    let before = list(target.path());
    for (variable, value) in [
        ("RESTORE_AS_OF", "yesterday"),
        ("RESTORE_AS_OF", "2026-13-01T00:00:00Z"),
        ("SELECT_PREVIOUS", "-1"),
        ("RESTORE_OPTIONS", "--target /"),
    ] {
        let tail = job.clone().with(variable, value).fails(2);
        assert!(tail.contains(variable) && tail.starts_with("Fatal: "), "{tail}");
        assert_same(&before, &list(target.path()), variable);
    }
}

#[test]
fn what_fails_is_said_last() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::new(), volume(Security::Default.user()));
    source(&place, &volume).succeeds();
    let (_target, job) = destination(&place);
    overwrite(&place.path().join("config"), b"no config");
    let tail = job.clone().fails(21);
    assert!(tail.lines().last().unwrap().starts_with("Fatal: "), "{tail}");
    for variable in ["RESTIC_PASSWORD", "RESTIC_REPOSITORY"] {
        let tail = job.clone().without(variable).fails(2);
        assert!(tail.starts_with("Fatal: ") && tail.contains(variable), "{tail}");
    }
    let mut unknown = job;
    unknown.operations = vec!["resotre".to_owned()];
    let tail = unknown.fails(2);
    assert!(tail.starts_with("Fatal: unknown operation: resotre. Did you mean restore?"), "{tail}");
}

#[test]
fn host_and_path_must_match() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::new(), volume(Security::Default.user()));
    source(&place, &volume).with("MOVER_HOST", "otherhost").succeeds();
    source(&place, &volume).with("MOVER_PATH", "/data2").succeeds();
    let (target, job) = destination(&place);
    let ran = job.run();
    assert_eq!(ran.code, 0, "{}", ran.log);
    // Nothing eligible says what there is.
    for text in ["No eligible snapshots found", "otherhost", "/data2"] {
        assert!(ran.log.contains(text), "{text}: {}", ran.log);
    }
    assert_eq!(list(target.path()), "");
}

#[test]
fn a_partial_backup_does_not_pile_up_snapshots() {
    if !volumes_can_be_given() || !crate::support::is_root() {
        return;
    }
    let (place, volume) = (Mounted::new(), volume(Security::Default.user()));
    let closed = volume.path().join("closed");
    fs::write(&closed, "root's").unwrap();
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let job = source(&place, &volume);
    for _ in 0..3 {
        let tail = job.fails(3);
        assert!(tail.contains("\nFatal: the snapshot is partial: "), "{tail}");
        assert_eq!((place.count("snapshots"), place.count("locks")), (1, 0));
    }
    // The original adds one at every retry.
    if let Some(original) = Original::found() {
        let elsewhere = Mounted::new();
        let job = source(&elsewhere, &volume);
        for round in 1..=2 {
            assert_eq!(original.source(&job).code, 3);
            assert_eq!(elsewhere.count("snapshots"), round);
        }
    }
    let ran = job.with("MOVER_PARTIAL", "accept").run();
    assert_eq!(ran.code, 0, "{}", ran.log);
}

#[test]
fn lost_and_found_is_left_out_at_the_root_alone() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::new(), volume(Security::Default.user()));
    let nested = volume.path().join("folder/lost+found");
    fs::create_dir(&nested).unwrap();
    fs::write(nested.join("kept"), "kept").unwrap();
    crate::job::give(volume.path(), Security::Default.user());
    source(&place, &volume).succeeds();
    let (target, job) = destination(&place);
    job.succeeds();
    assert!(target.path().join("folder/lost+found/kept").exists());
    assert!(!target.path().join("lost+found").exists());
    fs::create_dir(target.path().join("lost+found")).unwrap();
    crate::job::give(target.path(), Security::Default.user());
    job.with("RESTORE_OPTIONS", "--delete").succeeds();
    assert!(target.path().join("lost+found").exists());
    // The original leaves it out at every depth, and takes the target's own away.
    let Some(original) = Original::found() else { return };
    let elsewhere = Mounted::new();
    assert_eq!(original.source(&source(&elsewhere, &volume)).code, 0);
    let job = Job::destination(target.path()).on(&elsewhere).with("RESTORE_OPTIONS", "--delete");
    let ran = original.restore(&job, "latest");
    assert_eq!(ran.code, 0, "{}", ran.log);
    assert!(!target.path().join("lost+found").exists() && !target.path().join("folder/lost+found").exists());
}

#[test]
fn a_forget_that_meets_a_lock_does_not_pile_up_snapshots() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::new(), volume(Security::Default.user()));
    source(&place, &volume).succeeds();
    let other = crate::support::mover::Mover::open(&place.path()).unwrap();
    let held = other.session().locked(volmover::repository::lock::LockMode::Shared, |_| {
        place.hand_over(Security::Default);
        for _ in 0..2 {
            source(&place, &volume).succeeds();
        }
        assert_eq!(place.count("snapshots"), 1, "equal snapshots of one hour are one");
        // The original saves, then fails, and its retry does so again.
        let Some(original) = Original::found() else { return Ok(()) };
        for round in 2..=3 {
            let ran = original.source(&source(&place, &volume));
            assert_eq!((ran.code, place.count("snapshots")), (11, round), "{}", ran.log);
        }
        Ok(())
    });
    held.unwrap();
}

#[test]
fn snapshots_of_one_second_are_told_apart() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::new(), volume(Security::Default.user()));
    let mut listings = Vec::new();
    for round in 0..3 {
        fs::write(volume.path().join("text"), format!("round {round}")).unwrap();
        source(&place, &volume).succeeds();
        listings.push(saved_listing(volume.path()));
        std::thread::sleep(Duration::from_millis(10));
    }
    for (previous, expected) in listings.iter().rev().enumerate() {
        let (target, job) = destination(&place);
        job.with("SELECT_PREVIOUS", &previous.to_string()).succeeds();
        assert_same(expected, &list(target.path()), &format!("previous {previous}"));
    }
}

#[test]
fn a_killed_mover_s_lock_does_not_stop_the_next() {
    if !volumes_can_be_given() {
        return;
    }
    let place = Mounted::new();
    let Some(restic) = restic("restic-0.18", &place) else { return };
    let volume = volume(Security::Default.user());
    source(&place, &volume).succeeds();
    let slow = source(&place, &volume).with("MOVER_LIMIT_UPLOAD", "1");
    fs::write(volume.path().join("large"), crate::support::source::random_bytes(9, 8 << 20)).unwrap();
    crate::job::give(volume.path(), Security::Default.user());
    let mover = crate::way::Mover::start(&slow);
    crate::support::children::wait_until("its lock", || place.count("locks") == 1);
    mover.signal(rustix::process::Signal::KILL);
    assert_ne!(mover.finish().code, 0);
    assert_eq!(place.count("locks"), 1, "a killed process cannot give its lock back");
    source(&place, &volume).succeeds();
    // The original saves, and stumbles over the lock at every forget.
    if let Some(original) = Original::found() {
        left_by_another_host(&place);
        for _ in 0..2 {
            assert_eq!(original.source(&source(&place, &volume)).code, 11);
        }
        source(&place, &volume).succeeds();
    }
    restic.ok(&["unlock", "--remove-all"]);
    restic.check();
}

/// A lock as a mover in another container leaves it, which was killed a moment ago.
fn left_by_another_host(place: &Mounted) {
    let mut mover = crate::support::mover::Mover::open(&place.path()).unwrap();
    "volsync-src-app-gone".clone_into(&mut mover.locks.holder.hostname);
    let held = mover.session().locked(volmover::repository::lock::LockMode::Shared, |_| {
        let locks = fs::read_dir(place.path().join("locks")).unwrap();
        Ok(locks
            .map(|lock| lock.unwrap().path())
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect::<Vec<_>>())
    });
    for (stored, path) in held.unwrap() {
        fs::write(path, stored).unwrap();
    }
    place.hand_over(Security::Default);
}
