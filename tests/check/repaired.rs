//! The repairs come to what restic's come to, and leave a clean repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use volmover::backend::FileType;
use volmover::backend::fault::{Fault, Rule};
use volmover::backend::record::Request;
use volmover::check::Reading;
use volmover::ops;
use volmover::repair::snapshots::Outcome;

use crate::made::{assert_clean, check, one_blob_a_pack, open, packs};
use crate::support::clock::SleepClock;
use crate::support::dice::Dice;
use crate::support::fixture::{self, Damage, Part, damage, damage_file, path_of};
use crate::support::mover;
use crate::support::restic::Restic;
use crate::support::{listing, scaled, scratch};

/// All files with their content.
fn content(folder: &Path) -> BTreeSet<(String, Vec<u8>)> {
    let mut files = BTreeSet::new();
    let mut rest = vec![folder.to_owned()];
    while let Some(folder) = rest.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                rest.push(entry);
            } else {
                files.insert((entry.display().to_string(), fs::read(&entry).unwrap()));
            }
        }
    }
    files
}

fn repair_index(folder: &Path) {
    let shown = open(folder).unwrap();
    let before = content(folder);
    let plan = ops::repair::index(&shown.session(), false).unwrap();
    assert_eq!(content(folder), before, "a dry run changes nothing");
    let mover = open(folder).unwrap();
    assert_eq!(ops::repair::index(&mover.session(), true).unwrap(), plan);
    assert!(ops::repair::index(&mover.session(), false).unwrap().is_nothing());
}

/// The blobs that restic finds listed.
fn blobs(restic: &Restic) -> BTreeSet<String> {
    restic.ok(&["list", "blobs"]).lines().map(str::to_owned).collect()
}

fn copy_of(folder: &Path) -> tempfile::TempDir {
    let copy = scratch();
    fixture::copy_folder(folder, copy.path());
    copy
}

#[test]
fn an_index_that_is_gone_or_damaged_comes_back() {
    for name in ["unindexed-pack", "index-truncated"] {
        let copy = fixture::copy(name);
        repair_index(copy.path());
        assert_clean(copy.path());
        let expected = fs::read_to_string(fixture::root().join("expected/small.list")).unwrap();
        let restored = open(copy.path()).unwrap().restored("latest");
        listing::assert_same(&expected, &restored, name);
    }
    for name in fixture::WHOLE {
        let copy = fixture::copy(name);
        let before = content(copy.path());
        let mover = open(copy.path()).unwrap();
        assert!(ops::repair::index(&mover.session(), true).unwrap().is_nothing());
        assert_eq!(content(copy.path()), before, "{name}: an index that is right stays");
        for (part, how) in
            [(Part::Index, Damage::Absent), (Part::Index, Damage::Flipped), (Part::Index, Damage::Empty)]
        {
            let copy = fixture::copy(name);
            damage(copy.path(), name, part, how);
            repair_index(copy.path());
            assert_clean(copy.path());
        }
    }
}

#[test]
fn packs_that_are_gone_or_cut_leave_the_index_as_restic_leaves_it() {
    for part in [Part::DataPack, Part::TreePack] {
        for how in [Damage::Absent, Damage::Truncated, Damage::Empty] {
            let ours = fixture::copy("restic-0.19");
            damage(ours.path(), "restic-0.19", part, how);
            let theirs = copy_of(ours.path());
            repair_index(ours.path());
            let Some(restic) = Restic::on("restic-0.19", theirs.path()) else { return };
            restic.ok(&["repair", "index"]);
            let own = Restic::on("restic-0.19", ours.path()).unwrap();
            assert_eq!(blobs(&own), blobs(&restic), "{part:?} {how:?}");
        }
    }
}

#[test]
fn an_empty_store_of_packs_is_not_believed() {
    let copy = fixture::copy("restic-0.19");
    for pack in packs(copy.path()) {
        fs::remove_file(pack).unwrap();
    }
    let before = content(copy.path());
    let mover = open(copy.path()).unwrap();
    let error = ops::repair::index(&mover.session(), true).unwrap_err();
    assert!(error.to_string().contains("lists no packs at all"), "{error}");
    assert_eq!(content(copy.path()), before);
}

/// A second list that lacks a pack: what the index says of that one must not get lost.
#[test]
fn two_lists_that_differ_stop_the_repair_of_the_index() {
    let copy = fixture::copy("restic-0.19");
    damage(copy.path(), "restic-0.19", Part::DataPack, Damage::Absent);
    let before = content(copy.path());
    let clock = Arc::new(SleepClock::new());
    let fault = Arc::new(Fault::new(mover::local(copy.path()), clock.clone()));
    fault.add(Rule::on(&[Request::List]).kind(FileType::Pack).skip(1).cut_list(1));
    let mover = mover::Mover::open_at(fault, clock).unwrap();
    let error = ops::repair::index(&mover.session(), true).unwrap_err();
    assert!(error.to_string().contains("two lists of the packs differ"), "{error}");
    assert_eq!(content(copy.path()), before);
}

/// What cannot be read is named, and no reason to leave the others as they are.
#[test]
fn a_snapshot_that_cannot_be_read_is_named() {
    let copy = fixture::copy("restic-0.19");
    let newest = path_of(copy.path(), "restic-0.19", Part::Snapshot);
    let snapshots = fs::read_dir(copy.path().join("snapshots")).unwrap();
    let path = snapshots.map(|file| file.unwrap().path()).find(|path| *path != newest).unwrap();
    damage_file(&path, Damage::Flipped);
    // Of the newest alone.
    damage(copy.path(), "restic-0.19", Part::DataPack, Damage::Absent);
    repair_index(copy.path());
    let mover = open(copy.path()).unwrap();
    let done = ops::repair::snapshots(&mover.session(), true).unwrap();
    assert_eq!(done.len(), 1, "{done:?}");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert_eq!(
        mover.monitor.warnings(),
        [format!("snapshots/{name} cannot be read and is left alone: run check")]
    );
}

/// What tells repaired snapshots apart: tree, time, tags, original, parent.
fn told(restic: &Restic) -> BTreeSet<String> {
    let field = |snapshot: &Value, name: &str| snapshot[name].to_string();
    let fields = ["tree", "time", "tags", "original", "parent", "paths", "program_version", "summary"];
    restic
        .snapshots()
        .iter()
        .filter(|snapshot| snapshot["tags"].to_string().contains("repaired"))
        .map(|snapshot| fields.map(|name| field(snapshot, name)).join(" "))
        .collect()
}

/// Repairs a damaged repository, and a copy of it by restic; both must come to the same snapshots.
#[track_caller]
fn repair_beside_restic(folder: &Path, what: &str) {
    let theirs = copy_of(folder);
    repair_index(folder);
    let shown = open(folder).unwrap();
    let before = content(folder);
    let plan = ops::repair::snapshots(&shown.session(), false).unwrap();
    assert_eq!(content(folder), before, "a dry run changes nothing");
    let mover = open(folder).unwrap();
    let done = ops::repair::snapshots(&mover.session(), true).unwrap();
    let losses = |all: &[volmover::repair::snapshots::Repaired]| -> Vec<_> {
        all.iter().map(|one| (one.old, one.losses.clone())).collect()
    };
    assert_eq!(losses(&plan), losses(&done), "{what}");
    let again = ops::repair::snapshots(&mover.session(), true).unwrap();
    let settled = |outcome: &Outcome| matches!(outcome, Outcome::Known(_) | Outcome::Lost);
    assert!(again.iter().all(|one| settled(&one.outcome)), "{what}: a second repair writes nothing");
    if let Some(restic) = Restic::on("restic-0.19", theirs.path()) {
        restic.ok(&["repair", "index"]);
        let said = restic.ok(&["repair", "snapshots"]);
        let own = Restic::on("restic-0.19", folder).unwrap();
        let (ours, mut theirs) = (told(&own), told(&restic));
        if what.starts_with("restic-0.14") {
            // restic writes old trees anew in its own form, and calls what lost nothing repaired.
            theirs.retain(|snapshot| done.iter().any(|one| snapshot.contains(&one.old.hex())));
        }
        assert_eq!(ours, theirs, "{what}\n{said}\n{:?}", mover.monitor.lines());
    }
    for one in &done {
        fs::remove_file(folder.join(format!("snapshots/{}", one.old.hex()))).unwrap();
    }
    assert_clean(folder);
}

#[test]
fn damaged_fixtures_come_to_what_restic_makes_of_them() {
    for name in ["tree-pack-absent", "data-pack-flipped"] {
        let copy = fixture::copy(name);
        if name == "data-pack-flipped" {
            packs(copy.path())
                .into_iter()
                .filter(|pack| {
                    pack.ends_with("1ae31e5799271b1674743f0ede526d7d23f56bb66d1df2d78c1249a2489ca342")
                })
                .for_each(|pack| fs::remove_file(pack).unwrap());
        }
        repair_beside_restic(copy.path(), name);
    }
    for name in ["restic-0.14-v1", "restic-0.19", "restic-0.19-raw"] {
        for part in [Part::DataPack, Part::TreePack] {
            let copy = fixture::copy(name);
            damage(copy.path(), name, part, Damage::Absent);
            repair_beside_restic(copy.path(), &format!("{name} {part:?}"));
        }
    }
}

#[test]
fn any_lost_blobs_come_to_what_restic_makes_of_them() {
    let seed = u64::from(std::process::id()) * 104_729 + 1;
    let mut dice = Dice(seed);
    let (_source, repository) = one_blob_a_pack();
    for round in 0..scaled(5) {
        let copy = copy_of(repository.path());
        let mut lost = Vec::new();
        for _ in 0..=dice.below(3) {
            let all = packs(copy.path());
            let pack = &all[dice.below(all.len())];
            lost.push(pack.file_name().unwrap().to_str().unwrap()[..8].to_owned());
            fs::remove_file(pack).unwrap();
        }
        repair_beside_restic(copy.path(), &format!("round {round} of seed {seed}: lost {lost:?}"));
    }
}

#[test]
fn what_is_lost_is_told_and_the_old_snapshots_stay() {
    let (_source, repository) = one_blob_a_pack();
    let mover = open(repository.path()).unwrap();
    let old = mover.snapshot_ids();
    let index = mover.repository.load_index().unwrap();
    let kind = volmover::repository::blob::BlobType::Data;
    let pack = index.lookup(kind, &volmover::repository::Id::of(b"deep")).unwrap().pack.hex();
    fs::remove_file(repository.path().join(format!("data/{}/{pack}", &pack[..2]))).unwrap();
    repair_index(repository.path());
    ops::repair::snapshots(&mover.session(), true).unwrap();
    let lines = mover.monitor.lines();
    let line = "  file \"/a/b/c/deep\": removed missing content";
    assert_eq!(lines.iter().filter(|text| *text == line).count(), 2, "{lines:?}");
    let stay = format!("MOVER_FORGET_SNAPSHOTS={},{}", &old[0][..8], &old[1][..8]);
    assert!(lines.last().unwrap().ends_with(&stay), "{lines:?}");
    let now = mover.snapshot_ids();
    assert_eq!((now.len(), old.iter().all(|id| now.contains(id))), (4, true));
    assert!(check(repository.path(), Reading::All).unwrap().0.errors > 0);
}

#[test]
fn a_damaged_index_is_repaired_first() {
    let copy = fixture::copy("index-truncated");
    let mover = open(copy.path()).unwrap();
    let error = ops::repair::snapshots(&mover.session(), true).unwrap_err();
    assert!(error.to_string().contains("Run repair-index first"), "{error}");
}

#[test]
fn there_is_nothing_to_repair_in_an_empty_repository() {
    for version in [1, 2] {
        let empty = scratch();
        mover::create(empty.path(), version);
        let mover = open(empty.path()).unwrap();
        assert!(ops::repair::index(&mover.session(), true).unwrap().is_nothing());
        assert!(ops::repair::snapshots(&mover.session(), true).unwrap().is_empty());
        assert_clean(empty.path());
    }
}
