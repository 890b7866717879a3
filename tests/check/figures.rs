//! `stats` says what `restic stats` says in its three modes, and what restic does not say adds up.

use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;
use serde_json::Value;
use volmover::check::Reading;
use volmover::ops;
use volmover::ops::stats::{Stats, StatsOptions};
use volmover::report::Monitor;
use volmover::restore::select::{Filter, Selection};

use crate::made::{noise, one_blob_a_pack, open, packs};
use crate::support::fixture;
use crate::support::mover;
use crate::support::restic::Restic;
use crate::support::scratch;

const MODES: [&str; 3] = ["restore-size", "files-by-contents", "raw-data"];

fn options(selection: Option<&str>) -> StatsOptions {
    StatsOptions {
        subfolder: None,
        selection: selection.map(|id| Selection::Id(id.to_owned())),
        filter: Filter::default(),
        json: true,
        zone: TimeZone::UTC,
    }
}

fn stats(folder: &Path) -> Stats {
    ops::stats::stats(&open(folder).unwrap().session(), &options(None)).unwrap()
}

fn compare(folder: &Path) {
    let Some(restic) = Restic::on("restic-0.19", folder) else { return };
    let snapshots = restic.snapshots();
    let ids = snapshots.iter().map(|snapshot| snapshot["id"].as_str());
    for selection in ids.chain([None]) {
        let mover = open(folder).unwrap();
        let text = ops::stats::run(&mover.session(), &options(selection)).unwrap();
        let ours: Value = serde_json::from_str(&text).unwrap();
        for mode in MODES {
            let mut arguments = vec!["stats", "--no-lock", "--json", "--quiet", "--mode", mode];
            arguments.extend(selection);
            let theirs: Value = serde_json::from_str(&restic.ok(&arguments)).unwrap();
            assert_eq!(ours[mode], theirs, "{mode} of {selection:?} in {}", folder.display());
        }
    }
}

#[test]
fn the_three_modes_are_those_of_restic() {
    for name in fixture::WHOLE.into_iter().chain(["small", "unreferenced-pack"]) {
        compare(fixture::copy(name).path());
    }
    compare(one_blob_a_pack().1.path());
}

/// Hard links inside and across folders, the same content twice, no empty file, raw and compressed blobs.
#[test]
fn links_and_copies_count_as_restic_counts_them() {
    let (source, repository) = (scratch(), scratch());
    let root = source.path();
    for version in [1, 2] {
        let repository = repository.path().join(version.to_string());
        fs::create_dir_all(&repository).unwrap();
        mover::create(&repository, version);
        fs::create_dir_all(root.join("one/two")).unwrap();
        fs::create_dir_all(root.join("bare")).unwrap();
        fs::write(root.join("one/first"), noise(3, 40_000)).unwrap();
        let _ = fs::hard_link(root.join("one/first"), root.join("one/two/second"));
        let _ = fs::hard_link(root.join("one/first"), root.join("third"));
        fs::copy(root.join("third"), root.join("copy")).unwrap();
        fs::write(root.join("text"), "again and ".repeat(1000)).unwrap();
        let mover = open(&repository).unwrap();
        mover.backup(root).unwrap();
        fs::write(root.join("one/more"), format!("more {version}")).unwrap();
        mover.backup(root).unwrap();
        compare(&repository);
    }
}

#[test]
fn what_no_snapshot_needs_and_what_is_stored_twice_add_up() {
    let (source, repository) = one_blob_a_pack();
    let before = stats(repository.path());
    assert_eq!(before.whole.unused, Some((0, 0)));
    assert_eq!(before.whole.blobs, before.needed.count);
    assert_eq!(before.snapshots.iter().map(|one| one.added_bytes).sum::<u64>(), before.needed.stored_bytes);
    // Hidden from a backup, the index makes it store everything again.
    let index = repository.path().join("index");
    let hidden = scratch();
    fixture::copy_folder(&index, hidden.path());
    let snapshots = repository.path().join("snapshots");
    for file in [&index, &snapshots].into_iter().flat_map(|folder| fs::read_dir(folder).unwrap()) {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    open(repository.path()).unwrap().backup(source.path()).unwrap();
    fixture::copy_folder(hidden.path(), &index);
    let after = stats(repository.path());
    let [newest] = &before.snapshots[1..] else { panic!() };
    assert_eq!(after.snapshots[0].restore_bytes, newest.restore_bytes);
    // Trees and data of the newest snapshot are there twice; what only the oldest needed is unused.
    assert_eq!(after.whole.blobs, before.whole.blobs + after.needed.count);
    assert_eq!(after.whole.duplicates, after.needed.count);
    assert_eq!(after.whole.duplicate_bytes, after.needed.stored_bytes);
    let (blobs, bytes) = after.whole.unused.unwrap();
    assert_eq!(blobs, before.whole.blobs);
    assert!(bytes >= after.whole.duplicate_bytes);
}

#[test]
fn an_empty_repository_has_no_figures_and_a_filter_hides_what_is_unused() {
    for version in [1, 2] {
        let empty = scratch();
        mover::create(empty.path(), version);
        let figures = stats(empty.path());
        assert_eq!((figures.needed.count, figures.whole.packs, figures.whole.unused), (0, 0, Some((0, 0))));
        let mover = open(empty.path()).unwrap();
        let text = ops::stats::run(&mover.session(), &StatsOptions { json: false, ..options(None) }).unwrap();
        assert!(text.contains("Snapshots: 0\n") && text.contains("Packs: 0 B in 0 packs\n"), "{text}");
    }
    let copy = fixture::copy("restic-0.19");
    let mover = open(copy.path()).unwrap();
    let nobody = Filter { hosts: Some(vec!["nobody".to_owned()]), ..Filter::default() };
    let figures =
        ops::stats::stats(&mover.session(), &StatsOptions { filter: nobody, ..options(None) }).unwrap();
    assert_eq!((figures.snapshots.len(), figures.whole.unused), (0, None));
}

#[test]
fn each_step_of_a_check_counts_what_it_reads() {
    let (_source, repository) = one_blob_a_pack();
    let mover = open(repository.path()).unwrap();
    let counted = || {
        let progress = mover.monitor.progress();
        (progress.files_done.value(), progress.files_total.value())
    };
    ops::check::run(&mover.session(), Reading::Structure).unwrap();
    // Five trees of the first snapshot, two of the second; how many there are is not known before.
    assert_eq!(counted(), (7, 0));
    ops::check::run(&mover.session(), Reading::All).unwrap();
    let packs = packs(repository.path()).len() as u64;
    assert_eq!(counted(), (packs, packs));
}
