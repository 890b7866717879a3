//! Every way out set and every one dead: the run does not fail, ends, says so once, and gives nothing away.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use volmover::outlets::DEADLINE;

use super::call::{MARK, PASSWORD, Repo, source};
use super::stub::{Stub, answer};
use super::support::{scratch, skipped};

#[test]
fn a_run_whose_ways_out_are_all_dead_ends_well_with_one_warning() {
    // It takes every request and never answers: a run that waits for it never ends.
    let silent = Stub::start(|_| None);
    let angry = Stub::start(|_| answer("500 Internal Server Error", "no"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (repo, source) = (Repo::new(), source());
    let with_user = |url: String| url.replace("http://", "http://user:Gehe1m-word@");
    let backup = repo.call("backup").with("DATA_DIR", source.path()).with("MOVER_LOG", "trace");
    let start = Instant::now();
    backup.ok();
    let alone = start.elapsed();
    let start = Instant::now();
    let ran = backup
        .with("MOVER_TERMINATION_LOG", "/nonexistent/message")
        .with("MOVER_REPORT_FILE", "/nonexistent/report")
        .with("MOVER_METRICS_FILE", "/nonexistent/x.prom")
        .with("MOVER_METRICS_LISTEN", taken.local_addr().unwrap().to_string())
        .with("MOVER_PUSHGATEWAY", with_user(angry.url()))
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://Gehe1m@127.0.0.1:1")
        .with("OTEL_EXPORTER_OTLP_HEADERS", "x=Gehe1m-header")
        .with("MOVER_NOTIFY_URL", format!("{}/Gehe1m-topic", with_user(silent.url())))
        .with("MOVER_NOTIFY_FORMAT", "healthchecks")
        .run();
    let longer = start.elapsed().saturating_sub(alone);
    assert_eq!(ran.code, 0, "{}", ran.err);
    // The silent one takes all there is; a busy machine takes its time to begin and to end.
    assert!(longer < DEADLINE + Duration::from_secs(2), "{longer:?} longer than {alone:?}");
    assert!(ran.out.contains(" saved\n"), "{}", ran.out);
    let warnings: Vec<&str> = ran.err.lines().filter(|line| line.starts_with("Warning: ")).collect();
    assert_eq!(warnings.len(), 1, "{}", ran.err);
    for part in [
        "MOVER_TERMINATION_LOG: /nonexistent/message: No such file",
        "MOVER_REPORT_FILE: /nonexistent/report: No such file",
        "MOVER_METRICS_FILE: /nonexistent/x.prom: No such file",
        "MOVER_METRICS_LISTEN: 127.0.0.1:",
        "MOVER_PUSHGATEWAY: 127.0.0.1:",
        "answered 500 Internal Server Error",
        "OTEL_EXPORTER_OTLP_ENDPOINT: 127.0.0.1:1: Connection refused",
        "MOVER_NOTIFY_URL: ",
    ] {
        assert!(warnings[0].contains(part), "{part}\n{}", warnings[0]);
    }
    assert!(!ran.err.contains(MARK) && !ran.out.contains(MARK), "{}", ran.err);
}

#[test]
fn a_failure_stays_the_same_and_its_line_the_last() {
    let silent = Stub::start(|_| None);
    let repo = Repo::new();
    let call = repo.call("prune").with("RESTIC_PASSWORD", "Gehe1m-other");
    let ran = call.with("MOVER_NOTIFY_URL", silent.url()).run();
    ran.assert_failed(12, "Fatal: wrong password or no key found");
    assert!(ran.err.contains("Warning: this run could not be told to MOVER_NOTIFY_URL: "), "{}", ran.err);
}

#[test]
fn a_proxy_that_is_dead_is_told_of_without_its_password() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ran = Repo::new()
        .call("check")
        .with("HTTP_PROXY", format!("http://user:Gehe1m-proxy@{closed}"))
        .with("MOVER_PUSHGATEWAY", "http://push.example:9091")
        .with("MOVER_LOG", "trace")
        .run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("Warning: this run could not be told to MOVER_PUSHGATEWAY: "), "{}", ran.err);
    ran.assert_no_secret();
}

#[test]
fn who_sets_none_starts_no_thread_and_no_network() {
    let place = scratch();
    let traced = |variables: &[(&str, &str)]| {
        let repo = Repo::new();
        let log = place.path().join("calls");
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=prctl,socket", "-o"]).arg(&log);
        command.arg(env!("CARGO_BIN_EXE_volmover")).arg("check").env_clear();
        command.env("RESTIC_REPOSITORY", repo.path()).env("RESTIC_PASSWORD", PASSWORD);
        command.envs(variables.iter().copied());
        let output = command.output().ok().filter(|output| output.status.success())?;
        drop(output);
        std::fs::read_to_string(&log).ok()
    };
    let Some(none) = traced(&[]) else {
        return skipped("threads and sockets: strace is missing or not allowed here");
    };
    let of = |calls: &str| {
        ["\"outlet\"", "\"outlets\"", "\"heartbeat\"", "\"metrics\"", "socket("]
            .map(|part| calls.contains(part))
    };
    if !std::path::Path::new("/dev/termination-log").exists() {
        assert_eq!(of(&none), [false; 5], "{none}");
    }
    let some =
        traced(&[("MOVER_PUSHGATEWAY", "http://127.0.0.1:1"), ("MOVER_METRICS_LISTEN", "127.0.0.1:0")]);
    assert_eq!(of(&some.unwrap()), [true; 5], "they are not seen at all");
}
