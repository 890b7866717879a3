//! What is really removed: by policy, by id, by identity; where a store denies; of empty, old, large repositories.

use std::sync::Arc;

use jiff::tz::TimeZone;
use volmover::backend::fault::{Fault, Rule};
use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::Request;
use volmover::backend::{Backend, BackendErrorKind, FileType};
use volmover::clock::SystemClock;
use volmover::error::{ErrorKind, Result};
use volmover::forget::options::ForgetOptions;
use volmover::forget::policy_file::PolicyFile;
use volmover::ops::forget::{self, Choice, ForgetRequest};
use volmover::report::ForgetSummary;
use volmover::repository::snapshot::Snapshot;

use super::lists::{List, at};
use super::support::mover::{self, Mover};
use super::support::restic::Restic;

fn request(choice: Choice) -> ForgetRequest {
    ForgetRequest {
        choice,
        dry_run: false,
        unless_tagged: None,
        json: false,
        zone: TimeZone::UTC,
        prune: None,
    }
}

fn policy(options: &str) -> ForgetRequest {
    request(Choice::Policy(Box::new(ForgetOptions::parse(options, "FORGET_OPTIONS").unwrap())))
}

fn ids(prefixes: &[&str]) -> ForgetRequest {
    request(Choice::Ids(prefixes.iter().map(|&prefix| prefix.to_owned()).collect()))
}

fn run(mover: &Mover, request: &ForgetRequest) -> Result<ForgetSummary> {
    let session = mover.session();
    let summary = forget::run(&session, request)?;
    forget::verdict(&session, &summary)?;
    Ok(summary)
}

/// Snapshots of so many days in a row.
fn days(list: &List, count: u32) -> Vec<String> {
    let day = |day| list.write(&at(&format!("2024-01-{day:02}T12:00:00Z"))).hex();
    (1..=count).map(day).collect()
}

fn left(list: &List) -> Vec<String> {
    list.mover.snapshot_ids()
}

#[test]
fn what_a_policy_does_not_keep_is_gone_and_named() {
    for version in [1, 2] {
        let list = List::of_version(version);
        let all = days(&list, 9);
        let dry = ForgetRequest { dry_run: true, ..policy("--keep-daily 4") };
        let would = run(&list.mover, &dry).unwrap();
        assert_eq!((left(&list).len(), would.removed.len(), would.dry_run), (9, 5, true));
        let lines = list.mover.monitor.lines();
        assert_eq!(lines[lines.len() - 2].matches(' ').count(), 4, "{lines:?}");
        let summary = run(&list.mover, &policy("--keep-daily 4")).unwrap();
        let mut removed = summary.removed.clone();
        removed.sort_by_key(|id| all.iter().position(|other| other == id));
        assert_eq!((removed.as_slice(), summary.kept), (&all[..5], 4));
        assert_eq!(left(&list), all[5..]);
        assert!(std::fs::read_dir(list.path().join("locks")).unwrap().next().is_none());
        if let Some(restic) = Restic::on("restic-0.19", list.path()) {
            assert_eq!(restic.snapshots().len(), 4);
        }
    }
}

#[test]
fn an_empty_repository_is_fine() {
    let list = List::new();
    let summary = run(&list.mover, &policy("--keep-last 1")).unwrap();
    assert_eq!(summary, ForgetSummary::default());
    assert_eq!(list.mover.monitor.lines(), ["Applying Policy: keep 1 latest snapshots", ""]);
}

#[test]
fn the_last_snapshot_of_a_group_stays() {
    let list = List::new();
    days(&list, 3);
    list.write(&Snapshot {
        hostname: "other".to_owned(),
        tags: vec!["x".to_owned()],
        ..at("2024-02-01T00:00:00Z")
    });
    let error = run(&list.mover, &policy("--keep-tag x")).unwrap_err();
    assert_eq!(error.kind.exit_code(), 1);
    let line = "refusing to delete last snapshot of snapshot group \"host volsync, path [/data]\"";
    assert!(error.to_string().starts_with(line), "{error}");
    assert_eq!(left(&list).len(), 4, "nothing of any group goes");
    if let Some(restic) = Restic::on("restic-0.19", list.path()) {
        let refused = restic.run(&["forget", "--keep-tag", "x"]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains(line), "{refused:?}");
        assert_eq!(refused.status.code(), Some(1));
    }
    let summary = run(&list.mover, &policy("--unsafe-allow-remove-all --host volsync")).unwrap();
    assert_eq!((summary.removed.len(), left(&list).len()), (3, 1));
}

#[test]
fn a_store_that_denies_is_named_and_the_others_go() {
    for (kind, advice) in [
        (BackendErrorKind::Denied, "append-only or locks its objects"),
        (BackendErrorKind::Other, "Run forget again"),
    ] {
        let list = List::new();
        let all = days(&list, 6);
        let fault = Arc::new(Fault::new(mover::local(list.path()), Arc::new(SystemClock::new())));
        let denied = Mover::open_backend(Arc::clone(&fault) as _).unwrap();
        let deny =
            |id: &str| Rule::on(&[Request::Delete]).kind(FileType::Snapshot).name(id).forever().fail(kind);
        fault.add(deny(&all[1]));
        fault.add(deny(&all[3]));
        let error = run(&denied, &policy("--keep-last 1")).unwrap_err();
        assert_eq!(error.kind.exit_code(), 3);
        assert!(error.to_string().starts_with("2 of 5 snapshots could not be removed: "), "{error}");
        assert!(error.to_string().contains(advice) && error.to_string().len() < 400, "{error}");
        assert_eq!(left(&list), [&all[1][..], &all[3], &all[5]]);
        let told: Vec<String> =
            denied.monitor.item_failures().into_iter().map(|failure| failure.item).collect();
        assert_eq!(told.len(), 2);
        assert!([&all[1], &all[3]].iter().all(|id| told.contains(&format!("snapshots/{id}"))), "{told:?}");
        fault.clear();
        assert_eq!(run(&denied, &policy("--keep-last 1")).unwrap().removed.len(), 2);
    }
}

#[test]
fn what_another_forget_removed_meanwhile_is_gone_as_well() {
    let list = List::new();
    let all = days(&list, 3);
    let fault = Arc::new(Fault::new(mover::local(list.path()), Arc::new(SystemClock::new())));
    let late = Mover::open_backend(Arc::clone(&fault) as _).unwrap();
    fault.add(Rule::on(&[Request::Delete]).name(&all[0]).fail(BackendErrorKind::NotFound));
    assert_eq!(run(&late, &policy("--keep-last 1")).unwrap().removed.len(), 2);
}

#[test]
fn what_another_forget_removed_since_it_was_listed_is_no_damage() {
    let list = List::new();
    let all = days(&list, 5);
    let fault = Arc::new(Fault::new(mover::local(list.path()), Arc::new(SystemClock::new())));
    let late = Mover::open_backend(Arc::clone(&fault) as _).unwrap();
    fault.add(Rule::on(&[Request::List]).kind(FileType::Snapshot).times(2).stale_list());
    assert_eq!(late.snapshot_ids().len(), 5);
    list.mover.repository.backend().delete(FileType::Snapshot, &all[0]).unwrap();
    let summary = run(&late, &policy("--keep-last 2")).unwrap();
    assert_eq!((summary.removed.len(), summary.kept), (2, 2));
    // One that every list shows and that cannot be read is missing.
    let gone = Rule::on(&[Request::Read]).kind(FileType::Snapshot).name(&all[4]).forever();
    fault.add(gone.fail(BackendErrorKind::NotFound));
    assert_eq!(run(&late, &policy("--keep-last 1")).unwrap_err().kind, ErrorKind::Damaged);
    assert_eq!(left(&list), all[3..]);
}

#[test]
fn a_lost_lock_stops_it_before_anything_goes() {
    let list = List::new();
    days(&list, 3);
    let fault = Arc::new(Fault::new(mover::local(list.path()), Arc::new(SystemClock::new())));
    let lost = Mover::open_backend(Arc::clone(&fault) as _).unwrap();
    let gone = Rule::on(&[Request::Stat]).kind(FileType::Lock).forever().fail(BackendErrorKind::NotFound);
    fault.add(gone);
    let error = run(&lost, &policy("--keep-last 1")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Locked);
    assert_eq!(left(&list).len(), 3);
}

#[test]
fn ids_are_all_found_before_any_goes() {
    let list = List::new();
    let all = days(&list, 20);
    for wrong in ["ffffffffffff", "latest"] {
        let error = run(&list.mover, &ids(&[&all[0][..8], wrong])).unwrap_err();
        assert!(error.to_string().starts_with("failed to find snapshot: "), "{error}");
        assert_eq!((error.kind.exit_code(), left(&list).len()), (1, 20));
    }
    let first =
        all.iter().map(|id| &id[..1]).find(|first| all.iter().filter(|id| id.starts_with(first)).count() > 1);
    let error = run(&list.mover, &ids(&[&all[0], first.unwrap()])).unwrap_err();
    assert!(error.to_string().contains("it is the beginning of several"), "{error}");
    let summary = run(&list.mover, &ids(&[&all[2][..8], &all[5], &all[2]])).unwrap();
    assert_eq!((summary.removed.len(), summary.kept, left(&list).len()), (2, 18, 18));
    assert!(!left(&list).contains(&all[2]) && !left(&list).contains(&all[5]));
}

#[test]
fn a_policy_for_each_identity() {
    let list = List::new();
    days(&list, 3);
    for (host, path) in [("prod-a", "/data/db"), ("prod-a", "/data/web"), ("lost", "/else")] {
        for day in 1..=3 {
            let made = at(&format!("2024-03-{day:02}T12:00:00Z"));
            list.write(&Snapshot { hostname: host.to_owned(), paths: vec![path.to_owned()], ..made });
        }
    }
    let text = "prod-* /data/db -l 2\nprod-* * -l 1\nvolsync /data --keep-tag none --keep-last 3\n";
    let file = PolicyFile::parse(text, "F").unwrap();
    let summary = run(&list.mover, &request(Choice::Policies(file))).unwrap();
    assert_eq!((summary.removed.len(), summary.kept, left(&list).len()), (3, 6, 9));
    let lines = list.mover.monitor.lines();
    assert_eq!(lines[0], "host prod-* path /data/db: keep 2 latest snapshots: 3 snapshots, 1 to remove");
    assert_eq!(lines[1], "host prod-* path *: keep 1 latest snapshots: 3 snapshots, 2 to remove");
    let warnings = list.mover.monitor.warnings();
    assert_eq!(warnings, ["no line of the policy file matches host lost, path [/else]: 3 kept"]);
}

#[test]
fn the_newest_that_is_whole_stays_besides() {
    let list = List::new();
    let all = days(&list, 2);
    for day in 3..=5 {
        let made = at(&format!("2024-01-{day:02}T12:00:00Z"));
        list.write(&Snapshot { tags: vec!["partial".to_owned()], ..made });
    }
    let spared = ForgetRequest { unless_tagged: Some("partial"), ..policy("--keep-last 2") };
    run(&list.mover, &spared).unwrap();
    assert!(left(&list).contains(&all[1]) && left(&list).len() == 3, "{:?}", left(&list));
    run(&list.mover, &policy("--keep-last 2")).unwrap();
    assert_eq!(left(&list).len(), 2);
}

#[test]
fn a_stop_ends_it_between_requests() {
    let list = List::new();
    days(&list, 3);
    list.mover.stop.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(run(&list.mover, &policy("--keep-last 1")).unwrap_err().kind, ErrorKind::Interrupted);
    assert_eq!(left(&list).len(), 3);
}

/// In memory, since writing so many files is what would take long.
#[test]
fn ten_thousand_snapshots() {
    let store: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    mover::create_in(store.as_ref(), 2);
    let mover = Mover::open_backend(store).unwrap();
    for number in 0..10_000_i64 {
        let made = super::lists::snapshot(1_400_000_000 + number * 3600, 0, &TimeZone::UTC);
        mover.repository.write_unpacked(FileType::Snapshot, &made.encode()).unwrap();
    }
    let summary = run(&mover, &policy("--keep-hourly 24 --keep-daily 30 --keep-monthly 12")).unwrap();
    assert!((54..66).contains(&summary.kept), "{}", summary.kept);
    assert_eq!(summary.removed.len() as u64 + summary.kept, 10_000);
    assert_eq!(mover.snapshot_ids().len() as u64, summary.kept);
}
