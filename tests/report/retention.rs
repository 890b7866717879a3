//! What is kept and dropped is what `restic forget --dry-run` keeps and drops, with its reasons.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::call::{PASSWORD, Repo};
use crate::made::{HOUR, fleet, page, report, rules};
use crate::support::restic::Restic;
use crate::support::scratch;

/// By id: whether it is kept, and why.
type Decisions = BTreeMap<String, (bool, Vec<String>)>;

fn ours(told: &Value) -> Decisions {
    let all =
        told["identities"].as_array().unwrap().iter().flat_map(|one| one["snapshots"].as_array().unwrap());
    let words = |value: &Value| {
        value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    all.map(|one| {
        let kept = match one["decision"].as_str().unwrap() {
            "keep" => true,
            "remove" => false,
            other => panic!("{other}"),
        };
        (one["id"].as_str().unwrap().to_owned(), (kept, words(&one["reasons"])))
    })
    .collect()
}

fn theirs(repo: &Repo, options: &str) -> Option<Decisions> {
    let restic = Restic::on("restic-0.19", repo.path())?.with("RESTIC_PASSWORD", PASSWORD);
    let arguments: Vec<&str> =
        ["forget", "--dry-run", "--json"].into_iter().chain(options.split_whitespace()).collect();
    let out = restic.ok(&arguments);
    let groups: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    let mut decisions = Decisions::new();
    for group in groups.as_array().unwrap() {
        let id = |one: &Value| one["id"].as_str().unwrap().to_owned();
        for reason in group["reasons"].as_array().unwrap() {
            let words = reason["matches"].as_array().unwrap().iter();
            let words = words.map(|word| word.as_str().unwrap().to_owned()).collect();
            decisions.insert(id(&reason["snapshot"]), (true, words));
        }
        for one in group["remove"].as_array().into_iter().flatten() {
            decisions.insert(id(one), (false, Vec::new()));
        }
    }
    Some(decisions)
}

#[test]
fn decisions_are_those_of_restic() {
    let repo = fleet();
    for options in [
        "--keep-daily 7 --keep-weekly 4",
        "--keep-hourly 24 --keep-daily 10 --keep-monthly 6 --keep-yearly 2",
        "--keep-within 30d",
        "--keep-last 3 --group-by host",
        "--keep-within-weekly 1y --keep-last 1",
    ] {
        let Some(theirs) = theirs(&repo, options) else { return };
        let ours = ours(&report(&repo, &[("FORGET_OPTIONS", options)]));
        assert_eq!(ours, theirs, "{options}");
        assert!(
            theirs.values().any(|(kept, _)| *kept) && theirs.values().any(|(kept, _)| !*kept),
            "{options}"
        );
    }
}

/// What is announced to go next does go, once that backup is there.
#[test]
fn what_goes_next_goes_next() {
    let repo = fleet();
    let options = "--keep-daily 7 --keep-hourly 24";
    repo.call("forget").with("FORGET_OPTIONS", options).ok();
    let told = report(&repo, &[("FORGET_OPTIONS", options)]);
    assert!(!rules(&told).contains(&"forget-due"));
    let next = |told: &Value, host: &str| -> Vec<(String, String)> {
        let mut identities = told["identities"].as_array().unwrap().iter();
        let identity = identities.find(|one| one["hostname"] == host).unwrap();
        let all = identity["snapshots"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        all.filter(|one| one["expected_removal"].is_string())
            .map(|one| (text(&one["id"]), text(&one["expected_removal"])))
            .collect()
    };
    let announced = next(&told, "postgres.databases");
    assert!(!announced.is_empty(), "{told}");
    // The backups that are expected come: restic agrees about what they drive out.
    let end = announced[0].1.parse::<jiff::Timestamp>().unwrap().as_second();
    let snapshots = repo.mover().repository.snapshots().unwrap();
    let of = snapshots.iter().filter(|(_, one)| one.hostname == "postgres.databases");
    let (_, newest) = of.max_by_key(|(_, one)| one.time.instant()).unwrap();
    for seconds in (newest.time.seconds + HOUR..=end).step_by(3600) {
        let mut come = newest.clone();
        come.time.seconds = seconds;
        crate::made::write(&repo.mover(), come);
    }
    let Some(theirs) = theirs(&repo, options) else { return };
    let known = |id: &&String| snapshots.iter().any(|(known, _)| known.hex() == **id);
    let dropped = theirs.iter().filter(|(_, (kept, _))| !kept).map(|(id, _)| id).filter(known);
    assert_eq!(dropped.collect::<Vec<_>>(), announced.iter().map(|(id, _)| id).collect::<Vec<_>>());
}

#[test]
fn a_policy_file_counts_line_by_line() {
    let repo = fleet();
    let place = scratch();
    let file = place.path().join("policy");
    fs::write(&file, "*.databases * --keep-hourly 5\n*.observability * --keep-daily 9\n").unwrap();
    let told = report(&repo, &[("MOVER_POLICY_FILE", file.to_str().unwrap())]);
    assert_eq!(told["policy"][0], "host *.databases path *: keep 5 hourly snapshots");
    let decided = |host: &str, decision: &str| {
        let mut identities = told["identities"].as_array().unwrap().iter();
        let identity = identities.find(|one| one["hostname"] == host).unwrap();
        identity["snapshots"].as_array().unwrap().iter().filter(|one| one["decision"] == decision).count()
    };
    assert_eq!((decided("postgres.databases", "keep"), decided("postgres.databases", "remove")), (5, 91));
    assert_eq!((decided("grafana.observability", "keep"), decided("grafana.observability", "none")), (9, 0));
    assert_eq!(decided("atuin.default", "none"), 1);
    assert!(rules(&told).contains(&"policy-unmatched") && rules(&told).contains(&"forget-due"));
    let both = repo.call("report").with("MOVER_POLICY_FILE", &file).with("FORGET_OPTIONS", "-l 1");
    both.fails(2, "Fatal: forget is told more than once what to remove");
}

#[test]
fn the_page_tells_decisions_apart() {
    let repo = fleet();
    let page = page(&repo, &[("FORGET_OPTIONS", "--keep-daily 7 --keep-weekly 3")]);
    for part in [
        "path class=\"kept\"",
        "path class=\"goes\"",
        "daily snapshot",
        "by the next forget",
        "keep 7 daily, 3 weekly",
    ] {
        assert!(page.contains(part), "{part}");
    }
}
