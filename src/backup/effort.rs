//! Compression follows the bottleneck: how hard blobs are compressed while the store is what everyone waits for.
//!
//! A worker that hands a full pack over and has to wait has time to spare, and one step more of compression
//! makes the next packs fewer. One that does not wait is what the others wait for, and goes a step back. Only
//! `auto` does that: the other modes stay what they say. Large blobs stay at the first step, as zstd's memory
//! grows with them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::repository::compression::Compression;

/// Levels of the C library, from no wait to a long one.
const LEVELS: [i32; 4] = [3, 6, 9, 12];
/// A worker that waited so long for an uploader compresses harder.
const WAITED: Duration = Duration::from_millis(100);
/// One that waited less than that compresses less hard.
const NOT_WAITED: Duration = Duration::from_millis(5);
/// A longer blob is compressed as without a wait.
const BLOB_BYTES_MAX: usize = 2 << 20;

/// What a worker's context takes more at the last step, in bytes.
pub const EFFORT_BYTES: u64 = 24 << 20;

/// The step that all workers share.
#[derive(Debug)]
pub struct Effort {
    step: AtomicUsize,
    last: usize,
}

impl Effort {
    /// No effort yet; `has_memory` for what the last step takes.
    #[must_use]
    pub fn new(compression: Compression, has_memory: bool) -> Self {
        let rises = compression == Compression::Auto && has_memory;
        Self { step: AtomicUsize::new(0), last: if rises { LEVELS.len() - 1 } else { 0 } }
    }

    /// The level for a blob; `None`: that of the mode.
    pub fn level(&self, blob_bytes: usize) -> Option<i32> {
        let step = if blob_bytes > BLOB_BYTES_MAX { 0 } else { self.step.load(Ordering::Relaxed) };
        LEVELS.get(step).copied().filter(|_| self.last > 0)
    }

    /// A pack found an uploader after so long.
    pub fn waited(&self, time: Duration) {
        let next = |step: usize| match time {
            _ if time >= WAITED => Some((step + 1).min(self.last)),
            _ if time < NOT_WAITED => step.checked_sub(1),
            _ => None,
        };
        let _unchanged = self.step.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_while_someone_waits_and_falls_while_nobody_does() {
        assert_eq!(LEVELS.first(), Some(&Compression::Auto.level()));
        let effort = Effort::new(Compression::Auto, true);
        let (long, short, between) = (WAITED, Duration::ZERO, WAITED / 2);
        let mut seen = Vec::new();
        for time in [short, between, long, long, between, long, long, short, short, long, short, short, short]
        {
            effort.waited(time);
            seen.extend(effort.level(1000));
        }
        assert_eq!(seen, [3, 3, 6, 9, 9, 12, 12, 9, 6, 9, 6, 3, 3]);
        (0..5).for_each(|_| effort.waited(long));
        assert_eq!((effort.level(BLOB_BYTES_MAX), effort.level(BLOB_BYTES_MAX + 1)), (Some(12), Some(3)));
    }

    #[test]
    fn other_modes_and_small_budgets_stay_where_they_are() {
        for (mode, has_memory) in [
            (Compression::Fastest, true),
            (Compression::Better, true),
            (Compression::Max, true),
            (Compression::Off, true),
            (Compression::Auto, false),
        ] {
            let effort = Effort::new(mode, has_memory);
            effort.waited(WAITED);
            assert_eq!(effort.level(1000), None, "{mode:?}");
        }
    }
}
