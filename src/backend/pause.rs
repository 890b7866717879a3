//! Waiting that ends when the run is told to stop: for decorators that wait (retry, throttle).
//!
//! A SIGTERM leaves 20 s for the last index and the locks, so no wait may outlive it by more than a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Clock;

/// The longest time that a wait goes on after the run was told to stop.
const SLICE: Duration = Duration::from_millis(200);

/// A clock, and the flag that ends every wait.
#[derive(Clone)]
pub(super) struct Pause {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Pause {
    /// Waits; whether the time passed in full.
    pub(super) fn wait(&self, duration: Duration) -> bool {
        let end = self.clock.elapsed().saturating_add(duration);
        loop {
            let left = end.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                return true;
            }
            if self.is_stopped() {
                return false;
            }
            self.clock.sleep(left.min(SLICE));
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
