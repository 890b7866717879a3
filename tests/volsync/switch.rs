//! The switch, and the switch back: the old mover's history, this one, the old one again, on one repository.
//!
//! Both forget and prune in turn. What need not be uploaded again is not, and every snapshot that is kept restores
//! to what it was, by both.

use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;

use crate::job::{Job, Mounted, Security, Store, give, volume_of};
use crate::minio::Minio;
use crate::original::Original;
use crate::scenarios::{saved_listing, volume, volumes_can_be_given};
use crate::support::listing::{assert_same, list};
use crate::support::source::random_bytes;
use crate::way::recorded;

const RETAIN: &str = " --keep-last 4";

/// A volume, the repository it is saved to, and what each snapshot must restore to.
struct World<'a> {
    place: &'a dyn Store,
    security: Security,
    volume: TempDir,
    original: Original,
    listings: BTreeMap<String, String>,
}

/// New blobs of the last snapshot, of data and of trees, as its summary counts them.
type Added = (u64, u64);

impl World<'_> {
    fn job(&self) -> Job {
        let job = Job::source("backup prune", self.volume.path()).on(self.place).security(self.security);
        recorded(job.with("FORGET_OPTIONS", RETAIN), self.volume.path())
    }

    fn target(&self) -> (TempDir, Job) {
        let target = volume_of(self.security.user());
        let job = Job::destination(target.path()).on(self.place).security(self.security);
        (target, recorded(job, self.volume.path()))
    }

    /// One file of some size is rewritten.
    fn change(&self, round: u64) {
        let file = self.volume.path().join("growing");
        let is_new = !file.exists();
        fs::write(file, random_bytes(round, 300_000)).unwrap();
        // Giving a file to its owner again would change its ctime, and so its tree.
        if is_new {
            give(self.volume.path(), self.security.user());
        }
    }

    fn by_original(&mut self) -> Added {
        let ran = self.original.source(&self.job());
        assert_eq!(ran.code, 0, "{}", ran.log);
        self.saved()
    }

    fn by_volmover(&mut self) -> Added {
        self.job().succeeds();
        self.saved()
    }

    /// What the last snapshot added. It restores to what the volume holds now.
    fn saved(&mut self) -> Added {
        let snapshots = self.original.snapshots(&self.job());
        let last = snapshots.last().unwrap();
        let id = last["id"].as_str().unwrap().to_owned();
        let listing = saved_listing(self.volume.path());
        if let Some(kept) = self.listings.insert(id, listing.clone()) {
            // Nothing changed since the last snapshot, which stands for this run too.
            assert_same(&kept, &listing, "the volume since the last snapshot");
            assert_eq!(snapshots.len(), self.listings.len());
            return (0, 0);
        }
        let kept: Vec<_> = snapshots.iter().map(|snapshot| snapshot["id"].as_str().unwrap()).collect();
        self.listings.retain(|id, _| kept.contains(&id.as_str()));
        assert_eq!(kept.len(), self.listings.len());
        assert_eq!((&last["hostname"], last["paths"].as_array().unwrap().len()), (&"volsync".into(), 1));
        let count = |name: &str| last["summary"][name].as_u64().unwrap();
        (count("data_blobs"), count("tree_blobs"))
    }

    fn restores(&self, id: &str, listing: &str) {
        let (target, job) = self.target();
        let ran = self.original.restore(&job, id);
        assert_eq!(ran.code, 0, "{}", ran.log);
        assert_same(listing, &list(target.path()), &format!("{id} by restic"));
        let (target, job) = self.target();
        job.with("MOVER_SNAPSHOT", id).succeeds();
        assert_same(listing, &list(target.path()), &format!("{id} by volmover"));
    }

    /// Every snapshot, by both; side by side, for restic waits most of the time.
    fn all_restore(&self) {
        std::thread::scope(|scope| {
            for (id, listing) in &self.listings {
                scope.spawn(|| self.restores(id, listing));
            }
        });
        let checked = self.original.call(&self.job(), &["check", "--read-data"]);
        assert!(checked.log.contains("no errors were found"), "{}", checked.log);
    }
}

fn there_and_back(place: &dyn Store, security: Security) {
    let Some(original) = Original::found() else { return };
    let volume = volume(security.user());
    let mut world = World { place, security, volume, original, listings: BTreeMap::new() };
    // Looking for a repository in a bucket that is missing takes the original a minute.
    world.original.call(&world.job(), &["init"]);
    world.job().cheapen();
    for round in 0..3 {
        world.change(round);
        world.by_original();
    }
    // Nothing changed: not a blob is new. One file below the root changed: it, and the root's tree.
    assert_eq!(world.by_volmover(), (0, 0), "the switch");
    world.change(3);
    assert_eq!(world.by_volmover(), (1, 1), "after the switch");
    world.all_restore();
    assert_eq!(world.by_original(), (0, 0), "the switch back");
    world.change(4);
    assert_eq!(world.by_original(), (1, 1), "after the switch back");
    world.change(5);
    assert_eq!(world.by_volmover(), (1, 1), "there again");
    assert_eq!(world.listings.len(), 4);
    world.all_restore();
}

#[test]
fn on_a_mounted_repository() {
    if volumes_can_be_given() {
        there_and_back(&Mounted::empty(), Security::User(1234, 5678));
    }
}

#[test]
fn on_minio_as_a_privileged_mover() {
    if !volumes_can_be_given() || !crate::support::is_root() {
        return;
    }
    let Some(minio) = Minio::start(false) else { return };
    there_and_back(&minio.place("bucket/app"), Security::Privileged);
}
