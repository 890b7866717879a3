//! A monitor around the chosen one that remembers what a run did, as a `RunSummary`.
//!
//! Everything is handed on as it came; nothing is printed here. What is remembered is bounded, however long
//! the run: counts, a few first names, and no secret: texts pass the same blotting as the log's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use super::run_summary::{
    CheckCounts, Failure, ForgetCounts, Locks, Object, OperationSummary, Outcome, Phase, Retries, RunSummary,
    Traffic,
};
use super::sink::{clip, printable};
use super::{
    BackupSummary, CheckSummary, ForgetSummary, InitSummary, Monitor, Operation, Progress, PruneSummary,
    RepositorySummary, RestoreSummary, Secrets, VerifySummary, lines, lock,
};
use crate::clock::Clock;
use crate::error::Error;
use crate::host::Usage;

/// So many warnings, and so many items that failed, are remembered in words.
const REMEMBERED_MAX: usize = 10;
/// And so much of each.
const TEXT_BYTES_MAX: usize = 400;
/// What an operation does before it names a phase.
const FIRST_PHASE: &str = "starting";

/// What is known of a run before it begins.
pub struct About {
    /// Whom it serves.
    pub object: Object,
    /// Where the repository is, without any password.
    pub repository: Option<String>,
    /// What was asked for.
    pub operations: Vec<&'static str>,
    /// Nothing is to be changed.
    pub dry_run: bool,
    /// What nothing may hold.
    pub secrets: Secrets,
}

/// What was asked of the stores so far; retries are counted by the collector.
pub type Meter = Box<dyn Fn() -> Traffic + Send + Sync>;

/// Remembers a run.
pub struct Collector {
    inner: Arc<dyn Monitor>,
    clock: Arc<dyn Clock>,
    meter: Meter,
    about: About,
    started: (Timestamp, Duration),
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    operations: Vec<OperationSummary>,
    current: Option<Current>,
    retries: BTreeMap<&'static str, u64>,
    warnings: Vec<String>,
    warnings_total: u64,
    /// The run ended.
    closed: bool,
    /// Why it failed.
    error: Option<Error>,
}

/// The operation that is running.
struct Current {
    place: usize,
    began: Duration,
    phase_began: Duration,
    phase: String,
    traffic: Traffic,
    cpu_seconds: f64,
}

impl Collector {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Monitor>, clock: Arc<dyn Clock>, about: About, meter: Meter) -> Arc<Self> {
        let named = |operation: &&'static str| OperationSummary { operation, ..OperationSummary::default() };
        let operations = about.operations.iter().map(named).collect();
        let started = (clock.now(), clock.elapsed());
        let state = Mutex::new(State { operations, ..State::default() });
        Arc::new(Self { inner, clock, meter, about, started, state })
    }

    /// The run is over. A failure belongs to the operation that was running, or was to run next.
    pub fn close(&self, error: Option<&Error>) {
        let mut state = lock(&self.state);
        if let Some(error) = error {
            let unfinished = |operation: &&mut OperationSummary| operation.exit_code != Some(0);
            if let Some(operation) = state.operations.iter_mut().find(unfinished) {
                operation.outcome = Outcome::Failed;
                operation.exit_code = Some(error.kind.exit_code());
                operation.started.get_or_insert(self.started.0);
                operation.ended.get_or_insert_with(|| self.clock.now());
            }
        }
        state.closed = true;
        state.error = error.cloned();
    }

    /// What is known by now.
    #[must_use]
    pub fn summary(&self) -> RunSummary {
        let usage = Usage::of_this_process();
        let state = lock(&self.state);
        let mut operations = state.operations.clone();
        if let Some(current) = &state.current
            && let Some(operation) = operations.get_mut(current.place)
        {
            self.measure(operation, current, usage, self.traffic(&state.retries));
        }
        let error = state.error.as_ref();
        let outcome = match error {
            _ if !state.closed => Outcome::Running,
            Some(_) => Outcome::Failed,
            None if operations.iter().any(|one| one.outcome == Outcome::Nothing) => Outcome::Nothing,
            None => Outcome::Success,
        };
        RunSummary {
            message_type: "run",
            program: concat!("volmover ", env!("CARGO_PKG_VERSION")),
            object: self.about.object.clone(),
            repository: self.about.repository.clone(),
            started: self.started.0,
            ended: self.clock.now(),
            duration: self.clock.elapsed().saturating_sub(self.started.1).as_secs_f64(),
            outcome,
            exit_code: state.closed.then(|| error.map_or(0, |error| error.kind.exit_code())),
            error: error.map(|error| self.failure(error)),
            dry_run: self.about.dry_run,
            operations,
            traffic: self.traffic(&state.retries),
            peak_memory_bytes: usage.peak_memory_bytes,
            cpu_seconds: usage.cpu_seconds,
            warnings_total: state.warnings_total,
            warnings: state.warnings.clone(),
            shortened: false,
        }
    }

    fn traffic(&self, retries: &BTreeMap<&'static str, u64>) -> Traffic {
        let retries = retries.iter().map(|(request, count)| Retries { request, count: *count }).collect();
        Traffic { retries, ..(self.meter)() }
    }

    /// Brings the figures of the running operation up to now.
    fn measure(&self, operation: &mut OperationSummary, current: &Current, usage: Usage, traffic: Traffic) {
        let now = self.clock.elapsed();
        operation.duration = now.saturating_sub(current.began).as_secs_f64();
        operation.traffic = traffic.since(&current.traffic);
        operation.peak_memory_bytes = usage.peak_memory_bytes;
        operation.cpu_seconds = usage.cpu_seconds - current.cpu_seconds;
        let spent = now.saturating_sub(current.phase_began);
        match operation.phases.iter_mut().find(|phase| phase.name == current.phase) {
            Some(phase) => phase.seconds += spent.as_secs_f64(),
            None => operation.phases.push(Phase {
                name: current.phase.clone(),
                started: self.clock.now().checked_sub(spent).unwrap_or(self.started.0),
                seconds: spent.as_secs_f64(),
            }),
        }
    }

    /// Changes the operation that is running, if any is.
    fn note(&self, change: impl FnOnce(&mut OperationSummary)) {
        let mut state = lock(&self.state);
        if let Some(place) = state.current.as_ref().map(|current| current.place)
            && let Some(operation) = state.operations.get_mut(place)
        {
            change(operation);
        }
    }

    fn failure(&self, error: &Error) -> Failure {
        let clean = |text: &String| self.about.secrets.blot(text.clone());
        let error = Error {
            kind: error.kind,
            what: clean(&error.what),
            place: error.place.as_ref().map(clean),
            cause: error.cause.as_ref().map(clean),
            next: error.next.as_ref().map(clean),
        };
        Failure::of(&error)
    }

    /// A text as it is remembered.
    fn kept(&self, text: &str) -> String {
        clip(&self.about.secrets.blot(printable(text)), TEXT_BYTES_MAX).to_owned()
    }
}

impl Monitor for Collector {
    fn line(&self, text: &str) {
        self.inner.line(text);
    }

    fn warn(&self, text: &str) {
        let mut state = lock(&self.state);
        state.warnings_total += 1;
        if state.warnings.len() < REMEMBERED_MAX {
            state.warnings.push(self.kept(text));
        }
        drop(state);
        self.inner.warn(&self.about.secrets.blot(text.to_owned()));
    }

    fn item_failed(&self, during: &str, item: &str, cause: &str) {
        let line = self.kept(&lines::item_failed(during, item, cause));
        self.note(|operation| {
            operation.items_failed_total += 1;
            if operation.items_failed.len() < REMEMBERED_MAX {
                operation.items_failed.push(line);
            }
        });
        self.inner.item_failed(during, item, cause);
    }

    fn phase(&self, name: &str) {
        let mut state = lock(&self.state);
        if let Some(mut current) = state.current.take() {
            if current.phase != name {
                let traffic = current.traffic.clone();
                if let Some(operation) = state.operations.get_mut(current.place) {
                    self.measure(operation, &current, Usage::default(), traffic);
                }
                current.phase_began = self.clock.elapsed();
                name.clone_into(&mut current.phase);
            }
            state.current = Some(current);
        }
        drop(state);
        self.inner.phase(name);
    }

    fn working_on(&self, item: &str) {
        self.inner.working_on(item);
    }

    fn progress(&self) -> &Progress {
        self.inner.progress()
    }

    fn begin(&self, operation: Operation) {
        self.inner.begin(operation);
    }

    fn end(&self) {
        self.inner.end();
    }

    fn output(&self, text: &str) {
        self.inner.output(text);
    }

    fn output_bytes(&self, bytes: &[u8]) {
        self.inner.output_bytes(bytes);
    }

    fn problem(&self, text: &str) {
        self.inner.problem(text);
    }

    fn log(&self, text: &str) {
        self.inner.log(text);
    }

    fn initialized(&self, summary: &InitSummary) {
        self.inner.initialized(summary);
    }

    fn backed_up(&self, summary: &BackupSummary) {
        self.note(|operation| operation.backup = Some(summary.clone()));
        self.inner.backed_up(summary);
    }

    fn restored(&self, summary: &RestoreSummary) {
        self.note(|operation| operation.restore = Some(summary.clone()));
        self.inner.restored(summary);
    }

    fn checked(&self, summary: &CheckSummary) {
        self.note(|operation| operation.check = Some(CheckCounts::of(summary)));
        self.inner.checked(summary);
    }

    fn verified(&self, summary: &VerifySummary) {
        self.note(|operation| operation.verify = Some(summary.clone()));
        self.inner.verified(summary);
    }

    fn pruned(&self, summary: &PruneSummary) {
        self.note(|operation| operation.prune = Some(summary.clone()));
        self.inner.pruned(summary);
    }

    fn forgotten(&self, summary: &ForgetSummary) {
        self.note(|operation| operation.forget = Some(ForgetCounts::of(summary)));
        self.inner.forgotten(summary);
    }

    fn operation_started(&self, name: &'static str) {
        let usage = Usage::of_this_process();
        let now = self.clock.elapsed();
        let mut state = lock(&self.state);
        let traffic = self.traffic(&state.retries);
        let next = |operation: &OperationSummary| {
            operation.operation == name && operation.outcome == Outcome::NotRun
        };
        if let Some(place) = state.operations.iter().position(next)
            && let Some(operation) = state.operations.get_mut(place)
        {
            operation.outcome = Outcome::Running;
            operation.started = Some(self.clock.now());
            state.current = Some(Current {
                place,
                began: now,
                phase_began: now,
                phase: FIRST_PHASE.to_owned(),
                traffic,
                cpu_seconds: usage.cpu_seconds,
            });
        }
        drop(state);
        self.inner.operation_started(name);
    }

    fn operation_ended(&self, error: Option<&Error>) {
        let usage = Usage::of_this_process();
        let mut state = lock(&self.state);
        let traffic = self.traffic(&state.retries);
        if let Some(current) = state.current.take()
            && let Some(operation) = state.operations.get_mut(current.place)
        {
            self.measure(operation, &current, usage, traffic);
            operation.ended = Some(self.clock.now());
            operation.exit_code = Some(error.map_or(0, |error| error.kind.exit_code()));
            operation.outcome = match (error, operation.outcome) {
                (Some(_), _) => Outcome::Failed,
                (None, told @ (Outcome::Nothing | Outcome::Skipped)) => told,
                (None, _) => Outcome::Success,
            };
        }
        drop(state);
        self.inner.operation_ended(error);
    }

    fn found_nothing(&self) {
        self.note(|operation| operation.outcome = Outcome::Nothing);
        self.inner.found_nothing();
    }

    fn skipped(&self) {
        self.note(|operation| operation.outcome = Outcome::Skipped);
        self.inner.skipped();
    }

    fn locks_found(&self, live: u64, stale: u64) {
        self.note(|operation| {
            let locks = operation.locks.get_or_insert_default();
            *locks = Locks { live: locks.live.max(live), stale: locks.stale.max(stale) };
        });
        self.inner.locks_found(live, stale);
    }

    fn retrying(&self, request: &'static str) {
        *lock(&self.state).retries.entry(request).or_default() += 1;
        self.inner.retrying(request);
    }

    fn waiting(&self, what: &str) {
        self.inner.waiting(what);
    }

    fn surveyed(&self, repository: &RepositorySummary) {
        self.note(|operation| operation.repository = Some(repository.clone()));
        self.inner.surveyed(repository);
    }

    /// The cause may be what a store answered, which may repeat what it was asked with.
    fn failed(&self, error: &Error) {
        let cause = error.cause.clone().map(|cause| self.about.secrets.blot(cause));
        self.inner.failed(&Error { cause, ..error.clone() });
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Collector")
    }
}

#[cfg(test)]
mod tests;
