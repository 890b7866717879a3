//! Every operation, by the program itself, on the repositories that are easily forgotten: an empty one, one of
//! format version 1, and one with very many snapshots.
//!
//! `VOLMOVER_TEST_SCALE=10` makes the last one of 10 000 snapshots; `--nocapture` shows the seconds. Nothing is
//! asserted about time, but every operation reads all of them, so one that is slow by design shows here.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stdout, reason = "the seconds are what the last test is for")]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Instant;

use support::clock::SleepClock;
use support::fixture::{self, PASSWORD};
use support::mover::{self, Mover, create_in};
use support::restic::Restic;
use support::{listing, scaled, scratch, source};
use tempfile::TempDir;
use volmover::backend::layout::path_of;
use volmover::backend::memory::MemoryBackend;
use volmover::backend::{Backend, FileType};
use volmover::repository::snapshot::Snapshot;

/// A repository, the folder that is backed up, and how each operation is called.
struct World {
    repository: TempDir,
    source: TempDir,
}

impl World {
    fn on(repository: TempDir) -> Self {
        let source = scratch();
        source::files(source.path(), 3, 10_000, 5);
        Self { repository, source }
    }

    fn call(&self, operation: &str, variables: &[(&str, &str)]) -> Output {
        let start = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_volmover"))
            .arg(operation)
            .env_clear()
            .env("RESTIC_PASSWORD", PASSWORD)
            .env("RESTIC_REPOSITORY", self.repository.path())
            .env("DATA_DIR", self.source.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        println!("{operation} {variables:?}: {:.1} s", start.elapsed().as_secs_f64());
        output
    }

    /// Calls it and returns stdout; panics unless it exits with `code` and says little on stderr.
    #[track_caller]
    fn expect(&self, code: i32, operation: &str, variables: &[(&str, &str)]) -> String {
        let output = self.call(operation, variables);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{operation} {variables:?}:\n{out}\n{err}");
        // A warning, a line of progress at times; never one a snapshot.
        assert!(err.lines().count() < 10, "{operation} {variables:?}:\n{err}");
        out
    }

    #[track_caller]
    fn ok(&self, operation: &str, variables: &[(&str, &str)]) -> String {
        self.expect(0, operation, variables)
    }

    fn snapshots(&self) -> usize {
        fs::read_dir(self.repository.path().join("snapshots")).unwrap().count()
    }

    fn restic_finds_nothing(&self) {
        if let Some(restic) = Restic::on("restic-0.19", self.repository.path()) {
            restic.check();
        }
    }

    /// What looks, and changes nothing.
    #[track_caller]
    fn look(&self, any: &[(&str, &str)]) {
        let count = self.snapshots();
        assert!(self.ok("snapshots", &[]).ends_with(&format!("{count} snapshots\n")));
        assert!(self.ok("ls", any).starts_with("snapshot "));
        assert!(self.ok("stats", &[]).contains(&format!("Snapshots: {count}\n")));
        assert!(self.ok("report", &[]).contains(&format!("Snapshots: {count} of ")));
        assert!(self.ok("check", &[("MOVER_CHECK_READ_DATA", "1")]).ends_with("no errors were found\n"));
        self.ok("verify", any);
        self.ok("doctor", &[]);
        assert_eq!(self.ok("unlock", &[]), "");
        assert_eq!(self.ok("repair-index", &[("MOVER_REPAIR", "apply")]), "the index is right as it is\n");
        let repaired = self.ok("repair-snapshots", &[("MOVER_REPAIR", "apply")]);
        assert_eq!(repaired, "no snapshot loses anything\n");
        self.expect(1, "init", &[]);
        assert_eq!(self.snapshots(), count);
    }

    /// Backs up, restores that, forgets all but one of each host and path, prunes.
    #[track_caller]
    fn work(&self, left: usize) {
        self.ok("backup", &[]);
        let target = scratch();
        let (from, to) = (self.source.path().to_str().unwrap(), target.path().to_str().unwrap());
        self.ok("restore", &[("DATA_DIR", to), ("MOVER_PATH", from)]);
        listing::assert_same(&listing::list(self.source.path()), &listing::list(target.path()), "restored");
        let dry = self.ok("forget", &[("FORGET_OPTIONS", "--keep-last 1 --dry-run")]);
        assert!(dry.contains("keep 1 snapshots:"), "{dry}");
        self.ok("forget", &[("FORGET_OPTIONS", "--keep-last 1")]);
        assert_eq!(self.snapshots(), left);
        self.ok("prune", &[("MOVER_PRUNE_MAX_UNUSED", "0%")]);
        self.ok("check", &[("MOVER_CHECK_READ_DATA", "1")]);
        self.restic_finds_nothing();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn on_an_empty_repository() {
    for version in [1, 2] {
        let repository = scratch();
        mover::create(repository.path(), version);
        let world = World::on(repository);
        assert_eq!(world.ok("snapshots", &[]), "");
        assert_eq!(world.ok("snapshots", &[("MOVER_JSON", "1")]), "[]\n");
        assert_eq!(world.ok("ls", &[]), "No eligible snapshots found\n");
        assert!(world.ok("stats", &[]).contains("Snapshots: 0\n"));
        assert!(world.ok("report", &[]).contains("There is no snapshot."));
        assert!(world.ok("check", &[("MOVER_CHECK_SUBSET", "5%")]).ends_with("no errors were found\n"));
        world.expect(24, "verify", &[]);
        world.ok("doctor", &[]);
        assert_eq!(world.ok("unlock", &[]), "");
        assert_eq!(world.ok("repair-index", &[("MOVER_REPAIR", "apply")]), "the index is right as it is\n");
        world.ok("repair-snapshots", &[("MOVER_REPAIR", "apply")]);
        world.expect(1, "init", &[]);
        world.ok("forget", &[("FORGET_OPTIONS", "--keep-last 1")]);
        world.ok("prune", &[]);
        let target = scratch();
        let restored = world.ok("restore", &[("DATA_DIR", target.path().to_str().unwrap())]);
        assert!(restored.contains("No eligible snapshots found"), "{restored}");
        world.restic_finds_nothing();
        world.work(1);
    }
}

#[test]
fn on_a_repository_of_version_1() {
    let world = World::on(fixture::copy("restic-0.14-v1"));
    world.look(&[("MOVER_PATH", "*")]);
    world.work(2);
    if let Some(restic) = Restic::on("restic-0.19", world.repository.path()) {
        assert!(restic.ok(&["cat", "config"]).contains("\"version\": 1,"));
    }
}

/// As a fleet of ten hosts leaves it: a new state of the data every fifty snapshots, each with an index file of
/// its own.
fn with_snapshots(count: usize) -> TempDir {
    let store = Arc::new(MemoryBackend::new());
    create_in(store.as_ref(), 2);
    let (folder, repository) = (scratch(), scratch());
    source::files(folder.path(), 5, 5_000, 3);
    let mover = Mover::open_at(store.clone(), Arc::new(SleepClock::new())).unwrap();
    let states: Vec<Snapshot> = (0..count.div_ceil(50))
        .map(|state| {
            fs::write(folder.path().join("changes"), format!("state {state}")).unwrap();
            let id = mover.backup(folder.path()).unwrap().summary.snapshot_id.unwrap();
            let snapshot = mover.repository.snapshot(&id.parse().unwrap()).unwrap();
            store.delete(FileType::Snapshot, &id).unwrap();
            snapshot
        })
        .collect();
    for number in 0..count {
        let mut snapshot = states[number / 50].clone();
        snapshot.parent = None;
        snapshot.time.seconds -= 3600 * (count - number) as i64;
        snapshot.hostname = format!("host-{}", number % 10);
        mover.repository.write_unpacked(FileType::Snapshot, &snapshot.encode()).unwrap();
    }
    for (kind, name, bytes) in store.content().files() {
        let path = repository.path().join(path_of(kind, name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::create_dir_all(repository.path().join("locks")).unwrap();
    repository
}

#[test]
fn on_a_repository_of_very_many_snapshots() {
    let count = scaled(1000);
    let start = Instant::now();
    let world = World::on(with_snapshots(count));
    println!("{count} snapshots made in {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(world.snapshots(), count);
    world.look(&[("MOVER_HOST", "*"), ("MOVER_PATH", "*")]);
    world.ok("prune", &[]);
    world.work(11);
}
