//! The summary as JSON: on stdout, in the report file, in the termination message; for every way to fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::call::{Call, MARK, Repo, source};
use super::support::{fixture, scratch};

/// The last line of a text, as JSON.
fn last(text: &str) -> Value {
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|cause| panic!("{cause}: {text}"))
}

fn read(path: &Path) -> Value {
    last(&fs::read_to_string(path).unwrap())
}

#[test]
fn a_run_sums_itself_up_in_one_object_wherever_it_is_told() {
    let (repo, source, place) = (Repo::new(), source(), scratch());
    let [report, message] = ["report.json", "message"].map(|name| place.path().join(name));
    let call = repo
        .call("backup prune")
        .with("DATA_DIR", source.path())
        .with("MOVER_NAME", "app")
        .with("MOVER_NAMESPACE", "ns")
        .with("MOVER_JSON", "1")
        .with("MOVER_REPORT_FILE", &report)
        .with("MOVER_TERMINATION_LOG", &message);
    let out = call.ok();
    let told = last(&out);
    assert_eq!(told, read(&report));
    assert_eq!(told, read(&message));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "something was left behind");

    let expected = [
        ("message_type", Value::from("run")),
        ("outcome", Value::from("success")),
        ("exit_code", Value::from(0)),
        ("obj_name", Value::from("app")),
        ("obj_namespace", Value::from("ns")),
        ("role", Value::from("source")),
        ("repository", Value::from(repo.path().to_str().unwrap())),
    ];
    for (field, value) in expected {
        assert_eq!(told[field], value, "{field}: {told}");
    }
    let [backup, prune] = [&told["operations"][0], &told["operations"][1]];
    assert_eq!((&backup["operation"], &prune["operation"]), (&"backup".into(), &"prune".into()));
    let summary: Value = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|line: &Value| line["message_type"] == "summary" && line.get("files_new").is_some())
        .unwrap();
    for field in ["snapshot_id", "files_new", "total_bytes_processed", "data_added", "data_added_packed"] {
        assert_eq!(backup["backup"][field], summary[field], "{field}");
    }
    let phases: Vec<&str> =
        backup["phases"].as_array().unwrap().iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    assert_eq!(
        phases,
        ["starting", "opening the repository", "locking the repository", "loading the index", "backup"]
    );
    assert_eq!(prune["repository"]["snapshots"], 1);

    // What was sent is what is stored, but for the lock.
    let uploaded = backup["traffic"]["uploaded_bytes"].as_u64().unwrap();
    let stored: u64 =
        ["index", "snapshots"].map(|folder| bytes(&repo.path().join(folder))).iter().sum::<u64>()
            + bytes(&repo.path().join("data"));
    assert!(uploaded > stored && uploaded < stored + 1000, "{uploaded} of {stored}");
    let writes = |operation: &Value| {
        let requests = operation["traffic"]["requests"].as_array().unwrap().clone();
        requests
            .iter()
            .filter(|of| of["request"] == "write")
            .map(|of| of["count"].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(writes(&told), writes(backup) + writes(prune));
    assert!(
        told["peak_memory_bytes"].as_u64().unwrap() > 1 << 20 && told["cpu_seconds"].as_f64().unwrap() > 0.0
    );
}

fn bytes(folder: &Path) -> u64 {
    let of = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        status if status.is_dir() => bytes(&entry.path()),
        status => status.len(),
    };
    fs::read_dir(folder).unwrap().map(|entry| of(entry.unwrap())).sum()
}

#[test]
fn a_log_that_is_asked_for_more_has_it_in_words() {
    let (repo, source) = (Repo::new(), source());
    let call = repo.call("backup").with("DATA_DIR", source.path()).with("MOVER_NAME", "app");
    let told = |call: &Call| {
        let ran = call.run();
        let lines = ran.err.lines().filter_map(|line| Some(line.split_once("volmover::run: ")?.1.to_owned()));
        lines.collect::<Vec<String>>()
    };
    assert_eq!(told(&call), Vec::<String>::new());
    let lines = told(&call.with("MOVER_NAMESPACE", "ns").with("DEBUG_MOVER", "1"));
    assert_eq!(lines[0], "volmover backup of ns/app: done");
    assert!(lines[1].starts_with("backup: done in 0:0") && lines[1].contains(": 2 files, "), "{lines:?}");
    let target = scratch();
    let restore = repo.call("restore").with("MOVER_PATH", source.path()).with("DATA_DIR", target.path());
    let told = last(&restore.with("MOVER_JSON", "1").ok());
    let snapshot = fs::read_dir(repo.path().join("snapshots")).unwrap().next().unwrap().unwrap();
    let id = snapshot.file_name().into_string().unwrap();
    assert_eq!(
        (&told["operations"][0]["restore"]["snapshot_id"], &told["role"]),
        (&id.into(), &"destination".into())
    );
}

#[test]
fn what_is_asked_for_its_output_is_followed_by_nothing() {
    let (repo, source, fresh) = (Repo::new(), source(), scratch());
    repo.call("backup").with("DATA_DIR", source.path()).ok();
    let listing = [
        "snapshots",
        "stats",
        "ls",
        "check",
        "verify",
        "doctor",
        "unlock",
        "repair-index",
        "snapshots stats",
    ];
    let calls = listing.map(|operations| repo.call(operations));
    for call in calls.into_iter().chain([Call::on("init", fresh.path())]) {
        let out = call.with("MOVER_JSON", "1").with("DATA_DIR", source.path()).ok();
        assert!(!out.contains(r#""message_type":"run""#), "{out}");
    }
    let failed = repo.call("snapshots").with("MOVER_JSON", "1").with("RESTIC_PASSWORD", "Gehe1m-other").run();
    assert_eq!((failed.code, failed.out.as_str()), (12, ""));
    let out = repo.call("snapshots").ok();
    assert!(!out.contains('{'), "{out}");
}

/// A failure is told in the same words wherever one looks, with the next step, and never with a secret.
#[track_caller]
fn fails(call: &Call, code: u8, failed: &str) -> Value {
    let place = scratch();
    let message = place.path().join("message");
    let ran = call.clone().with("MOVER_TERMINATION_LOG", &message).with("MOVER_JSON", "1").run();
    ran.assert_failed(code.into(), "Fatal: ");
    let text = fs::read_to_string(&message).unwrap();
    assert!(text.len() <= 4096 && !text.contains(MARK), "{text}");
    let told = last(&text);
    if !["check", "verify"].contains(&failed) {
        assert_eq!(told, last(&ran.out), "stdout tells something else");
    }
    assert_eq!((&told["outcome"], &told["exit_code"]), (&"failed".into(), &code.into()), "{told}");
    assert_eq!(told["error"]["line"], ran.last(), "{told}");
    assert!(told["error"]["next"].is_string(), "no next step: {told}");
    let operations = told["operations"].as_array().cloned().unwrap_or_default();
    let at: Vec<&Value> = operations.iter().filter(|of| of["outcome"] == "failed").collect();
    let names: Vec<&str> = at.iter().map(|of| of["operation"].as_str().unwrap()).collect();
    assert_eq!(names, if failed.is_empty() { vec![] } else { vec![failed] }, "{told}");
    assert!(at.iter().all(|of| of["exit_code"] == code), "{told}");
    told
}

#[test]
fn every_failure_names_its_cause_and_the_next_step() {
    let (repo, source) = (Repo::new(), source());
    let backup = |operations: &str| repo.call(operations).with("DATA_DIR", source.path());
    fails(&backup("backup").with("MOVER_LOCK_WAIT", "Gehe"), 2, "backup");
    fails(&backup("backup frobnicate"), 2, "");
    let told = fails(&backup("backup prune").with("RESTIC_PASSWORD", "Gehe1m-other"), 12, "backup");
    assert_eq!(told["operations"][1]["outcome"], "not_run");
    fails(&Call::on("prune", "/nonexistent/repository"), 10, "prune");
    let empty = scratch();
    fails(&backup("backup").with("DATA_DIR", empty.path()).with("MOVER_ON_EMPTY", "fail"), 24, "backup");
    backup("backup").ok();
    let young = backup("verify").with("MOVER_VERIFY_MIN_FILES", "1000");
    fails(&young, 25, "verify");
    let pack = fs::read_dir(repo.path().join("data")).unwrap().find_map(|folder| {
        fs::read_dir(folder.unwrap().path()).unwrap().next().map(|pack| pack.unwrap().path())
    });
    fixture::damage_file(&pack.unwrap(), fixture::Damage::Flipped);
    fails(&backup("check").with("MOVER_CHECK_READ_DATA", "1"), 21, "check");
}

#[test]
fn a_partial_backup_names_what_could_not_be_read() {
    let (source, place) = (source(), scratch());
    let hidden = source.path().join("hidden");
    fs::write(&hidden, "x").unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o0)).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let report = place.path().join("report");
    let call = Call::on("backup prune", place.path().join("repository"));
    let call = call.with("DATA_DIR", source.path()).with("MOVER_REPORT_FILE", &report);
    call.by_nobody().run().assert_failed(3, "Fatal: the snapshot is partial");
    let told = read(&report);
    let backup = &told["operations"][0];
    assert_eq!(
        (&backup["items_failed_total"], &backup["backup"]["errors"]),
        (&1.into(), &1.into()),
        "{told}"
    );
    assert!(backup["items_failed"][0].as_str().unwrap().contains("/hidden"), "{told}");
    assert!(backup["backup"]["snapshot_id"].is_string(), "{told}");
    assert_eq!(told["operations"][1]["outcome"], "not_run");
}

#[test]
fn nothing_to_do_is_no_failure_and_no_success() {
    let (repo, empty, place) = (Repo::new(), scratch(), scratch());
    let report = place.path().join("report");
    let call = repo.call("backup prune").with("DATA_DIR", empty.path()).with("MOVER_REPORT_FILE", &report);
    call.clone().with("MOVER_PRUNE", "off").ok();
    let told = read(&report);
    let outcomes: Vec<&Value> =
        told["operations"].as_array().unwrap().iter().map(|of| &of["outcome"]).collect();
    assert_eq!(outcomes, ["nothing", "skipped"]);
    assert_eq!((&told["outcome"], &told["exit_code"]), (&"nothing".into(), &0.into()));
}

#[test]
fn a_way_out_that_hangs_is_left_behind() {
    let (repo, place) = (Repo::new(), scratch());
    let [pipe, report] = ["pipe", "report"].map(|name| place.path().join(name));
    // Nobody reads: whoever opens it to write waits for ever.
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let call = repo.call("check").with("MOVER_TERMINATION_LOG", &pipe).with("MOVER_REPORT_FILE", &report);
    let ran = call.run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let warning = "Warning: this run could not be told to MOVER_TERMINATION_LOG: not done within 5 s\n";
    assert_eq!(ran.err, warning);
    assert_eq!(read(&report)["outcome"], "success");
}

#[test]
fn a_file_that_cannot_be_written_is_a_warning() {
    let repo = Repo::new();
    let call = repo
        .call("check")
        .with("MOVER_REPORT_FILE", "/nonexistent/report")
        .with("MOVER_TERMINATION_LOG", "/");
    let ran = call.run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let warnings: Vec<&str> = ran.err.lines().filter(|line| line.starts_with("Warning: ")).collect();
    assert_eq!(warnings.len(), 1, "{}", ran.err);
    for part in
        ["MOVER_REPORT_FILE: /nonexistent/report: No such file", "MOVER_TERMINATION_LOG: /: Is a directory"]
    {
        assert!(warnings[0].contains(part), "{}", ran.err);
    }
}

#[test]
fn a_verify_says_what_it_proved() {
    let (repo, source, place) = (Repo::new(), source(), scratch());
    let report = place.path().join("report");
    repo.call("backup").with("DATA_DIR", source.path()).ok();
    let call = repo.call("verify").with("MOVER_PATH", source.path()).with("MOVER_REPORT_FILE", &report);
    call.ok();
    let told = read(&report)["operations"][0]["verify"].clone();
    let expected = [("snapshots", 1), ("passed", 1), ("files", 2), ("bytes", 10_005), ("items_failed", 0)];
    for (field, value) in expected {
        assert_eq!(told[field], value, "{field}: {told}");
    }
    assert_eq!(told["failed_checks"], Value::Array(Vec::new()));
    call.with("MOVER_VERIFY_MIN_FILES", "3").run().assert_failed(25, "Fatal: ");
    let told = read(&report)["operations"][0]["verify"].clone();
    assert_eq!((&told["snapshots"], &told["passed"]), (&1.into(), &0.into()), "{told}");
    assert_eq!(told["failed_checks"], Value::from(vec!["min-files"]));
}
