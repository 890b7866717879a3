//! Which snapshot is restored: the rows of the quirks table that tell of it, the original's choice beside this one's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use volmover::clock::{Clock, SystemClock};
use volmover::ops::backup::{self, BackupOptions};
use volmover::repository::lock::LockMode;

use crate::job::{Job, Mounted, Security, Store, give, volume_of};
use crate::original::Original;
use crate::scenarios::volumes_can_be_given;
use crate::support::mover::{Mover, backup_options, local};
use crate::support::{scratch, skipped};
use crate::way::Ran;

/// A repository with a snapshot of each host, path and time. The one file of each holds its number.
fn history(snapshots: &[(&str, &str, &str)]) -> Mounted {
    let (place, volume) = (Mounted::new(), scratch());
    for (number, (host, path, time)) in snapshots.iter().enumerate() {
        fs::write(volume.path().join("number"), number.to_string()).unwrap();
        let clock = Standing(time.parse().unwrap(), SystemClock::new());
        let mover = Mover::open_at(local(&place.path()), Arc::new(clock)).unwrap();
        let (host, path) = ((*host).to_owned(), (*path).to_owned());
        let options = BackupOptions { host, path, ..backup_options(volume.path()) };
        backup::run(&mover.session(), options).unwrap();
    }
    place.hand_over(Security::Default);
    place
}

/// It is always the same time, and time passes.
struct Standing(Timestamp, SystemClock);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn elapsed(&self) -> Duration {
        self.1.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        self.1.sleep(duration);
    }
}

/// The exit code of a restore, and the number that it restored, if any.
type Restored = (i32, Option<String>);

/// A restore into a new volume by each of the two.
#[derive(Debug, PartialEq)]
struct Seen {
    original: Restored,
    ours: Restored,
}

fn seen(original: &Original, place: &Mounted, change: impl Fn(Job) -> Job) -> Seen {
    let restored = |run: &dyn Fn(&Job) -> Ran| {
        let target = volume_of(Security::Default.user());
        let ran = run(&change(Job::destination(target.path()).on(place)));
        (ran.code, fs::read_to_string(target.path().join("number")).ok())
    };
    Seen { original: restored(&|job| original.destination(job)), ours: restored(&|job| job.run()) }
}

fn number(number: u32) -> Restored {
    (0, Some(number.to_string()))
}

const NOTHING: Restored = (0, None);

/// The original, where the tests of this file can run.
fn original() -> Option<Original> {
    if volumes_can_be_given() { Original::found() } else { None }
}

#[test]
fn another_s_snapshot_is_not_taken_for_this_one() {
    let Some(original) = original() else { return };
    let place = history(&[
        ("volsync", "/data", "2026-01-01T12:00:00Z"),
        ("otherhost", "/data2", "2026-01-01T13:00:00Z"),
    ]);
    let latest = seen(&original, &place, |job| job);
    assert_eq!(latest, Seen { original: number(1), ours: number(0) });
    let one_before = seen(&original, &place, |job| job.with("SELECT_PREVIOUS", "1"));
    assert_eq!(one_before, Seen { original: number(0), ours: NOTHING });
}

#[test]
fn snapshots_of_one_second_do_not_hide_each_other() {
    let Some(original) = original() else { return };
    let place = history(&[
        ("volsync", "/data", "2026-01-01T12:00:00.25Z"),
        ("volsync", "/data", "2026-01-01T12:00:00.5Z"),
        ("volsync", "/data", "2026-01-01T12:00:00.75Z"),
    ]);
    for (previous, by_original, by_us) in [("0", number(2), 2), ("1", NOTHING, 1), ("2", NOTHING, 0)] {
        let seen = seen(&original, &place, |job| job.with("SELECT_PREVIOUS", previous));
        assert_eq!(seen, Seen { original: by_original, ours: number(by_us) }, "previous {previous}");
    }
}

#[test]
fn a_negative_number_is_not_the_oldest() {
    let Some(original) = original() else { return };
    let place = history(&[
        ("volsync", "/data", "2026-01-01T12:00:00Z"),
        ("volsync", "/data", "2026-01-01T13:00:00Z"),
    ]);
    let seen = seen(&original, &place, |job| job.with("SELECT_PREVIOUS", "-1"));
    assert_eq!(seen, Seen { original: number(0), ours: (2, None) });
}

#[test]
fn instants_are_compared_and_not_what_a_clock_on_the_wall_shows() {
    let Some(original) = original() else { return };
    let (zones, zone) = (Path::new("/usr/share/zoneinfo"), "America/New_York");
    if !zones.join(zone).exists() {
        return skipped("restic in another time zone: this machine has no zones");
    }
    // The clocks went back at 06:00Z: half past one came twice.
    let place = history(&[
        ("volsync", "/data", "2025-11-02T05:00:00Z"),
        ("volsync", "/data", "2025-11-02T06:30:00Z"),
    ]);
    let there =
        |job: Job| job.with("RESTORE_AS_OF", "2025-11-02T05:45:00Z").mount(zones, "/usr/share/zoneinfo");
    let by_zone = seen(&original, &place, |job| there(job).with("TZ", zone));
    assert_eq!(by_zone, Seen { original: number(1), ours: number(0) });
    let in_utc = seen(&original, &place, there);
    assert_eq!(in_utc, Seen { original: number(0), ours: number(0) });
}

#[test]
fn a_snapshot_is_as_old_as_its_whole_second() {
    let Some(original) = original() else { return };
    let place = history(&[("volsync", "/data", "2026-01-01T12:00:00.9Z")]);
    for (as_of, expected) in [("2026-01-01T12:00:00Z", number(0)), ("2026-01-01T11:59:59Z", NOTHING)] {
        let seen = seen(&original, &place, |job| job.with("RESTORE_AS_OF", as_of));
        assert_eq!(seen, Seen { original: expected.clone(), ours: expected }, "{as_of}");
    }
}

#[test]
fn a_malformed_time_does_not_cost_the_good_snapshots() {
    let Some(original) = original() else { return };
    let place = history(&[("volsync", "/data", "2026-01-01T12:00:00Z")]);
    let seen = seen(&original, &place, |job| job.with("RESTORE_AS_OF", "yesterday"));
    assert_eq!(seen, Seen { original: NOTHING, ours: (2, None) });
    // The original's Job is done, so the application starts on the empty volume, which is saved in its turn.
    let volume = volume_of(Security::Default.user());
    fs::write(volume.path().join("fresh"), "a new database").unwrap();
    give(volume.path(), Security::Default.user());
    let job = Job::source("backup prune", volume.path()).on(&place);
    let ran = original.source(&job);
    let left = original.snapshots(&job);
    // Of the good one nothing is left where host and path are the same, which a plain process cannot record.
    let expected = if crate::way::is_plain() { 2 } else { 1 };
    assert_eq!((ran.code, left.len()), (0, expected), "{}", ran.log);
}

#[test]
fn a_listing_that_fails_says_why() {
    let Some(original) = original() else { return };
    let place = history(&[("volsync", "/data", "2026-01-01T12:00:00Z")]);
    let target = volume_of(Security::Default.user());
    let job = Job::destination(target.path()).on(&place).with("MOVER_LOCK_WAIT", "0");
    let other = Mover::open(&place.path()).unwrap();
    let held = other.session().locked(LockMode::Exclusive, |_| {
        place.hand_over(Security::Default);
        assert_eq!(original.destination(&job).code, 3);
        let tail = job.fails(11);
        let last = tail.lines().last().unwrap();
        assert!(last.starts_with("Fatal: ") && last.contains("already locked exclusively by "), "{tail}");
        Ok(())
    });
    held.unwrap();
    // A folder that may not be read is an empty one to the original: nothing is restored, and all is well.
    let modes = |mode| {
        fs::set_permissions(place.path().join("snapshots"), fs::Permissions::from_mode(mode)).unwrap();
    };
    modes(0);
    let seen = seen(&original, &place, |job| job);
    let tail = job.run();
    modes(0o755);
    assert_eq!(seen, Seen { original: NOTHING, ours: (23, None) });
    let last = tail.log.lines().last().unwrap();
    assert!(last.starts_with("Fatal: ") && last.contains("snapshots"), "{last}");
}
