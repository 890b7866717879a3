//! Very many snapshots, identities and names: the page stays small and comes soon.

use std::time::{Duration, Instant};

use volmover::backend::FileType;
use volmover::repository::snapshot::Snapshot;

use crate::call::Repo;
use crate::made::{page, report};

const MANY: usize = 10_000;
const PAGE_BYTES_MAX: usize = 2_000_000;

/// Copies of one snapshot, each changed by its number.
fn many(change: impl Fn(usize, &mut Snapshot)) -> Repo {
    let repo = Repo::new();
    let source = crate::call::source();
    repo.call("backup").with("DATA_DIR", source.path()).ok();
    let mover = repo.mover();
    let (_, first) = mover.repository.snapshots().unwrap().remove(0);
    for number in 0..MANY - 1 {
        let mut snapshot = first.clone();
        change(number, &mut snapshot);
        mover.repository.write_unpacked(FileType::Snapshot, &snapshot.encode()).unwrap();
    }
    repo
}

#[track_caller]
fn small_and_soon(repo: &Repo, options: &str) {
    let start = Instant::now();
    let page = page(repo, &[("FORGET_OPTIONS", options)]);
    let took = start.elapsed();
    eprintln!("{MANY} snapshots: {} bytes in {:.1} s", page.len(), took.as_secs_f64());
    assert!(page.len() < PAGE_BYTES_MAX, "{} bytes", page.len());
    assert!(page.contains("<span class=\"value\">10000</span>"));
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn of_a_hundred_identities() {
    let repo = many(|number, snapshot| {
        snapshot.hostname = format!("host-{}", number % 100);
        snapshot.time.seconds -= (number / 100) as i64 * 86_400 * 3;
    });
    small_and_soon(&repo, "--keep-daily 7 --keep-weekly 4 --keep-monthly 6 --keep-yearly 3");
}

#[test]
fn of_one_identity() {
    let repo = many(|number, snapshot| snapshot.time.seconds -= number as i64 * 3600);
    small_and_soon(&repo, "--keep-hourly 9000 --keep-yearly 100");
    let told = report(&repo, &[]);
    assert_eq!(told["identities"][0]["snapshots"].as_array().unwrap().len(), MANY);
}

#[test]
fn of_as_many_identities_with_long_names() {
    let repo = many(|number, snapshot| {
        snapshot.hostname = format!("{number}-{}", "&".repeat(4000));
        snapshot.paths = vec![format!("/{}", "\"<".repeat(2000))];
    });
    small_and_soon(&repo, "--keep-last 1");
}
