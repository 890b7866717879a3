//! `ls` prints what `restic ls` prints, as text and as JSON.

use jiff::tz::TimeZone;
use volmover::ops;
use volmover::ops::ls::{LsOptions, Outcome};
use volmover::restore::select::{Filter, Selection};

use crate::made::{one_blob_a_pack, open};
use crate::support::fixture;
use crate::support::mover;
use crate::support::restic::Restic;
use crate::support::scratch;

fn ours(folder: &std::path::Path, id: &str, json: bool, zone: &str) -> String {
    let mover = open(folder).unwrap();
    let (id, subfolder) = id.split_once(':').map_or((id, None), |(id, folder)| (id, Some(folder.to_owned())));
    let options = LsOptions { subfolder, json, terminal: false, zone: TimeZone::get(zone).unwrap() };
    let selection = Selection::Id(id.to_owned());
    let listed = ops::ls::run(&mover.session(), &selection, &Filter::default(), &options).unwrap();
    let text = mover.monitor.lines().concat();
    assert!(
        matches!(listed, Outcome::Listed(count) if json == (count == text.lines().count() as u64 - 1) || !json)
    );
    text
}

#[test]
fn every_fixture_is_listed_as_restic_lists_it() {
    let (_source, made) = one_blob_a_pack();
    let copies: Vec<_> =
        fixture::WHOLE.into_iter().chain(["small"]).map(fixture::copy).chain([made]).collect();
    for copy in copies {
        for zone in ["UTC", "Europe/Berlin"] {
            let Some(restic) = Restic::on("restic-0.19", copy.path()) else { return };
            let restic = restic.in_zone(zone);
            let zones_agree = |snapshot: &serde_json::Value| {
                // rustic writes +00:00 where restic writes Z, and Go names the two differently.
                zone == "UTC" || snapshot["paths"] != serde_json::json!(["."])
            };
            for snapshot in restic.snapshots() {
                let id = snapshot["id"].as_str().unwrap();
                let theirs = restic.ok(&["ls", "--no-lock", "--json", id]);
                assert_eq!(ours(copy.path(), id, true, zone), theirs, "{}", copy.path().display());
                if zones_agree(&snapshot) {
                    let theirs = restic.ok(&["ls", "--no-lock", id]);
                    assert_eq!(ours(copy.path(), id, false, zone), theirs);
                }
            }
        }
    }
}

#[test]
fn a_folder_of_a_snapshot_is_listed_from_there() {
    let copy = fixture::copy("restic-0.19");
    let Some(restic) = Restic::on("restic-0.19", copy.path()) else { return };
    for folder in ["dir", "/dir/nested", "/"] {
        for (snapshot, json) in restic.snapshots().iter().zip([true, false]) {
            let named = format!("{}:{folder}", snapshot["id"].as_str().unwrap());
            let arguments: &[&str] =
                if json { &["ls", "--no-lock", "--json", &named] } else { &["ls", "--no-lock", &named] };
            assert_eq!(ours(copy.path(), &named, json, "UTC"), restic.ok(arguments), "{folder}");
        }
    }
}

#[test]
fn nothing_eligible_is_told_and_is_no_failure() {
    for version in [1, 2] {
        let empty = scratch();
        mover::create(empty.path(), version);
        let mover = open(empty.path()).unwrap();
        let options = LsOptions { subfolder: None, json: false, terminal: false, zone: TimeZone::UTC };
        let latest = Selection::Latest { as_of: None, back: 0 };
        let listed = ops::ls::run(&mover.session(), &latest, &Filter::default(), &options).unwrap();
        assert_eq!(listed, Outcome::NothingEligible);
        assert_eq!(mover.monitor.warnings(), ["the repository holds no snapshots"]);
    }
}

#[test]
fn names_that_control_a_terminal_are_quoted_there() {
    let copy = fixture::copy("restic-0.19");
    let mover = open(copy.path()).unwrap();
    let options = LsOptions { subfolder: None, json: false, terminal: true, zone: TimeZone::UTC };
    let latest = Selection::Latest { as_of: None, back: 0 };
    ops::ls::run(&mover.session(), &latest, &Filter::default(), &options).unwrap();
    let text = mover.monitor.lines().concat();
    assert!(text.contains("\n\"/names/tab\\tnew\\nline\"\n"), "{text}");
    assert!(text.contains("\n\"/names/latin1-\\xe9\"\n") && text.contains("\n/names/utf8-é\n"), "{text}");
}
