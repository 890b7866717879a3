//! Metrics as they arrive: in a file, at who scrapes while a run lasts, at an OTLP receiver; and promtool has
//! nothing to say against them.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use volmover::repository::lock::LockMode;

use super::call::{Call, MARK, Repo, source};
use super::figures::{self, value};
use super::stub::{Stub, answer};
use super::support::children::{free_port, get, wait_until};
use super::support::{peer, scratch};

/// Every name that is promised.
const NAMES: [&str; 33] = [
    "mover_last_run_timestamp_seconds",
    "mover_last_success_timestamp_seconds",
    "mover_last_run_success",
    "mover_last_exit_code",
    "mover_run_heartbeat_timestamp_seconds",
    "mover_last_run_empty",
    "mover_duration_seconds",
    "mover_snapshot_files",
    "mover_snapshot_bytes",
    "mover_added_bytes",
    "mover_uploaded_bytes",
    "mover_files",
    "mover_read_errors",
    "mover_snapshots",
    "mover_repository_bytes",
    "mover_repository_unused_bytes",
    "mover_locks",
    "mover_store_requests_total",
    "mover_store_retries_total",
    "mover_store_hedges_total",
    "mover_cache_requests_total",
    "mover_cache_bytes",
    "mover_peak_memory_bytes",
    "mover_verify_last_success_timestamp_seconds",
    "mover_check_last_success_timestamp_seconds",
    "mover_prune_last_success_timestamp_seconds",
    "mover_restore_bytes",
    "mover_identity_snapshots",
    "mover_identity_stored_bytes",
    "mover_identity_last_snapshot_timestamp_seconds",
    "mover_run_start_timestamp_seconds",
    "mover_last_run_shrunk",
    "mover_cpu_seconds",
];

/// A call that has a name.
pub(super) fn named(call: Call) -> Call {
    call.with("MOVER_NAME", "app").with("MOVER_NAMESPACE", "ns")
}

/// promtool finds nothing to say against it.
#[track_caller]
fn lint(text: &str) {
    let Some(promtool) = peer("promtool") else { return };
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\n{text}", String::from_utf8_lossy(&said));
}

const BACKUP: &[&str] = &[r#"operation="backup""#];

#[test]
fn a_file_holds_the_last_success_through_a_failure() {
    let (repo, source, place) = (Repo::new(), source(), scratch());
    let (file, report) = (place.path().join("app.prom"), place.path().join("report"));
    let call = |operations: &str| {
        named(repo.call(operations))
            .with("DATA_DIR", source.path())
            .with("MOVER_METRICS_FILE", &file)
            .with("MOVER_REPORT_FILE", &report)
    };
    call("backup prune stats check verify").ok();
    let good = fs::read_to_string(&file).unwrap();
    lint(&good);
    for figure in figures::of_run(&report, &repo, source.path()) {
        figure.assert_in(&good);
    }

    call("backup").with("RESTIC_PASSWORD", "other").run().assert_failed(12, "Fatal: ");
    let bad = fs::read_to_string(&file).unwrap();
    lint(&bad);
    for name in ["mover_last_success_timestamp_seconds", "mover_snapshot_bytes"] {
        assert!(value(&good, name, BACKUP).is_some(), "{name}\n{good}");
        assert_eq!(value(&bad, name, BACKUP), value(&good, name, BACKUP), "{name}\n{bad}");
    }
    let of = |name: &str| value(&bad, name, BACKUP);
    assert_eq!((of("mover_last_run_success"), of("mover_last_exit_code")), (Some(0.0), Some(12.0)));
    assert!(of("mover_last_run_timestamp_seconds") > of("mover_last_success_timestamp_seconds"), "{bad}");
    for name in ["verify", "check", "prune"] {
        let name = format!("mover_{name}_last_success_timestamp_seconds");
        assert!(value(&bad, &name, &[]).is_some(), "{name}\n{bad}");
    }
    call("backup").with("MOVER_DRY_RUN", "1").ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), bad, "a dry run told something");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "something was left behind");
}

#[test]
fn every_promised_name_is_told() {
    let (repo, source, place) = (Repo::new(), source(), scratch());
    let (file, target) = (place.path().join("app.prom"), scratch());
    let call = |operations: &str| {
        named(repo.call(operations)).with("MOVER_METRICS_FILE", &file).with("RESTIC_CACHE_DIR", place.path())
    };
    call("backup prune stats check verify").with("DATA_DIR", source.path()).ok();
    call("restore").with("MOVER_PATH", source.path()).with("DATA_DIR", target.path()).ok();
    let text = fs::read_to_string(&file).unwrap();
    lint(&text);
    for name in NAMES {
        let is = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        let series: Vec<&str> = text.lines().filter(is).collect();
        assert!(!series.is_empty(), "{name} is missing:\n{text}");
        for label in ["obj_name=\"app\"", "obj_namespace=\"ns\"", "role=\"", "operation=\""] {
            assert!(series.iter().all(|line| line.contains(label)), "{name} lacks {label}");
        }
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        assert_eq!(text.matches(&format!("# TYPE {name} {kind}\n")).count(), 1, "{name}\n{text}");
        assert_eq!(text.matches(&format!("# HELP {name} ")).count(), 1, "{name}\n{text}");
    }
    let told = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(told, NAMES.len(), "a name is told that is not promised:\n{text}");
    let restored = value(&text, "mover_restore_bytes", &[r#"role="destination""#]);
    assert_eq!(restored, value(&text, "mover_snapshot_bytes", BACKUP), "{text}");
}

#[test]
fn what_the_cache_did_is_told_by_whoever_asked_it() {
    let (repo, source, place) = (Repo::new(), source(), scratch());
    let [file, report, cache] = ["app.prom", "report", "cache"].map(|name| place.path().join(name));
    let call = |operations: &str| {
        let call = named(repo.call(operations)).with("DATA_DIR", source.path());
        call.with("RESTIC_CACHE_DIR", &cache)
            .with("MOVER_METRICS_FILE", &file)
            .with("MOVER_REPORT_FILE", &report)
    };
    call("backup").ok();
    fs::write(source.path().join("new"), "new").unwrap();
    call("backup check").ok();
    let told: Value = serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
    let of = |place: usize| told["operations"][place]["traffic"]["cache"].clone();
    let (backup, text) = (of(0), fs::read_to_string(&file).unwrap());
    let sealed = fs::read_dir(cache.join("volmover")).unwrap().flatten().find(|entry| entry.path().is_dir());
    let held: u64 = fs::read_dir(sealed.unwrap().path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(backup["hits"].as_u64() > Some(0), "a warm cache answers nothing: {told}");
    assert_eq!(backup["bytes"], held);
    assert_eq!(of(1), Value::Null, "check reads what is stored");
    assert_eq!(
        (&told["traffic"]["cache"]["hits"], &told["traffic"]["cache"]["bytes"]),
        (&backup["hits"], &held.into())
    );
    for (outcome, field) in [("hit", "hits"), ("miss", "misses")] {
        let labels = [format!(r#"outcome="{outcome}""#), r#"operation="backup""#.to_owned()];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        assert_eq!(value(&text, "mover_cache_requests_total", &labels), backup[field].as_f64(), "{text}");
    }
    assert!(!text.contains(
        r#"mover_cache_requests_total{obj_name="app",obj_namespace="ns",role="source",operation="check""#
    ));
    lint(&text);
}

#[test]
fn a_lock_that_is_gone_is_told_no_more() {
    let (repo, source, place) = (Repo::new(), source(), scratch());
    let file = place.path().join("app.prom");
    let call = named(repo.call("backup")).with("DATA_DIR", source.path()).with("MOVER_METRICS_FILE", &file);
    let live = || {
        let text = fs::read_to_string(&file).unwrap();
        value(&text, "mover_locks", &[r#"state="live""#])
    };
    let mover = repo.mover();
    let held = mover.session().locked(LockMode::Exclusive, |_| {
        call.clone().with("MOVER_LOCK_WAIT", "0").run().assert_failed(11, "Fatal: ");
        Ok(live())
    });
    assert_eq!(held, Ok(Some(1.0)));
    call.ok();
    assert_eq!(live(), Some(0.0));
}

#[test]
fn a_run_can_be_asked_how_it_is() {
    let (repo, source) = (Repo::new(), source());
    let port = free_port();
    let call = named(repo.call("backup"))
        .with("DATA_DIR", source.path())
        .with("MOVER_METRICS_LISTEN", format!("127.0.0.1:{port}"));
    let mover = repo.mover();
    let asked = mover.session().locked(LockMode::Exclusive, |_| {
        // It waits for this lock, so it is there to be asked.
        let _running = call.start();
        let told =
            |name: &str, parts: &[&str]| get(port, "/metrics").and_then(|text| value(&text, name, parts));
        let pulse = || told("mover_run_heartbeat_timestamp_seconds", BACKUP);
        wait_until("a pulse", || pulse().is_some());
        let first = pulse();
        wait_until("another", || pulse() > first);
        wait_until("the lock", || told("mover_locks", &[r#"state="live""#]) == Some(1.0));
        assert!(get(port, "/x").unwrap().contains("404"));
        Ok(get(port, "/metrics").unwrap())
    });
    let text = asked.unwrap();
    assert_eq!(value(&text, "mover_last_run_timestamp_seconds", BACKUP), None, "{text}");
    lint(text.split_once("\r\n\r\n").unwrap().1);
}

#[test]
fn opentelemetry_gets_metrics_and_a_trace() {
    let heard: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let ears = Arc::clone(&heard);
    let stub = Stub::start(move |received| {
        ears.lock().unwrap().push((received.head.clone(), serde_json::from_str(&received.body).unwrap()));
        answer("200 OK", "{}")
    });
    let (repo, source) = (Repo::new(), source());
    named(repo.call("backup"))
        .with("DATA_DIR", source.path())
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", stub.url())
        .with("OTEL_EXPORTER_OTLP_HEADERS", "x-key=Gehe1m%20token")
        .with("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .with("OTEL_SERVICE_NAME", "nightly")
        .ok();
    let heard = heard.lock().unwrap();
    let body = |path: &str| {
        let (head, body) = heard.iter().find(|(head, _)| head.starts_with(&format!("POST {path} "))).unwrap();
        let head = head.to_lowercase();
        assert!(head.contains("x-key: gehe1m token\r\n"), "{head}");
        assert!(head.contains("content-type: application/json\r\n"), "{head}");
        assert!(!body.to_string().contains(MARK) && body.to_string().contains(r#""nightly""#), "{body}");
        body.clone()
    };
    let metrics = body("/v1/metrics")["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].clone();
    let names: Vec<&str> =
        metrics.as_array().unwrap().iter().map(|of| of["name"].as_str().unwrap()).collect();
    for name in ["mover_snapshot_bytes", "mover_store_requests_total"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let spans = body("/v1/traces")["resourceSpans"][0]["scopeSpans"][0]["spans"].clone();
    let names: Vec<&str> = spans.as_array().unwrap().iter().map(|of| of["name"].as_str().unwrap()).collect();
    let phases =
        ["starting", "opening the repository", "locking the repository", "loading the index", "backup"];
    assert_eq!(names[..2], ["run", "backup"]);
    assert_eq!(names[2..], phases);
}
