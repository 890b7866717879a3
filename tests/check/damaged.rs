//! Damaged fixtures and random damage: what restic finds, check finds; and it says whom it hits.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use volmover::check::Reading;
use volmover::repository::Id;

use crate::made::{DAMAGED, assert_clean, check, exit_code, one_blob_a_pack, open, packs, restic_summary};
use crate::support::clock::SleepClock;
use crate::support::dice::Dice;
use crate::support::restic::Restic;
use crate::support::{fixture, mover, scaled, scratch};

const DAMAGED_FIXTURES: [&str; 6] = [
    "unreferenced-pack",
    "unindexed-pack",
    "snapshot-flipped",
    "index-truncated",
    "data-pack-flipped",
    "tree-pack-absent",
];

#[test]
fn whole_repositories_are_clean() {
    for name in fixture::WHOLE.into_iter().chain(["small", "two-keys"]) {
        assert_clean(fixture::copy(name).path());
    }
    for version in [1, 2] {
        let empty = scratch();
        mover::create(empty.path(), version);
        assert_clean(empty.path());
    }
}

#[test]
fn damaged_fixtures_come_to_what_restic_says() {
    for name in DAMAGED_FIXTURES {
        let copy = fixture::copy(name);
        let (summary, problems) = check(copy.path(), Reading::All).unwrap();
        let Some(restic) = Restic::on("restic-0.19", copy.path()) else { return };
        let (clean, theirs) = restic_summary(&restic);
        assert_eq!(summary.errors == 0, clean, "{name}: {problems:?}");
        assert_eq!(problems.is_empty(), clean, "{name}: {problems:?}");
        let broken: Vec<String> = serde_json::from_value(theirs["broken_packs"].clone()).unwrap_or_default();
        assert_eq!(summary.broken_packs, broken, "{name}");
        assert_eq!(summary.suggest_repair_index, theirs["suggest_repair_index"], "{name}");
        assert_eq!(summary.suggest_prune, theirs["suggest_prune"], "{name}");
    }
}

/// Those of which restic finds more or less than a summary: our code, and what it names.
#[test]
fn what_cannot_be_opened_has_its_code_too() {
    for (name, code, place) in [("config-absent", 10, "config"), ("key-truncated", 21, "keys/")] {
        let copy = fixture::copy(name);
        let error = check(copy.path(), Reading::All).unwrap_err();
        assert_eq!((error.kind.exit_code(), error.to_string().contains(place)), (code, true), "{error}");
        let Some(restic) = Restic::on("restic-0.19", copy.path()) else { return };
        assert!(!restic_summary(&restic).0, "{name}");
    }
    for name in ["stale-lock", "two-keys"] {
        let copy = fixture::copy(name);
        assert_eq!(exit_code(copy.path()), 0, "{name}");
    }
}

#[test]
fn a_stale_lock_is_a_hint() {
    let copy = fixture::copy("stale-lock");
    let clock = Arc::new(SleepClock::new());
    let old = SystemTime::now();
    clock.advance(Duration::from_hours(48));
    for file in copy.path().join("locks").read_dir().unwrap() {
        let file = fs::File::open(file.unwrap().path()).unwrap();
        file.set_modified(old - Duration::from_hours(48)).unwrap();
    }
    let mover = mover::Mover::open_at(mover::local(copy.path()), clock).unwrap();
    let summary = volmover::ops::check::run(&mover.session(), Reading::All).unwrap();
    assert_eq!((summary.errors, mover.monitor.warnings().len()), (0, 1), "{:?}", mover.monitor.warnings());
}

#[test]
fn who_is_hit_is_named() {
    let (_source, repository) = one_blob_a_pack();
    let newest = open(repository.path()).unwrap().snapshot_ids().pop().unwrap();
    let blob = |content: &str| {
        let id = Id::of(content.as_bytes());
        let mover = open(repository.path()).unwrap();
        let index = mover.repository.load_index().unwrap();
        index.lookup(volmover::repository::blob::BlobType::Data, &id).unwrap().pack.hex()
    };
    for (content, paths, count) in [
        ("deep", &["/a/b/c/deep"][..], 2),
        ("small", &["/a/b/small", "/other/same"], 2),
        ("new", &["/other/new"], 1),
    ] {
        let copy = scratch();
        fixture::copy_folder(repository.path(), copy.path());
        let pack = blob(content);
        fs::remove_file(copy.path().join(format!("data/{}/{pack}", &pack[..2]))).unwrap();
        let (summary, problems) = check(copy.path(), Reading::Structure).unwrap();
        assert_eq!(summary.errors, 1);
        assert_eq!(problems[0], format!("pack {pack}: does not exist"));
        let short = &newest[..8];
        let head =
            format!("what is lost of pack {pack} touches {count} of 2 snapshots; in {short}, the newest");
        assert!(problems[1].starts_with(&head), "{problems:?}");
        let named: Vec<String> = paths.iter().map(|path| format!("  {short}:{path}")).collect();
        assert_eq!(problems[2..2 + named.len()], named);
        assert!(problems[2 + named.len()].contains("repair-index"), "{problems:?}");
    }
}

#[test]
fn subsets_read_their_part() {
    let (_source, repository) = one_blob_a_pack();
    let victim = packs(repository.path()).into_iter().next_back().unwrap();
    let mut bytes = fs::read(&victim).unwrap();
    bytes[20] ^= 1;
    fs::remove_file(&victim).unwrap();
    fs::write(&victim, bytes).unwrap();
    let errors = |reading| check(repository.path(), reading).unwrap().0.broken_packs.len();
    for parts in [1, 3, 256] {
        let found: Vec<u64> =
            (1..=parts).filter(|part| errors(Reading::Part { part: *part, parts }) > 0).collect();
        assert_eq!(found.len(), 1, "{parts} parts");
        let first = u8::from_str_radix(&victim.file_name().unwrap().to_str().unwrap()[..2], 16).unwrap();
        assert_eq!(found[0], u64::from(first) % parts + 1);
    }
    assert_eq!(errors(Reading::Percent(100.0)), 1);
    assert_eq!(errors(Reading::Bytes(1 << 40)), 1);
}

#[test]
fn what_restic_finds_in_random_damage_is_found() {
    let seed = u64::from(std::process::id()) * 7919 + 1;
    let mut dice = Dice(seed);
    let (_source, repository) = one_blob_a_pack();
    for round in 0..scaled(12) {
        let copy = scratch();
        fixture::copy_folder(repository.path(), copy.path());
        let mut files = packs(copy.path());
        for folder in ["index", "snapshots"] {
            files.extend(fs::read_dir(copy.path().join(folder)).unwrap().map(|file| file.unwrap().path()));
        }
        let file = &files[dice.below(files.len())];
        let mut content = fs::read(file).unwrap();
        fs::remove_file(file).unwrap();
        let at = dice.below(content.len());
        let kind = dice.below(4);
        match kind {
            0 => content[at] ^= 1 << dice.below(8),
            1 => content.truncate(at),
            2 => content.extend_from_slice(&[0; 7]),
            _ => content.clone_from(&fs::read(&files[dice.below(files.len())]).unwrap_or_default()),
        }
        fs::write(file, content).unwrap();
        let code = exit_code(copy.path());
        assert!(code == DAMAGED || code == 0, "round {round} of seed {seed}: {code}");
        let Some(restic) = Restic::on("restic-0.19", copy.path()) else { return };
        let (clean, _) = restic_summary(&restic);
        assert!(
            clean || code == DAMAGED,
            "round {round} of seed {seed}: {kind} at {at} of {}",
            file.display()
        );
    }
}
