//! Alerts end to end: broken runs, their metrics, Prometheus, Alertmanager, and a webhook that hears of them.
//!
//! The rules are the ones that are deployed, without the time that they wait. What other exporters would say is
//! written as they write it; what volmover says comes from its runs, and only their clocks are set back.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use volmover::repository::lock::LockMode;

use crate::recorded::{APPS, Fleet, ended};
use crate::servers::Server;
use crate::stub::{Stub, answer};
use crate::support::children::{Running, free_port, get};
use crate::support::fixture;
use crate::support::mover::Mover;
use crate::yaml::text;

/// What VolSync and kube-state-metrics say of a failed backup, of a claim and of a maintenance job.
const OTHERS: &str = r#"
volsync_volume_out_of_sync{obj_name="odoo-backup",obj_namespace="business",role="source",method="restic"} 1
kube_job_status_failed{namespace="business",job_name="volsync-src-odoo-backup",reason="BackoffLimitExceeded"} 1
kube_pod_status_phase{namespace="business",pod="volsync-src-odoo-backup-x7k2p",uid="1",phase="Failed"} 1
kube_persistentvolumeclaim_status_phase{namespace="business",persistentvolumeclaim="volsync-odoo-backup-cache",phase="Pending"} 1
kube_job_failed{namespace="backup",job_name="volsync-forget-prune-29382000",condition="true"} 1
"#;

/// Alerts that must come, each with what its summary says of whom.
const EXPECTED: [(&str, &str); 15] = [
    // Runs that failed, by their exit codes.
    ("VolSyncReplicationFailed", "business/odoo"),
    ("VolsyncMoverJobFailed", "business/odoo"),
    ("VolmoverRepositoryDamaged", "backup/damaged"),
    // Runs that ended well and did nothing.
    ("VolmoverBackupEmpty", "media/emby"),
    // What a run met.
    ("VolmoverStaleLock", "backup/locked"),
    // A run that lives and does not end.
    ("VolmoverRestoreStuck", "media/emby"),
    // Time that passed.
    ("VolSyncStaleBackup", "business/odoo"),
    ("VolsyncBackupStale", "business/odoo"),
    // What VolSync says, or that it is not there.
    ("VolSyncVolumeOutOfSync", "business/odoo-backup"),
    ("VolSyncControllerDown", "VolSync's controller is down"),
    // What kube-state-metrics says of pods, Jobs, claims and CronJobs.
    ("VolSyncMoverPodFailed", "business/volsync-src-odoo-backup-x7k2p"),
    ("VolsyncBackupFailed", "business/odoo-backup"),
    ("VolSyncCacheStorageIssue", "business/volsync-odoo-backup-cache"),
    ("KopiaMaintenanceFailure", "backup/volsync-forget-prune-29382000"),
    ("VolmoverVerificationOverdue", "backup/damaged"),
];

/// Good runs, and broken ones after them; the text that Prometheus gets.
fn broken_fleet() -> String {
    let fleet = Fleet::new();
    for app in APPS {
        fleet.run(app, "backup", 0);
    }
    ended(fleet.call(APPS[0], "backup").env("RESTIC_PASSWORD", "another"), 12);
    fs::remove_dir_all(fleet.path("emby")).unwrap();
    fs::create_dir(fleet.path("emby")).unwrap();
    fleet.run(APPS[1], "backup", 0);

    let of = |app, operations: &str, copy: &tempfile::TempDir, code| {
        let mut command = fleet.call(app, operations);
        command.env("RESTIC_REPOSITORY", copy.path()).env_remove("MOVER_HOST").env_remove("MOVER_PATH");
        let own = if operations == "verify" {
            ("MOVER_SNAPSHOT", "latest-each")
        } else {
            ("MOVER_CHECK_READ_DATA", "1")
        };
        ended(command.env(own.0, own.1), code)
    };
    let damaged = ("damaged", "backup");
    of(damaged, "verify", &fixture::copy("restic-0.19"), 0);
    of(damaged, "check", &fixture::copy("data-pack-flipped"), 21);
    let locked = fixture::copy("stale-lock");
    for lock in fs::read_dir(locked.path().join("locks")).unwrap() {
        let file = File::options().write(true).open(lock.unwrap().path()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(2)).unwrap();
    }
    of(("locked", "backup"), "check", &locked, 0);
    format!("{}{}", fs::read_to_string(fleet.metrics()).unwrap(), stuck(&fleet))
}

/// What a restore that waits for a lock tells who scrapes it; as if it had begun two hours ago.
fn stuck(fleet: &Fleet) -> String {
    let holder = Mover::open(&fleet.path("repository")).unwrap();
    let told = holder.session().locked(LockMode::Exclusive, |_| {
        loop {
            // The port may be somebody else's by now.
            let port = free_port();
            let mut command = fleet.call(APPS[1], "restore");
            command.env("MOVER_METRICS_LISTEN", format!("127.0.0.1:{port}")).env_remove("MOVER_METRICS_FILE");
            let _running = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
            for _ in 0..500 {
                let told = get(port, "/metrics").unwrap_or_default();
                if told.contains("\nmover_run_heartbeat_timestamp_seconds{") {
                    return Ok(told);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let earlier = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let value: f64 = value.parse().ok()?;
        match series.split('{').next()? {
            "mover_run_start_timestamp_seconds" => Some(format!("{series} {}\n", value - 7200.0)),
            "mover_run_heartbeat_timestamp_seconds" => Some(format!("{line}\n")),
            _ => None,
        }
    };
    told.unwrap().lines().filter_map(earlier).collect()
}

/// The same, as if the last success had been four days ago.
fn aged(text: &str) -> String {
    let set_back = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        if series.starts_with("mover_") && series.contains("last_success_timestamp_seconds{") {
            let value: f64 = value.parse().unwrap();
            return format!("{series} {}\n", value - 4.0 * 86400.0);
        }
        format!("{line}\n")
    };
    text.lines().map(set_back).collect()
}

/// The rules, which do not wait.
fn impatient() -> String {
    let at_once = |line: &str| {
        let waits = line.trim_start().starts_with("for: ");
        if waits { String::new() } else { format!("{line}\n") }
    };
    text("prometheus/rules.yaml").lines().map(at_once).collect()
}

#[test]
fn broken_runs_reach_a_webhook() {
    let exposition = format!("{}{OTHERS}", aged(&broken_fleet()).trim_end());
    let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
    let hears = Arc::clone(&heard);
    let served = Stub::start(move |request| {
        if request.head.starts_with("POST ") {
            let message: Value = serde_json::from_str(&request.body).unwrap();
            hears.lock().unwrap().extend(message["alerts"].as_array().unwrap().iter().cloned());
            return answer("200 OK", "");
        }
        answer("200 OK", &exposition)
    });
    let port = served.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let Some(alertmanager) = Server::alertmanager(&served.url()) else { return };
    let more = format!(
        "rule_files: [rules.yaml]\nalerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]}}\n",
        alertmanager.port()
    );
    // Nobody listens at the port of the controller.
    let jobs = [("volmover", port), ("volsync-metrics", 1)];
    let files = [("rules.yaml", impatient())];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let Some(_prometheus) = Server::prometheus_with(&jobs, &more, &files) else { return };

    let start = Instant::now();
    loop {
        let alerts = heard.lock().unwrap().clone();
        let came = |(name, says): &(&str, &str)| {
            let is = |alert: &Value| {
                alert["labels"]["alertname"] == *name
                    && alert["status"] == "firing"
                    && alert["annotations"]["summary"].as_str().is_some_and(|summary| summary.contains(says))
            };
            alerts.iter().any(is)
        };
        let missing: Vec<_> = EXPECTED.iter().filter(|expected| !came(expected)).collect();
        if missing.is_empty() {
            told_well(&alerts);
            return;
        }
        let names: BTreeSet<String> =
            alerts.iter().map(|alert| alert["labels"]["alertname"].to_string()).collect();
        assert!(start.elapsed() < Duration::from_mins(2), "not heard of {missing:?}, but of {names:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// No text has a hole where a label should be, or the template itself.
#[track_caller]
fn told_well(alerts: &[Value]) {
    for alert in alerts {
        for text in alert["annotations"].as_object().unwrap().values().map(|text| text.as_str().unwrap()) {
            for hole in
                ["{{", "<no value>", "  ", " / ", "-n  ", "APP= ", "APP=`", "NAMESPACE=`", "error expanding"]
            {
                assert!(!text.contains(hole), "{alert:#}");
            }
        }
        let severities = ["critical", "high", "warning"];
        assert!(severities.contains(&alert["labels"]["severity"].as_str().unwrap()), "{alert:#}");
    }
}
