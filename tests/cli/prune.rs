//! `prune` as an operator calls it: what it prints, when it is skipped, what a missing repository means.

use std::fs;

use serde_json::Value;

use super::call::{Call, Repo, source};
use crate::support::scratch;

/// A repository of two snapshots, of which the first is removed.
fn repository() -> Repo {
    let (repository, source) = (Repo::new(), source());
    let backup = repository.call("backup").with("DATA_DIR", source.path());
    backup.ok();
    let first = fs::read_dir(repository.path().join("snapshots")).unwrap().next().unwrap().unwrap().path();
    fs::write(source.path().join("d/text"), "another text").unwrap();
    backup.ok();
    fs::remove_file(first).unwrap();
    repository
}

#[test]
fn it_prints_what_goes_and_a_second_finds_nothing() {
    let repository = repository();
    let packs = || {
        let folders = fs::read_dir(repository.path().join("data")).unwrap();
        folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    let before = packs();
    let out = repository.call("prune").with("MOVER_DRY_RUN", "1").ok();
    assert!(out.starts_with("Would have made the following changes:\n\nto repack:    "), "{out}");
    assert!(!out.contains("done") && packs() == before && repository.count("locks") == 0, "{out}");
    let out = repository.call("prune").with("MOVER_PRUNE_MAX_UNUSED", "0").ok();
    let labels: Vec<&str> = out.lines().map(|line| line.split(':').next().unwrap()).collect();
    let expected =
        ["to repack", "this removes", "to delete", "total prune", "remaining", "unused size after prune", ""];
    assert_eq!(labels[..7], expected, "{out}");
    assert!(out.contains("unused size after prune: 0 B (0.00% of remaining size)\n"), "{out}");
    assert!(out.ends_with(" old index files\ndone\n") && packs() < before, "{out}");
    let again = repository.call("prune").with("MOVER_PRUNE_MAX_UNUSED", "0").ok();
    assert!(
        again.contains("total prune:           0 blobs / 0 B\n") && again.ends_with("\n\ndone\n"),
        "{again}"
    );
}

#[test]
fn json_is_one_summary() {
    let out = repository().call("prune").with("MOVER_JSON", "1").ok();
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!((lines.len(), &lines[1]["message_type"]), (2, &"run".into()), "{out}");
    let summary = &lines[0];
    assert_eq!((&summary["message_type"], &summary["dry_run"]), (&"summary".into(), &false.into()));
    assert!(summary["bytes_freed"].as_u64().unwrap() > 0 && summary["packs_deleted"].as_u64().unwrap() > 0);
}

#[test]
fn switched_off_it_is_one_line() {
    let nowhere = scratch();
    let out = Call::on("prune", nowhere.path().join("none")).with("MOVER_PRUNE", "off").ok();
    assert_eq!(out, "prune skipped: MOVER_PRUNE=off\n");
}

#[test]
fn a_missing_repository_is_fine_after_an_empty_source_alone() {
    let (place, empty) = (scratch(), scratch());
    let missing = place.path().join("none");
    let out = Call::on("backup prune", &missing).with("DATA_DIR", empty.path()).ok();
    assert_eq!(out, "== Directory is empty skipping backup ===\nprune skipped: there is no repository yet\n");
    assert!(!missing.exists());
    Call::on("prune", &missing).fails(10, "Fatal: repository does not exist");
}
