//! The tools, and how each is called: as `VolSync` calls restic, and the others to the same effect.

use std::path::Path;
use std::process::Command;

use super::Outcome;
use super::program::{Tool, restic_at, rustic_at};
use super::store::Store;

/// One step of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    First,
    Unchanged,
    Uncached,
    Changed,
    Check,
    Verify,
    Restore,
    Refill,
}

impl Step {
    pub(super) const MEASURED: [Self; 8] = [
        Self::First,
        Self::Unchanged,
        Self::Uncached,
        Self::Changed,
        Self::Check,
        Self::Verify,
        Self::Restore,
        Self::Refill,
    ];

    /// Those that `VOLMOVER_BENCH_STEPS` lists, or all.
    pub(super) fn wanted() -> Outcome<Vec<Self>> {
        let Ok(list) = std::env::var("VOLMOVER_BENCH_STEPS") else { return Ok(Self::MEASURED.to_vec()) };
        let named = |word: &str| {
            let step = Self::MEASURED.into_iter().find(|step| format!("{step:?}").eq_ignore_ascii_case(word));
            step.ok_or_else(|| format!("VOLMOVER_BENCH_STEPS: no step {word:?}").into())
        };
        list.split(',').map(named).collect()
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::First => "first backup",
            Self::Unchanged => "unchanged",
            Self::Uncached => "unchanged, no cache",
            Self::Changed => "1 % changed",
            Self::Check => "check the data",
            Self::Verify => "verify",
            Self::Restore => "restore",
            Self::Refill => "restore 1 %",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::First | Self::Unchanged | Self::Uncached | Self::Changed => Kind::Backup,
            Self::Check | Self::Verify => Kind::Check,
            Self::Restore | Self::Refill => Kind::Restore,
        }
    }
}

/// What a tool is told to do.
#[derive(Clone, Copy)]
enum Kind {
    Backup,
    Check,
    Restore,
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
    restic_at(command, place.repository.restic_url(), place.cache);
    command.env("MOVER_PATH", place.source);
    match step.kind() {
        Kind::Backup => command.env("DATA_DIR", place.source).arg("backup"),
        Kind::Check if step == Step::Verify => command.arg("verify"),
        Kind::Check => command.env("MOVER_CHECK_READ_DATA", "true").arg("check"),
        Kind::Restore => command.env("DATA_DIR", place.target).arg("restore"),
    };
}

fn restic(command: &mut Command, step: Step, place: &Place<'_>) {
    restic_at(command, place.repository.restic_url(), place.cache);
    match step.kind() {
        Kind::Backup => command.args(["backup", "--host", "volsync", "."]),
        Kind::Check => command.args(["check", "--read-data"]),
        Kind::Restore => {
            command.args(["restore", "latest", "--host", "volsync", "--target"]).arg(place.target)
        }
    };
}

fn rustic(command: &mut Command, step: Step, place: &Place<'_>) {
    rustic_at(command, place.cache);
    command.envs(place.repository.rustic_variables());
    match step.kind() {
        Kind::Backup => command.args(["backup", "--host", "volsync", "."]),
        Kind::Check => command.args(["check", "--read-data"]),
        Kind::Restore => command.args(["restore", "latest"]).arg(place.target),
    };
}
