//! Repositories with a past: real backups of a folder that changes, each written down for many times and hosts.

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use volmover::backend::FileType;
use volmover::backend::memory::{MemoryBackend, MemoryContent};
use volmover::repository::open::Access;
use volmover::repository::snapshot::Snapshot;
use volmover::repository::{Id, Repository};

use crate::call::{Call, Repo, access};
use crate::support::clock::SleepClock;
use crate::support::mover::{Mover, dump};
use crate::support::scratch;
use crate::support::source::random_bytes;

pub(super) const HOUR: i64 = 3600;
pub(super) const DAY: i64 = 24 * HOUR;

/// Whose snapshots, how far apart, and how long ago the newest was made, in seconds.
pub(super) struct Series {
    pub(super) host: &'static str,
    pub(super) path: &'static str,
    pub(super) count: usize,
    pub(super) apart: i64,
    pub(super) ago: i64,
}

/// Snapshots of one folder, whose content grows with each of them.
pub(super) fn series(mover: &Mover, series: &Series) {
    let folder = scratch();
    let states = series.count.min(24);
    let mut taken = Vec::new();
    for state in 0..states {
        grow(folder.path(), series.host, state as u64);
        let id: Id = mover.backup(folder.path()).unwrap().summary.snapshot_id.unwrap().parse().unwrap();
        taken.push(mover.repository.snapshot(&id).unwrap());
        mover.repository.backend().delete(FileType::Snapshot, &id.hex()).unwrap();
    }
    let now = jiff::Timestamp::now().as_second();
    for number in 0..series.count {
        let mut snapshot = taken[number * states / series.count].clone();
        snapshot.time.seconds = now - series.ago - (series.count - 1 - number) as i64 * series.apart;
        series.host.clone_into(&mut snapshot.hostname);
        snapshot.paths = vec![series.path.to_owned()];
        write(mover, Snapshot { parent: None, ..snapshot });
    }
}

/// Writes a snapshot down.
pub(super) fn write(mover: &Mover, snapshot: Snapshot) {
    mover.repository.write_unpacked(FileType::Snapshot, &snapshot.encode()).unwrap();
}

fn grow(root: &Path, host: &str, state: u64) {
    let seed = host.bytes().map(u64::from).sum::<u64>() * 1000 + state;
    for (folder, bytes) in [("database/base", 40_000), ("media/photos/2026", 9_000), ("logs", 2_000)] {
        fs::create_dir_all(root.join(folder)).unwrap();
        let at = |name: u64| root.join(folder).join(format!("file-{name}"));
        fs::write(at(state), random_bytes(seed, bytes + seed as usize % 5000)).unwrap();
    }
    fs::create_dir_all(root.join("settings")).unwrap();
    fs::write(root.join("settings/app.yaml"), "name: value\n".repeat(400 + state as usize)).unwrap();
}

/// A small fleet: hourly, daily and weekly backups, one that stopped, one that is new.
pub(super) fn fleet() -> Repo {
    Repo::of(dump(&FLEET))
}

static FLEET: LazyLock<MemoryContent> = LazyLock::new(|| {
    let store = Arc::new(MemoryBackend::new());
    // A backup waits for the lists of its store to settle.
    let access = Access { clock: Arc::new(SleepClock::new()), ..access() };
    let mover = Mover::of(Repository::create(store.clone(), &access).unwrap());
    for one in [
        Series { host: "grafana.observability", path: "/data", count: 60, apart: DAY, ago: 3 * HOUR },
        Series {
            host: "postgres.databases",
            path: "/var/lib/postgresql",
            count: 96,
            apart: HOUR,
            ago: HOUR / 2,
        },
        Series { host: "paperless.default", path: "/data", count: 40, apart: 7 * DAY, ago: 2 * DAY },
        Series { host: "jellyfin.media", path: "/config", count: 20, apart: DAY, ago: 9 * DAY },
        Series { host: "atuin.default", path: "/data", count: 1, apart: DAY, ago: HOUR },
    ] {
        series(&mover, &one);
    }
    store.content()
});

fn call(repo: &Repo, variables: &[(&str, &str)]) -> Call {
    variables.iter().fold(repo.call("report"), |call, (name, value)| call.with(name, value))
}

/// What `report` says as JSON, with these variables besides.
#[track_caller]
pub(super) fn report(repo: &Repo, variables: &[(&str, &str)]) -> Value {
    let out = call(repo, variables).with("MOVER_JSON", "1").ok();
    assert_eq!(out.lines().count(), 1, "{out}");
    serde_json::from_str(&out).unwrap()
}

/// The page that `report` writes, with these variables besides.
#[track_caller]
pub(super) fn page(repo: &Repo, variables: &[(&str, &str)]) -> String {
    page_of(&call(repo, variables))
}

/// The page that a call writes.
#[track_caller]
pub(super) fn page_of(call: &Call) -> String {
    let place = scratch();
    let file = place.path().join("report.html");
    let out = call.clone().with("MOVER_REPORT_HTML", &file).ok();
    assert!(out.ends_with(&format!("wrote the report to {}\n", file.display())), "{out}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside it");
    fs::read_to_string(file).unwrap()
}

/// The rules of the advice that a report gives.
pub(super) fn rules(report: &Value) -> Vec<&str> {
    report["advice"].as_array().unwrap().iter().map(|advice| advice["rule"].as_str().unwrap()).collect()
}
