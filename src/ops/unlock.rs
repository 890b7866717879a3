//! `unlock`: removes the locks of who is gone, or all locks. It takes none itself.
//!
//! The rule is that of every operation (`repository/lock/file.rs`), so `unlock` is needed only where nothing
//! else runs. Files that cannot be read, and empty ones, are passed over as restic does: they may be locks
//! that are being written. Only `all` removes them, and live locks with them: it is for who knows that
//! nobody works on the repository.

use super::Session;
use crate::backend::FileType;
use crate::error::{Error, Result};
use crate::repository::lock::{Seen, survey};

/// Which locks go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnlockOptions {
    /// Live locks and unreadable files too (`MOVER_UNLOCK_ALL`).
    pub all: bool,
    /// Remove nothing, say what would go (`MOVER_DRY_RUN`).
    pub dry_run: bool,
}

/// Removes locks, says whose they were, and returns how many went, or would go.
pub fn run(session: &Session<'_>, options: UnlockOptions) -> Result<u64> {
    let mut names = Vec::new();
    let (mut live, mut stale) = (0, 0);
    for (name, seen) in survey(&session.repository, &session.locks.holder)? {
        let (goes, what) = match seen {
            Seen::Empty => (options.all, format!("locks/{name}, which is empty")),
            Seen::Unreadable(error) => {
                let cause = error.cause.unwrap_or(error.what);
                (options.all, format!("locks/{name}, which cannot be read: {cause}"))
            }
            Seen::Live(file) => {
                live += 1;
                (options.all, format!("a live lock: {}", file.describe()))
            }
            Seen::Stale(file) => {
                stale += 1;
                (true, format!("a stale lock: {}", file.describe()))
            }
        };
        match (goes, options.dry_run) {
            (true, false) => session.monitor.warn(&format!("removing {what}")),
            (true, true) => session.monitor.warn(&format!("would remove {what}")),
            (false, _) => tracing::info!("leaving {what}"),
        }
        if goes {
            names.push(name);
        }
    }
    session.monitor.locks_found(live, stale);
    if options.dry_run {
        return Ok(names.len() as u64);
    }
    let mut removed = 0;
    let mut outcome = Ok(());
    for result in session.repository.backend().delete_many(FileType::Lock, &names) {
        match result {
            Ok(()) => removed += 1,
            // Its holder gave it back meanwhile.
            Err(error) if error.is_not_found() => {}
            Err(error) => outcome = outcome.and(Err(Error::from(error))),
        }
    }
    outcome.map(|()| removed)
}
