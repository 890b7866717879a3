//! The tools, and how each is called: as `VolSync` calls restic, and the others to the same effect.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::store::Store;

pub(super) const PASSWORD: &str = "volmover";

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

/// A tool that is there.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) version: String,
    program: PathBuf,
}

/// volmover first, then the peers that are there; one that is missing is named.
pub(super) fn find(peers: &Path) -> Vec<Tool> {
    let candidates = [
        ("volmover", PathBuf::from(env!("CARGO_BIN_EXE_volmover")), "--version"),
        ("restic", peers.join("bin/restic-0.19"), "version"),
        ("rustic", peers.join("bin/rustic"), "--version"),
    ];
    let mut tools = Vec::new();
    for (name, program, version) in candidates {
        match Command::new(&program).arg(version).output() {
            Ok(output) if output.status.success() => {
                let said = String::from_utf8_lossy(&output.stdout);
                let version = said.lines().next().unwrap_or("(it does not tell its version)").to_owned();
                tools.push(Tool { name, version, program });
            }
            _ => println!("{name}: left out, {} does not run (.ci/peers rustic gets it)", program.display()),
        }
    }
    tools
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
        repository(&mut command, place);
        command.arg("init");
        command
    }

    /// A call without anything of the caller's.
    fn bare(&self, place: &Place<'_>) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["RESTIC_", "RUSTIC_", "MOVER_", "AWS_", "VOLMOVER_"]
                .iter()
                .any(|prefix| text.starts_with(prefix))
            {
                command.env_remove(&name);
            }
        }
        command.current_dir(place.source).envs(place.repository.credentials());
        command
    }
}

fn volmover(command: &mut Command, step: Step, place: &Place<'_>) {
    let data = if step == Step::Restore { place.target } else { place.source };
    repository(command, place);
    command.env("DATA_DIR", data).env("MOVER_PATH", place.source).arg(match step {
        Step::First | Step::Unchanged => "backup",
        Step::Restore => "restore",
    });
}

/// restic's variables, which volmover shares.
fn repository(command: &mut Command, place: &Place<'_>) {
    command
        .env("RESTIC_REPOSITORY", place.repository.restic_url())
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("RESTIC_CACHE_DIR", place.cache);
}

fn restic(command: &mut Command, step: Step, place: &Place<'_>) {
    repository(command, place);
    match step {
        Step::First | Step::Unchanged => command.args(["backup", "--host", "volsync", "."]),
        Step::Restore => {
            command.args(["restore", "latest", "--host", "volsync", "--target"]).arg(place.target)
        }
    };
}

fn rustic(command: &mut Command, step: Step, place: &Place<'_>) {
    command
        .envs(place.repository.rustic_variables())
        .env("RUSTIC_PASSWORD", PASSWORD)
        .env("RUSTIC_CACHE_DIR", place.cache)
        .env("RUSTIC_NO_PROGRESS", "true");
    match step {
        Step::First | Step::Unchanged => command.args(["backup", "--host", "volsync", "."]),
        Step::Restore => command.args(["restore", "latest"]).arg(place.target),
    };
}
