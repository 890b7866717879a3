//! At most so many bytes a second, each way: `MOVER_LIMIT_UPLOAD` and `MOVER_LIMIT_DOWNLOAD`.
//!
//! Whole requests are spaced, as bodies are not seen here: each starts when the bytes of those before it
//! would have passed at the rate. Once the run is told to stop nothing waits: the last index and the locks
//! must get through.

use std::num::NonZeroU64;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::pause::Pause;
use super::{Backend, BackendResult, FileType, Listed};
use crate::clock::Clock;

/// A store that is read and written at bounded rates.
pub struct Throttle {
    inner: Arc<dyn Backend>,
    pause: Pause,
    up: Option<Bucket>,
    down: Option<Bucket>,
}

struct Bucket {
    bytes_per_second: NonZeroU64,
    /// When all that was taken will have passed.
    free_at: Mutex<Duration>,
}

impl Throttle {
    /// Rates are in bytes a second; `None` is no limit.
    pub fn new(
        inner: Arc<dyn Backend>,
        upload: Option<NonZeroU64>,
        download: Option<NonZeroU64>,
        clock: Arc<dyn Clock>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let pause = Pause { clock, stop };
        Self { inner, pause, up: upload.map(Bucket::new), down: download.map(Bucket::new) }
    }

    fn pass(&self, bucket: Option<&Bucket>, bytes: usize) {
        if let Some(bucket) = bucket {
            let wait = bucket.take(self.pause.clock.elapsed(), bytes);
            // Stopped or not, the request goes on.
            let _ = self.pause.wait(wait);
        }
    }
}

impl Bucket {
    fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, free_at: Mutex::default() }
    }

    /// Takes `bytes`, and says how long to wait before they may start.
    fn take(&self, now: Duration, bytes: usize) -> Duration {
        let seconds = bytes as f64 / self.bytes_per_second.get() as f64;
        let lasting = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = now.max(*free_at);
        *free_at = start.saturating_add(lasting);
        start.saturating_sub(now)
    }
}

impl Backend for Throttle {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn connections(&self) -> usize {
        self.inner.connections()
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }

    fn list(&self, kind: FileType) -> BackendResult<Vec<Listed>> {
        self.inner.list(kind)
    }

    fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64> {
        self.inner.stat(kind, name)
    }

    fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes> {
        if kind == FileType::Lock {
            return self.inner.read(kind, name);
        }
        // The size is known only afterwards: wait for those before, and let the next wait for this one.
        self.pass(self.down.as_ref(), 0);
        let data = self.inner.read(kind, name)?;
        if let Some(bucket) = &self.down {
            let _ = bucket.take(self.pause.clock.elapsed(), data.len());
        }
        Ok(data)
    }

    fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes> {
        self.pass(self.down.as_ref(), length);
        self.inner.read_range(kind, name, offset, length)
    }

    fn write(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        // A lock that waits behind packs is stale before it is written.
        if kind != FileType::Lock {
            self.pass(self.up.as_ref(), data.len());
        }
        self.inner.write(kind, name, data)
    }

    fn write_new(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        if kind != FileType::Lock {
            self.pass(self.up.as_ref(), data.len());
        }
        self.inner.write_new(kind, name, data)
    }

    fn delete(&self, kind: FileType, name: &str) -> BackendResult<()> {
        self.inner.delete(kind, name)
    }

    fn delete_many(&self, kind: FileType, names: &[String]) -> Vec<BackendResult<()>> {
        self.inner.delete_many(kind, names)
    }

    fn create(&self) -> BackendResult<()> {
        self.inner.create()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::backend::memory::MemoryBackend;
    use crate::backend::testing::SleepClock;

    fn throttle(up: u64, down: u64) -> (Throttle, Arc<SleepClock>, Arc<AtomicBool>) {
        let (clock, stop) = (SleepClock::new(), Arc::new(AtomicBool::new(false)));
        let (up, down) = (NonZeroU64::new(up), NonZeroU64::new(down));
        let memory = Arc::new(MemoryBackend::new());
        let throttle = Throttle::new(memory, up, down, Arc::<SleepClock>::clone(&clock), Arc::clone(&stop));
        (throttle, clock, stop)
    }

    fn name(n: u32) -> String {
        format!("{n:064x}")
    }

    #[test]
    fn bytes_pass_at_the_rate_each_way() {
        let (throttle, clock, _) = throttle(1_000, 4_000);
        let data = Bytes::from(vec![0; 2_000]);
        for n in 0..10 {
            throttle.write(FileType::Pack, &name(n), &data).unwrap();
        }
        assert_eq!(clock.elapsed(), Duration::from_secs(18), "the tenth starts when nine have passed");
        for n in 0..9 {
            throttle.read(FileType::Pack, &name(n)).unwrap();
        }
        assert_eq!(clock.elapsed(), Duration::from_secs(18 + 4));
        throttle.read_range(FileType::Pack, &name(0), 0, 2_000).unwrap();
        assert_eq!(clock.elapsed(), Duration::from_millis(22_500));
    }

    #[test]
    fn time_without_requests_is_no_credit_and_a_stop_ends_the_wait() {
        let (throttle, clock, stop) = throttle(1_000, 0);
        let data = Bytes::from(vec![0; 60_000]);
        clock.sleep(Duration::from_hours(1));
        throttle.write(FileType::Pack, &name(0), &data).unwrap();
        throttle.write_new(FileType::Pack, &name(1), &data).unwrap();
        assert_eq!(clock.elapsed(), Duration::from_mins(61));
        stop.store(true, Ordering::Relaxed);
        throttle.write(FileType::Index, &name(2), &data).unwrap();
        throttle.read(FileType::Index, &name(2)).unwrap();
        assert_eq!(clock.elapsed(), Duration::from_mins(61));
    }
}
