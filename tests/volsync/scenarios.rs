//! What a mover must pass when the operator runs it, on every kind of store and as every kind of user.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::fs::XattrFlags;
use tempfile::TempDir;

use crate::job::{Job, Mounted, Security, Store, give, volume_of};
use crate::minio::Minio;
use crate::peers::restic;
use crate::support::listing::{assert_same, list};
use crate::support::source::random_bytes;
use crate::support::{is_root, scaled, scratch, skipped};
use crate::way::image;

/// Keeps every snapshot of a test.
pub const KEEP: &str = " --keep-last 100";
const USERS: [Security; 4] =
    [Security::Default, Security::User(1234, 5678), Security::User(0, 0), Security::Privileged];

/// As whom a scenario runs: the image's user, and all users on the long scale.
pub fn users() -> impl Iterator<Item = Security> {
    USERS.into_iter().take(if scaled(1) > 1 { USERS.len() } else { 1 })
}

/// Whether volumes can be given to the movers' users here.
pub fn volumes_can_be_given() -> bool {
    if image().is_some() && !is_root() {
        skipped("movers in containers: only root can make volumes for them");
        return false;
    }
    true
}

/// A volume with files, a folder, links and modes, all of one user.
pub fn volume(user: (u32, u32)) -> TempDir {
    let volume = volume_of(user);
    let at = |name: &str| volume.path().join(name);
    fs::create_dir_all(at("folder/deep")).unwrap();
    fs::create_dir(at("lost+found")).unwrap();
    fs::write(at("lost+found/inode"), "not to be saved").unwrap();
    fs::write(at("text"), "some text\n".repeat(1000)).unwrap();
    fs::write(at("folder/large"), random_bytes(1, 3 << 20)).unwrap();
    fs::write(at("folder/deep/private"), "secret").unwrap();
    fs::hard_link(at("text"), at("folder/same")).unwrap();
    symlink("folder/large", at("link")).unwrap();
    rustix::fs::setxattr(at("text"), "user.comment", b"kept", XattrFlags::empty()).unwrap();
    give(volume.path(), user);
    fs::set_permissions(at("folder/deep/private"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(at("folder/deep"), fs::Permissions::from_mode(0o750)).unwrap();
    volume
}

/// Its listing without what no backup holds.
pub fn saved_listing(volume: &Path) -> String {
    list(volume).lines().filter(|line| !line.contains("lost+found")).map(|line| format!("{line}\n")).collect()
}

fn change(volume: &Path, user: (u32, u32)) {
    fs::write(volume.join("text"), "another text\n").unwrap();
    fs::write(volume.join("new"), "new").unwrap();
    give(volume, user);
    fs::set_permissions(volume.join("folder/deep/private"), fs::Permissions::from_mode(0o600)).unwrap();
}

/// The source of a test, and its listings at two times.
struct History {
    first: String,
    second: String,
    between: String,
}

/// Two backups, an instant between them.
fn back_up_twice(place: &dyn Store, security: Security) -> History {
    let user = security.user();
    let volume = volume(user);
    let job = Job::source("backup", volume.path()).on(place).security(security).with("FORGET_OPTIONS", KEEP);
    let first = saved_listing(volume.path());
    let shown = job.succeeds();
    for line in
        ["=== Initialize Dir ===\n", "created restic repository ", "no parent snapshot found", " saved\n"]
    {
        assert!(shown.contains(line), "{line} is missing:\n{shown}");
    }
    // The instant is a whole second later than the first snapshot and earlier than the second.
    std::thread::sleep(Duration::from_millis(1100));
    let between = jiff::Timestamp::now();
    std::thread::sleep(Duration::from_millis(1100));
    change(volume.path(), user);
    let shown = job.succeeds();
    assert!(shown.contains("using parent snapshot ") && shown.contains("\nRestic completed in "), "{shown}");
    let between = between.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    History { first, second: saved_listing(volume.path()), between }
}

/// Restores with variables of the ReplicationDestination into a new volume.
fn restored(place: &dyn Store, security: Security, variables: &[(&str, &str)]) -> (TempDir, String) {
    let target = volume_of(security.user());
    let job = Job::destination(target.path()).on(place).security(security);
    let shown = variables.iter().fold(job, |job, (name, value)| job.with(name, value)).succeeds();
    (target, shown)
}

fn every_day(place: &dyn Store, security: Security) {
    let History { first, second, between } = back_up_twice(place, security);
    let (target, shown) = restored(place, security, &[]);
    assert!(shown.contains("RESTORE_OPTIONS: \nrestoring snapshot ") && shown.contains(" to .\n"), "{shown}");
    assert_same(&second, &list(target.path()), "the restored volume");
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for (variable, value, expected) in [
        ("RESTORE_AS_OF", now.as_str(), second.as_str()),
        ("RESTORE_AS_OF", between.as_str(), &first),
        ("SELECT_PREVIOUS", "1", &first),
        ("RESTORE_AS_OF", "1980-01-01T00:00:00Z", ""),
        ("SELECT_PREVIOUS", "9999", ""),
    ] {
        let (target, shown) = restored(place, security, &[(variable, value)]);
        assert_same(expected, &list(target.path()), &format!("{variable}={value}"));
        let nothing = "No eligible snapshots found\n=== No data will be restored ===\n";
        assert_eq!(shown.contains(nothing), expected.is_empty(), "{variable}={value}: {shown}");
    }
    deletes(place, security, target.path(), &second);
    let wrong = Job::destination(target.path()).on(place).security(security).with("RESTIC_PASSWORD", "wrong");
    let tail = wrong.fails(12);
    assert!(tail.lines().last().unwrap().starts_with("Fatal: wrong password"), "{tail}");
    assert_same(&second, &list(target.path()), "after a wrong password");
}

/// What else stands in the target stays, and goes with `--delete`.
fn deletes(place: &dyn Store, security: Security, target: &Path, expected: &str) {
    fs::create_dir_all(target.join("extra/folder")).unwrap();
    fs::write(target.join("extra/folder/file"), "extra").unwrap();
    fs::create_dir(target.join("lost+found")).unwrap();
    give(&target.join("extra"), security.user());
    rustix::fs::chownat(
        rustix::fs::CWD,
        target.join("extra"),
        Some(rustix::fs::Uid::from_raw(security.user().0)),
        None,
        rustix::fs::AtFlags::empty(),
    )
    .unwrap();
    let job = Job::destination(target).on(place).security(security);
    job.succeeds();
    assert!(target.join("extra/folder/file").exists());
    let shown = job.with("RESTORE_OPTIONS", "--delete").succeeds();
    assert!(shown.contains("RESTORE_OPTIONS: --delete\n"), "{shown}");
    assert!(target.join("lost+found").exists(), "a volume's own folder was deleted");
    assert_same(expected, &saved_listing(target), "the target after --delete");
    fs::remove_dir(target.join("lost+found")).unwrap();
}

#[test]
fn a_mounted_repository_as_every_user() {
    if !volumes_can_be_given() {
        return;
    }
    // Plain processes show what containers show better: all users on the long scale.
    let users = if image().is_some() || scaled(1) > 1 { &USERS[..] } else { &USERS[2..] };
    for security in users.iter().copied() {
        every_day(&Mounted::empty(), security);
    }
}

#[test]
fn minio() {
    if !volumes_can_be_given() {
        return;
    }
    let Some(minio) = Minio::start(false) else { return };
    for (number, security) in users().enumerate() {
        every_day(&minio.place(&format!("bucket/prefix-{number}")), security);
        let (bucket, prefix) = (format!("absent-{number}"), format!("bucket/other-{number}"));
        missing_place(&minio.place(&bucket), &minio.place(&prefix), security);
    }
}

#[test]
fn minio_behind_a_private_authority() {
    if !volumes_can_be_given() {
        return;
    }
    let Some(minio) = Minio::start(true) else { return };
    for (number, security) in users().enumerate() {
        every_day(&minio.place(&format!("bucket/prefix-{number}")), security);
    }
    let place = minio.place("bucket/prefix-0");
    let (target, _) = restored(&place, Security::Default, &[("SELECT_PREVIOUS", "9999")]);
    let tail = Job::destination(target.path()).on(&place).without("CUSTOM_CA").fails(22);
    assert!(tail.contains("CUSTOM_CA"), "{tail}");
}

/// Restores from a missing bucket, then from a missing prefix, again, and with `--delete`: nothing is restored,
/// nothing fails.
fn missing_place(bucket: &dyn Store, prefix: &dyn Store, security: Security) {
    for place in [bucket, prefix] {
        for (round, options) in ["", "", "--delete"].into_iter().enumerate() {
            let (target, shown) = restored(place, security, &[("RESTORE_OPTIONS", options)]);
            assert_eq!(shown.contains("=== Initialize Dir ==="), round == 0, "{shown}");
            assert!(shown.contains("No eligible snapshots found"), "{shown}");
            assert_eq!(list(target.path()), "");
        }
    }
}

#[test]
fn restic_on_the_other_side() {
    if !volumes_can_be_given() {
        return;
    }
    for security in users() {
        let place = Mounted::empty();
        for version in ["restic-0.18", "restic-0.19"] {
            let Some(restic) = restic(version, &place) else { return };
            let volume = volume(security.user());
            let expected = saved_listing(volume.path());
            let job = Job::source("backup", volume.path()).on(&place).security(security);
            if !place.path().exists() {
                // The old mover's history comes first.
                restic.ok(&["init"]);
                job.cheapen();
                restic.backup(volume.path(), &["--exclude=lost+found"]);
            }
            // restic runs here as whoever runs the test, and in the mover's place it would run as its user.
            give(place.path().parent().unwrap(), security.user());
            job.with("FORGET_OPTIONS", KEEP).succeeds();
            restic.check();
            let by_restic = scratch();
            restic.restore("latest", by_restic.path());
            assert_same(&expected, &list(by_restic.path()), version);
            let (target, _) = restored(&place, security, &[]);
            assert_same(&expected, &list(target.path()), "by volmover");
            let before = restic.snapshots().len();
            let summary = restic.backup(volume.path(), &["--exclude=lost+found"]);
            assert_eq!((summary["data_blobs"].as_u64(), restic.snapshots().len()), (Some(0), before + 1));
        }
    }
}

#[test]
fn back_to_back_runs_get_along() {
    if !volumes_can_be_given() {
        return;
    }
    for security in users() {
        let place = Mounted::empty();
        let volume = volume(security.user());
        let job = Job::source("backup", volume.path()).on(&place).security(security);
        let job = job.with("FORGET_OPTIONS", KEEP);
        let movers: Vec<_> = (0..3).map(|_| crate::way::Mover::start(&job)).collect();
        for mover in movers {
            let ran = mover.finish();
            assert_eq!(ran.code, 0, "{}", ran.log);
        }
        assert_eq!((place.count("keys"), place.count("locks")), (1, 0));
        job.cheapen();
        let (target, _) = restored(&place, security, &[]);
        assert_same(&saved_listing(volume.path()), &list(target.path()), "the restored volume");
    }
}
