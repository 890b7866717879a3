//! What a run tells: the `Monitor` trait that every floor reports to, and the ways out of it.
//!
//! Pipelines count into `Progress` (atomics, cheap enough for every file) and hand lines, warnings and
//! per-item failures to the `Monitor`; operations hand it their summaries. `select` chooses the way out:
//! `text` (restic's lines), `json` (restic's JSON lines) or `progress` (text and a bar on a terminal); a
//! `Collector` around it remembers all of it as one `RunSummary`, from which everything else is made.
//! Nothing here decides anything, nothing here may hold a secret, and nobody else prints.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::error::Error;

pub mod collector;
pub mod format;
pub(crate) mod go_json;
pub mod html;
pub mod json;
pub mod lines;
pub mod log;
pub mod progress;
pub mod record;
mod run;
pub mod run_summary;
pub mod secrets;
pub mod sink;
pub mod summary;
pub mod table;
pub mod termination;
pub mod text;
mod ticker;

pub use collector::Collector;
pub use json::JsonMonitor;
pub use progress::ProgressMonitor;
pub use record::{RecordingMonitor, SilentMonitor};
pub use run_summary::RunSummary;
pub use secrets::Secrets;
pub use sink::Sinks;
pub use summary::{
    BackupSummary, CheckSummary, ForgetSummary, IdentitySummary, InitSummary, PruneSummary,
    RepositorySummary, RestoreSummary, VerifySummary,
};
pub use text::TextMonitor;

/// A count that many threads add to.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets it to `n`.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far a run is. Bytes are of content, before deduplication.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files found so far, or in all where that is known beforehand.
    pub files_total: Count,
    /// Files done.
    pub files_done: Count,
    /// Bytes found so far, or in all.
    pub bytes_total: Count,
    /// Bytes done.
    pub bytes_done: Count,
    /// Bytes added to the repository, as stored.
    pub bytes_added: Count,
    /// Items that failed.
    pub errors: Count,
    /// 1 once the totals are final.
    pub totals_final: Count,
}

impl Progress {
    /// Sets every count to 0, for the next operation of a run.
    pub fn reset(&self) {
        let Self { files_total, files_done, bytes_total, bytes_done, bytes_added, errors, totals_final } =
            self;
        for count in [files_total, files_done, bytes_total, bytes_done, bytes_added, errors, totals_final] {
            count.set(0);
        }
    }
}

/// What kind of work the counts are about: it decides the form of a status line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operation {
    /// restic's status of a backup.
    Backup,
    /// restic's status of a restore.
    Restore,
    /// Any other: `done / total` and the phase's name; nothing in JSON.
    #[default]
    Other,
}

/// Who a run reports to. All methods may be called from many threads at once.
///
/// A caller that shows progress brackets an operation with `begin` and `end`; between them the monitor
/// shows `progress()` from time to time. The summaries are printed by the monitor in its own form.
pub trait Monitor: Send + Sync {
    /// A line of the contract, to stdout (left out where JSON is asked for).
    fn line(&self, text: &str);
    /// Something odd that does not fail the run, to stderr.
    fn warn(&self, text: &str);
    /// One item failed and the run goes on: `during` is restic's word (`scan`, `archival`, `restore`).
    /// It does not count into `Progress::errors`; who reports a failure counts it too.
    fn item_failed(&self, during: &str, item: &str, cause: &str);
    /// A new phase of the run, with its name for people.
    fn phase(&self, name: &str);
    /// The item being worked on, for a progress display.
    fn working_on(&self, item: &str);
    /// The counts that a progress display reads.
    fn progress(&self) -> &Progress;

    /// An operation begins: the counts return to 0, and from now on progress is shown.
    fn begin(&self, _operation: Operation) {}
    /// The operation is over, well or not: progress is not shown any more.
    fn end(&self) {}
    /// What was asked for, e.g. a table or a JSON array: to stdout, as it is, whatever the form.
    /// Nothing is printed for an empty text; a missing last newline is added.
    fn output(&self, text: &str) {
        self.line(text);
    }
    /// The same for bytes: paths need not be UTF-8, and a script must get the very name.
    fn output_bytes(&self, bytes: &[u8]) {
        self.output(&String::from_utf8_lossy(bytes));
    }
    /// A fault of the repository that was found, or what to do about it: a line to stderr; in JSON an object
    /// of restic's type `error`.
    fn problem(&self, text: &str) {
        self.warn(text);
    }
    /// A log event of one line, to stderr.
    fn log(&self, _text: &str) {}
    /// A repository was created.
    fn initialized(&self, _summary: &InitSummary) {}
    /// A backup is done.
    fn backed_up(&self, _summary: &BackupSummary) {}
    /// A restore is done.
    fn restored(&self, _summary: &RestoreSummary) {}
    /// A check is done.
    fn checked(&self, _summary: &CheckSummary) {}
    /// A verify is done; its lines were told already.
    fn verified(&self, _summary: &VerifySummary) {}
    /// A prune is done.
    fn pruned(&self, _summary: &PruneSummary) {}
    /// A forget is done.
    fn forgotten(&self, _summary: &ForgetSummary) {}

    /// An operation of the run starts, by its name on the command line.
    fn operation_started(&self, _name: &'static str) {}
    /// It is over, with or without an error.
    fn operation_ended(&self, _error: Option<&Error>) {}
    /// There is nothing to back up, or nothing to restore.
    fn found_nothing(&self) {}
    /// The operation is told to do nothing.
    fn skipped(&self) {}
    /// Locks of others that were found, by whether their holders live.
    fn locks_found(&self, _live: u64, _stale: u64) {}
    /// A request failed for now and is made again: `request` is its word in metrics.
    fn retrying(&self, _request: &'static str) {}
    /// What the run waits for, for a progress display; empty: for nothing any more.
    fn waiting(&self, _what: &str) {}
    /// What an operation learned of the repository.
    fn surveyed(&self, _repository: &RepositorySummary) {}
    /// The run failed. Call it once and last: it prints the line that an operator reads.
    fn failed(&self, _error: &Error) {}
}

/// What decides the way out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Choice {
    /// restic's JSON lines instead of text.
    pub json: bool,
    /// stderr is a terminal: a bar instead of a line from time to time.
    pub terminal: bool,
    /// `RESTIC_PROGRESS_FPS`: updates in a second, at most 60; 0 and less count as unset.
    pub frames_per_second: Option<f64>,
}

/// The monitor for a choice; it writes into `sinks` (a bar draws on the terminal itself).
#[must_use]
pub fn select(choice: Choice, sinks: Arc<Sinks>, clock: Arc<dyn Clock>) -> Arc<dyn Monitor> {
    let interval = run::interval(choice);
    if choice.json {
        Arc::new(JsonMonitor::new(sinks, clock, interval))
    } else if choice.terminal {
        Arc::new(ProgressMonitor::on_stderr(sinks, clock, interval))
    } else {
        Arc::new(TextMonitor::new(sinks, clock, Some(interval)))
    }
}

/// A panic elsewhere does not silence the reports: a poisoned lock is taken as it is.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn json_leaves_lines_out_and_every_form_prints_the_result() {
        for (json, terminal, expected) in [
            (false, false, "line\n[]\n"),
            (true, true, "[]\n"),
            (true, false, "[]\n"),
            (false, true, "line\n[]\n"),
        ] {
            let (sinks, out, _err) = Sinks::captured();
            let choice = Choice { json, terminal, frames_per_second: None };
            let monitor = select(choice, sinks, Arc::new(SystemClock::new()));
            monitor.line("line");
            monitor.output("[]");
            assert_eq!(out.text(), expected);
        }
    }
}
