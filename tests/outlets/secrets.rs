//! Whatever leaves a run by any way, no secret is in it: not in files, metrics, traces, messages or the log. What
//! a secret is for has it alone: the place that is called, and the headers of OpenTelemetry.

use std::fs;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

use super::call::{Call, MARK, Repo, source};
use super::stub::{Stub, answer};
use crate::support::scratch;

/// A call with every way out set, each with a secret of its own, and all that went out by them.
struct Open {
    call: Call,
    place: TempDir,
    heard: Arc<Mutex<Vec<(String, String)>>>,
    _stub: Stub,
}

impl Open {
    fn of(call: &Call, format: &str) -> Self {
        let heard: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let ears = Arc::clone(&heard);
        let stub = Stub::start(move |received| {
            ears.lock().unwrap().push((received.head.clone(), received.body.clone()));
            answer("200 OK", "")
        });
        let place = scratch();
        let with_user = stub.url().replace("http://", "http://user:Gehe1m%2Dword@");
        let call = call
            .clone()
            .with("MOVER_TERMINATION_LOG", place.path().join("message"))
            .with("MOVER_REPORT_FILE", place.path().join("report"))
            .with("MOVER_REPORT_HTML", place.path().join("page"))
            .with("MOVER_METRICS_FILE", place.path().join("app.prom"))
            .with("MOVER_PUSHGATEWAY", &with_user)
            .with("OTEL_EXPORTER_OTLP_ENDPOINT", &with_user)
            .with("OTEL_EXPORTER_OTLP_HEADERS", "x-key=Gehe1m%20header")
            .with("MOVER_NOTIFY_URL", format!("{with_user}/Gehe1m-topic"))
            .with("MOVER_NOTIFY_FORMAT", format)
            .with("MOVER_NOTIFY_ON", "both")
            .with("HTTP_PROXY", "http://user:Gehe1m-proxy@127.0.0.1:1")
            .with("NO_PROXY", "127.0.0.1")
            .with("MOVER_LOG", "trace");
        Self { call, place, heard, _stub: stub }
    }

    /// Runs it; nothing that went out holds a secret, and all ways were gone.
    #[track_caller]
    fn run(&self, code: i32) {
        let ran = self.call.run();
        assert_eq!(ran.code, code, "{}", ran.err);
        ran.assert_no_secret();
        assert!(!ran.err.contains("could not be told"), "{}", ran.err);
        for name in ["message", "report", "app.prom"] {
            let text = fs::read_to_string(self.place.path().join(name)).unwrap();
            assert!(!text.is_empty() && !text.contains(MARK), "{name}: {text}");
        }
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        for part in ["/metrics/job/volmover/", "/v1/metrics ", "/v1/traces ", "/Gehe1m-topic"] {
            assert!(
                heard.iter().any(|(head, _)| head.lines().next().unwrap().contains(part)),
                "nobody called {part}"
            );
        }
        for (head, body) in &heard {
            assert!(!body.contains(MARK), "{body}");
            assert!(head.to_lowercase().contains("\r\nauthorization: basic "), "{head}");
            assert!(!head.contains("Gehe1m-word") && !head.contains("Gehe1m-proxy"), "{head}");
        }
    }
}

#[test]
fn of_a_run_that_is_done_or_fails_nothing_holds_a_secret() {
    let (repo, source) = (Repo::new(), source());
    for format in ["json", "ntfy", "slack", "healthchecks"] {
        let open = Open::of(&repo.call("backup stats report").with("DATA_DIR", source.path()), format);
        open.run(0);
        let page = fs::read_to_string(open.place.path().join("page")).unwrap();
        assert!(page.ends_with("</html>\n") && !page.contains(MARK), "{page}");
        let wrong = Open { call: open.call.clone().with("RESTIC_PASSWORD", "Gehe1m, but wrong"), ..open };
        wrong.run(12);
    }
}

#[test]
fn a_store_that_repeats_a_secret_is_not_repeated() {
    let source = source();
    let chatty = Stub::start(|_| {
        let message = "the key AKIAGehe1m with Gehe1m/secret is unknown";
        answer(
            "403 Forbidden",
            &format!("<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>"),
        )
    });
    let call = Call::on("backup", format!("s3:{}/bucket", chatty.url()))
        .with("AWS_ACCESS_KEY_ID", "AKIAGehe1m")
        .with("AWS_SECRET_ACCESS_KEY", "Gehe1m/secret")
        .with("DATA_DIR", source.path());
    let open = Open::of(&call, "json");
    open.run(23);
    let report = fs::read_to_string(open.place.path().join("report")).unwrap();
    let told: Value = serde_json::from_str(&report).unwrap();
    assert!(told["error"]["cause"].as_str().unwrap().contains("AccessDenied"), "{told}");
}

/// A host that has the key's id in it stays readable; the id alone is not, and the secret key nowhere.
#[test]
fn a_store_that_is_called_like_its_user_keeps_its_name() {
    let source = source();
    let store = Stub::start(|_| {
        let message = "minio.minio.svc:9000 does not know minio with Gehe1m/secret";
        answer(
            "403 Forbidden",
            &format!("<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>"),
        )
    });
    let call = Call::on("backup", "s3:http://minio.minio.svc:9000/backups")
        .with("AWS_ACCESS_KEY_ID", "minio")
        .with("AWS_SECRET_ACCESS_KEY", "Gehe1m/secret")
        .with("DATA_DIR", source.path());
    let open = Open::of(&call, "json");
    // The proxy answers for a host that does not exist.
    let open = Open { call: open.call.clone().with("HTTP_PROXY", store.url()), ..open };
    open.run(23);
    let report = fs::read_to_string(open.place.path().join("report")).unwrap();
    let told: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(told["repository"], "s3:http://minio.minio.svc:9000/backups");
    let error = |part: &str| told["error"][part].as_str().unwrap().to_owned();
    assert!(error("place").contains("http://minio.minio.svc:9000/backups"), "{told}");
    assert!(error("cause").contains("minio.minio.svc:9000 does not know *** with ***"), "{told}");
}
