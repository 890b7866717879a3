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
//! Whoever writes second sees the first in its second list, so at most one goes on; both may withdraw.
//! A lock is refreshed every 5 minutes by a thread of its own (a new file, then the old one goes), and is
//! lost after 22.5 minutes without a refresh, or when its file is gone: then nothing may be deleted or
//! committed any more, and `Lock::check` says so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Repository;
use super::id::Id;
use crate::backend::{BackendErrorKind, FileType, Listed};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Holder;
use crate::report::Monitor;

/// How often a lock is refreshed.
pub const REFRESH: Duration = Duration::from_mins(5);
/// Without a refresh for so long, a lock is lost.
pub const LOST_AFTER: Duration = Duration::from_secs(22 * 60 + 30);
/// A lock older than this is stale.
pub const STALE_AFTER: Duration = Duration::from_mins(30);
/// Between writing a lock and listing again.
const SETTLE: Duration = Duration::from_millis(200);

/// Whether others may work at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Beside other shared locks.
    Shared,
    /// Alone.
    Exclusive,
}

/// What a lock file says, fields in restic's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockFile {
    /// When it was taken or last refreshed, RFC 3339.
    pub time: String,
    /// Whether it excludes all others.
    pub exclusive: bool,
    /// The kernel's host name.
    #[serde(default)]
    pub hostname: String,
    /// The user's name.
    #[serde(default)]
    pub username: String,
    /// The process.
    #[serde(default)]
    pub pid: i32,
    /// The user's id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// The group's id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(id: &u32) -> bool {
    *id == 0
}

impl LockFile {
    fn new(holder: &Holder, mode: LockMode, now: Timestamp) -> Self {
        Self {
            time: now.to_string(),
            exclusive: mode == LockMode::Exclusive,
            hostname: holder.hostname.clone(),
            username: holder.username.clone(),
            pid: holder.pid,
            uid: holder.uid,
            gid: holder.gid,
        }
    }

    /// Whose it is and since when, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("PID {} on {} by {} since {}", self.pid, self.hostname, self.username, self.time)
    }

    fn conflicts_with(&self, mode: LockMode) -> bool {
        self.exclusive || mode == LockMode::Exclusive
    }

    /// Stale: older than 30 minutes by its own time and, where the store tells, by the store's; or written
    /// on this host by a process that is gone.
    fn is_stale(&self, holder: &Holder, listed: &Listed, now: Timestamp) -> bool {
        let older = |time: Timestamp| now.duration_since(time) > STALE_AFTER.try_into().unwrap_or_default();
        let old = self.time.parse::<Timestamp>().is_ok_and(older) && listed.modified.is_none_or(older);
        old || self.holder_is_gone(holder)
    }

    fn holder_is_gone(&self, holder: &Holder) -> bool {
        if holder.contained || self.hostname != holder.hostname {
            return false;
        }
        if self.pid <= 1 || holder.pid <= 1 || self.pid == holder.pid {
            return false;
        }
        let Some(pid) = rustix::process::Pid::from_raw(self.pid) else { return false };
        rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
    }
}

/// How to take a lock.
#[derive(Debug, Clone)]
pub struct LockOptions {
    /// Who takes it.
    pub holder: Holder,
    /// How long to wait for a live lock in the way (`MOVER_LOCK_WAIT`).
    pub wait: Duration,
    /// Between two refreshes.
    pub refresh: Duration,
}

struct Held {
    name: String,
    refreshed: Duration,
    written: Timestamp,
}

struct Shared {
    repository: Arc<Repository>,
    holder: Holder,
    mode: LockMode,
    held: Mutex<Option<Held>>,
    changed: Condvar,
    lost: AtomicBool,
}

/// A held lock; it is given back by `release` or on drop.
pub struct Lock {
    shared: Arc<Shared>,
    refresher: Option<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Lock({:?})", self.shared.mode)
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
        let clock = repository.clock();
        let start = clock.elapsed();
        let mut told = None;
        let name = loop {
            match attempt(repository, mode, options, monitor)? {
                Attempt::Held(name) => break name,
                Attempt::Conflict(other) => {
                    wait_for(&other, start, options, &mut told, repository, monitor, stop)?;
                }
            }
        };
        let shared = Arc::new(Shared {
            repository: Arc::clone(repository),
            holder: options.holder.clone(),
            mode,
            held: Mutex::new(Some(Held { name, refreshed: clock.elapsed(), written: clock.now() })),
            changed: Condvar::new(),
            lost: AtomicBool::new(false),
        });
        let mut lock = Self { shared: Arc::clone(&shared), refresher: None };
        lock.refresher = Some(spawn_refresher(shared, options.refresh)?);
        Ok(lock)
    }

    /// An error once the lock is lost: call before anything is deleted or committed.
    pub fn check(&self) -> Result<()> {
        self.shared.look()?;
        if self.shared.lost.load(Ordering::SeqCst) || self.shared.is_overdue() {
            return Err(Error::new(ErrorKind::Locked, "the lock on the repository was lost")
                .because("it could not be refreshed, or somebody removed it")
                .then("Nothing was deleted or committed after that; run it again"));
        }
        Ok(())
    }

    /// Gives the lock back now, and says when that fails.
    pub fn release(mut self) -> Result<()> {
        self.give_back()
    }

    /// A handle that gives the lock back from elsewhere, e.g. when a signal's grace period ends.
    #[must_use]
    pub fn releaser(&self) -> Releaser {
        Releaser(Arc::clone(&self.shared))
    }

    fn give_back(&mut self) -> Result<()> {
        let result = self.shared.remove();
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
pub struct Releaser(Arc<Shared>);

impl std::fmt::Debug for Releaser {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Releaser")
    }
}

impl Releaser {
    /// Removes the lock's file; a lock that is given back already is left alone.
    pub fn release(&self) -> Result<()> {
        self.0.remove()
    }
}

impl Shared {
    fn remove(&self) -> Result<()> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.changed.notify_all();
        let Some(held) = held else { return Ok(()) };
        match self.repository.backend().delete(FileType::Lock, &held.name) {
            Err(error) if error.kind != BackendErrorKind::NotFound => Err(Error::from(error)),
            _ => Ok(()),
        }
    }

    /// By either clock: one stands still while the machine sleeps, the other can be set.
    fn is_overdue(&self) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = self.repository.clock();
        let long = |held: &Held| {
            let by_wall = clock.now().duration_since(held.written);
            clock.elapsed().saturating_sub(held.refreshed) > LOST_AFTER
                || by_wall > LOST_AFTER.try_into().unwrap_or_default()
        };
        held.as_ref().is_some_and(long)
    }

    /// Notes that the lock is lost when its file is gone. Whether it is must be known: a store that does not
    /// answer is an error.
    fn look(&self) -> Result<()> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = held.as_ref() else { return Ok(()) };
        match self.repository.backend().stat(FileType::Lock, &held.name) {
            Err(error) if error.is_not_found() => {
                self.lost.store(true, Ordering::SeqCst);
                Ok(())
            }
            looked => Ok(looked.map(|_| ())?),
        }
    }

    /// Writes a new lock file and deletes the old one; a lock whose file is gone is lost.
    fn refresh(&self) -> Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(current) = held.as_mut() else { return Ok(()) };
        let backend = self.repository.backend();
        if let Err(error) = backend.stat(FileType::Lock, &current.name) {
            if error.kind == BackendErrorKind::NotFound {
                self.lost.store(true, Ordering::SeqCst);
            }
            return Err(error.into());
        }
        let written = self.repository.clock().now();
        let name = write(&self.repository, &LockFile::new(&self.holder, self.mode, written))?;
        current.written = written;
        let old = std::mem::replace(&mut current.name, name);
        current.refreshed = self.repository.clock().elapsed();
        backend.delete(FileType::Lock, &old)?;
        Ok(())
    }
}

fn spawn_refresher(shared: Arc<Shared>, every: Duration) -> Result<std::thread::JoinHandle<()>> {
    let refresh = move || {
        loop {
            let held = shared.held.lock().unwrap_or_else(PoisonError::into_inner);
            let (held, _) = shared
                .changed
                .wait_timeout_while(held, every, |held| held.is_some())
                .unwrap_or_else(PoisonError::into_inner);
            if held.is_none() {
                return;
            }
            drop(held);
            if let Err(error) = shared.refresh() {
                tracing::warn!("refreshing the lock: {error}");
            }
        }
    };
    std::thread::Builder::new()
        .name("lock".to_owned())
        .spawn(refresh)
        .map_err(|cause| Error::new(ErrorKind::Other, "cannot start a thread").because(cause))
}

enum Attempt {
    Held(String),
    Conflict(LockFile),
}

fn attempt(
    repository: &Repository,
    mode: LockMode,
    options: &LockOptions,
    monitor: &dyn Monitor,
) -> Result<Attempt> {
    if let Some(other) = conflict(repository, mode, options, None, monitor)? {
        return Ok(Attempt::Conflict(other));
    }
    let file = LockFile::new(&options.holder, mode, repository.clock().now());
    let name = write(repository, &file)?;
    repository.clock().sleep(SETTLE);
    match conflict(repository, mode, options, Some(&name), monitor) {
        Ok(None) => Ok(Attempt::Held(name)),
        Ok(Some(other)) => {
            repository.backend().delete(FileType::Lock, &name)?;
            Ok(Attempt::Conflict(other))
        }
        Err(error) => {
            let _ = repository.backend().delete(FileType::Lock, &name);
            Err(error)
        }
    }
}

fn write(repository: &Repository, file: &LockFile) -> Result<String> {
    let json = serde_json::to_vec(file).unwrap_or_default();
    Ok(repository.write_unpacked(FileType::Lock, &json)?.hex())
}

/// The first live lock in the way of `mode`; stale ones are removed and named.
fn conflict(
    repository: &Repository,
    mode: LockMode,
    options: &LockOptions,
    own: Option<&str>,
    monitor: &dyn Monitor,
) -> Result<Option<LockFile>> {
    for listed in repository.backend().list(FileType::Lock)? {
        if own == Some(listed.name.as_str()) || listed.bytes == 0 {
            continue;
        }
        let Some(file) = read(repository, &listed)? else { continue };
        if file.is_stale(&options.holder, &listed, repository.clock().now()) {
            remove_stale(repository, &listed, &file, monitor)?;
        } else if file.conflicts_with(mode) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// A lock's content; `None` when it is gone by now. One that stays unreadable is an error after 4 tries.
fn read(repository: &Repository, listed: &Listed) -> Result<Option<LockFile>> {
    let Ok(id) = listed.name.parse::<Id>() else { return Ok(None) };
    let waits = [5, 10, 20].map(Duration::from_secs);
    for wait in waits.into_iter().map(Some).chain([None]) {
        let error = match repository.read_unpacked_if_there(FileType::Lock, &id) {
            Ok(None) => return Ok(None),
            Ok(Some(json)) => match serde_json::from_slice::<LockFile>(&json) {
                Ok(file) => return Ok(Some(file)),
                Err(cause) => Error::damaged("cannot read a lock", format!("locks/{}", listed.name), cause)
                    .then("If no other process works on the repository, remove all locks"),
            },
            Err(error) => error,
        };
        match wait {
            Some(wait) => repository.clock().sleep(wait),
            None => return Err(error),
        }
    }
    Ok(None)
}

fn remove_stale(
    repository: &Repository,
    listed: &Listed,
    file: &LockFile,
    monitor: &dyn Monitor,
) -> Result<()> {
    match repository.backend().delete(FileType::Lock, &listed.name) {
        Err(error) if error.kind != BackendErrorKind::NotFound => Err(error.into()),
        _ => {
            monitor.warn(&format!("removed a stale lock: {}", file.describe()));
            Ok(())
        }
    }
}

/// Waits a moment for `other` to go, or fails with exit 11 when the time is up.
fn wait_for(
    other: &LockFile,
    start: Duration,
    options: &LockOptions,
    told: &mut Option<Duration>,
    repository: &Repository,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<()> {
    let clock = repository.clock();
    let waited = clock.elapsed().saturating_sub(start);
    let exclusively = if other.exclusive { " exclusively" } else { "" };
    if stop.load(Ordering::SeqCst) {
        return Err(Error::new(ErrorKind::Interrupted, "interrupted while waiting for a lock"));
    }
    if waited >= options.wait {
        return Err(Error::new(ErrorKind::Locked, "unable to create lock in backend")
            .because(format!("repository is already locked{exclusively} by {}", other.describe()))
            .then("Wait for it to finish; if it is gone, run unlock"));
    }
    if told.is_none_or(|last| waited.saturating_sub(last) >= Duration::from_secs(10)) {
        let left = options.wait.saturating_sub(waited).as_secs();
        let whose = other.describe();
        monitor.warn(&format!("repository is locked{exclusively} by {whose}: waiting up to {left} s more"));
        *told = Some(waited);
    }
    clock.sleep(Duration::from_secs(1).min(options.wait.saturating_sub(waited)));
    Ok(())
}
