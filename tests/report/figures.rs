//! The figures are those of `stats` and of restic, in JSON and on the page; folders and advice say what is there.

use std::fs;

use serde_json::Value;

use crate::call::{PASSWORD, Repo};
use crate::made::{DAY, HOUR, Series, fleet, page, report, rules, series};
use crate::support::fixture;
use crate::support::restic::Restic;
use crate::support::scratch;
use crate::support::source::random_bytes;

fn restic(repo: &Repo) -> Option<Restic> {
    Some(Restic::on("restic-0.19", repo.path())?.with("RESTIC_PASSWORD", PASSWORD))
}

#[test]
fn all_figures_are_those_of_stats_and_of_restic() {
    let repo = fleet();
    let told = report(&repo, &[]);
    let stats: Value = serde_json::from_str(&repo.call("stats").with("MOVER_JSON", "1").ok()).unwrap();
    assert_eq!(told["stats"], stats);
    assert_eq!((&told["message_type"], &told["all_snapshots"]), (&"report".into(), &true.into()));
    let identities = told["identities"].as_array().unwrap();
    let stored: u64 = identities.iter().map(|one| one["stored_size"].as_u64().unwrap()).sum();
    assert_eq!(stored, stats["raw-data"]["total_size"].as_u64().unwrap());
    let Some(restic) = restic(&repo) else { return };
    for mode in ["restore-size", "raw-data", "files-by-contents"] {
        let theirs: Value =
            serde_json::from_str(&restic.ok(&["stats", "--json", "--quiet", "--mode", mode])).unwrap();
        assert_eq!(told["stats"][mode], theirs, "{mode}");
    }
    let mut theirs: Vec<String> =
        restic.snapshots().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    let own = identities.iter().flat_map(|one| one["snapshots"].as_array().unwrap());
    let mut ours: Vec<String> = own.map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    theirs.sort();
    ours.sort();
    assert_eq!(ours, theirs);
}

/// Each size stands on the page with its bytes.
#[test]
fn the_page_has_the_same_figures() {
    let repo = fleet();
    let told = report(&repo, &[]);
    let page = page(&repo, &[]);
    let stats = &told["stats"];
    for value in [
        &stats["restore-size"]["total_size"],
        &stats["raw-data"]["total_size"],
        &stats["files-by-contents"]["total_size"],
        &stats["repository"]["pack_bytes"],
        &stats["repository"]["unused_bytes"],
    ] {
        assert!(page.contains(&format!("<data value=\"{value}\">")), "{value}");
    }
    assert!(page.contains("<span class=\"value\">217</span>"));
    for identity in told["identities"].as_array().unwrap() {
        assert!(page.contains(&format!("<data value=\"{}\">", identity["stored_size"])), "{identity}");
    }
}

#[test]
fn the_text_is_short_and_names_what_matters() {
    let repo = fleet();
    let text = repo.call("report").with("FORGET_OPTIONS", "--keep-daily 7").ok();
    for part in
        ["Snapshots: 217 of 5 hosts and paths", "Policy: keep 7 daily snapshots", "act: Backups stopped"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.lines().count() < 30, "{text}");
}

/// Other programs read this: a field that is gone or is another breaks them.
#[test]
fn the_fields_of_the_json_stay() {
    let told = report(&fleet(), &[("FORGET_OPTIONS", "--keep-last 2")]);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(
        keys(&told),
        "advice all_snapshots damage identities last_success locks message_type policy program_version \
         repository stats time"
    );
    assert_eq!(
        keys(&told["repository"]),
        "id location missing_packs unindexed_bytes unindexed_packs version"
    );
    let identity = &told["identities"][0];
    assert_eq!(keys(identity), "folders hostname paths rhythm_seconds snapshots stored_size");
    assert_eq!(keys(&identity["folders"]), "changed_size changing largest since");
    assert_eq!(keys(&identity["folders"]["largest"][0]), "path size");
    assert_eq!(keys(&identity["snapshots"][0]), "decision expected_removal id reasons recorded_added_size");
    assert_eq!(keys(&told["advice"][0]), "next rule urgency what");
    assert_eq!(keys(&told["last_success"]), "check prune verify");
    assert_eq!(keys(&told["damage"]), "faults shown");
}

#[test]
fn folders_are_those_with_most_data_and_most_new_data() {
    let repo = Repo::new();
    let source = scratch();
    let write = |path: &str, bytes: usize, seed| {
        fs::create_dir_all(source.path().join(path).parent().unwrap()).unwrap();
        fs::write(source.path().join(path), random_bytes(seed, bytes)).unwrap();
    };
    // Nearly all of /deep is in one folder far below; the wide ones stand side by side.
    write("deep/a/b/c/file", 300_000, 1);
    write("deep/a/note", 10, 2);
    write("wide/one/file", 100_000, 3);
    write("wide/two/file", 50_000, 4);
    let call = || repo.call("backup").with("DATA_DIR", source.path());
    call().ok();
    write("wide/two/new", 70_000, 5);
    write("fresh/file", 20_000, 6);
    fs::copy(source.path().join("deep/a/b/c/file"), source.path().join("fresh/copy")).unwrap();
    call().ok();
    let told = report(&repo, &[]);
    let folders = &told["identities"][0]["folders"];
    let listed = |name: &str| -> Vec<(String, u64)> {
        let one = |one: &Value| (one["path"].as_str().unwrap().to_owned(), one["size"].as_u64().unwrap());
        folders[name].as_array().unwrap().iter().map(one).collect()
    };
    let expected =
        [("/fresh", 320_000), ("/deep/a/b/c", 300_000), ("/wide/two", 120_000), ("/wide/one", 100_000)];
    assert_eq!(listed("largest"), expected.map(|(path, size)| (path.to_owned(), size)));
    // A copy of what is there already is no new data; trees count a little.
    let changing = listed("changing");
    assert_eq!(changing.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["/wide/two", "/fresh"]);
    assert!((70_000..72_000).contains(&changing[0].1) && (20_000..22_000).contains(&changing[1].1));
    assert_eq!(folders["since"], told["identities"][0]["snapshots"][0]["id"]);
}

#[test]
fn advice_names_what_is_wrong_and_is_silent_otherwise() {
    let repo = fleet();
    let told = report(&repo, &[]);
    assert_eq!(rules(&told), ["overdue", "no-policy", "verify-unknown", "check-unknown"]);
    assert!(
        told["advice"][0]["what"]
            .as_str()
            .unwrap()
            .contains("jellyfin.media:/config (9 days ago, every day before)")
    );
    let source = scratch();
    let host = |call: crate::call::Call| call.with("MOVER_HOST", "shrinks").with("DATA_DIR", source.path());
    fs::write(source.path().join("large"), random_bytes(1, 500_000)).unwrap();
    host(repo.call("backup")).ok();
    fs::write(source.path().join("large"), "").unwrap();
    fs::write(source.path().join("small"), "small").unwrap();
    host(repo.call("backup")).ok();
    assert!(rules(&report(&repo, &[])).contains(&"shrunk"));
    fs::write(source.path().join("small"), "").unwrap();
    host(repo.call("backup")).ok();
    let rules_of = |told: &Value| rules(told).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let now = rules_of(&report(&repo, &[]));
    assert!(now.contains(&"empty".to_owned()) && !now.contains(&"shrunk".to_owned()), "{now:?}");
    // What nothing needs any more, beyond what may stay.
    repo.call("forget").with("FORGET_OPTIONS", "--keep-last 1").ok();
    assert!(rules_of(&report(&repo, &[])).contains(&"unused".to_owned()));
    assert!(
        !rules_of(&report(&repo, &[("MOVER_PRUNE_MAX_UNUSED", "unlimited")])).contains(&"unused".to_owned())
    );
    repo.call("prune").with("MOVER_PRUNE_MAX_UNUSED", "0").ok();
    assert!(!rules_of(&report(&repo, &[])).contains(&"unused".to_owned()));
}

#[test]
fn an_empty_repository_and_one_of_version_1_have_a_report() {
    let empty = Repo::new();
    assert_eq!(rules(&report(&empty, &[])), ["no-snapshots", "no-policy", "verify-unknown", "check-unknown"]);
    assert!(page(&empty, &[]).contains("There is no snapshot."));
    let old = fixture::copy("restic-0.14-v1");
    let out = crate::call::Call::on("report", old.path())
        .with("RESTIC_PASSWORD", fixture::PASSWORD)
        .with("MOVER_REPORT_HTML", old.path().join("report.html"))
        .ok();
    assert!(out.contains("format version 1: nothing in it is compressed"), "{out}");
    let page = fs::read_to_string(old.path().join("report.html")).unwrap();
    assert!(page.contains("2 of 2 snapshots do not record what they added"), "old writers kept no figures");
}

/// The file of metrics keeps when a check, a verification and a prune last succeeded; so does the run itself.
#[test]
fn what_is_known_of_earlier_runs_is_told() {
    let repo = Repo::new();
    series(&repo.mover(), &Series { host: "volsync", path: "/data", count: 2, apart: HOUR, ago: 0 });
    let place = scratch();
    let metrics = place.path().join("app.prom");
    let known = |call: crate::call::Call| -> Value {
        let call = call.with("MOVER_METRICS_FILE", &metrics).with("MOVER_JSON", "1");
        let out = call.with("MOVER_NAME", "app").with("MOVER_NAMESPACE", "ns").ok();
        let told = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        told.into_iter().find(|line| line["message_type"] == "report").unwrap()
    };
    assert_eq!(known(repo.call("report"))["last_success"]["check"], Value::Null);
    let told = known(repo.call("check report"));
    let checked = told["last_success"]["check"].as_str().unwrap().to_owned();
    assert!(!rules(&told).contains(&"check-unknown"));
    assert_eq!(told["last_success"]["verify"], Value::Null);
    let later = known(repo.call("prune report"));
    assert_eq!(
        later["last_success"]["check"].as_str().unwrap()[..19],
        checked[..19],
        "the file remembers it"
    );
    assert!(later["last_success"]["prune"].is_string());
    let other = repo.call("report").with("MOVER_NAME", "other").with("MOVER_NAMESPACE", "ns");
    let out = other.with("MOVER_METRICS_FILE", &metrics).ok();
    assert_eq!(out.matches("not known here").count(), 3, "of another object nothing is known: {out}");
    // Old news.
    let text = fs::read_to_string(&metrics).unwrap();
    let aged =
        text.lines().map(|line| match line.strip_prefix("mover_check_last_success_timestamp_seconds{") {
            Some(rest) => {
                let labels = rest.split('}').next().unwrap();
                let then = repo.mover().repository.clock().now().as_second() - 40 * DAY;
                format!("mover_check_last_success_timestamp_seconds{{{labels}}} {then}\n")
            }
            None => format!("{line}\n"),
        });
    fs::write(&metrics, aged.collect::<String>()).unwrap();
    assert!(rules(&known(repo.call("report"))).contains(&"check-old"));
}

#[test]
fn selections_narrow_it_and_say_so() {
    let repo = fleet();
    let told = report(&repo, &[("MOVER_HOST", "atuin.default")]);
    assert_eq!(told["all_snapshots"], false);
    assert_eq!(told["identities"].as_array().unwrap().len(), 1);
    assert_eq!(told["stats"]["repository"]["unused_bytes"], Value::Null);
    assert!(page(&repo, &[("MOVER_HOST", "atuin.default")]).contains("of selected snapshots only"));
}
