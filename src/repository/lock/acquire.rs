//! Taking a lock: list, write, settle, list again; wait for the living, remove the dead.
//!
//! Invariants: whoever goes on saw its own lock in the second list and no live one that conflicts (a list
//! that lacks what was just written may lack others, too); a stale lock stops nobody, of whichever mode; and
//! every wait ends within 200 ms of a stop.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::file::{LockFile, Standing, StoreTime};
use super::hold::Hold;
use super::survey::{pause, read_all};
use super::{LockOptions, SETTLE};
use crate::backend::{BackendErrorKind, FileType, Listed};
use crate::error::{Error, ErrorKind, Result};
use crate::random::random_array;
use crate::report::Monitor;

/// How often somebody who waits says so.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// How often a lock that the list does not show is written again.
const UNLISTED_MAX: u32 = 3;

/// Takes the lock for `hold`, or fails without it.
pub(super) fn acquire(
    hold: &Hold,
    options: &LockOptions,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
    meanwhile: &(dyn Fn() + Sync),
) -> Result<()> {
    let start = hold.repository().clock().elapsed();
    let mut taking = Taking {
        hold,
        options,
        monitor,
        stop,
        meanwhile,
        start,
        said: None,
        store: StoreTime::Unknown,
        known: HashMap::new(),
        odd: HashSet::new(),
    };
    let mut unlisted = 0;
    loop {
        match taking.attempt()? {
            Found::Alone => return Ok(()),
            Found::Conflict(other) => taking.wait_for(&other)?,
            Found::Unlisted if unlisted < UNLISTED_MAX => {
                unlisted += 1;
                taking.nap(Duration::MAX)?;
            }
            Found::Unlisted => {
                return Err(Error::new(ErrorKind::Other, "cannot lock the repository")
                    .at(hold.repository().backend().location())
                    .because("its list of locks does not show the one that was just written")
                    .then("Look whether the store's lists can be relied on"));
            }
        }
    }
}

/// What a look at the locks leads to.
enum Found {
    /// No live lock is in the way.
    Alone,
    /// This one is.
    Conflict(LockFile),
    /// The list does not show our own.
    Unlisted,
}

/// Somebody who wants a lock, and what is known by now.
struct Taking<'a> {
    hold: &'a Hold,
    options: &'a LockOptions,
    monitor: &'a dyn Monitor,
    stop: &'a AtomicBool,
    meanwhile: &'a (dyn Fn() + Sync),
    start: Duration,
    said: Option<Duration>,
    store: StoreTime,
    known: HashMap<String, LockFile>,
    odd: HashSet<String>,
}

impl Taking<'_> {
    fn attempt(&mut self) -> Result<Found> {
        match self.look(None)? {
            Found::Alone => {}
            other => return Ok(other),
        }
        let found = std::thread::scope(|scope| {
            scope.spawn(self.meanwhile);
            let name = self.hold.write()?;
            if !self.hold.repository().backend().lists_at_once() {
                pause(self.hold.repository().clock(), SETTLE, self.stop)?;
            }
            self.look(Some(&name))
        })?;
        if !matches!(found, Found::Alone) {
            self.hold.withdraw()?;
        }
        Ok(found)
    }

    /// Lists, removes what is stale, and finds what is in the way. As long as it is not known what time it is
    /// for the store, an old lock is not in the way: with our own written, the second list tells.
    fn look(&mut self, own: Option<&str>) -> Result<Found> {
        let repository = self.hold.repository();
        let listed_before = if own.is_none() { repository.take_listed_locks() } else { None };
        let mut listed = listed_before.map_or_else(|| repository.backend().list(FileType::Lock), Ok)?;
        if let Some(own) = own {
            let Some(shown) = listed.iter().find(|file| file.name == own) else { return Ok(Found::Unlisted) };
            self.store = StoreTime::of(shown, repository.clock());
        }
        listed.retain(|file| own != Some(file.name.as_str()) && file.bytes > 0);
        let unread: Vec<Listed> =
            listed.iter().filter(|file| !self.known.contains_key(&file.name)).cloned().collect();
        self.known.extend(read_all(repository, &unread, self.stop)?);
        let (mut conflict, mut live, mut stale) = (None, 0, 0);
        for listed in listed {
            let Some(file) = self.known.get(&listed.name) else { continue };
            match file.standing(&self.options.holder, &listed, repository.clock(), self.store) {
                Standing::Stale => {
                    stale += 1;
                    self.remove(&listed, file)?;
                }
                Standing::Old => {}
                Standing::Live => {
                    live += 1;
                    if let Some(ahead) = file.ahead(repository.clock())
                        && self.odd.insert(listed.name.clone())
                    {
                        let (whose, minutes) = (file.describe(), ahead.as_secs() / 60);
                        self.monitor.warn(&format!(
                            "odd: a lock from the future, {minutes} min ahead of this clock, is taken for \
                             live: {whose}; check the clocks"
                        ));
                    }
                    if conflict.is_none() && file.conflicts_with(self.hold.mode()) {
                        conflict = Some(file.clone());
                    }
                }
            }
        }
        self.monitor.locks_found(live, stale);
        Ok(conflict.map_or(Found::Alone, Found::Conflict))
    }

    /// Removes a stale lock and says whose it was. Where nothing may be deleted it stays, in nobody's way.
    fn remove(&self, listed: &Listed, file: &LockFile) -> Result<()> {
        let whose = file.describe();
        match self.hold.repository().backend().delete(FileType::Lock, &listed.name) {
            Err(error) if error.kind == BackendErrorKind::Denied => {
                let cause = error.cause;
                self.monitor.warn(&format!("a stale lock stays where it is: {whose}: {cause}"));
            }
            Err(error) if error.kind != BackendErrorKind::NotFound => return Err(error.into()),
            _ => self.monitor.warn(&format!("removed a stale lock: {whose}")),
        }
        Ok(())
    }

    /// Waits a moment for `other` to go, or fails with exit 11 when the time is up.
    fn wait_for(&mut self, other: &LockFile) -> Result<()> {
        let waited = self.hold.repository().clock().elapsed().saturating_sub(self.start);
        let left = self.options.wait.saturating_sub(waited);
        let exclusively = if other.exclusive { " exclusively" } else { "" };
        let whose = other.describe();
        // A stop comes first: it is why nobody waits.
        self.nap(Duration::ZERO)?;
        if left.is_zero() {
            return Err(Error::new(ErrorKind::Locked, "unable to create lock in backend")
                .because(format!("repository is already locked{exclusively} by {whose}"))
                .then("Wait for it to finish; if it is gone, run unlock"));
        }
        if self.said.is_none_or(|said| waited.saturating_sub(said) >= SAY_EVERY) {
            let left = left.as_secs();
            self.monitor
                .warn(&format!("repository is locked{exclusively} by {whose}: waiting up to {left} s more"));
            self.said = Some(waited);
        }
        self.monitor.waiting(&format!("the lock of {whose}"));
        let napped = self.nap(left);
        self.monitor.waiting("");
        napped
    }

    /// Waits about a second. Not quite: two who withdraw for each other must not come back together.
    fn nap(&self, most: Duration) -> Result<()> {
        let repository = self.hold.repository();
        let random = u16::from_le_bytes(random_array(repository.random())?);
        let nap = Duration::from_millis(500 + u64::from(random % 1000));
        pause(repository.clock(), nap.min(most), self.stop)
    }
}
