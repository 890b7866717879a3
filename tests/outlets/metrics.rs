//! Metrics as they arrive: in a file, at a Pushgateway, at a scraper, at an OTLP receiver; held against the
//! summary of the same run, and against promtool.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use volmover::repository::lock::LockMode;

use super::call::{Call, Repo, source};
use super::stub::{Stub, answer};
use super::support::children::{Running, wait_until};
use super::support::peer;

/// A call that has a name.
fn named(call: Call) -> Call {
    call.with("MOVER_NAME", "app").with("MOVER_NAMESPACE", "ns")
}

/// The value of the one series of this name whose labels hold `part`.
fn value(text: &str, name: &str, part: &str) -> Option<f64> {
    let of = |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(part);
    let mut lines = text.lines().filter(of);
    let first = lines.next().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap());
    assert!(lines.next().is_none(), "{name} {part} is there twice:\n{text}");
    first
}

/// promtool finds nothing to say against it.
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

#[test]
fn a_file_holds_the_last_success_through_a_failure() {
    let (repo, source, place) = (Repo::new(), source(), TempDir::new().unwrap());
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
    let told: Value = serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
    let backup = &told["operations"][0];
    let is = |name: &str, value_of: &Value| {
        assert_eq!(value(&good, name, r#"operation="backup""#), value_of.as_f64(), "{name}");
    };
    is("mover_snapshot_files", &backup["backup"]["total_files_processed"]);
    is("mover_snapshot_bytes", &backup["backup"]["total_bytes_processed"]);
    is("mover_added_bytes", &backup["backup"]["data_added_packed"]);
    is("mover_uploaded_bytes", &backup["traffic"]["uploaded_bytes"]);
    is("mover_last_run_success", &1.into());
    let packs = bytes(&repo.path().join("data"));
    assert_eq!(value(&good, "mover_repository_bytes", r#"operation="repository""#), Some(packs as f64));
    assert_eq!(value(&good, "mover_snapshots", r#"operation="repository""#), Some(1.0));
    let identity = format!(r#"operation="repository",identity="volsync:{}""#, source.path().display());
    assert_eq!(value(&good, "mover_identity_snapshots", &identity), Some(1.0));
    for name in ["mover_verify_last_success", "mover_check_last_success", "mover_prune_last_success"] {
        assert!(value(&good, &format!("{name}_timestamp_seconds"), "").is_some(), "{name}\n{good}");
    }

    call("backup").with("RESTIC_PASSWORD", "other").run().assert_failed(12, "Fatal: ");
    let bad = fs::read_to_string(&file).unwrap();
    lint(&bad);
    let of = |text: &str, name: &str| value(text, name, r#"operation="backup""#);
    for name in ["mover_last_success_timestamp_seconds", "mover_snapshot_bytes"] {
        assert!(of(&good, name).is_some() && of(&bad, name) == of(&good, name), "{name}\n{bad}");
    }
    assert_eq!(
        (of(&bad, "mover_last_run_success"), of(&bad, "mover_last_exit_code")),
        (Some(0.0), Some(12.0))
    );
    assert!(value(&bad, "mover_prune_last_success_timestamp_seconds", "").is_some(), "{bad}");
    call("backup").with("MOVER_DRY_RUN", "1").ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), bad, "a dry run told something");
}

fn bytes(folder: &Path) -> u64 {
    let of = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        status if status.is_dir() => bytes(&entry.path()),
        status => status.len(),
    };
    fs::read_dir(folder).unwrap().map(|entry| of(entry.unwrap())).sum()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn a_pushgateway_keeps_the_last_success_through_a_failure() {
    let Some(program) = peer("prometheus-pushgateway") else { return };
    let port = free_port();
    let mut command = Command::new(program);
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).stdout(Stdio::null()).stderr(Stdio::null());
    let _gateway = Running::start(&mut command);
    wait_until("the Pushgateway", || get(port, "/-/ready").is_some_and(|text| text.contains(" 200 ")));
    let (repo, source) = (Repo::new(), source());
    let url = format!("http://127.0.0.1:{port}");
    let call =
        named(repo.call("backup check")).with("DATA_DIR", source.path()).with("MOVER_PUSHGATEWAY", &url);
    let ran = call.run();
    assert!(ran.code == 0 && ran.err.is_empty(), "{}", ran.err);
    let good = get(port, "/metrics").unwrap();
    let of = |text: &str, name: &str| value(text, name, r#"operation="backup""#);
    let series = r#"obj_name="app",obj_namespace="ns",operation="backup",role="source""#;
    assert!(good.contains(series), "{good}");
    assert_eq!(of(&good, "mover_last_run_success"), Some(1.0));
    assert!(of(&good, "mover_last_success_timestamp_seconds").is_some(), "{good}");

    call.with("RESTIC_PASSWORD", "other").run().assert_failed(12, "Fatal: ");
    let bad = get(port, "/metrics").unwrap();
    assert_eq!(
        (of(&bad, "mover_last_run_success"), of(&bad, "mover_last_exit_code")),
        (Some(0.0), Some(12.0))
    );
    for name in ["mover_last_success_timestamp_seconds", "mover_snapshot_bytes"] {
        assert!(of(&bad, name).is_some() && of(&bad, name) == of(&good, name), "{name}\n{bad}");
    }
    assert!(value(&bad, "mover_check_last_success_timestamp_seconds", "").is_some(), "{bad}");
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
        let pulse = || {
            get(port, "/metrics")
                .and_then(|text| value(&text, "mover_run_heartbeat_timestamp_seconds", "backup"))
        };
        wait_until("a pulse", || pulse().is_some());
        let first = pulse().unwrap();
        wait_until("another", || pulse().is_some_and(|later| later > first));
        wait_until("the lock", || {
            get(port, "/metrics")
                .is_some_and(|text| value(&text, "mover_locks", r#"state="live""#) == Some(1.0))
        });
        assert!(get(port, "/x").unwrap().contains("404"));
        Ok(get(port, "/metrics").unwrap())
    });
    let text = asked.unwrap();
    assert_eq!(value(&text, "mover_last_run_timestamp_seconds", "backup"), None, "{text}");
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
        .with("OTEL_SERVICE_NAME", "nightly")
        .ok();
    let heard = heard.lock().unwrap();
    let body = |path: &str| {
        let (head, body) = heard.iter().find(|(head, _)| head.starts_with(&format!("POST {path} "))).unwrap();
        let head = head.to_lowercase();
        assert!(
            head.contains("x-key: gehe1m token\r\n") && head.contains("content-type: application/json\r\n"),
            "{head}"
        );
        assert!(!body.to_string().contains("Gehe1m") && body.to_string().contains(r#""nightly""#), "{body}");
        body.clone()
    };
    let metrics = body("/v1/metrics")["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].clone();
    let names: Vec<&str> =
        metrics.as_array().unwrap().iter().map(|of| of["name"].as_str().unwrap()).collect();
    assert!(
        names.contains(&"mover_snapshot_bytes") && names.contains(&"mover_store_requests_total"),
        "{names:?}"
    );
    let spans = body("/v1/traces")["resourceSpans"][0]["scopeSpans"][0]["spans"].clone();
    let names: Vec<&str> = spans.as_array().unwrap().iter().map(|of| of["name"].as_str().unwrap()).collect();
    let phases =
        ["starting", "opening the repository", "locking the repository", "loading the index", "backup"];
    assert_eq!(names[..2], ["run", "backup"]);
    assert_eq!(names[2..], phases);
}
