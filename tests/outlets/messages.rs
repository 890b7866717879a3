//! Webhooks: who is told of what, in which form, and that no secret is among it.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::call::{Call, MARK, Ran, Repo, source};
use super::stub::{Stub, answer};
use crate::support::scratch;

type Heard = Arc<Mutex<Vec<(String, String)>>>;

/// A webhook that remembers request line, headers and body of each call.
fn webhook() -> (Stub, Heard) {
    let heard = Heard::default();
    let ears = Arc::clone(&heard);
    let stub = Stub::start(move |received| {
        ears.lock().unwrap().push((received.head.clone(), received.body.clone()));
        answer("200 OK", "")
    });
    (stub, heard)
}

/// A backup that is done, and one that fails; what the webhook heard of each.
fn heard(variables: &[(&str, &str)]) -> [Vec<(String, String)>; 2] {
    let (repo, source) = (Repo::new(), source());
    let (stub, heard) = webhook();
    let call = variables.iter().fold(repo.call("backup"), |call, (name, value)| call.with(name, value));
    let call = call.with("DATA_DIR", source.path()).with("MOVER_NAME", "app").with("MOVER_NAMESPACE", "n<s");
    let call = call.with("MOVER_NOTIFY_URL", format!("{}/Gehe1m-topic?x=1", stub.url()));
    let quiet = |ran: &Ran| {
        ran.assert_no_secret();
        assert!(!ran.err.contains("Warning"), "{}", ran.err);
    };
    let good = call.run();
    quiet(&good);
    assert_eq!(good.code, 0);
    let done = std::mem::take(&mut *heard.lock().unwrap());
    let bad = call.with("RESTIC_PASSWORD", "Gehe1m-other").run();
    quiet(&bad);
    bad.assert_failed(12, "Fatal: ");
    let failed = std::mem::take(&mut *heard.lock().unwrap());
    for (_, body) in done.iter().chain(&failed) {
        assert!(!body.contains(MARK), "{body}");
    }
    [done, failed]
}

fn line(head: &str) -> &str {
    head.lines().next().unwrap_or_default()
}

#[test]
fn the_summary_goes_out_when_a_run_fails() {
    let [done, failed] = heard(&[]);
    assert_eq!((done.len(), failed.len()), (0, 1));
    let (head, body) = &failed[0];
    assert_eq!(line(head), "POST /Gehe1m-topic?x=1 HTTP/1.1");
    let told: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&told["message_type"], &told["exit_code"]), (&"run".into(), &12.into()));
    assert!(told["error"]["next"].is_string(), "{told}");
    let [done, failed] = heard(&[("MOVER_NOTIFY_ON", "success")]);
    assert_eq!((done.len(), failed.len()), (1, 0));
    let [done, failed] = heard(&[("MOVER_NOTIFY_ON", "both")]);
    assert_eq!((done.len(), failed.len()), (1, 1));
}

#[test]
fn ntfy_gets_a_title_a_priority_and_a_text() {
    let [done, failed] = heard(&[("MOVER_NOTIFY_FORMAT", "ntfy"), ("MOVER_NOTIFY_ON", "both")]);
    let (head, body) = &failed[0];
    let lower = head.to_lowercase();
    assert!(lower.contains("\r\ntitle: volmover backup of n<s/app: failed with exit code 12\r\n"), "{head}");
    assert!(lower.contains("\r\npriority: high\r\n"), "{head}");
    assert!(body.starts_with("Fatal: wrong password or no key found"), "{body}");
    assert!(done[0].0.to_lowercase().contains("\r\npriority: default\r\n"), "{}", done[0].0);
    assert!(done[0].1.contains("backup: done in ") && done[0].1.contains(" files, "), "{}", done[0].1);
}

#[test]
fn slack_gets_a_text_that_it_does_not_misread() {
    let [_, failed] = heard(&[("MOVER_NOTIFY_FORMAT", "slack")]);
    let told: Value = serde_json::from_str(&failed[0].1).unwrap();
    let text = told["text"].as_str().unwrap();
    assert!(text.starts_with("volmover backup of n&lt;s/app: failed with exit code 12\nFatal: "), "{text}");
}

#[test]
fn healthchecks_are_pinged_at_the_start_and_at_the_end() {
    let [done, failed] = heard(&[("MOVER_NOTIFY_FORMAT", "healthchecks")]);
    let lines =
        |heard: &[(String, String)]| heard.iter().map(|(head, _)| line(head).to_owned()).collect::<Vec<_>>();
    let start = "POST /Gehe1m-topic/start?x=1 HTTP/1.1";
    assert_eq!(lines(&done), [start, "POST /Gehe1m-topic?x=1 HTTP/1.1"]);
    assert_eq!(lines(&failed), [start, "POST /Gehe1m-topic/fail?x=1 HTTP/1.1"]);
    assert!(failed[1].1.contains("\nFatal: "), "{}", failed[1].1);
    let [done, failed] = heard(&[("MOVER_NOTIFY_FORMAT", "healthchecks"), ("MOVER_DRY_RUN", "1")]);
    assert_eq!((done.len(), failed.len()), (0, 0), "a trial is no backup");
    let [done, failed] = heard(&[("MOVER_NOTIFY_FORMAT", "healthchecks"), ("MOVER_NOTIFY_ON", "failure")]);
    assert_eq!((done.len(), lines(&failed).len()), (0, 1));
}

#[test]
fn who_gets_the_configuration_wrong_is_told_of_by_the_webhook_too() {
    let (stub, heard) = webhook();
    let place = scratch();
    let call = Call::on("backup", place.path().join("r")).with("MOVER_NOTIFY_URL", stub.url());
    // One that is a way out itself, too.
    for (name, value) in [("MOVER_LOCK_WAIT", "soon"), ("MOVER_METRICS_LISTEN", "here")] {
        let line = format!("Fatal: invalid value: {name}={value}");
        call.clone().with(name, value).run().assert_failed(2, &line);
        let told: Value = serde_json::from_str(&heard.lock().unwrap().pop().unwrap().1).unwrap();
        assert_eq!((&told["exit_code"], &told["operations"][0]["outcome"]), (&2.into(), &"failed".into()));
    }
}
