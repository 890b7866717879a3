//! One run, summed up: what was asked for, what came of it, what it took.
//!
//! From this one type come the JSON line, the termination message, the report file, metrics and messages.
//! While the run lasts it says how far it is. No field may hold a secret: whoever fills it blots them out.
//! Times are the wall clock's, durations in seconds, sizes in bytes.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{
    BackupSummary, CheckSummary, ForgetSummary, PruneSummary, RepositorySummary, RestoreSummary,
    VerifySummary,
};
use super::{format, go_json, lines};
use crate::error::Error;

/// A run and everything that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// Always `run`: tells it from restic's objects.
    pub message_type: &'static str,
    /// The program and its version.
    pub program: &'static str,
    /// Whom the run serves.
    #[serde(flatten)]
    pub object: Object,
    /// Where the repository is, without any password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// When it began.
    #[serde(serialize_with = "rfc3339")]
    pub started: Timestamp,
    /// When it ended; while it lasts, now.
    #[serde(serialize_with = "rfc3339")]
    pub ended: Timestamp,
    /// Seconds between the two.
    pub duration: f64,
    /// What came of it.
    pub outcome: Outcome,
    /// The exit code; none while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Why it failed, and what to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Nothing was to be changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What was asked for, in this order.
    pub operations: Vec<OperationSummary>,
    /// Everything that was asked of the store, also between operations.
    pub traffic: Traffic,
    /// The most memory that the process had, in bytes.
    pub peak_memory_bytes: u64,
    /// CPU time in seconds.
    pub cpu_seconds: f64,
    /// How many warnings there were.
    pub warnings_total: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Something was left out to keep it short.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shortened: bool,
}

/// Whom a run serves: the labels that `VolSync`'s own metrics have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Object {
    /// `MOVER_NAME`.
    pub obj_name: String,
    /// `MOVER_NAMESPACE`.
    pub obj_namespace: String,
    /// `source` or `destination`, as `VolSync` calls them; `maintenance` for everything else.
    pub role: &'static str,
}

/// How something ended, or that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was never begun.
    #[default]
    NotRun,
    /// It has not ended.
    Running,
    /// It did what it should.
    Success,
    /// It is no failure, but there was nothing to back up or to restore.
    Nothing,
    /// It was told to do nothing.
    Skipped,
    /// It failed.
    Failed,
}

/// An error in its parts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Failure {
    /// What the exit code means.
    pub reason: &'static str,
    /// What failed.
    pub what: String,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do next.
    pub next: String,
    /// The line that the run ends with.
    pub line: String,
}

/// One operation of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct OperationSummary {
    /// Its name on the command line.
    pub operation: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// The exit code; none before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// When it began.
    #[serde(skip)]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(skip)]
    pub ended: Option<Timestamp>,
    /// Seconds.
    pub duration: f64,
    /// What it did, in order; a phase that came again is counted once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// What a backup did, its snapshot's id among it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupSummary>,
    /// What a restore did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreSummary>,
    /// What a forget did, alone or after a backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forget: Option<ForgetCounts>,
    /// What a prune did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune: Option<PruneSummary>,
    /// What a check came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckCounts>,
    /// What a verify proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifySummary>,
    /// What it learned of the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositorySummary>,
    /// Locks of others that it met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locks: Option<Locks>,
    /// Items that could not be read or restored.
    pub items_failed_total: u64,
    /// The first of them, with their causes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items_failed: Vec<String>,
    /// What was asked of the store meanwhile.
    pub traffic: Traffic,
    /// The most memory that the process had until its end.
    pub peak_memory_bytes: u64,
    /// CPU time that it took, in seconds.
    pub cpu_seconds: f64,
}

/// A part of an operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phase {
    /// Its name for people; one of a few.
    pub name: String,
    /// When it first began.
    #[serde(skip)]
    pub started: Timestamp,
    /// How long it took in all.
    pub seconds: f64,
}

/// How many snapshots a forget removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ForgetCounts {
    /// Removed, or with `dry_run` to be removed.
    pub removed: u64,
    /// Kept, of those looked at.
    pub kept: u64,
    /// Not removed, though they should.
    pub failed: u64,
    /// Nothing was removed.
    pub dry_run: bool,
}

/// How many faults a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CheckCounts {
    /// Faults.
    pub errors: u64,
    /// Packs whose bytes are not what they should be.
    pub broken_packs: u64,
}

/// Locks of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Locks {
    /// Their holders work.
    pub live: u64,
    /// Their holders are gone.
    pub stale: u64,
}

/// What was asked of a store, and of the cache before it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Traffic {
    /// Requests by kind and outcome, failed attempts among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Requests>,
    /// Requests that were made again, by kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<Retries>,
    /// Second requests for reads that were slow, which are none of the requests above.
    #[serde(skip_serializing_if = "Hedges::is_empty")]
    pub hedges: Hedges,
    /// Bytes of files written.
    pub uploaded_bytes: u64,
    /// Bytes of files read.
    pub downloaded_bytes: u64,
    /// What the cache did; none where nobody asked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheFigures>,
}

/// What the sealed cache of a repository did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CacheFigures {
    /// Reads that it answered.
    pub hits: u64,
    /// Reads that it did not.
    pub misses: u64,
    /// Bytes that it holds of this repository; `None` where nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Requests of one kind and outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// `list`, `read` …
    pub request: &'static str,
    /// `ok`, or how it failed.
    pub outcome: &'static str,
    /// How many.
    pub count: u64,
}

/// Retries of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Retries {
    /// `list`, `read` …
    pub request: &'static str,
    /// How many.
    pub count: u64,
}

/// Second, equal requests for reads that were slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Hedges {
    /// How many were sent.
    pub sent: u64,
    /// How many answered before the first.
    pub won: u64,
}

fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

impl Failure {
    /// The parts of an error.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        Self {
            reason: error.kind.meaning(),
            what: error.what.clone(),
            place: error.place.clone(),
            cause: error.cause.clone(),
            next: error.next.clone().unwrap_or_else(|| error.kind.advice().to_owned()),
            line: lines::fatal(error),
        }
    }
}

impl ForgetCounts {
    /// The counts of a forget.
    #[must_use]
    pub fn of(summary: &ForgetSummary) -> Self {
        Self {
            removed: summary.removed.len() as u64,
            kept: summary.kept,
            failed: summary.failed.len() as u64,
            dry_run: summary.dry_run,
        }
    }
}

impl CheckCounts {
    /// The counts of a check.
    #[must_use]
    pub fn of(summary: &CheckSummary) -> Self {
        Self { errors: summary.errors, broken_packs: summary.broken_packs.len() as u64 }
    }
}

impl Traffic {
    /// All requests.
    #[must_use]
    pub fn requests_total(&self) -> u64 {
        self.requests.iter().map(|requests| requests.count).sum()
    }

    /// All retries.
    #[must_use]
    pub fn retries_total(&self) -> u64 {
        self.retries.iter().map(|retries| retries.count).sum()
    }

    /// What came after `before`, which was read of the same store.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let requests = self.requests.iter().map(|now| {
            let same = |then: &&Requests| (then.request, then.outcome) == (now.request, now.outcome);
            let then = before.requests.iter().find(same).map_or(0, |then| then.count);
            Requests { count: now.count.saturating_sub(then), ..*now }
        });
        let retries = self.retries.iter().map(|now| {
            let then = before.retries.iter().find(|then| then.request == now.request);
            Retries { count: now.count.saturating_sub(then.map_or(0, |then| then.count)), ..*now }
        });
        Self {
            requests: requests.filter(|requests| requests.count > 0).collect(),
            retries: retries.filter(|retries| retries.count > 0).collect(),
            hedges: self.hedges.since(before.hedges),
            uploaded_bytes: self.uploaded_bytes.saturating_sub(before.uploaded_bytes),
            downloaded_bytes: self.downloaded_bytes.saturating_sub(before.downloaded_bytes),
            cache: self.cache.and_then(|cache| cache.since(before.cache.unwrap_or_default())),
        }
    }
}

impl CacheFigures {
    /// What came after `before`; none when that is nothing.
    fn since(self, before: Self) -> Option<Self> {
        let hits = self.hits.saturating_sub(before.hits);
        let misses = self.misses.saturating_sub(before.misses);
        (hits + misses > 0).then_some(Self { hits, misses, ..self })
    }
}

impl Hedges {
    /// What came after `before`.
    fn since(self, before: Self) -> Self {
        Self { sent: self.sent.saturating_sub(before.sent), won: self.won.saturating_sub(before.won) }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those that were sent in vain, or whose reads have not ended.
    #[must_use]
    pub fn lost(self) -> u64 {
        self.sent.saturating_sub(self.won)
    }
}

impl RunSummary {
    /// One JSON object in one line.
    #[must_use]
    pub fn json(&self) -> String {
        go_json::line(self)
    }

    /// The operations that began.
    pub fn begun(&self) -> impl Iterator<Item = &OperationSummary> {
        self.operations.iter().filter(|operation| operation.outcome != Outcome::NotRun)
    }

    /// One line: what, for whom, how it ended.
    #[must_use]
    pub fn headline(&self) -> String {
        let names: Vec<&str> = self.operations.iter().map(|operation| operation.operation).collect();
        let Object { obj_name, obj_namespace, .. } = &self.object;
        let whose = match (obj_namespace.as_str(), obj_name.as_str()) {
            ("", "") => String::new(),
            ("", name) | (name, "") => format!(" of {name}"),
            (namespace, name) => format!(" of {namespace}/{name}"),
        };
        let how = match (self.outcome, self.exit_code) {
            (Outcome::Failed, Some(code)) => format!("failed with exit code {code}"),
            (Outcome::Failed, None) => "failed".to_owned(),
            (Outcome::Success, _) => "done".to_owned(),
            (Outcome::Nothing, _) => "done, but there was nothing to do".to_owned(),
            (Outcome::NotRun | Outcome::Running | Outcome::Skipped, _) => "started".to_owned(),
        };
        let trial = if self.dry_run { " (dry run)" } else { "" };
        format!("volmover {}{whose}: {how}{trial}", names.join(", "))
    }

    /// A few lines for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = vec![self.headline()];
        text.extend(self.error.as_ref().map(|error| error.line.clone()));
        text.extend(self.begun().map(OperationSummary::line));
        text.extend(self.warnings.iter().map(|warning| lines::warning(warning)));
        text.extend(self.repository.as_ref().map(|place| format!("repository: {place}")));
        text.join("\n")
    }
}

impl OperationSummary {
    /// One line for people.
    fn line(&self) -> String {
        let how = match self.outcome {
            Outcome::NotRun => "not run",
            Outcome::Running => "running",
            Outcome::Success => "done",
            Outcome::Nothing => "nothing to do",
            Outcome::Skipped => "skipped",
            Outcome::Failed => "failed",
        };
        let mut parts = vec![format!("{}: {how} in {}", self.operation, format::duration(self.duration))];
        if let Some(backup) = &self.backup {
            let id = backup.snapshot_id.as_deref().map_or("no snapshot", |id| super::sink::clip(id, 8));
            let (files, bytes) = (backup.total_files_processed, format::bytes(backup.total_bytes_processed));
            let (added, stored) = (format::bytes(backup.data_added), format::bytes(backup.data_added_packed));
            parts.push(format!("snapshot {id}: {files} files, {bytes}, added {added} ({stored} stored)"));
        }
        if let Some(restore) = &self.restore {
            let bytes = format::bytes(restore.bytes_restored);
            parts.push(format!("restored {} entries, {bytes}", restore.files_restored));
        }
        if let Some(forget) = &self.forget {
            parts.push(format!("removed {} snapshots, kept {}", forget.removed, forget.kept));
        }
        if let Some(prune) = &self.prune {
            parts.push(format!("freed {}", format::bytes(prune.bytes_freed())));
        }
        if let Some(check) = self.check.filter(|check| check.errors > 0) {
            parts.push(format!("{} faults", check.errors));
        }
        if let Some(verify) = &self.verify {
            let (passed, all, bytes) = (verify.passed, verify.snapshots, format::bytes(verify.bytes));
            parts.push(format!("{passed} of {all} snapshots verified, {} files, {bytes}", verify.files));
        }
        if self.items_failed_total > 0 {
            parts.push(format!("{} items failed", self.items_failed_total));
        }
        if self.traffic.retries_total() > 0 {
            parts.push(format!("{} retries", self.traffic.retries_total()));
        }
        if self.traffic.hedges.sent > 0 {
            parts.push(format!("{} hedged reads", self.traffic.hedges.sent));
        }
        parts.join(", ")
    }
}

/// A summary for tests, with something in every part.
#[cfg(test)]
pub(crate) mod testing {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::report::IdentitySummary;

    /// `backup` done, `prune` failed.
    pub(crate) fn summary() -> RunSummary {
        let at = |second: i64| Timestamp::from_second(1_795_248_830 + second).unwrap();
        let phase = |name: &str, started, seconds| Phase { name: name.to_owned(), started, seconds };
        let backup = OperationSummary {
            operation: "backup",
            outcome: Outcome::Success,
            exit_code: Some(0),
            started: Some(at(0)),
            ended: Some(at(3)),
            duration: 3.0,
            phases: vec![phase("starting", at(0), 1.0), phase("backup", at(1), 2.0)],
            backup: Some(BackupSummary {
                files_new: 2,
                files_changed: 1,
                files_unmodified: 4,
                data_added: 5000,
                data_added_packed: 3000,
                total_files_processed: 7,
                total_bytes_processed: 9000,
                snapshot_id: Some(format!("084f4943{}", "0".repeat(56))),
                ..BackupSummary::default()
            }),
            locks: Some(Locks { live: 1, stale: 2 }),
            traffic: Traffic {
                requests: vec![
                    Requests { request: "list", outcome: "ok", count: 3 },
                    Requests { request: "write", outcome: "throttled", count: 1 },
                ],
                retries: vec![Retries { request: "write", count: 1 }],
                hedges: Hedges { sent: 5, won: 3 },
                uploaded_bytes: 3300,
                downloaded_bytes: 100,
                cache: Some(CacheFigures { hits: 6, misses: 2, bytes: Some(4000) }),
            },
            peak_memory_bytes: 64 << 20,
            cpu_seconds: 0.5,
            ..OperationSummary::default()
        };
        let error = Error::new(crate::error::ErrorKind::Locked, "unable to create lock in backend")
            .because("repository is already locked by PID 7 on host")
            .then("Wait for it to finish");
        let prune = OperationSummary {
            operation: "prune",
            outcome: Outcome::Failed,
            exit_code: Some(11),
            started: Some(at(3)),
            ended: Some(at(5)),
            duration: 2.0,
            phases: vec![phase("starting", at(3), 2.0)],
            repository: Some(RepositorySummary {
                snapshots: 3,
                bytes: Some(10_000),
                unused_bytes: Some(50),
                identities: vec![IdentitySummary {
                    identity: "volsync:/data".to_owned(),
                    snapshots: 3,
                    stored_bytes: Some(900),
                    last_snapshot_seconds: 1_795_248_830,
                }],
            }),
            ..OperationSummary::default()
        };
        RunSummary {
            message_type: "run",
            program: "volmover 0.0.0",
            object: Object { obj_name: "app".to_owned(), obj_namespace: "ns".to_owned(), role: "source" },
            repository: Some("s3:https://store.example/bucket/app".to_owned()),
            started: at(0),
            ended: at(5),
            duration: 5.0,
            outcome: Outcome::Failed,
            exit_code: Some(11),
            error: Some(Failure::of(&error)),
            dry_run: false,
            traffic: backup.traffic.clone(),
            operations: vec![backup, prune],
            peak_memory_bytes: 64 << 20,
            cpu_seconds: 0.7,
            warnings_total: 1,
            warnings: vec!["odd".to_owned()],
            shortened: false,
        }
    }
}
