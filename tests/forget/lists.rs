//! Lists of snapshots, written into a repository without any data: forget reads nothing else.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tempfile::TempDir;
use volmover::backend::FileType;
use volmover::error::Result;
use volmover::forget::listing::{self, Look};
use volmover::forget::options::ForgetOptions;
use volmover::forget::policy::Circumstances;
use volmover::forget::{plan, removed};
use volmover::repository::Id;
use volmover::repository::snapshot::{Snapshot, SnapshotSummary};
use volmover::repository::time::NodeTime;

use super::support::mover::{self, Mover};
use super::support::scratch;

/// A repository that holds a list of snapshots.
pub struct List {
    folder: TempDir,
    pub mover: Mover,
}

impl List {
    pub fn new() -> Self {
        Self::of_version(2)
    }

    pub fn of_version(version: u32) -> Self {
        let folder = scratch();
        mover::create(folder.path(), version);
        let mover = Mover::open(folder.path()).unwrap();
        Self { folder, mover }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, snapshot: &Snapshot) -> Id {
        self.mover.repository.write_unpacked(FileType::Snapshot, &snapshot.encode()).unwrap()
    }

    /// Removes all snapshots.
    pub fn clear(&self) {
        for file in self.files() {
            std::fs::remove_file(file).unwrap();
        }
    }

    pub fn files(&self) -> Vec<PathBuf> {
        let folder = std::fs::read_dir(self.path().join("snapshots")).unwrap();
        folder.map(|entry| entry.unwrap().path()).collect()
    }

    /// What volmover would print for options: JSON, and text as `restic forget --dry-run` prints it.
    pub fn printed(&self, options: &str, zone: &TimeZone, now: Timestamp) -> Result<(String, String)> {
        let options = ForgetOptions::parse(options, "FORGET_OPTIONS").unwrap();
        let snapshots = self.mover.repository.snapshots().unwrap();
        let instant = (now.as_second(), now.subsec_nanosecond() as u32);
        let around = Circumstances { now: instant, zone, unless_tagged: None };
        let plans = plan(&snapshots, &options, &around)?;
        let doomed: Vec<Id> = removed(&plans).into_iter().collect();
        let look = Look { zone, now, compact: options.compact };
        let text = format!(
            "Applying Policy: {}\n{}{}",
            options.policy,
            listing::text(&plans, &look),
            listing::would_remove(&doomed)
        );
        Ok((listing::json(&plans), text))
    }
}

/// A snapshot of an instant in a zone.
pub fn snapshot(seconds: i64, nanoseconds: u32, zone: &TimeZone) -> Snapshot {
    Snapshot {
        time: NodeTime::from_unix(seconds, nanoseconds, zone),
        tree: Id::of(b"tree"),
        paths: vec!["/data".to_owned()],
        hostname: "volsync".to_owned(),
        username: "root".to_owned(),
        program_version: "volmover".to_owned(),
        summary: Some(SnapshotSummary { total_bytes_processed: 1024, ..SnapshotSummary::default() }),
        ..Snapshot::default()
    }
}

/// A snapshot of a time in RFC 3339.
pub fn at(time: &str) -> Snapshot {
    let time = NodeTime::parse(time.as_bytes()).unwrap();
    Snapshot { time, ..snapshot(0, 0, &TimeZone::UTC) }
}
