//! What the tests of this folder share: a clock that only sleeping moves, and randomness without chance.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::error::Result;
use crate::random::Random;

/// Starts at nought; `sleep` takes no time and moves it.
#[derive(Default)]
pub(super) struct SleepClock(Mutex<Duration>);

impl SleepClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl Clock for SleepClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) {
        *self.0.lock().unwrap() += duration;
    }
}

/// The same byte for ever: 0x80 stands for the middle of a range.
pub(super) struct SameByte(pub(super) u8);

impl Random for SameByte {
    fn fill(&self, buffer: &mut [u8]) -> Result<()> {
        buffer.fill(self.0);
        Ok(())
    }
}
