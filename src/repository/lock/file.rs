//! What a lock file says, and when it is stale.
//!
//! Three clocks may be wrong: the holder's, ours, the store's. The holder's time is compared with ours, and
//! the store's time of the file with the store's own now, which is the time of a file that we have just
//! written. A lock is stale by time only when both say so: a host whose clock is half an hour fast must not
//! remove the locks of everybody else. Times of two different clocks are never subtracted for the store.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::LockMode;
use crate::backend::Listed;
use crate::clock::Clock;
use crate::host::Holder;

/// A lock older than this is stale.
pub const STALE_AFTER: Duration = Duration::from_mins(30);
/// Clocks of a fleet differ by less; a lock that is further ahead is odd.
const AHEAD_MAX: Duration = Duration::from_mins(1);

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

/// What is known of the store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreTime {
    /// Nothing yet: no file of ours was listed.
    Unknown,
    /// The store does not say when files were written.
    Untold,
    /// At this reading of the monotone clock the store's was at least there.
    Shown { now: Timestamp, elapsed: Duration },
}

impl StoreTime {
    /// From the list entry of a file that was just written.
    pub(super) fn of(written: &Listed, clock: &dyn Clock) -> Self {
        match written.modified {
            Some(now) => Self::Shown { now, elapsed: clock.elapsed() },
            None => Self::Untold,
        }
    }
}

/// Whether a lock stands in anybody's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its holder works, as far as one can know.
    Live,
    /// Old by its own time; what the store's clock says is not known yet.
    Old,
    /// Its holder is gone.
    Stale,
}

impl LockFile {
    pub(super) fn new(holder: &Holder, mode: LockMode, now: Timestamp) -> Self {
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

    pub(super) fn conflicts_with(&self, mode: LockMode) -> bool {
        self.exclusive || mode == LockMode::Exclusive
    }

    /// How far its time is ahead of ours, when that is odd.
    pub(super) fn ahead(&self, clock: &dyn Clock) -> Option<Duration> {
        let time = self.time.parse::<Timestamp>().ok()?;
        let ahead = Duration::try_from(time.duration_since(clock.now())).ok()?;
        (ahead > AHEAD_MAX).then_some(ahead)
    }

    /// Stale: older than 30 minutes by its own time and, where the store tells, by the store's; or written
    /// on this host by a process that is gone.
    pub(super) fn standing(
        &self,
        holder: &Holder,
        listed: &Listed,
        clock: &dyn Clock,
        store: StoreTime,
    ) -> Standing {
        if self.holder_is_gone(holder) {
            return Standing::Stale;
        }
        if !self.time.parse().is_ok_and(|time: Timestamp| is_older(time, clock.now())) {
            return Standing::Live;
        }
        let (StoreTime::Shown { now, elapsed }, Some(modified)) = (store, listed.modified) else {
            let told = store == StoreTime::Unknown && listed.modified.is_some();
            return if told { Standing::Old } else { Standing::Stale };
        };
        let passed = clock.elapsed().saturating_sub(elapsed);
        let stale = now.checked_add(passed).is_ok_and(|now| is_older(modified, now));
        if stale { Standing::Stale } else { Standing::Live }
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

fn is_older(time: Timestamp, now: Timestamp) -> bool {
    now.duration_since(time) > STALE_AFTER.try_into().unwrap_or_default()
}
