//! Locks: files under `locks/` that say who works on the repository (restic design, "Locks").
//!
//! The race they prevent: prune reads all snapshots, marks what they need and deletes the rest. A backup
//! that runs meanwhile relies on blobs that prune has not seen used. So prune holds an exclusive lock, all
//! others a shared one, and no two conflicting locks may both believe they are alone:
//!
//! ```text
//! A: list ─ write A ─ wait 200 ms ─ list again ─ B is there and conflicts: delete A, wait, start over
//! B: list ─ write B ─ wait 200 ms ─ list again ─ A is there and conflicts: delete B, …
//! ```
//!
//! Whoever writes second sees the first in its second list, so at most one goes on; both may withdraw. The first
//! list decides nothing, it spares others a lock that would be withdrawn: it may be as old as the opening of the
//! repository. The wait is for stores that show late what was written; the file systems of one machine never do,
//! and there nobody waits. What is read while the lock settles is true only if the second list lets us go on, and
//! if nobody had taken and given back a lock between the two lists: the reader looks whether what it read still
//! stands.
//! A lock is refreshed every 5 minutes by a thread of its own (a new file, then the old one goes), and is
//! lost after 22.5 minutes without a refresh, or when its file is gone: then nothing may be deleted or
//! committed any more, and `Lock::check` says so. An exclusive lock's file is looked at every 30 seconds
//! besides (restic does not), so that `Lock::is_lost` stops a long deletion soon after somebody broke in.
//!
//! `file.rs` says what a lock file holds and when it is stale, `survey.rs` reads those of others,
//! `acquire.rs` takes one, `hold.rs` keeps it alive and gives it back.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::Repository;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Holder;
use crate::report::Monitor;

mod acquire;
mod file;
mod hold;
mod survey;

pub use file::{LockFile, STALE_AFTER};
pub use survey::{Seen, survey};

use hold::Hold;

/// How often a lock is refreshed.
pub const REFRESH: Duration = Duration::from_mins(5);
/// Without a refresh for so long, a lock is lost.
pub const LOST_AFTER: Duration = Duration::from_secs(22 * 60 + 30);
/// Between writing a lock and listing again, where a list may show late what was written.
const SETTLE: Duration = Duration::from_millis(200);

/// Whether others may work at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Beside other shared locks.
    Shared,
    /// Alone.
    Exclusive,
}

/// How to take a lock.
#[derive(Debug, Clone)]
pub struct LockOptions {
    /// Who takes it.
    pub holder: Holder,
    /// How long to wait for a live lock in the way (`MOVER_LOCK_WAIT`).
    pub wait: Duration,
    /// Between two refreshes; an exclusive lock is looked at ten times as often.
    pub refresh: Duration,
}

/// A held lock; it is given back by `release` or on drop.
pub struct Lock {
    hold: Arc<Hold>,
    refresher: Option<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Lock({:?})", self.hold.mode())
    }
}

impl Lock {
    /// Takes a lock, waiting for conflicting live ones up to `options.wait`, and removing stale ones.
    pub fn acquire(
        repository: &Arc<Repository>,
        mode: LockMode,
        options: &LockOptions,
        monitor: &dyn Monitor,
        stop: &AtomicBool,
    ) -> Result<Self> {
        Self::acquire_as(repository, mode, options, monitor, stop, &|_| (), &|| ())
    }

    /// The same. `held` is given the releaser before the first file is written: whoever ends the process
    /// while the lock is being taken can remove it as well. `meanwhile` runs each time that a lock settles.
    pub fn acquire_as(
        repository: &Arc<Repository>,
        mode: LockMode,
        options: &LockOptions,
        monitor: &dyn Monitor,
        stop: &AtomicBool,
        held: &dyn Fn(Releaser),
        meanwhile: &(dyn Fn() + Sync),
    ) -> Result<Self> {
        let hold = Arc::new(Hold::new(Arc::clone(repository), options.holder.clone(), mode));
        // From here on every way out drops the lock, and with it what was written.
        let mut lock = Self { hold: Arc::clone(&hold), refresher: None };
        held(lock.releaser());
        acquire::acquire(&hold, options, monitor, stop, meanwhile)?;
        lock.refresher = Some(hold::spawn_refresher(hold, options.refresh)?);
        Ok(lock)
    }

    /// An error once the lock is lost: call before anything is deleted or committed. It asks the store.
    pub fn check(&self) -> Result<()> {
        self.hold.look()?;
        if self.is_lost() {
            return Err(Error::new(ErrorKind::Locked, "the lock on the repository was lost")
                .because("it could not be refreshed, or somebody removed it")
                .then("Nothing was deleted or committed after that; run it again"));
        }
        Ok(())
    }

    /// Whether the lock is known to be lost, without asking the store: cheap enough for every step of a loop.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.hold.is_lost()
    }

    /// Gives the lock back now, and says when that fails.
    pub fn release(mut self) -> Result<()> {
        self.give_back()
    }

    /// A handle that gives the lock back from elsewhere, e.g. when a signal's grace period ends.
    #[must_use]
    pub fn releaser(&self) -> Releaser {
        Releaser(Arc::clone(&self.hold))
    }

    fn give_back(&mut self) -> Result<()> {
        let result = self.hold.release();
        if let Some(refresher) = self.refresher.take() {
            let _ = refresher.join();
        }
        result
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.give_back() {
            tracing::warn!("{error}");
        }
    }
}

/// Gives a lock back from another thread than its holder's.
pub struct Releaser(Arc<Hold>);

impl std::fmt::Debug for Releaser {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Releaser")
    }
}

impl Releaser {
    /// Removes the lock's files; a lock that is given back already is left alone.
    pub fn release(&self) -> Result<()> {
        self.0.release()
    }
}
