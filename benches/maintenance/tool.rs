//! The tools, and how each is called for a forget and a prune: with default settings, rustic so that it does the
//! same work as the others.

use std::path::Path;
use std::process::Command;

use super::program::{Tool, restic_at, rustic_at};
use super::store::Store;

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

impl Tool {
    pub(super) fn command(&self, step: Step, store: &Store, cache: &Path) -> Command {
        let mut command = self.clean_command();
        command.envs(store.credentials());
        match self.name {
            "volmover" => {
                restic_at(&mut command, store.restic_url(), cache);
                command.arg(step.title());
                if step == Step::Forget {
                    command.env("FORGET_OPTIONS", format!("--keep-last {KEPT}"));
                }
            }
            "restic" => {
                restic_at(&mut command, store.restic_url(), cache);
                command.arg(step.title());
                if step == Step::Forget {
                    command.args(["--keep-last", KEPT]);
                }
            }
            name => {
                rustic(&mut command, step, store, cache);
                if (name, step) == ("rustic fast", Step::Prune) {
                    command.arg("--fast-repack");
                }
            }
        }
        command
    }
}

/// By default rustic marks packs and deletes them a day later, and repacks a tenth at most.
fn rustic(command: &mut Command, step: Step, store: &Store, cache: &Path) {
    rustic_at(command, cache);
    command.envs(store.rustic_variables()).arg(step.title());
    match step {
        Step::Forget => command.args(["--keep-last", KEPT]),
        Step::Prune => command.args(["--instant-delete", "--max-repack", "unlimited"]),
    };
}
