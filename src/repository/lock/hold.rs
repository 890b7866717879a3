//! A lock that is held: its files, its refreshes, its end.
//!
//! Invariants: a file is noted before it is written and forgotten after it was deleted, so whoever gives the
//! lock back, at whichever moment, removes all that may be there; no request to the store is made while the
//! state is locked, so nobody waits for a store in order to learn that the lock is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::file::LockFile;
use super::{LOST_AFTER, LockMode, SETTLE};
use crate::backend::{BackendResult, FileType};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Holder;
use crate::repository::Repository;

/// An exclusive lock is looked at so many times between two refreshes; a refresh that failed is tried again
/// as often.
const LOOKS: u32 = 10;
/// How often a deletion is tried that failed for a reason that may pass. A run that was told to stop repeats
/// no request, and must leave no lock all the same.
const DELETE_TRIES: u32 = 3;
/// Between two of them.
const DELETE_PAUSE: Duration = Duration::from_millis(500);

/// The lock file that counts.
#[derive(Debug, Clone)]
struct Current {
    name: String,
    refreshed: Duration,
    written: Timestamp,
}

#[derive(Default)]
struct State {
    /// Files that may be there.
    files: Vec<String>,
    current: Option<Current>,
    released: bool,
}

/// A lock's state, shared by its holder, its refresher and whoever may give it back.
pub(super) struct Hold {
    repository: Arc<Repository>,
    holder: Holder,
    mode: LockMode,
    state: Mutex<State>,
    changed: Condvar,
    lost: AtomicBool,
}

impl Hold {
    pub(super) fn new(repository: Arc<Repository>, holder: Holder, mode: LockMode) -> Self {
        let (state, changed, lost) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        Self { repository, holder, mode, state, changed, lost }
    }

    pub(super) fn mode(&self) -> LockMode {
        self.mode
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Writes a new lock file, which counts from now on, and returns its name.
    pub(super) fn write(&self) -> Result<String> {
        let current = self.write_file()?;
        let name = current.name.clone();
        self.state().current = Some(current);
        Ok(name)
    }

    /// Deletes what was written, to try again later.
    pub(super) fn withdraw(&self) -> Result<()> {
        self.state().current = None;
        self.delete_but(None)
    }

    /// Deletes what was written, for good.
    pub(super) fn release(&self) -> Result<()> {
        {
            let mut state = self.state();
            state.released = true;
            state.current = None;
        }
        self.changed.notify_all();
        self.delete_but(None)
    }

    /// Whether the lock is known to be lost.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst) || self.is_older_than(LOST_AFTER)
    }

    /// Notes that the lock is lost when its file is gone. Whether it is must be known: a store that does not
    /// answer is an error.
    pub(super) fn look(&self) -> Result<()> {
        loop {
            let Some(name) = self.name() else { return Ok(()) };
            match self.repository.backend().stat(FileType::Lock, &name) {
                // A refresh may have put another file in its place meanwhile.
                Err(error) if error.is_not_found() && self.name().is_some_and(|now| now != name) => {}
                Err(error) if error.is_not_found() => {
                    if self.name().is_some() {
                        self.lost.store(true, Ordering::SeqCst);
                    }
                    return Ok(());
                }
                looked => return Ok(looked.map(|_| ())?),
            }
        }
    }

    /// Writes a new lock file and deletes the old one; a lock whose file is gone is lost.
    fn refresh(&self) -> Result<()> {
        self.look()?;
        let overdue = self.is_older_than(LOST_AFTER);
        let Some(old) = self.name().filter(|_| !self.lost.load(Ordering::SeqCst)) else { return Ok(()) };
        let new = self.write_file()?;
        if overdue {
            // Somebody may have found it stale just before the new one was there, and removes it now.
            self.repository.clock().sleep(SETTLE);
            self.look()?;
        }
        {
            let mut state = self.state();
            if !state.released && !self.lost.load(Ordering::SeqCst) {
                state.current = Some(new);
            }
        }
        let keep = self.name().filter(|name| *name != old);
        self.delete_but(keep.as_deref())
    }

    fn write_file(&self) -> Result<Current> {
        let clock = self.repository.clock();
        let (refreshed, written) = (clock.elapsed(), clock.now());
        let file = LockFile::new(&self.holder, self.mode, written);
        let json = serde_json::to_vec(&file).unwrap_or_default();
        let (id, stored) = self.repository.seal_unpacked(&json)?;
        let name = id.hex();
        {
            let mut state = self.state();
            if state.released {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted while taking a lock"));
            }
            state.files.push(name.clone());
        }
        self.repository.backend().write(FileType::Lock, &name, &stored)?;
        Ok(Current { name, refreshed, written })
    }

    /// Deletes all files but one.
    fn delete_but(&self, kept: Option<&str>) -> Result<()> {
        let files: Vec<String> = self.state().files.clone();
        let mut outcome = Ok(());
        for name in files.into_iter().filter(|name| Some(name.as_str()) != kept) {
            match self.delete(&name) {
                Err(error) if !error.is_not_found() => outcome = Err(error.into()),
                _ => self.state().files.retain(|file| *file != name),
            }
        }
        outcome
    }

    fn delete(&self, name: &str) -> BackendResult<()> {
        let mut tries = 1;
        loop {
            match self.repository.backend().delete(FileType::Lock, name) {
                Err(error) if error.temporary && tries < DELETE_TRIES => tries += 1,
                done => return done,
            }
            self.repository.clock().sleep(DELETE_PAUSE);
        }
    }

    /// By either clock: one stands still while the machine sleeps, the other can be set.
    fn is_older_than(&self, age: Duration) -> bool {
        let clock = self.repository.clock();
        self.state().current.as_ref().is_some_and(|current| {
            let by_wall = clock.now().duration_since(current.written);
            clock.elapsed().saturating_sub(current.refreshed) > age
                || by_wall > age.try_into().unwrap_or_default()
        })
    }

    fn name(&self) -> Option<String> {
        self.state().current.as_ref().map(|current| current.name.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that does nothing but refresh the lock, and look at it when it is exclusive, until it is released.
pub(super) fn spawn_refresher(hold: Arc<Hold>, every: Duration) -> Result<std::thread::JoinHandle<()>> {
    let refresh = move || {
        let mut looks = 0;
        loop {
            let waited =
                hold.changed.wait_timeout_while(hold.state(), every / LOOKS, |state| !state.released);
            if waited.unwrap_or_else(PoisonError::into_inner).0.released {
                return;
            }
            looks += 1;
            let due = looks >= LOOKS || hold.is_older_than(every);
            let done = match hold.mode {
                _ if due => hold.refresh(),
                LockMode::Exclusive => hold.look(),
                LockMode::Shared => Ok(()),
            };
            match done {
                Ok(()) if due => looks = 0,
                Ok(()) => {}
                Err(error) => tracing::warn!("refreshing the lock: {error}"),
            }
        }
    };
    std::thread::Builder::new()
        .name("lock".to_owned())
        .spawn(refresh)
        .map_err(|cause| Error::new(ErrorKind::Other, "cannot start a thread").because(cause))
}
