//! What a run tells: the `Monitor` trait that every floor reports to, and the ways out of it.
//!
//! Pipelines count into `Progress` (atomics, cheap enough for every file) and hand lines, warnings and
//! per-item failures to the `Monitor`. Nothing here decides anything, and nothing here may hold a secret.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that many threads add to.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets it to `n`.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far a run is. Bytes are of content, before deduplication.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files found so far, or in all where that is known beforehand.
    pub files_total: Count,
    /// Files done.
    pub files_done: Count,
    /// Bytes found so far, or in all.
    pub bytes_total: Count,
    /// Bytes done.
    pub bytes_done: Count,
    /// Bytes added to the repository, as stored.
    pub bytes_added: Count,
    /// Items that failed.
    pub errors: Count,
    /// 1 once the totals are final.
    pub totals_final: Count,
}

/// Who a run reports to. All methods may be called from many threads at once.
pub trait Monitor: Send + Sync {
    /// A line of the contract, to stdout (left out where JSON is asked for).
    fn line(&self, text: &str);
    /// Something odd that does not fail the run, to stderr.
    fn warn(&self, text: &str);
    /// One item failed and the run goes on: `during` is restic's word (`scan`, `archival`, `restore`).
    fn item_failed(&self, during: &str, item: &str, cause: &str);
    /// A new phase of the run, with its name for people.
    fn phase(&self, name: &str);
    /// The item being worked on, for a progress display.
    fn working_on(&self, item: &str);
    /// The counts that a progress display reads.
    fn progress(&self) -> &Progress;
}
