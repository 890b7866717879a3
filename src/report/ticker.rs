//! A thread that calls a function at an interval until it is dropped.
//!
//! Dropping wakes the thread and waits for it: after that the function is not running and is not called
//! again, so a last line stays the last. Where no thread can be had, there are no calls, and no error.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::lock;

pub(super) struct Ticker {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Calls `tick` every `interval`, for the first time after one.
    pub(super) fn start(interval: Duration, mut tick: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let watched = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("progress".into())
            .spawn(move || {
                let (stopped, wake) = &*watched;
                loop {
                    let waited = wake.wait_timeout_while(lock(stopped), interval, |stopped| !*stopped);
                    let (stopped, _) = waited.unwrap_or_else(PoisonError::into_inner);
                    if *stopped {
                        return;
                    }
                    drop(stopped);
                    tick();
                }
            })
            .ok();
        Self { stop, thread }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let (stopped, wake) = &*self.stop;
        *lock(stopped) = true;
        wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    #[test]
    fn it_ticks_until_dropped_and_the_drop_does_not_wait_for_the_interval() {
        let ticks = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&ticks);
        let ticker = Ticker::start(Duration::from_millis(2), move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let start = Instant::now();
        while ticks.load(Ordering::Relaxed) < 3 {
            assert!(start.elapsed() < Duration::from_secs(20), "no tick");
            std::thread::yield_now();
        }
        drop(ticker);
        let after = ticks.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(ticks.load(Ordering::Relaxed), after);

        let start = Instant::now();
        drop(Ticker::start(Duration::from_hours(1), || {}));
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}
