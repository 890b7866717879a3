//! The real receivers: a run's figures arrive at each of them, and are those of its summary and of restic.
//!
//! Debian's Prometheus is built without OpenTelemetry, so `VictoriaMetrics` takes it here.

use volmover::repository::lock::LockMode;

use super::call::{Repo, source};
use super::figures::{self, value};
use super::metrics::named;
use super::servers::Server;
use super::support::children::free_port;
use crate::support::scratch;

const RUN: &str = "backup prune stats check verify";
const BACKUP: &[&str] = &[r#"operation="backup""#];

#[test]
fn prometheus_has_what_pushgateway_and_node_exporter_were_told() {
    let (repo, source, place, texts) = (Repo::new(), source(), scratch(), scratch());
    let (Some(gateway), Some(node)) = (Server::pushgateway(), Server::node_exporter(texts.path())) else {
        return;
    };
    let listen = free_port();
    let jobs = [("pushed", gateway.port()), ("node", node.port()), ("mover", listen)];
    let Some(prometheus) = Server::prometheus(&jobs) else { return };
    let report = place.path().join("report");
    let call = named(repo.call(RUN)).with("DATA_DIR", source.path());
    let told = call
        .clone()
        .with("MOVER_REPORT_FILE", &report)
        .with("MOVER_METRICS_FILE", texts.path().join("app.prom"))
        .with("MOVER_PUSHGATEWAY", gateway.url())
        .run();
    assert!(told.code == 0 && told.err.is_empty(), "{}", told.err);
    for figure in figures::of_run(&report, &repo, source.path()) {
        figure.assert_in(&gateway.metrics());
        figure.assert_in(&node.metrics());
        // What is pushed keeps the name that it is pushed under.
        for job in ["volmover", "node"] {
            prometheus.comes_to(&figure.query(&format!("job=\"{job}\"")), figure.value);
        }
    }

    // While a run lasts it is scraped itself.
    let mover = repo.mover();
    let held = mover.session().locked(LockMode::Exclusive, |_| {
        let _running = call.with("MOVER_METRICS_LISTEN", format!("127.0.0.1:{listen}")).start();
        prometheus.comes_to(r#"mover_locks{state="live",job="mover"}"#, 1.0);
        let age = r#"time() - mover_run_heartbeat_timestamp_seconds{job="mover"} < bool 60"#;
        prometheus.comes_to(age, 1.0);
        Ok(())
    });
    held.unwrap();
}

#[test]
fn a_pushgateway_keeps_the_last_success_through_a_failure() {
    let Some(gateway) = Server::pushgateway() else { return };
    let (repo, source) = (Repo::new(), source());
    let call = named(repo.call("backup check"))
        .with("DATA_DIR", source.path())
        .with("MOVER_PUSHGATEWAY", gateway.url());
    let ran = call.run();
    assert!(ran.code == 0 && ran.err.is_empty(), "{}", ran.err);
    let good = gateway.metrics();
    assert_eq!(value(&good, "mover_last_run_success", BACKUP), Some(1.0));

    call.with("RESTIC_PASSWORD", "other").run().assert_failed(12, "Fatal: ");
    let bad = gateway.metrics();
    let of = |name: &str| value(&bad, name, BACKUP);
    assert_eq!((of("mover_last_run_success"), of("mover_last_exit_code")), (Some(0.0), Some(12.0)));
    for name in ["mover_last_success_timestamp_seconds", "mover_snapshot_bytes"] {
        assert!(value(&good, name, BACKUP).is_some(), "{name}\n{good}");
        assert_eq!(of(name), value(&good, name, BACKUP), "{name}\n{bad}");
    }
    assert!(value(&bad, "mover_check_last_success_timestamp_seconds", &[]).is_some(), "{bad}");

    // Names that a path cannot hold.
    let odd = repo.call("check").with("MOVER_NAME", "a/b ü\"").with("MOVER_PUSHGATEWAY", gateway.url()).run();
    assert!(odd.code == 0 && odd.err.is_empty(), "{}", odd.err);
    let parts = [r#"obj_name="a/b ü\"""#, r#"obj_namespace="""#];
    assert_eq!(
        value(&gateway.metrics(), "mover_last_run_success", &parts),
        Some(1.0),
        "{}",
        gateway.metrics()
    );
}

#[test]
fn victoria_metrics_has_what_was_pushed_and_what_opentelemetry_was_told() {
    let Some(victoria) = Server::victoria_metrics() else { return };
    let (repo, source, place) = (Repo::new(), source(), scratch());
    let report = place.path().join("report");
    let ran = named(repo.call(RUN))
        .with("DATA_DIR", source.path())
        .with("MOVER_REPORT_FILE", &report)
        .with("MOVER_PUSHGATEWAY", format!("{}/api/v1/import/prometheus", victoria.url()))
        .with("OTEL_RESOURCE_ATTRIBUTES", "job=otlp")
        .with("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", format!("{}/opentelemetry/v1/metrics", victoria.url()))
        .run();
    assert!(ran.code == 0 && ran.err.is_empty(), "{}", ran.err);
    for figure in figures::of_run(&report, &repo, source.path()) {
        for job in ["volmover", "otlp"] {
            victoria.comes_to(&figure.query(&format!("job=\"{job}\"")), figure.value);
        }
    }
}
