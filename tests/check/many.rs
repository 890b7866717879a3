//! Ten thousand snapshots: each operation reads every snapshot once and every tree once.

use std::sync::Arc;

use jiff::tz::TimeZone;
use volmover::backend::FileType;
use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::{Record, Request};
use volmover::check::Reading;
use volmover::ops;
use volmover::ops::stats::StatsOptions;
use volmover::restore::select::Filter;

use crate::support::mover::{Mover, create_in};

const SNAPSHOTS: usize = 10_000;

#[test]
fn ten_thousand_snapshots_cost_ten_thousand_small_reads() {
    let store = Arc::new(MemoryBackend::new());
    create_in(store.as_ref(), 2);
    let source = tempfile::tempdir().unwrap();
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
