//! `check`: looks for damage, under a shared lock: a check must not keep backups from running.
//!
//! restic takes an exclusive lock here. Beside running backups a shared one is enough: snapshots are listed
//! first and packs last, so that whatever is looked at has all that it needs on the later list.

use super::Session;
use crate::check::{self, CheckOptions, Reading};
use crate::error::{Error, ErrorKind, Result};
use crate::report::CheckSummary;
use crate::repository::lock::LockMode;

/// Checks, and tells the monitor all that was found.
pub fn run(session: &Session<'_>, reading: Reading) -> Result<CheckSummary> {
    let options =
        CheckOptions { reading, memory_bytes: session.limits.memory_bytes, threads: session.limits.threads };
    session.locked(LockMode::Shared, |_| {
        check::check(&session.repository, &options, session.monitor, session.stop)
    })
}

/// The error that a check with faults ends in; `None` when all is well.
#[must_use]
pub fn verdict(summary: &CheckSummary, location: &str) -> Option<Error> {
    let word = if summary.errors == 1 { "fault was" } else { "faults were" };
    (summary.errors > 0).then(|| {
        Error::new(ErrorKind::Damaged, "the repository is damaged")
            .at(location)
            .because(format!("{} {word} found", summary.errors))
            .then("Back up again, which stores anew what the source still has; this run's log says where, whom it hits, and what to run after that")
    })
}
