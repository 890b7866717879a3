//! At most so many requests at once: more threads than `MOVER_CONNECTIONS` may share one store.
//!
//! It stands below `retry`, so that a request that waits for its next try holds no place. Lock files pass
//! without a place: behind packs that crawl over a slow line a refresh would come too late, and the lock of a
//! run that lives would be stale.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;

use super::{Backend, BackendResult, FileType, Listed};

/// A store that gets a bounded number of requests at once.
pub struct Limit {
    inner: Arc<dyn Backend>,
    requests: usize,
    free: Mutex<usize>,
    freed: Condvar,
}

/// The right to one request; dropped, it goes to the next who waits.
struct Permit<'a>(&'a Limit);

impl Limit {
    /// At most `requests` at once, at least one.
    pub fn new(inner: Arc<dyn Backend>, requests: usize) -> Self {
        let requests = requests.max(1);
        Self { inner, requests, free: Mutex::new(requests), freed: Condvar::new() }
    }

    /// A place for a request on a file of `kind`; locks need none.
    fn permit(&self, kind: FileType) -> Option<Permit<'_>> {
        if kind == FileType::Lock {
            return None;
        }
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_while(free, |free| *free == 0);
        *waited.unwrap_or_else(PoisonError::into_inner) -= 1;
        Some(Permit(self))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

impl Backend for Limit {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn connections(&self) -> usize {
        self.requests
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }

    fn list(&self, kind: FileType) -> BackendResult<Vec<Listed>> {
        let _permit = self.permit(kind);
        self.inner.list(kind)
    }

    fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64> {
        let _permit = self.permit(kind);
        self.inner.stat(kind, name)
    }

    fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes> {
        let _permit = self.permit(kind);
        self.inner.read(kind, name)
    }

    fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes> {
        let _permit = self.permit(kind);
        self.inner.read_range(kind, name, offset, length)
    }

    fn write(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        let _permit = self.permit(kind);
        self.inner.write(kind, name, data)
    }

    fn write_new(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        let _permit = self.permit(kind);
        self.inner.write_new(kind, name, data)
    }

    fn delete(&self, kind: FileType, name: &str) -> BackendResult<()> {
        let _permit = self.permit(kind);
        self.inner.delete(kind, name)
    }

    fn delete_many(&self, kind: FileType, names: &[String]) -> Vec<BackendResult<()>> {
        let _permit = self.permit(kind);
        self.inner.delete_many(kind, names)
    }

    fn create(&self) -> BackendResult<()> {
        let _permit = self.permit(FileType::Config);
        self.inner.create()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::backend::memory::MemoryBackend;

    /// Counts how many requests run at once; `list` alone is asked of it.
    struct Crowd {
        memory: MemoryBackend,
        now: AtomicUsize,
        most: AtomicUsize,
    }

    impl Backend for Crowd {
        fn location(&self) -> String {
            self.memory.location()
        }
        fn connections(&self) -> usize {
            self.memory.connections()
        }
        fn list(&self, kind: FileType) -> BackendResult<Vec<Listed>> {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            self.now.fetch_sub(1, Ordering::SeqCst);
            self.memory.list(kind)
        }
        fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64> {
            self.memory.stat(kind, name)
        }
        fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes> {
            self.memory.read(kind, name)
        }
        fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes> {
            self.memory.read_range(kind, name, offset, length)
        }
        fn write(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
            self.memory.write(kind, name, data)
        }
        fn write_new(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
            self.memory.write_new(kind, name, data)
        }
        fn delete(&self, kind: FileType, name: &str) -> BackendResult<()> {
            self.memory.delete(kind, name)
        }
        fn create(&self) -> BackendResult<()> {
            self.memory.create()
        }
    }

    #[test]
    fn never_more_than_the_limit_and_as_many_as_it_allows() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let crowd = Arc::new(Crowd { memory: MemoryBackend::new(), now, most });
        let limit = Limit::new(Arc::<Crowd>::clone(&crowd), 3);
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| (0..5).for_each(|_| drop(limit.list(FileType::Key).unwrap())));
            }
        });
        assert_eq!(crowd.most.load(Ordering::SeqCst), 3);
        assert_eq!(limit.connections(), 3);
    }

    #[test]
    fn a_lock_does_not_wait_behind_packs() {
        let limit = Limit::new(Arc::new(MemoryBackend::new()), 1);
        let _packs = limit.permit(FileType::Pack);
        limit.write(FileType::Lock, &"0".repeat(64), &Bytes::new()).unwrap();
        assert_eq!(limit.list(FileType::Lock).unwrap().len(), 1);
    }
}
