//! The figures of a run as metrics: what they must be, by the summary of the same run and by restic, and how
//! they are found in a text.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::call::{PASSWORD, Repo};
use super::support::restic::Restic;

/// A series and its value.
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: f64,
}

impl Figure {
    /// As a query of Prometheus' language, with one more label where it is given.
    pub(super) fn query(&self, more: &str) -> String {
        let labels: Vec<String> =
            self.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        format!("{}{{{},{more}}}", self.name, labels.join(","))
    }

    /// Whether a text of metrics has it.
    #[track_caller]
    pub(super) fn assert_in(&self, text: &str) {
        let parts: Vec<String> =
            self.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        assert_eq!(value(text, self.name, &parts), Some(self.value), "{} {parts:?}\n{text}", self.name);
    }
}

/// The value of the one series of this name whose labels hold all `parts`.
#[track_caller]
pub(super) fn value(text: &str, name: &str, parts: &[&str]) -> Option<f64> {
    let of = |line: &&str| {
        line.split(['{', ' ']).next() == Some(name) && parts.iter().all(|part| line.contains(part))
    };
    let mut lines = text.lines().filter(of);
    let first = lines.next().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap());
    assert!(lines.next().is_none(), "{name} {parts:?} is there twice:\n{text}");
    first
}

/// What a run of `backup prune stats check verify` for `ns/app` must tell, by its report file and by restic.
pub(super) fn of_run(report: &Path, repo: &Repo, source: &Path) -> Vec<Figure> {
    let told: Value = serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    let operation = |name: &str| {
        let all = told["operations"].as_array().unwrap();
        all.iter().find(|of| of["operation"] == name).unwrap().clone()
    };
    let backup = operation("backup");
    let mut figures = Vec::new();
    let mut add = |name, operation: &str, labels: &[(&'static str, &str)], value: &Value| {
        let own =
            [("obj_name", "app"), ("obj_namespace", "ns"), ("role", "source"), ("operation", operation)];
        let labels = own.iter().chain(labels).map(|(name, value)| (*name, (*value).to_owned())).collect();
        let value = value.as_f64().unwrap_or_else(|| panic!("{name} has no value: {told}"));
        figures.push(Figure { name, labels, value });
    };
    let summary = &backup["backup"];
    add("mover_snapshot_files", "backup", &[], &summary["total_files_processed"]);
    add("mover_snapshot_bytes", "backup", &[], &summary["total_bytes_processed"]);
    add("mover_added_bytes", "backup", &[], &summary["data_added_packed"]);
    add("mover_files", "backup", &[("state", "new")], &summary["files_new"]);
    add("mover_files", "backup", &[("state", "unmodified")], &summary["files_unmodified"]);
    add("mover_read_errors", "backup", &[], &0.into());
    add("mover_last_run_success", "backup", &[], &1.into());
    add("mover_last_exit_code", "verify", &[], &0.into());
    add("mover_last_run_empty", "backup", &[], &0.into());
    add("mover_locks", "check", &[("state", "stale")], &0.into());
    for name in ["backup", "prune", "check"] {
        let of = operation(name);
        add("mover_uploaded_bytes", name, &[], &of["traffic"]["uploaded_bytes"]);
        add("mover_peak_memory_bytes", name, &[], &of["peak_memory_bytes"]);
        add("mover_store_retries_total", name, &[], &0.into());
        for requests in of["traffic"]["requests"].as_array().unwrap() {
            let word = |field: &str| requests[field].as_str().unwrap();
            let labels = [("request", word("request")), ("outcome", word("outcome"))];
            add("mover_store_requests_total", name, &labels, &requests["count"]);
        }
        for phase in of["phases"].as_array().unwrap() {
            add(
                "mover_duration_seconds",
                name,
                &[("phase", phase["name"].as_str().unwrap())],
                &phase["seconds"],
            );
        }
    }
    add("mover_repository_bytes", "repository", &[], &bytes(&repo.path().join("data")).into());
    add("mover_repository_unused_bytes", "repository", &[], &0.into());
    let identity = format!("volsync:{}", source.display());
    add("mover_identity_snapshots", "repository", &[("identity", &identity)], &1.into());
    if let Some(restic) = Restic::on("restic-0.19", repo.path()) {
        let restic = restic.with("RESTIC_PASSWORD", PASSWORD);
        let stats = |mode: &str| -> Value {
            serde_json::from_str(&restic.ok(&["stats", "--json", "--mode", mode])).unwrap()
        };
        let (restored, raw) = (stats("restore-size"), stats("raw-data"));
        add("mover_snapshot_bytes", "backup", &[], &restored["total_size"]);
        add("mover_snapshots", "repository", &[], &restored["snapshots_count"]);
        add("mover_identity_stored_bytes", "repository", &[("identity", &identity)], &raw["total_size"]);
    }
    figures
}

fn bytes(folder: &Path) -> u64 {
    let of = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        status if status.is_dir() => bytes(&entry.path()),
        status => status.len(),
    };
    fs::read_dir(folder).unwrap().map(|entry| of(entry.unwrap())).sum()
}
