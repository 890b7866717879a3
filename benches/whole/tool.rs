//! The tools, and how each is called: as `VolSync` calls restic, and the others to the same effect.

use std::path::Path;
use std::process::Command;

use super::program::{Tool, restic_at, rustic_at};
use super::store::Store;

/// One step of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    First,
    Unchanged,
    Restore,
}

impl Step {
    pub(super) const MEASURED: [Self; 3] = [Self::First, Self::Unchanged, Self::Restore];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::First => "first backup",
            Self::Unchanged => "unchanged backup",
            Self::Restore => "restore",
        }
    }
}

/// Where a tool works.
pub(super) struct Place<'a> {
    pub(super) source: &'a Path,
    pub(super) repository: &'a Store,
    pub(super) cache: &'a Path,
    pub(super) target: &'a Path,
}

impl Tool {
    pub(super) fn command(&self, step: Step, place: &Place<'_>) -> Command {
        let mut command = self.bare(place);
        match self.name {
            "volmover" => volmover(&mut command, step, place),
            "restic" => restic(&mut command, step, place),
            _ => rustic(&mut command, step, place),
        }
        command
    }

    /// How this tool, which is volmover, makes a repository.
    pub(super) fn init(&self, place: &Place<'_>) -> Command {
        let mut command = self.bare(place);
        restic_at(&mut command, place.repository.restic_url(), place.cache);
        command.arg("init");
        command
    }

    fn bare(&self, place: &Place<'_>) -> Command {
        let mut command = self.clean_command();
        command.current_dir(place.source).envs(place.repository.credentials());
        command
    }
}

fn volmover(command: &mut Command, step: Step, place: &Place<'_>) {
    let data = if step == Step::Restore { place.target } else { place.source };
    restic_at(command, place.repository.restic_url(), place.cache);
    command.env("DATA_DIR", data).env("MOVER_PATH", place.source).arg(match step {
        Step::First | Step::Unchanged => "backup",
        Step::Restore => "restore",
    });
}

fn restic(command: &mut Command, step: Step, place: &Place<'_>) {
    restic_at(command, place.repository.restic_url(), place.cache);
    match step {
        Step::First | Step::Unchanged => command.args(["backup", "--host", "volsync", "."]),
        Step::Restore => {
            command.args(["restore", "latest", "--host", "volsync", "--target"]).arg(place.target)
        }
    };
}

fn rustic(command: &mut Command, step: Step, place: &Place<'_>) {
    rustic_at(command, place.cache);
    command.envs(place.repository.rustic_variables());
    match step {
        Step::First | Step::Unchanged => command.args(["backup", "--host", "volsync", "."]),
        Step::Restore => command.args(["restore", "latest"]).arg(place.target),
    };
}
