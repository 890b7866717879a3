//! Very many snapshots, identities and long names: the page stays small and comes soon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use volmover::backend::memory::MemoryBackend;
use volmover::backend::{Backend, FileType};
use volmover::repository::snapshot::Snapshot;

use crate::call::{Call, source};
use crate::made::page_of;
use crate::support::fixture::PASSWORD;
use crate::support::mover::{Mover, create_in, dump};

const MANY: usize = 10_000;
const PAGE_BYTES_MAX: usize = 2_000_000;

/// Copies of one snapshot, each changed by its number.
fn many(change: impl Fn(usize, &mut Snapshot)) -> TempDir {
    let store = Arc::new(MemoryBackend::new());
    create_in(store.as_ref(), 2);
    let mover = Mover::open_backend(store.clone()).unwrap();
    let id = mover.backup(source().path()).unwrap().summary.snapshot_id.unwrap();
    let first = mover.repository.snapshot(&id.parse().unwrap()).unwrap();
    store.delete(FileType::Snapshot, &id).unwrap();
    for number in 0..MANY {
        let mut snapshot = first.clone();
        change(number, &mut snapshot);
        mover.repository.write_unpacked(FileType::Snapshot, &snapshot.encode()).unwrap();
    }
    dump(&store.content())
}

#[track_caller]
fn small_and_soon(repository: &TempDir, options: &str) -> String {
    let start = Instant::now();
    let call = Call::on("report", repository.path()).with("RESTIC_PASSWORD", PASSWORD);
    let page = page_of(&call.with("FORGET_OPTIONS", options));
    let took = start.elapsed();
    assert!(page.len() < PAGE_BYTES_MAX, "{} bytes", page.len());
    assert!(page.contains("<span class=\"value\">10000</span>"));
    assert!(took < Duration::from_secs(30), "{took:?}");
    page
}

#[test]
fn of_a_hundred_identities() {
    let repository = many(|number, snapshot| {
        snapshot.hostname = format!("host-{}", number % 100);
        snapshot.time.seconds -= (number / 100) as i64 * 86_400 * 3;
    });
    let options = "--keep-daily 7 --keep-weekly 4 --keep-monthly 6 --keep-yearly 3";
    let page = small_and_soon(&repository, options);
    assert!(page.contains("50 identities with less data stand in the table alone."));
}

#[test]
fn of_one_identity() {
    let repository = many(|number, snapshot| snapshot.time.seconds -= number as i64 * 3600);
    let page = small_and_soon(&repository, "--keep-hourly 9000 --keep-yearly 100");
    assert!(page.contains("hourly snapshot</td><td class=\"n\">9000</td>"));
}

#[test]
fn of_as_many_identities_with_long_names() {
    let repository = many(|number, snapshot| {
        snapshot.hostname = format!("{number}-{}", "&".repeat(400));
        snapshot.paths = vec![format!("/{}", "\"<".repeat(200))];
    });
    let page = small_and_soon(&repository, "--keep-last 1");
    assert!(page.contains("and 9500 others"));
}
