//! Whole sequences of a source: `unlock backup prune`, retention, locks of others and old ones.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use volmover::clock::{Clock, SystemClock};
use volmover::repository::lock::LockMode;

use crate::job::{Job, Mounted, Security, Store, give, volume_of};
use crate::minio::Minio;
use crate::peers::restic;
use crate::scenarios::{saved_listing, users, volume, volumes_can_be_given};
use crate::support::listing::{assert_same, list};
use crate::support::mover::{Mover, local};
use crate::support::source::random_bytes;

/// The Job of a week: unlock asked for, prune due.
fn whole(place: &dyn Store, volume: &tempfile::TempDir) -> Job {
    let retain = " --keep-hourly 24 --keep-daily 7 --keep-weekly 4 --keep-within 3d5h";
    Job::source("unlock backup prune", volume.path()).on(place).with("FORGET_OPTIONS", retain)
}

fn grow(volume: &tempfile::TempDir, round: u64) {
    fs::write(volume.path().join("growing"), random_bytes(round, 2 << 20)).unwrap();
    let owner = fs::metadata(volume.path()).unwrap();
    give(volume.path(), (owner.uid(), owner.gid()));
}

/// The default policy keeps the last snapshot; the next prune takes away what the others alone needed.
fn keeps_one(place: &dyn Store) {
    let volume = volume(Security::Default.user());
    for round in 0..3 {
        grow(&volume, round);
        let shown = whole(place, &volume).with("FORGET_OPTIONS", "--keep-last 1").succeeds();
        assert!(shown.contains("processed ") && shown.contains(" saved\n"), "{shown}");
    }
    let Some(restic) = restic("restic-0.18", place) else { return };
    restic.check();
    assert_eq!(restic.snapshots().len(), 1);
    let target = volume_of(Security::Default.user());
    Job::destination(target.path()).on(place).succeeds();
    assert_same(&saved_listing(volume.path()), &list(target.path()), "the restored volume");
    // The old mover takes over: its own forget and prune.
    restic.backup(volume.path(), &["--exclude=lost+found"]);
    restic.ok(&["forget", "--host", "volsync", "--keep-last", "1"]);
    restic.ok(&["prune"]);
    restic.check();
    place.hand_over(Security::Default);
    assert!(whole(place, &volume).succeeds().contains(" saved\n"));
    restic.check();
}

#[test]
fn retention_and_prune_on_a_mounted_repository() {
    if volumes_can_be_given() {
        keeps_one(&Mounted::new());
    }
}

#[test]
fn retention_and_prune_on_minio() {
    if !volumes_can_be_given() {
        return;
    }
    let Some(minio) = Minio::start(true) else { return };
    keeps_one(&minio.place("bucket/app"));
}

#[test]
fn a_live_lock_of_another_is_respected() {
    if volumes_can_be_given() {
        users().for_each(a_live_lock);
    }
}

fn a_live_lock(security: Security) {
    let (place, volume) = (Mounted::of(security), volume(security.user()));
    let job = whole(&place, &volume).security(security).with("MOVER_LOCK_WAIT", "0");
    job.succeeds();
    let other = Mover::open(&place.path()).unwrap();
    let held = other.session().locked(LockMode::Exclusive, |_| {
        place.hand_over(security);
        let tail = job.fails(11);
        assert!(tail.lines().last().unwrap().contains("lock"), "{tail}");
        Ok((place.count("locks"), place.count("snapshots")))
    });
    assert_eq!(held.unwrap(), (1, 1), "unlock removes no lock that lives");
    // A shared lock stops the prune alone. The retry keeps the snapshot that it finds.
    grow(&volume, 7);
    let held = other.session().locked(LockMode::Shared, |_| {
        place.hand_over(security);
        for _ in 0..2 {
            job.fails(11);
        }
        Ok(place.count("snapshots"))
    });
    let snapshots = held.unwrap();
    job.succeeds();
    assert_eq!((place.count("snapshots"), place.count("locks")), (snapshots, 0));
}

#[test]
fn a_lock_of_half_an_hour_ago_is_removed() {
    if !volumes_can_be_given() {
        return;
    }
    for security in users() {
        let (place, volume) = (Mounted::of(security), volume(security.user()));
        let job = whole(&place, &volume).security(security);
        job.succeeds();
        let path = old_lock(&place, security);
        let shown = job.succeeds();
        assert!(shown.contains("successfully removed 1 locks\n"), "{shown}");
        assert!(!path.exists());
        // Without an unlock: what the original stumbled over for ever.
        old_lock(&place, security);
        Job::source("backup prune", volume.path()).on(&place).security(security).succeeds();
        assert_eq!(place.count("locks"), 0);
    }
}

/// An exclusive lock that is 31 minutes old by its own time and by the store's.
fn old_lock(place: &Mounted, security: Security) -> std::path::PathBuf {
    let past = Duration::from_mins(31);
    let clock = PastClock(SystemClock::new(), past);
    let holder = Mover::open_at(local(&place.path()), Arc::new(clock)).unwrap();
    let held = holder.session().locked(LockMode::Exclusive, |_| {
        let lock = fs::read_dir(place.path().join("locks")).unwrap().next().unwrap().unwrap().path();
        Ok((lock.clone(), fs::read(lock).unwrap()))
    });
    let (path, stored) = held.unwrap();
    fs::write(&path, stored).unwrap();
    let modified = std::time::SystemTime::now() - past;
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    place.hand_over(security);
    path
}

/// The machine's clock, so much earlier.
struct PastClock(SystemClock, Duration);

impl Clock for PastClock {
    fn now(&self) -> jiff::Timestamp {
        self.0.now() - self.1
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        self.0.sleep(duration);
    }
}

#[test]
fn an_empty_source_still_prunes_what_is_there() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, empty) = (Mounted::empty(), volume_of(Security::Default.user()));
    let shown = whole(&place, &empty).succeeds();
    assert!(shown.contains("== Directory is empty skipping backup ===\n"), "{shown}");
    assert!(!place.path().exists(), "something was created for an empty source");
    let volume = volume(Security::Default.user());
    for round in 0..2 {
        grow(&volume, round);
        Job::source("backup", volume.path()).on(&place).succeeds();
    }
    let data = |place: &Mounted| {
        let folders = fs::read_dir(place.path().join("data")).unwrap();
        folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    let before = data(&place);
    let ran = whole(&place, &empty).run();
    assert_eq!(ran.code, 0, "{}", ran.log);
    assert_eq!(place.count("snapshots"), 1, "an empty source forgets nothing");
    assert!(data(&place) < before, "nothing was pruned:\n{}", ran.log);
}

#[test]
fn a_shared_repository_leaves_retention_to_its_own_job() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::new(), volume(Security::Default.user()));
    // A Secret that moverVolumes mount: each file is a variable.
    let secret = crate::job::open_folder();
    for (name, value) in
        [("MOVER_FORGET", "off\n"), ("MOVER_PRUNE", "off"), ("MOVER_HOST", "{name}.{namespace}")]
    {
        fs::write(secret.path().join(name), value).unwrap();
    }
    fs::write(secret.path().join("MOVER_NAME"), "app\n").unwrap();
    fs::write(secret.path().join("MOVER_NAMESPACE"), "media\n").unwrap();
    for round in 0..2 {
        grow(&volume, round);
        let job = whole(&place, &volume).with("FORGET_OPTIONS", "--keep-last 1");
        job.mount(secret.path(), "/mnt/mover-config").succeeds();
    }
    assert_eq!(place.count("snapshots"), 2);
    let target = volume_of(Security::Default.user());
    let job = Job::destination(target.path()).on(&place);
    assert!(job.succeeds().contains("No eligible snapshots found"));
    let shown = job.mount(secret.path(), "/mnt/mover-config").succeeds();
    assert!(shown.contains("@app.media to .\n"), "{shown}");
    assert_same(&saved_listing(volume.path()), &list(target.path()), "the restored volume");
}
