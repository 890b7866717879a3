//! The tools, and how each lists, backs up and forgets in a large repository.

use std::path::Path;
use std::process::Command;

use super::program::{Tool, restic_at, rustic_at};

/// One step of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    SnapshotsCold,
    Snapshots,
    UnchangedCold,
    Unchanged,
    Forget,
}

impl Step {
    pub(super) const MEASURED: [Self; 5] =
        [Self::SnapshotsCold, Self::Snapshots, Self::UnchangedCold, Self::Unchanged, Self::Forget];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::SnapshotsCold => "snapshots, no cache",
            Self::Snapshots => "snapshots",
            Self::UnchangedCold => "unchanged, no cache",
            Self::Unchanged => "unchanged",
            Self::Forget => "forget",
        }
    }

    /// Whether it begins with an empty cache.
    pub(super) fn is_cold(self) -> bool {
        matches!(self, Self::SnapshotsCold | Self::UnchangedCold)
    }
}

/// Where a tool works, and how many snapshots its forget keeps.
pub(super) struct Place<'a> {
    pub(super) source: &'a Path,
    pub(super) repository: &'a Path,
    pub(super) cache: &'a Path,
    pub(super) keep: u64,
}

impl Tool {
    pub(super) fn command(&self, step: Step, place: &Place<'_>) -> Command {
        let mut command = self.clean_command();
        command.current_dir(place.source);
        let keep = format!("--keep-last={}", place.keep);
        if self.name == "volmover" {
            restic_at(&mut command, place.repository, place.cache);
            command.env("DATA_DIR", place.source).env("MOVER_PATH", place.source);
            command.env("FORGET_OPTIONS", keep);
        } else if self.name == "restic" {
            restic_at(&mut command, place.repository, place.cache);
        } else {
            rustic_at(&mut command, place.cache);
            command.env("RUSTIC_REPOSITORY", place.repository);
        }
        match step {
            Step::SnapshotsCold | Step::Snapshots => command.arg("snapshots"),
            Step::UnchangedCold | Step::Unchanged if self.name == "volmover" => command.arg("backup"),
            Step::UnchangedCold | Step::Unchanged => command.args(["backup", "--host", "volsync", "."]),
            Step::Forget if self.name == "volmover" => command.arg("forget"),
            Step::Forget => command.args(["forget", &format!("--keep-last={}", place.keep)]),
        };
        command
    }
}
