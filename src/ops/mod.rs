//! The operations, one verb a file; each opens with what it does and which lock it takes.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{ErrorKind, Result};
use crate::report::Monitor;
use crate::repository::Repository;
use crate::repository::lock::{Lock, LockMode, LockOptions, Releaser};

pub mod backup;
pub mod check;
pub mod doctor;
pub mod forget;
pub mod init;
pub mod ls;
pub mod prune;
pub mod repair;
pub mod report;
pub mod restore;
pub mod snapshots;
pub mod stats;
pub mod unlock;
pub mod verify;

/// What every operation on an open repository gets.
pub struct Session<'a> {
    /// The repository.
    pub repository: Arc<Repository>,
    /// How locks are taken.
    pub locks: &'a LockOptions,
    /// Who is told.
    pub monitor: &'a dyn Monitor,
    /// Set when the run must end: SIGINT, SIGTERM.
    pub stop: &'a AtomicBool,
    /// Is given every lock before it is taken, to be given back should the run hang at its end.
    pub held: Box<dyn Fn(Releaser) + Sync + 'a>,
    /// The machine's share of this run.
    pub limits: Limits,
}

/// The machine's share of a run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The budget for everything in flight, in bytes (`MOVER_MEMORY`).
    pub memory_bytes: u64,
    /// Threads that compute (`MOVER_THREADS`).
    pub threads: usize,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Session({:?})", self.repository)
    }
}

impl Session<'_> {
    /// Takes a lock, runs `work` under it and gives it back, also when `work` fails.
    pub fn locked<T>(&self, mode: LockMode, work: impl FnOnce(&Lock) -> Result<T>) -> Result<T> {
        self.locked_after(mode, || Ok(()), |lock, ()| work(lock))
    }

    /// The same. `read` runs while the lock is written and settles, and anew whenever it has to be taken anew; `work`
    /// is given what it read last. Somebody whose lock is gone may have changed the repository meanwhile: what was found
    /// damaged is read again, and `work` looks whether what it relies on still holds.
    pub fn locked_after<R: Send, T>(
        &self,
        mode: LockMode,
        read: impl Fn() -> Result<R> + Sync,
        work: impl FnOnce(&Lock, R) -> Result<T>,
    ) -> Result<T> {
        self.monitor.phase("locking the repository");
        let (repository, held) = (&self.repository, self.held.as_ref());
        let found = Mutex::new(None);
        let keep = || *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(read());
        let lock = Lock::acquire_as(repository, mode, self.locks, self.monitor, self.stop, held, &keep)?;
        let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let found = match found {
            Some(Err(error)) if error.kind == ErrorKind::Damaged => read(),
            Some(found) => found,
            None => read(),
        };
        let done = found.and_then(|found| work(&lock, found));
        let released = lock.release();
        // What was done stays done: a lock that cannot be removed goes stale and is removed by the next run.
        if let Err(error) = released {
            self.monitor.warn(&format!("the lock could not be given back: {error}"));
        }
        done
    }
}
