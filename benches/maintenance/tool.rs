//! The tools, and how each is called for a forget and a prune: with default settings, rustic so that it does the
//! same work as the others.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) const PASSWORD: &str = "volmover";

/// What is kept of the history.
const KEPT: &str = "5";

/// One step of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Forget,
    Prune,
}

impl Step {
    pub(super) const MEASURED: [Self; 2] = [Self::Forget, Self::Prune];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Forget => "forget",
            Self::Prune => "prune",
        }
    }
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
    let rustic = peers.join("bin/rustic");
    let candidates = [
        ("volmover", PathBuf::from(env!("CARGO_BIN_EXE_volmover")), "--version"),
        ("restic", peers.join("bin/restic-0.19"), "version"),
        ("rustic", rustic.clone(), "--version"),
        ("rustic fast", rustic, "--version"),
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

/// restic's repository, password and cache.
pub(super) fn restic_at(command: &mut Command, repository: &Path, cache: &Path) {
    command
        .env("RESTIC_REPOSITORY", repository)
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("RESTIC_CACHE_DIR", cache);
}

impl Tool {
    /// A call of it without what this process was told about repositories.
    pub(super) fn clean_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let foreign = ["RESTIC_", "RUSTIC_", "MOVER_", "AWS_", "VOLMOVER_", "FORGET_OPTIONS"];
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if foreign.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command
    }

    pub(super) fn command(&self, step: Step, repository: &Path, cache: &Path) -> Command {
        let mut command = self.clean_command();
        match self.name {
            "volmover" => {
                restic_at(&mut command, repository, cache);
                command.arg(step.title());
                if step == Step::Forget {
                    command.env("FORGET_OPTIONS", format!("--keep-last {KEPT}"));
                }
            }
            "restic" => {
                restic_at(&mut command, repository, cache);
                command.arg(step.title());
                if step == Step::Forget {
                    command.args(["--keep-last", KEPT]);
                }
            }
            name => {
                rustic(&mut command, step, repository, cache);
                if (name, step) == ("rustic fast", Step::Prune) {
                    command.arg("--fast-repack");
                }
            }
        }
        command
    }
}

/// By default rustic marks packs and deletes them a day later, and repacks a tenth at most.
fn rustic(command: &mut Command, step: Step, repository: &Path, cache: &Path) {
    command
        .env("RUSTIC_REPOSITORY", repository)
        .env("RUSTIC_PASSWORD", PASSWORD)
        .env("RUSTIC_CACHE_DIR", cache)
        .env("RUSTIC_NO_PROGRESS", "true")
        .arg(step.title());
    match step {
        Step::Forget => command.args(["--keep-last", KEPT]),
        Step::Prune => command.args(["--instant-delete", "--max-repack", "unlimited"]),
    };
}
