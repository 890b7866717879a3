//! What all stages of a backup share: the end of the run, and memory that moves between stages.
//!
//! Invariants: once `Run::fail` was called, every stage stops at its next step and the first cause is kept;
//! memory in flight is bounded, because each buffer belongs to a pool of fixed size and goes back on drop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::repository::pack::PackMemory;

/// How long a stage may sleep before it looks whether the run is over.
pub const NAP: Duration = Duration::from_millis(50);

/// A lock whose holder cannot leave half a change behind, so poison means nothing.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the run goes on, and why not.
#[derive(Debug)]
pub struct Run<'a> {
    stop: &'a AtomicBool,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl<'a> Run<'a> {
    /// A run that ends when `stop` is set.
    pub fn new(stop: &'a AtomicBool) -> Self {
        Self { stop, failed: AtomicBool::new(false), failure: Mutex::new(None) }
    }

    /// Ends the run; the first cause is kept.
    pub fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.failed.store(true, Ordering::SeqCst);
    }

    /// Whether stages must stop.
    pub fn is_over(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed)
    }

    /// Whether a signal ended the run.
    pub fn was_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Fails the run should the thread that holds it panic, so that nobody waits for it for ever.
    pub fn watched(&self) -> Watched<'_> {
        Watched(self)
    }

    /// The cause, when the run failed or was stopped.
    pub fn outcome(&self) -> Result<()> {
        // A store that was waited for fails because of the signal: the signal is the cause.
        if self.stop.load(Ordering::SeqCst) {
            return Err(stopped());
        }
        lock(&self.failure).take().map_or(Ok(()), Err)
    }
}

/// Held by a thread of the run; see `Run::watched`.
#[derive(Debug)]
pub struct Watched<'a>(&'a Run<'a>);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(died());
        }
    }
}

/// The error of a stage whose thread died, or could not be started.
pub fn died() -> Error {
    Error::new(ErrorKind::Other, "a worker of the backup died").then("Run it again, and report this as a bug")
}

/// The error of a run that a signal ended.
pub fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "backup interrupted").then("What was uploaded is used by the next run")
}

/// Buffers of one size, made on demand up to a number, and used again.
#[derive(Debug)]
pub struct Pool {
    free: Mutex<Free>,
    returned: Condvar,
    bytes_each: usize,
}

#[derive(Debug)]
struct Free {
    buffers: Vec<Vec<u8>>,
    left_to_make: usize,
}

impl Pool {
    /// Up to `count` buffers of `bytes_each` bytes. Their pages are zero and not touched before use.
    pub fn new(count: usize, bytes_each: usize) -> Arc<Self> {
        let free = Mutex::new(Free { buffers: Vec::new(), left_to_make: count });
        Arc::new(Self { free, returned: Condvar::new(), bytes_each })
    }

    /// A buffer, waiting for one to come back; `None` when the run is over.
    pub fn take(self: &Arc<Self>, run: &Run<'_>) -> Option<Pooled> {
        let mut free = lock(&self.free);
        loop {
            if run.is_over() {
                return None;
            }
            if let Some(pooled) = self.take_from(&mut free) {
                return Some(pooled);
            }
            free = self.returned.wait_timeout(free, NAP).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn take_from(self: &Arc<Self>, free: &mut Free) -> Option<Pooled> {
        let memory = match free.buffers.pop() {
            Some(memory) => memory,
            None if free.left_to_make > 0 => {
                free.left_to_make -= 1;
                vec![0; self.bytes_each]
            }
            None => return None,
        };
        Some(Pooled { memory, pool: Arc::clone(self) })
    }
}

/// A buffer out of a pool; it goes back on drop.
#[derive(Debug)]
pub struct Pooled {
    memory: Vec<u8>,
    pool: Arc<Pool>,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let mut free = lock(&self.pool.free);
        if memory.len() == self.pool.bytes_each {
            free.buffers.push(memory);
        } else {
            free.left_to_make += 1;
        }
        drop(free);
        self.pool.returned.notify_one();
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl AsMut<[u8]> for Pooled {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }
}

struct Frozen {
    pooled: Pooled,
    bytes: usize,
}

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        self.pooled.memory.get(..self.bytes).unwrap_or_default()
    }
}

impl PackMemory for Pooled {
    fn grow(&mut self, bytes: usize) {
        self.memory.grow(bytes);
    }

    fn freeze(self, bytes: usize) -> Bytes {
        Bytes::from_owner(Frozen { pooled: self, bytes })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_frozen_bytes_are_dropped() {
        let stop = AtomicBool::new(false);
        let run = Run::new(&stop);
        let pool = Pool::new(1, 100);
        let mut first = pool.take(&run).unwrap();
        first.as_mut().fill(7);
        let bytes = first.freeze(3);
        assert_eq!(bytes.as_ref(), [7, 7, 7]);
        run.fail(stopped());
        assert!(pool.take(&run).is_none());
        drop(bytes);
        let run = Run::new(&stop);
        assert_eq!(pool.take(&run).unwrap().as_ref().len(), 100);
    }

    #[test]
    fn a_buffer_that_grew_is_not_kept() {
        let stop = AtomicBool::new(false);
        let run = Run::new(&stop);
        let pool = Pool::new(1, 100);
        pool.take(&run).unwrap().grow(1000);
        assert_eq!(pool.take(&run).unwrap().as_ref().len(), 100);
    }

    #[test]
    fn the_first_failure_is_kept() {
        let stop = AtomicBool::new(false);
        let run = Run::new(&stop);
        run.fail(Error::new(ErrorKind::Denied, "first"));
        run.fail(stopped());
        assert_eq!(run.outcome().unwrap_err().kind, ErrorKind::Denied);
    }
}
