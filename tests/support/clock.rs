//! Clocks for tests: one that only sleeping moves, and one that runs faster than the machine's.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use volmover::clock::Clock;

/// Starts at the real time; `sleep` and `advance` take no time and move it.
pub struct SleepClock {
    start: Timestamp,
    moved: Mutex<Duration>,
}

impl SleepClock {
    pub fn new() -> Self {
        Self { start: Timestamp::now(), moved: Mutex::default() }
    }

    pub fn advance(&self, duration: Duration) {
        *self.moved.lock().unwrap() += duration;
    }
}

impl Clock for SleepClock {
    fn now(&self) -> Timestamp {
        self.start + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        *self.moved.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
        std::thread::yield_now();
    }
}

/// A real clock whose seconds are shorter: what takes a minute takes `1 / FASTER` of it.
pub struct FastClock {
    start: Timestamp,
    instant: Instant,
}

impl FastClock {
    pub const FASTER: u32 = 100;

    pub fn new() -> Self {
        Self { start: Timestamp::now(), instant: Instant::now() }
    }
}

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        self.start + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        self.instant.elapsed() * Self::FASTER
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration / Self::FASTER);
    }
}
