//! Every store passes one contract: memory and local here, with their decorators.
//!
//! The cases stand in `contract/mod.rs`; a test here only makes a store and hands it over.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

mod contract;

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use volmover::backend::Backend;
use volmover::backend::fault::Fault;
use volmover::backend::limit::Limit;
use volmover::backend::local::LocalBackend;
use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::Record;
use volmover::backend::retry::Retry;
use volmover::backend::throttle::Throttle;
use volmover::clock::SystemClock;
use volmover::random::SystemRandom;
use volmover::report::record::RecordingMonitor;

#[test]
fn memory() {
    contract::contract(&MemoryBackend::new());
    contract::contract_tells_deletes(&MemoryBackend::new());
    contract::contract_missing(&MemoryBackend::missing());
}

#[test]
fn local() {
    let folder = tempfile::tempdir().unwrap();
    contract::contract(&LocalBackend::open(folder.path(), 4));
    contract::contract_tells_deletes(&LocalBackend::open(folder.path(), 4));
    contract::contract_missing(&LocalBackend::open(&folder.path().join("not/there"), 4));
}

/// A decorator that forgets to pass a request on, or changes an answer, fails here.
#[test]
fn local_with_all_decorators() {
    fn decorated(root: &Path) -> impl Backend {
        let clock = Arc::new(SystemClock::new());
        let stop = Arc::new(AtomicBool::new(false));
        let gigabyte = NonZeroU64::new(1 << 30);
        let store = Arc::new(Fault::new(Arc::new(LocalBackend::open(root, 4)), clock.clone()));
        let store = Arc::new(Throttle::new(store, gigabyte, gigabyte, clock.clone(), stop.clone()));
        let store = Arc::new(Record::keeping_all(Arc::new(Limit::new(store, 3))));
        Retry::new(store, clock, Arc::new(SystemRandom), Arc::new(RecordingMonitor::default()), stop)
    }
    let folder = tempfile::tempdir().unwrap();
    contract::contract(&decorated(folder.path()));
    contract::contract_tells_deletes(&decorated(folder.path()));
    contract::contract_missing(&decorated(&folder.path().join("not/there")));
}
