//! The sealed cache: what it saves, and that it never decides anything.
//!
//! Whatever lies in it, what the repository lists is what counts: after a forget and prune by restic between two
//! warm runs the next snapshot restores, and a cache that is damaged, foreign, full or shared does no harm.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use support::listing::{self, assert_same};
use support::mover::{self, Mover};
use support::restic::{REFEREES, Restic};
use support::scratch;
use support::source;
use tempfile::TempDir;
use volmover::backend::FileType;
use volmover::backend::record::{Record, Request};
use volmover::ops;
use volmover::ops::stats::StatsOptions;
use volmover::repository::Repository;
use volmover::repository::cache::CachePlace;
use volmover::repository::lock::LockMode;
use volmover::restore::select::Filter;

/// A repository, a source and a cache.
struct World {
    repository: TempDir,
    source: TempDir,
    cache: TempDir,
    bytes_max: u64,
}

impl World {
    fn new() -> Self {
        let [repository, source, cache] = std::array::from_fn(|_| scratch());
        mover::create(repository.path(), 2);
        source::files(source.path(), 30, 20_000, 1);
        fs::create_dir(source.path().join("below")).unwrap();
        source::files(&source.path().join("below"), 5, 300, 2);
        Self { repository, source, cache, bytes_max: u64::MAX }
    }

    /// Opened with the cache, and every request of the store from then on.
    fn open(&self) -> (Mover, Arc<Record>) {
        let record = Arc::new(Record::keeping_all(mover::local(self.repository.path())));
        let place = CachePlace { folder: self.cache.path().to_owned(), bytes_max: self.bytes_max };
        let mover = Mover::open_backend(Arc::<Record>::clone(&record)).unwrap();
        let repository = Repository::clone(&mover.repository).with_cache(place);
        record.clear();
        (Mover::of(repository), record)
    }

    /// A backup, and what it read besides locks.
    fn backup(&self) -> Vec<FileType> {
        let (mover, record) = self.open();
        mover.backup(self.source.path()).unwrap();
        read(&record)
    }

    fn change(&self, round: u64) {
        let name = format!("below/round {round}");
        fs::write(self.source.path().join(name), source::random_bytes(round, 5000)).unwrap();
    }

    /// The files of the cache, by name.
    fn entries(&self) -> BTreeMap<String, PathBuf> {
        let mut found = BTreeMap::new();
        for repository in fs::read_dir(self.cache.path().join("volmover")).unwrap().flatten() {
            for file in fs::read_dir(repository.path()).into_iter().flatten().flatten() {
                found.insert(file.file_name().into_string().unwrap(), file.path());
            }
        }
        found
    }

    fn paths(&self, kind: &str) -> Vec<PathBuf> {
        self.entries().into_iter().filter(|(name, _)| name.starts_with(kind)).map(|(_, path)| path).collect()
    }

    fn entry(&self, kind: &str) -> PathBuf {
        self.paths(kind).swap_remove(0)
    }

    /// The newest snapshot is the source.
    #[track_caller]
    fn assert_restores(&self, what: &str) {
        let plain = Mover::open(self.repository.path()).unwrap();
        assert_same(&listing::list(self.source.path()), &plain.restored("latest"), what);
    }

    /// The same, and restic finds nothing wrong.
    #[track_caller]
    fn assert_saved(&self, what: &str) {
        self.assert_restores(what);
        if let Some(restic) = Restic::on(REFEREES[0], self.repository.path()) {
            restic.check();
        }
    }
}

fn read(record: &Record) -> Vec<FileType> {
    let is_read = |request| matches!(request, Request::Read | Request::ReadRange | Request::Stat);
    let requests = record.requests();
    let kinds = requests.iter().filter(|asked| is_read(asked.request)).filter_map(|asked| asked.kind);
    kinds.filter(|kind| *kind != FileType::Lock).collect()
}

#[test]
fn a_warm_run_reads_nothing_but_its_cache() {
    let world = World::new();
    assert_eq!(world.backup(), []);
    // The snapshot was written and not read; whether it is still there is asked of the store.
    assert_eq!(world.backup(), [FileType::Snapshot, FileType::Snapshot]);
    assert_eq!(world.backup(), [FileType::Snapshot], "kept");
    world.change(1);
    assert_eq!(world.backup(), []);
    let (mover, record) = world.open();
    mover.restored("latest");
    let data = read(&record).into_iter().filter(|kind| *kind != FileType::Pack).count();
    assert_eq!(data, 1, "the new snapshot");
    let figures = mover.repository.cache().unwrap().figures();
    assert!(figures.hits >= 3 && figures.bytes > Some(0), "{figures:?}");
    world.assert_saved("warm");
}

#[test]
fn packs_of_trees_that_are_read_whole_are_read_once() {
    let world = World::new();
    world.backup();
    fs::remove_dir_all(world.cache.path().join("volmover")).unwrap();
    let options = StatsOptions {
        selection: None,
        subfolder: None,
        filter: Filter::default(),
        json: false,
        zone: TimeZone::UTC,
    };
    let stats = |mover: &Mover| ops::stats::stats(&mover.session(), &options).unwrap();
    let walk = || {
        let (mover, record) = world.open();
        let stats = stats(&mover);
        (read(&record).into_iter().filter(|kind| *kind == FileType::Pack).count(), stats)
    };
    let plain = stats(&Mover::of(world.open().0.repository.uncached()));
    assert_eq!((walk(), walk()), ((1, plain.clone()), (0, plain)));
}

#[test]
fn what_restic_forgot_and_pruned_between_warm_runs_is_not_relied_on() {
    for version in REFEREES {
        let world = World::new();
        let Some(restic) = Restic::on(version, world.repository.path()) else { return };
        let (first, second) = (world.source.path().join("first"), world.source.path().join("second"));
        fs::write(&first, source::random_bytes(1, 300_000)).unwrap();
        world.backup();
        fs::remove_file(&first).unwrap();
        fs::write(&second, source::random_bytes(2, 300_000)).unwrap();
        world.backup();
        world.backup();
        restic.ok(&["forget", "--keep-last", "1", "--group-by", "", "--prune", "--max-unused", "0"]);
        // What was pruned comes back: a run that believed its cache would not store it again.
        fs::write(&first, source::random_bytes(1, 300_000)).unwrap();
        world.backup();
        world.assert_saved("after restic's prune");
        // The same with nothing left at all.
        let last = restic.snapshots().pop().unwrap()["id"].as_str().unwrap().to_owned();
        restic.ok(&["forget", &last, "--prune"]);
        let rest: Vec<String> =
            restic.snapshots().iter().map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect();
        if !rest.is_empty() {
            restic.ok(&[
                &["forget", "--prune"],
                rest.iter().map(String::as_str).collect::<Vec<_>>().as_slice(),
            ]
            .concat());
        }
        world.backup();
        world.assert_saved("after restic removed everything");
    }
}

#[test]
fn what_is_damaged_foreign_or_gone_is_read_from_the_repository() {
    let world = World::new();
    world.backup();
    world.change(1);
    world.backup();
    world.backup();
    let foreign = World::new();
    foreign.backup();
    foreign.backup();
    for (round, kind) in (2..).zip(["snapshots", "index-", "trees-"]) {
        let good = fs::read(world.entry(kind)).unwrap();
        let mut flipped = good.clone();
        let middle = good.len() / 2;
        flipped[middle] ^= 1;
        let cut = good[..good.len() - 1].to_vec();
        let others = fs::read(foreign.entry(kind)).unwrap();
        for (what, bytes) in [("flipped", flipped), ("cut", cut), ("empty", Vec::new()), ("foreign", others)]
        {
            let paths = world.paths(kind);
            for path in &paths {
                fs::write(path, &bytes).unwrap();
            }
            world.backup();
            world.assert_restores(&format!("{kind} {what}"));
            // Whatever was wanted was read from the repository, and is kept again.
            let kept = paths.iter().any(|path| fs::read(path).is_ok_and(|now| now != bytes));
            assert!(kept, "{kind} {what}");
        }
        let path = world.entry(kind);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        world.change(round);
        world.backup();
        world.assert_saved(&format!("{kind} is a folder"));
        fs::remove_dir(&path).unwrap();
    }
}

#[test]
fn what_is_not_listed_any_more_is_removed() {
    let world = World::new();
    world.backup();
    world.change(1);
    world.backup();
    let before = world.entries();
    let (mover, _) = world.open();
    let options = mover::prune_options(16 << 20);
    let ids = mover.snapshot_ids();
    mover.repository.backend().delete(FileType::Snapshot, &ids[0]).unwrap();
    ops::prune::run(&mover.session(), &options).unwrap();
    world.backup();
    let after = world.entries();
    let listed = mover.repository.ids(FileType::Index).unwrap();
    let indexes: Vec<&str> = after.keys().filter_map(|name| name.strip_prefix("index-")).collect();
    assert_eq!(indexes.len(), listed.len());
    assert!(listed.iter().all(|id| indexes.contains(&id.hex().as_str())));
    assert!(before.keys().any(|name| !after.contains_key(name)), "{before:?}");
    let index = mover.repository.uncached().load_index().unwrap();
    for pack in after.keys().filter_map(|name| name.strip_prefix("trees-")) {
        assert!(index.packs().contains(&pack.parse().unwrap()), "{pack}");
    }
}

#[test]
fn a_limit_is_kept_and_others_make_room_first() {
    let other = World::new();
    other.backup();
    let restics = other.cache.path().join("5".repeat(64));
    fs::create_dir(&restics).unwrap();
    fs::write(restics.join("version"), "1").unwrap();
    let bytes = |cache: &Path| listed_bytes(&cache.join("volmover"));
    let whole = bytes(other.cache.path());

    // Another repository with the same cache: the first one's goes when both are too much.
    let World { repository, source, bytes_max, .. } = World::new();
    let second = World { repository, source, cache: other.cache, bytes_max };
    let limited = World { bytes_max: whole * 3 / 2, ..second };
    limited.backup();
    limited.assert_saved("limited");
    assert!(bytes(limited.cache.path()) <= limited.bytes_max);
    assert_eq!(
        fs::read_dir(limited.cache.path().join("volmover")).unwrap().count(),
        2,
        "the tag and one folder"
    );
    assert!(restics.exists(), "restic's own does not count, and is left while the volume has room");

    // Nothing fits: nothing is kept, and nothing fails.
    let tiny = World { cache: scratch(), bytes_max: 100, ..limited };
    tiny.change(1);
    tiny.backup();
    tiny.backup();
    tiny.assert_saved("tiny");
    assert!(!tiny.cache.path().join("volmover").exists());
}

fn listed_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name() != "CACHEDIR.TAG")
        .map(|entry| {
            if entry.path().is_dir() { listed_bytes(&entry.path()) } else { entry.metadata().unwrap().len() }
        })
        .sum()
}

#[test]
fn no_place_is_made_right_below_the_root() {
    let world = World::new();
    let (mover, _) = world.open();
    let folder = PathBuf::from("/volmover-has-no-such-home/.cache/restic");
    let place = CachePlace { folder, bytes_max: u64::MAX };
    let mover = Mover::of(mover.repository.uncached().with_cache(place));
    mover.backup(world.source.path()).unwrap();
    world.assert_restores("without a place");
    assert!(!Path::new("/volmover-has-no-such-home").exists());
    let below = World { cache: scratch(), ..world };
    fs::remove_dir(below.cache.path()).unwrap();
    below.change(1);
    below.backup();
    assert!(!below.entries().is_empty(), "one that can be made is made");
}

#[test]
fn runs_side_by_side_share_a_cache() {
    let world = World::new();
    world.backup();
    for round in 1..4 {
        world.change(round);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let (mover, _) = world.open();
                    mover.backup(world.source.path()).unwrap();
                    mover.session().locked(LockMode::Shared, |_| mover.repository.load_index()).unwrap();
                });
            }
        });
        world.assert_saved("side by side");
    }
    let left: Vec<String> = world.entries().into_keys().filter(|name| name.starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn nothing_in_it_can_be_read_without_the_key() {
    let world = World::new();
    fs::write(world.source.path().join("marked-name"), "").unwrap();
    world.backup();
    world.backup();
    assert!(world.entries().len() >= 3);
    for (name, path) in world.entries() {
        let bytes = fs::read(path).unwrap();
        for clear in [b"marked-name".as_slice(), b"hostname", b"\"tree\""] {
            assert!(!bytes.windows(clear.len()).any(|window| window == clear), "{name}");
        }
    }
}
