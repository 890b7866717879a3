//! What Prometheus is told of a run: families with their help, and samples made from a summary.
//!
//! Units are base units, counters end in `_total`, label values are bounded by what a run asks for. Every
//! sample carries the labels of `VolSync`'s own metrics: `obj_name`, `obj_namespace`, `role`, and besides
//! `operation`; there `repository` stands for what is known of the repository as a whole, whichever operation
//! learnt it. What an operation did not learn it does not claim: a failed backup has no size, so whoever keeps
//! the last value keeps that of the last backup that had one. Dry runs, and operations that were skipped or
//! never begun, have no samples at all.

use jiff::Timestamp;

use crate::error::ErrorKind;
use crate::report::run_summary::{OperationSummary, Outcome};
use crate::report::{RepositorySummary, RunSummary};

/// Stands for an operation where the repository as a whole is told of.
const REPOSITORY: &str = "repository";

/// A metric's name and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
}

impl Family {
    /// `counter` or `gauge`.
    pub(super) fn kind(&self) -> &'static str {
        if self.name.ends_with("_total") { "counter" } else { "gauge" }
    }
}

macro_rules! families {
    ($($constant:ident $name:literal $help:literal;)*) => {
        $(pub(super) const $constant: Family = Family { name: $name, help: $help };)*

        /// All of them, in the order in which they are told.
        pub(super) const FAMILIES: &[Family] = &[$($constant),*];
    };
}

families! {
    LAST_RUN "mover_last_run_timestamp_seconds" "When the last run of this operation ended, well or not.";
    LAST_SUCCESS "mover_last_success_timestamp_seconds" "When this operation last did what it should.";
    RUN_SUCCESS "mover_last_run_success" "Whether the last run did what it should; an empty source counts as 0.";
    EXIT_CODE "mover_last_exit_code" "The exit code of the last run.";
    RUN_EMPTY "mover_last_run_empty" "Whether there was nothing to back up or to restore.";
    RUN_SHRUNK "mover_last_run_shrunk" "Whether the source shrank by more than MOVER_MAX_SHRINK.";
    RUN_START "mover_run_start_timestamp_seconds" "When the running or last run of this operation began.";
    HEARTBEAT "mover_run_heartbeat_timestamp_seconds" "When this operation was last known to be running.";
    DURATION "mover_duration_seconds" "How long the last run took, by phase.";
    SNAPSHOT_FILES "mover_snapshot_files" "Files of the newest snapshot.";
    SNAPSHOT_BYTES "mover_snapshot_bytes" "Bytes of the files of the newest snapshot.";
    ADDED_BYTES "mover_added_bytes" "Bytes of new data of the newest snapshot, as stored.";
    UPLOADED_BYTES "mover_uploaded_bytes" "Bytes of files written to the store by the last run.";
    FILES "mover_files" "Files of the newest snapshot by how they compare with its parent.";
    READ_ERRORS "mover_read_errors" "Items that the last run could not read or restore.";
    RESTORE_BYTES "mover_restore_bytes" "Bytes of the last restore.";
    SNAPSHOTS "mover_snapshots" "Snapshots of the repository.";
    REPOSITORY_BYTES "mover_repository_bytes" "Bytes of the packs of the repository.";
    UNUSED_BYTES "mover_repository_unused_bytes" "Bytes of the repository that no snapshot needs.";
    IDENTITY_SNAPSHOTS "mover_identity_snapshots" "Snapshots of one host and path.";
    IDENTITY_BYTES "mover_identity_stored_bytes" "Bytes that the snapshots of one host and path added, as stored.";
    IDENTITY_LAST "mover_identity_last_snapshot_timestamp_seconds" "When the newest snapshot of one host and path was made.";
    LOCKS "mover_locks" "Locks of others that the last run met, by state.";
    REQUESTS "mover_store_requests_total" "Requests to the store of the last run, by request and outcome.";
    RETRIES "mover_store_retries_total" "Requests of the last run that were made again.";
    HEDGES "mover_store_hedges_total" "Second requests of the last run for reads that were slow, by whose data came first: won is the second's.";
    CACHE_REQUESTS "mover_cache_requests_total" "Reads of the last run that the cache was asked for first, by outcome: hit or miss.";
    CACHE_BYTES "mover_cache_bytes" "Bytes of the files in the cache folder after the last run.";
    PEAK_MEMORY "mover_peak_memory_bytes" "The most memory that the last run had.";
    CPU "mover_cpu_seconds" "CPU time that the last run took.";
    VERIFY_SUCCESS "mover_verify_last_success_timestamp_seconds" "When a snapshot was last proven to restore.";
    CHECK_SUCCESS "mover_check_last_success_timestamp_seconds" "When a check last found no fault.";
    PRUNE_SUCCESS "mover_prune_last_success_timestamp_seconds" "When the repository was last pruned.";
}

/// All of them as Markdown, for the README.
#[must_use]
pub fn table() -> String {
    let row = |family: &Family| format!("| `{}` | {} | {} |\n", family.name, family.kind(), family.help);
    let rows: String = FAMILIES.iter().map(row).collect();
    format!("| metric | type | meaning |\n|---|---|---|\n{rows}")
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) family: Family,
    /// Which operation of which object it is of.
    pub(super) group: Group,
    /// What tells it from others of the same family and group.
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: f64,
}

/// An operation of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group(pub(super) [(&'static str, String); 4]);

impl Group {
    fn of(summary: &RunSummary, operation: &str) -> Self {
        let object = &summary.object;
        Self([
            ("obj_name", object.obj_name.clone()),
            ("obj_namespace", object.obj_namespace.clone()),
            ("role", object.role.to_owned()),
            ("operation", operation.to_owned()),
        ])
    }
}

/// Everything that a run has to tell, in the order of `FAMILIES`; `cache_bytes` is of the cache's folder.
pub(super) fn samples(summary: &RunSummary, cache_bytes: Option<u64>) -> Vec<Sample> {
    let mut samples = Vec::new();
    for operation in told(summary) {
        let mut of = Of::new(Group::of(summary, operation.operation));
        of.run(summary, operation);
        of.work(operation);
        of.count_known(CACHE_BYTES, &[], cache_bytes);
        samples.extend(of.samples);
    }
    let mut whole = Of::new(Group::of(summary, REPOSITORY));
    whole.repository(&surveys(summary));
    samples.extend(whole.samples);
    in_order(&mut samples);
    samples
}

/// Whether it runs, and since when.
pub(super) fn heartbeat(summary: &RunSummary) -> Vec<Sample> {
    let mut samples = Vec::new();
    for operation in told(summary).filter(|operation| operation.outcome == Outcome::Running) {
        let mut of = Of::new(Group::of(summary, operation.operation));
        of.pulse(summary, operation);
        samples.extend(of.samples);
    }
    in_order(&mut samples);
    samples
}

/// The operations that have something to tell; of one that was asked for twice, the last.
fn told(summary: &RunSummary) -> impl Iterator<Item = &OperationSummary> {
    let tells = |operation: &OperationSummary| {
        !summary.dry_run && !matches!(operation.outcome, Outcome::NotRun | Outcome::Skipped)
    };
    let all = &summary.operations;
    let last = move |place: usize, operation: &OperationSummary| {
        let mut later = all.iter().skip(place + 1);
        !later.any(|later| later.operation == operation.operation && tells(later))
    };
    let numbered = all.iter().enumerate();
    numbered
        .filter(move |(place, operation)| tells(operation) && last(*place, operation))
        .map(|(_, operation)| operation)
}

/// What operations learnt of the repository, in their order. It is told by those who look after it, and not by
/// every backup of a fleet.
fn surveys(summary: &RunSummary) -> Vec<&RepositorySummary> {
    let caring = told(summary).filter(|operation| operation.operation != "backup");
    caring.filter_map(|operation| operation.repository.as_ref()).collect()
}

fn in_order(samples: &mut [Sample]) {
    samples.sort_by_key(|sample| FAMILIES.iter().position(|family| *family == sample.family));
}

/// The samples of one group.
struct Of {
    group: Group,
    samples: Vec<Sample>,
}

impl Of {
    fn new(group: Group) -> Self {
        Self { group, samples: Vec::new() }
    }

    fn add(&mut self, family: Family, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.samples.push(Sample { family, group: self.group.clone(), labels, value });
    }

    fn count(&mut self, family: Family, labels: &[(&'static str, &str)], value: u64) {
        self.add(family, labels, value as f64);
    }

    fn count_known(&mut self, family: Family, labels: &[(&'static str, &str)], value: Option<u64>) {
        if let Some(value) = value {
            self.count(family, labels, value);
        }
    }

    fn pulse(&mut self, summary: &RunSummary, operation: &OperationSummary) {
        let beat = operation.ended.unwrap_or(summary.ended);
        self.add(HEARTBEAT, &[], seconds(beat));
        self.add(RUN_START, &[], seconds(operation.started.unwrap_or(summary.started)));
    }

    fn run(&mut self, summary: &RunSummary, operation: &OperationSummary) {
        self.pulse(summary, operation);
        for phase in &operation.phases {
            self.add(DURATION, &[("phase", &phase.name)], phase.seconds);
        }
        for of in &operation.traffic.requests {
            self.count(REQUESTS, &[("request", of.request), ("outcome", of.outcome)], of.count);
        }
        self.count(RETRIES, &[], operation.traffic.retries_total());
        let hedges = operation.traffic.hedges;
        self.count(HEDGES, &[("outcome", "won")], hedges.won);
        self.count(HEDGES, &[("outcome", "lost")], hedges.lost());
        if let Some(cache) = operation.traffic.cache {
            self.count(CACHE_REQUESTS, &[("outcome", "hit")], cache.hits);
            self.count(CACHE_REQUESTS, &[("outcome", "miss")], cache.misses);
        }
        self.count(UPLOADED_BYTES, &[], operation.traffic.uploaded_bytes);
        self.count(PEAK_MEMORY, &[], operation.peak_memory_bytes);
        self.add(CPU, &[], operation.cpu_seconds);
        // Who is done and met none says so: the locks that an earlier run met are gone.
        if operation.locks.is_some() || operation.outcome == Outcome::Success {
            let locks = operation.locks.unwrap_or_default();
            self.count(LOCKS, &[("state", "live")], locks.live);
            self.count(LOCKS, &[("state", "stale")], locks.stale);
        }
        let Some(exit_code) = operation.exit_code else { return };
        let now = seconds(operation.ended.unwrap_or(summary.ended));
        let success = operation.outcome == Outcome::Success;
        let empty = operation.outcome == Outcome::Nothing || exit_code == ErrorKind::Nothing.exit_code();
        self.add(LAST_RUN, &[], now);
        self.count(EXIT_CODE, &[], exit_code.into());
        self.count(RUN_SUCCESS, &[], success.into());
        self.count(RUN_EMPTY, &[], empty.into());
        if success {
            self.add(LAST_SUCCESS, &[], now);
            let own = match operation.operation {
                "verify" => Some(VERIFY_SUCCESS),
                "check" => Some(CHECK_SUCCESS),
                "prune" => Some(PRUNE_SUCCESS),
                _ => None,
            };
            if let Some(family) = own {
                self.add(family, &[], now);
            }
        }
    }

    fn work(&mut self, operation: &OperationSummary) {
        if let Some(backup) = &operation.backup {
            self.count(SNAPSHOT_FILES, &[], backup.total_files_processed);
            self.count(SNAPSHOT_BYTES, &[], backup.total_bytes_processed);
            self.count(ADDED_BYTES, &[], backup.data_added_packed);
            self.count(FILES, &[("state", "new")], backup.files_new);
            self.count(FILES, &[("state", "changed")], backup.files_changed);
            self.count(FILES, &[("state", "unmodified")], backup.files_unmodified);
            self.count(RUN_SHRUNK, &[], backup.shrunk.into());
        }
        if let Some(restore) = &operation.restore {
            self.count(RESTORE_BYTES, &[], restore.bytes_restored);
        }
        if operation.backup.is_some() || operation.restore.is_some() || operation.items_failed_total > 0 {
            self.count(READ_ERRORS, &[], operation.items_failed_total);
        }
    }

    /// Each figure as the last survey has it that counted it.
    fn repository(&mut self, surveys: &[&RepositorySummary]) {
        let Some(last) = surveys.last() else { return };
        let latest = |figure: fn(&RepositorySummary) -> Option<u64>| {
            surveys.iter().rev().find_map(|survey| figure(survey))
        };
        let stored = |identity: &str| {
            let of = |survey: &&RepositorySummary| {
                survey.identities.iter().find(|of| of.identity == identity)?.stored_bytes
            };
            surveys.iter().rev().find_map(of)
        };
        self.count(SNAPSHOTS, &[], last.snapshots);
        let sizes = [
            (REPOSITORY_BYTES, latest(|survey| survey.bytes)),
            (UNUSED_BYTES, latest(|survey| survey.unused_bytes)),
        ];
        for (family, bytes) in sizes {
            self.count_known(family, &[], bytes);
        }
        for of in &last.identities {
            let label = [("identity", of.identity.as_str())];
            self.count(IDENTITY_SNAPSHOTS, &label, of.snapshots);
            self.count_known(IDENTITY_BYTES, &label, stored(&of.identity));
            self.add(IDENTITY_LAST, &label, of.last_snapshot_seconds as f64);
        }
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::report::run_summary::testing::summary;

    fn value(samples: &[Sample], name: &str, operation: &str) -> Option<f64> {
        let mut found = samples.iter().filter(|sample| {
            sample.family.name == name && sample.group.0.iter().any(|(_, value)| value == operation)
        });
        let first = found.next().map(|sample| sample.value);
        assert!(found.next().is_none(), "{name} of {operation} is told twice");
        first
    }

    #[test]
    fn a_failure_claims_nothing_that_it_did_not_learn() {
        let samples = samples(&summary(), Some(7));
        let of = |name: &str, operation: &str| value(&samples, name, operation);
        assert_eq!(of("mover_last_success_timestamp_seconds", "backup"), Some(1_795_248_833.0));
        assert_eq!(of("mover_last_run_timestamp_seconds", "prune"), Some(1_795_248_835.0));
        assert_eq!(of("mover_last_success_timestamp_seconds", "prune"), None);
        assert_eq!(of("mover_prune_last_success_timestamp_seconds", "prune"), None);
        assert_eq!(
            (of("mover_last_exit_code", "backup"), of("mover_last_exit_code", "prune")),
            (Some(0.0), Some(11.0))
        );
        assert_eq!(of("mover_snapshot_bytes", "backup"), Some(9000.0));
        assert_eq!(of("mover_snapshot_bytes", "prune"), None);
        assert_eq!(
            (of("mover_cache_bytes", "backup"), of("mover_cache_bytes", "prune")),
            (Some(7.0), Some(7.0))
        );
    }

    #[test]
    fn the_repository_is_told_of_once_by_whoever_counted_last() {
        let mut run = summary();
        let mut forget = run.operations.last().unwrap().clone();
        forget.operation = "forget";
        let survey = forget.repository.as_mut().unwrap();
        (survey.snapshots, survey.bytes, survey.unused_bytes) = (2, None, None);
        survey.identities.first_mut().unwrap().stored_bytes = None;
        // What a backup's own forget saw is not told.
        run.operations.first_mut().unwrap().repository = Some(RepositorySummary::default());
        run.operations.push(forget);
        let samples = samples(&run, None);
        let of = |name: &str| value(&samples, name, "repository");
        assert_eq!((of("mover_snapshots"), of("mover_repository_bytes")), (Some(2.0), Some(10_000.0)));
        assert_eq!(of("mover_repository_unused_bytes"), Some(50.0));
        assert_eq!(of("mover_identity_snapshots"), Some(3.0));
        assert_eq!(of("mover_identity_stored_bytes"), Some(900.0));
        assert_eq!(of("mover_identity_last_snapshot_timestamp_seconds"), Some(1_795_248_830.0));
        assert_eq!(samples.iter().filter(|sample| sample.family.name == "mover_snapshots").count(), 1);
    }

    #[test]
    fn who_met_no_lock_says_so_once_it_is_done() {
        let locks = |run: &RunSummary| {
            let told = samples(run, None).into_iter().filter(|sample| sample.family.name == "mover_locks");
            told.map(|sample| (sample.labels.clone(), sample.value)).collect::<Vec<_>>()
        };
        let state = |state: &str, count: f64| (vec![("state", state.to_owned())], count);
        let mut run = summary();
        // The failed prune behind it may not have looked.
        assert_eq!(locks(&run), [state("live", 1.0), state("stale", 2.0)]);
        run.operations.first_mut().unwrap().locks = None;
        assert_eq!(locks(&run), [state("live", 0.0), state("stale", 0.0)]);
    }

    #[test]
    fn hedges_are_told_by_what_came_of_them() {
        let told = samples(&summary(), None).into_iter().filter(|sample| sample.family == HEDGES);
        let told: Vec<_> = told.map(|sample| (sample.labels, sample.value)).collect();
        let outcome = |outcome: &str, count: f64| (vec![("outcome", outcome.to_owned())], count);
        // The prune sent none.
        let none = [outcome("won", 0.0), outcome("lost", 0.0)];
        assert_eq!(told, [[outcome("won", 3.0), outcome("lost", 2.0)], none].concat());
    }

    #[test]
    fn nothing_to_do_is_no_success_and_a_dry_run_tells_nothing() {
        let mut run = summary();
        run.operations.truncate(1);
        let backup = run.operations.first_mut().unwrap();
        backup.outcome = Outcome::Nothing;
        backup.backup = None;
        let samples = samples(&run, None);
        assert_eq!(value(&samples, "mover_last_run_success", "backup"), Some(0.0));
        assert_eq!(value(&samples, "mover_last_run_empty", "backup"), Some(1.0));
        assert_eq!(value(&samples, "mover_last_success_timestamp_seconds", "backup"), None);
        run.dry_run = true;
        assert_eq!(super::samples(&run, None), []);
    }

    #[test]
    fn while_it_runs_it_has_a_pulse_and_no_end() {
        let mut run = summary();
        let prune = run.operations.last_mut().unwrap();
        (prune.outcome, prune.exit_code, prune.ended) = (Outcome::Running, None, None);
        run.ended = Timestamp::from_second(1_795_249_000).unwrap();
        let beats = heartbeat(&run);
        assert_eq!(beats.len(), 2);
        assert_eq!(value(&beats, "mover_run_heartbeat_timestamp_seconds", "prune"), Some(1_795_249_000.0));
        assert_eq!(value(&beats, "mover_run_start_timestamp_seconds", "prune"), Some(1_795_248_833.0));
        assert_eq!(value(&samples(&run, None), "mover_last_run_timestamp_seconds", "prune"), None);
    }
}
