//! The locks of others, seen before this run takes its own.

use std::collections::HashSet;

use jiff::Timestamp;

use super::super::Session;
use crate::backend::FileType;
use crate::error::Result;
use crate::repository::lock::{LockFile, Seen, survey};

/// A file under `locks/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockSeen {
    /// Its name.
    pub name: String,
    /// What it is.
    pub state: LockState,
    /// Whose it is; empty where that is not known.
    pub holder: String,
    /// When it was taken or last refreshed.
    pub since: Option<Timestamp>,
    /// Whether it excludes all others.
    pub exclusive: bool,
}

/// Whether a lock stands in anybody's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockState {
    /// Its holder works, as far as one can know.
    Live,
    /// Its holder is gone, the file is there.
    Stale,
    /// The same, and this run removed it.
    Removed,
    /// It is empty or cannot be read.
    Unreadable,
}

impl LockState {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Removed => "removed",
            Self::Unreadable => "unreadable",
        }
    }
}

/// All that are there.
pub(super) fn see(session: &Session<'_>) -> Result<Vec<LockSeen>> {
    let seen = survey(&session.repository, &session.locks.holder)?;
    Ok(seen.into_iter().map(|(name, seen)| of(name, seen)).collect())
}

fn of(name: String, seen: Seen) -> LockSeen {
    let told = |name, file: LockFile, state| LockSeen {
        name,
        state,
        holder: format!("PID {} on {} by {}", file.pid, file.hostname, file.username),
        since: file.time.parse().ok(),
        exclusive: file.exclusive,
    };
    match seen {
        Seen::Live(file) => told(name, file, LockState::Live),
        Seen::Stale(file) => told(name, file, LockState::Stale),
        Seen::Empty | Seen::Unreadable(_) => LockSeen {
            name,
            state: LockState::Unreadable,
            holder: String::new(),
            since: None,
            exclusive: false,
        },
    }
}

/// Taking a lock removed what was stale, where that was allowed.
pub(super) fn mark_removed(session: &Session<'_>, locks: &mut [LockSeen]) -> Result<()> {
    if locks.iter().all(|lock| lock.state != LockState::Stale) {
        return Ok(());
    }
    let listed = session.repository.backend().list(FileType::Lock)?;
    let there: HashSet<&str> = listed.iter().map(|file| file.name.as_str()).collect();
    for lock in locks.iter_mut().filter(|lock| lock.state == LockState::Stale) {
        if !there.contains(lock.name.as_str()) {
            lock.state = LockState::Removed;
        }
    }
    Ok(())
}
