//! Large repositories: each operation reads every snapshot once and every tree once, and an index that cannot
//! fit the memory budget is refused by all who load it.

use std::sync::Arc;

use jiff::tz::TimeZone;
use volmover::backend::FileType;
use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::{Record, Request};
use volmover::check::Reading;
use volmover::error::Error;
use volmover::ops;
use volmover::ops::stats::StatsOptions;
use volmover::repository::blob::{BlobType, Extent};
use volmover::repository::index::{IndexPack, encode};
use volmover::repository::pack::PackedBlob;
use volmover::repository::snapshot::Snapshot;
use volmover::repository::{Id, Repository};
use volmover::restore::select::Filter;

use crate::support::clock::SleepClock;
use crate::support::fixture;
use crate::support::mover::{Mover, access, create_in, local, prune_options};
use crate::support::scratch;

const SNAPSHOTS: usize = 10_000;

#[test]
fn ten_thousand_snapshots_cost_ten_thousand_small_reads() {
    let store = Arc::new(MemoryBackend::new());
    create_in(store.as_ref(), 2);
    let source = scratch();
    std::fs::create_dir(source.path().join("folder")).unwrap();
    std::fs::write(source.path().join("folder/file"), "content").unwrap();
    let writer = Mover::open_backend(store.clone()).unwrap();
    writer.backup(source.path()).unwrap();
    let (_, snapshot) = writer.repository.snapshots().unwrap().pop().unwrap();
    for number in 1..SNAPSHOTS as i64 {
        let mut snapshot = snapshot.clone();
        snapshot.time.seconds += number;
        writer.repository.write_unpacked(FileType::Snapshot, &snapshot.encode()).unwrap();
    }
    let record = Arc::new(Record::new(store));
    let mover = Mover::open_backend(record.clone()).unwrap();
    let count = |request| record.counts().of(request);
    let before = (count(Request::Read), count(Request::ReadRange));
    let summary = ops::check::run(&mover.session(), Reading::Structure).unwrap();
    assert_eq!((summary.errors, mover.monitor.problems()), (0, Vec::new()));
    let reads = (count(Request::Read) - before.0, count(Request::ReadRange) - before.1);
    assert!(reads.0 < SNAPSHOTS as u64 + 20 && reads.1 < 10, "{reads:?}");
    let options = StatsOptions {
        selection: None,
        subfolder: None,
        filter: Filter::default(),
        json: false,
        zone: TimeZone::UTC,
    };
    let stats = ops::stats::stats(&mover.session(), &options).unwrap();
    assert_eq!(stats.snapshots.len(), SNAPSHOTS);
    assert_eq!(stats.restore_bytes, 7 * SNAPSHOTS as u64);
    assert_eq!(stats.entries, 2 * SNAPSHOTS as u64);
    assert_eq!(stats.snapshots[1].added_bytes, 0);
    assert!(ops::repair::index(&mover.session(), false).unwrap().is_nothing());
    assert!(ops::repair::snapshots(&mover.session(), false).unwrap().is_empty());
}

/// Forty index files of 500 blobs, in packs that are not there, and a snapshot that needs none of them.
fn large_index() -> Arc<MemoryBackend> {
    let store = Arc::new(MemoryBackend::new());
    create_in(store.as_ref(), 2);
    let repository = Mover::open_backend(store.clone()).unwrap().repository;
    repository.write_unpacked(FileType::Snapshot, &Snapshot::default().encode()).unwrap();
    let extent = Extent { offset: 0, length: 50, plain_length: None };
    for file in 0..40_u32 {
        let blob =
            |n: u32| PackedBlob { id: Id::of(&(file * 500 + n).to_le_bytes()), kind: BlobType::Data, extent };
        let pack = IndexPack { id: Id::of(&[9, file as u8]), blobs: (0..500).map(blob).collect() };
        repository.write_unpacked(FileType::Index, &encode(&[pack])).unwrap();
    }
    store
}

#[test]
fn an_index_that_cannot_fit_is_refused_before_it_is_loaded() {
    let record = Arc::new(Record::new(large_index()));
    let small = || {
        let repository = Repository::open(record.clone(), &access(Arc::new(SleepClock::new()))).unwrap();
        Mover::of(repository.with_memory(20_000 * 48 / 2))
    };
    let operations: [fn(&Mover) -> Error; 3] = [
        |mover| ops::prune::run(&mover.session(), &prune_options(1 << 20)).unwrap_err(),
        |mover| ops::check::run(&mover.session(), Reading::All).unwrap_err(),
        |mover| ops::repair::snapshots(&mover.session(), false).unwrap_err(),
    ];
    for operation in operations {
        let mover = small();
        let before = record.counts().of(Request::Read);
        let error = operation(&mover).to_string();
        assert!(error.contains("does not fit") && error.contains("MOVER_MEMORY"), "{error}");
        let read = record.counts().of(Request::Read) - before;
        assert!(read < 5, "{read} files were read");
    }
    // One that is made anew from packs is held to it too.
    let copy = fixture::copy("unindexed-pack");
    let repository = Repository::open(local(copy.path()), &access(Arc::new(SleepClock::new()))).unwrap();
    let mover = Mover::of(repository.with_memory(100));
    let error = ops::repair::index(&mover.session(), true).unwrap_err().to_string();
    assert!(error.contains("MOVER_MEMORY"), "{error}");
}
