//! Damage is told and is an error; a run that fails leaves the report that was there; locks are told.

use std::fs;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use serde_json::Value;
use tempfile::TempDir;
use volmover::error::ErrorKind;
use volmover::repository::lock::LockMode;

use crate::call::{Call, Repo, source};
use crate::made::{DAY, Series, report, rules, series};
use crate::support::fixture::{self, Damage, Part};
use crate::support::scratch;

fn on_fixture(folder: &std::path::Path) -> Call {
    Call::on("report", folder).with("RESTIC_PASSWORD", fixture::PASSWORD)
}

/// With an older report in place.
fn older(place: &TempDir) -> std::path::PathBuf {
    let file = place.path().join("report.html");
    fs::write(&file, "the older report").unwrap();
    file
}

#[test]
fn a_tree_that_is_lost_is_a_line_of_the_report_and_an_error() {
    for damage in Damage::ALL {
        let copy = fixture::copy("restic-0.19");
        fixture::damage(copy.path(), "restic-0.19", Part::TreePack, damage);
        let place = scratch();
        let file = older(&place);
        let call = on_fixture(copy.path()).with("MOVER_REPORT_HTML", &file);
        call.fails(21, "Fatal: the report lacks what cannot be read: ");
        let page = fs::read_to_string(&file).unwrap();
        assert!(page.contains("What cannot be read") && page.contains("not known"), "{damage:?}");
        let ran = call.with("MOVER_JSON", "1").run();
        let told: Value = serde_json::from_str(ran.out.lines().next().unwrap()).unwrap();
        assert!(told["damage"]["faults"].as_u64().unwrap() > 0, "{damage:?}: {}", told["damage"]);
        assert_eq!(told["stats"]["repository"]["unused_bytes"], Value::Null);
        assert_eq!(rules(&told)[0], "damage");
        assert_eq!(rules(&told).contains(&"packs-missing"), damage == Damage::Absent);
    }
}

/// What holds content is not read: check does that.
#[test]
fn a_pack_of_data_that_is_missing_is_told() {
    let copy = fixture::copy("restic-0.19");
    fixture::damage(copy.path(), "restic-0.19", Part::DataPack, Damage::Absent);
    let out = on_fixture(copy.path()).ok();
    assert!(out.contains("act: Packs that the index names and the store does not have: 1."), "{out}");
}

#[test]
fn a_pack_that_no_index_names_is_told() {
    let copy = fixture::copy("unreferenced-pack");
    let out = on_fixture(copy.path()).ok();
    assert!(out.contains("Packs in no index: 2 ("), "{out}");
}

#[test]
fn a_run_that_fails_leaves_the_older_report() {
    let place = scratch();
    let file = older(&place);
    let copy = fixture::copy("restic-0.19");
    let call = on_fixture(copy.path()).with("MOVER_REPORT_HTML", &file);
    call.clone().with("RESTIC_PASSWORD", "Gehe1m, but another").fails(12, "Fatal: ");
    call.clone().with("RESTIC_REPOSITORY", place.path().join("no")).fails(10, "Fatal: ");
    call.clone().with("FORGET_OPTIONS", "--keep-daily few").fails(2, "Fatal: ");
    fixture::damage(copy.path(), "restic-0.19", Part::Snapshot, Damage::Flipped);
    call.clone().fails(21, "Fatal: ");
    fixture::damage(copy.path(), "restic-0.19", Part::Index, Damage::Truncated);
    call.fails(21, "Fatal: ");
    assert_eq!(fs::read_to_string(&file).unwrap(), "the older report");
    let repo = Repo::new();
    let held = repo.mover().session().locked(LockMode::Exclusive, |_| {
        let call = repo.call("report").with("MOVER_LOCK_WAIT", "0");
        call.with("MOVER_REPORT_HTML", &file).fails(11, "Fatal: ");
        Ok(())
    });
    assert_eq!(held, Ok(()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "the older report");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_page_that_cannot_be_written_is_an_error() {
    let repo = Repo::new();
    let call = repo.call("report").with("MOVER_REPORT_HTML", "/no/such/folder/report.html");
    let line = "Fatal: cannot write the report: MOVER_REPORT_HTML: /no/such/folder/report.html: ";
    call.fails(ErrorKind::Other.exit_code().into(), line);
}

#[test]
fn a_policy_that_keeps_nothing_is_told_and_decides_nothing() {
    let repo = Repo::new();
    series(&repo.mover(), &Series { host: "volsync", path: "/data", count: 3, apart: DAY, ago: 0 });
    let told = report(&repo, &[("FORGET_OPTIONS", "--keep-tag never")]);
    assert_eq!(rules(&told)[0], "policy-refused");
    assert_eq!(told["identities"][0]["snapshots"][0]["decision"], "none");
}

#[test]
fn locks_of_others_are_told_and_stale_ones_go() {
    let (repo, source) = (Repo::new(), source());
    repo.call("backup").with("DATA_DIR", source.path()).ok();
    let mover = repo.mover();
    let shared = mover.session().locked(LockMode::Shared, |_| {
        let told = report(&repo, &[]);
        assert_eq!(
            (&told["locks"][0]["state"], &told["locks"][0]["exclusive"]),
            (&"live".into(), &false.into())
        );
        let pid = format!("PID {} on ", std::process::id());
        assert!(told["locks"][0]["holder"].as_str().unwrap().starts_with(&pid), "{}", told["locks"]);
        Ok(())
    });
    assert_eq!(shared, Ok(()));
    assert_eq!(report(&repo, &[])["locks"].as_array().unwrap().len(), 0);
    let stale = fixture::copy("stale-lock");
    for lock in fs::read_dir(stale.path().join("locks")).unwrap() {
        let then = Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
        let times = Timestamps { last_access: then, last_modification: then };
        rustix::fs::utimensat(CWD, lock.unwrap().path(), &times, AtFlags::empty()).unwrap();
    }
    let out = on_fixture(stale.path()).with("MOVER_LOCK_WAIT", format!("{}s", Duration::ZERO.as_secs())).ok();
    assert!(out.contains("Stale locks that were there and were removed: 1."), "{out}");
    assert_eq!(fs::read_dir(stale.path().join("locks")).unwrap().count(), 0);
}
