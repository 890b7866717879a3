//! Monitors for tests and for callers that want no output: one forgets everything, one remembers.

use std::sync::Mutex;

use super::{
    BackupSummary, ForgetSummary, InitSummary, Monitor, Operation, Progress, PruneSummary, RestoreSummary,
    lock,
};
use crate::error::Error;

/// Reports to nobody.
#[derive(Debug, Default)]
pub struct SilentMonitor {
    progress: Progress,
}

impl Monitor for SilentMonitor {
    fn line(&self, _text: &str) {}

    fn warn(&self, _text: &str) {}

    fn item_failed(&self, _during: &str, _item: &str, _cause: &str) {}

    fn phase(&self, _name: &str) {}

    fn working_on(&self, _item: &str) {}

    fn progress(&self) -> &Progress {
        &self.progress
    }
}

/// An item that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemFailure {
    /// `scan`, `archival` or `restore`.
    pub during: String,
    /// The item.
    pub item: String,
    /// Why.
    pub cause: String,
}

/// Remembers what it was told, in order.
#[derive(Debug, Default)]
pub struct RecordingMonitor {
    progress: Progress,
    lines: Mutex<Vec<String>>,
    warnings: Mutex<Vec<String>>,
    failures: Mutex<Vec<ItemFailure>>,
    phases: Mutex<Vec<String>>,
    waits: Mutex<Vec<String>>,
    initialized: Mutex<Vec<InitSummary>>,
    backups: Mutex<Vec<BackupSummary>>,
    restores: Mutex<Vec<RestoreSummary>>,
    forgets: Mutex<Vec<ForgetSummary>>,
    prunes: Mutex<Vec<PruneSummary>>,
    errors: Mutex<Vec<Error>>,
    problems: Mutex<Vec<String>>,
}

impl RecordingMonitor {
    /// The lines and outputs.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        lock(&self.lines).clone()
    }

    /// The warnings.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        lock(&self.warnings).clone()
    }

    /// The items that failed.
    #[must_use]
    pub fn item_failures(&self) -> Vec<ItemFailure> {
        lock(&self.failures).clone()
    }

    /// The phases.
    #[must_use]
    pub fn phases(&self) -> Vec<String> {
        lock(&self.phases).clone()
    }

    /// The repositories created.
    #[must_use]
    pub fn init_summaries(&self) -> Vec<InitSummary> {
        lock(&self.initialized).clone()
    }

    /// The backups done.
    #[must_use]
    pub fn backup_summaries(&self) -> Vec<BackupSummary> {
        lock(&self.backups).clone()
    }

    /// The restores done.
    #[must_use]
    pub fn restore_summaries(&self) -> Vec<RestoreSummary> {
        lock(&self.restores).clone()
    }

    /// The faults that were found, and advice.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        lock(&self.problems).clone()
    }

    /// The forgets done.
    #[must_use]
    pub fn forget_summaries(&self) -> Vec<ForgetSummary> {
        lock(&self.forgets).clone()
    }

    /// What was waited for; empty where a wait ended.
    #[must_use]
    pub fn waits(&self) -> Vec<String> {
        lock(&self.waits).clone()
    }

    /// The prunes done.
    #[must_use]
    pub fn prune_summaries(&self) -> Vec<PruneSummary> {
        lock(&self.prunes).clone()
    }

    /// The failures of the run.
    #[must_use]
    pub fn errors(&self) -> Vec<Error> {
        lock(&self.errors).clone()
    }
}

impl Monitor for RecordingMonitor {
    fn line(&self, text: &str) {
        lock(&self.lines).push(text.to_owned());
    }

    fn warn(&self, text: &str) {
        lock(&self.warnings).push(text.to_owned());
    }

    fn item_failed(&self, during: &str, item: &str, cause: &str) {
        let failure =
            ItemFailure { during: during.to_owned(), item: item.to_owned(), cause: cause.to_owned() };
        lock(&self.failures).push(failure);
    }

    fn phase(&self, name: &str) {
        lock(&self.phases).push(name.to_owned());
    }

    fn working_on(&self, _item: &str) {}

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn problem(&self, text: &str) {
        lock(&self.problems).push(text.to_owned());
    }

    fn begin(&self, _operation: Operation) {
        self.progress.reset();
    }

    fn initialized(&self, summary: &InitSummary) {
        lock(&self.initialized).push(summary.clone());
    }

    fn backed_up(&self, summary: &BackupSummary) {
        lock(&self.backups).push(summary.clone());
    }

    fn restored(&self, summary: &RestoreSummary) {
        lock(&self.restores).push(summary.clone());
    }

    fn forgotten(&self, summary: &ForgetSummary) {
        lock(&self.forgets).push(summary.clone());
    }

    fn waiting(&self, what: &str) {
        lock(&self.waits).push(what.to_owned());
    }

    fn pruned(&self, summary: &PruneSummary) {
        lock(&self.prunes).push(summary.clone());
    }

    fn failed(&self, error: &Error) {
        lock(&self.errors).push(error.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_in_order_and_starts_each_operation_at_nought() {
        let monitor = RecordingMonitor::default();
        monitor.progress().files_done.add(3);
        monitor.begin(Operation::Backup);
        assert_eq!(monitor.progress().files_done.value(), 0);
        monitor.line("a");
        monitor.output("b");
        monitor.item_failed("scan", "/x", "gone");
        assert_eq!(monitor.lines(), ["a", "b"]);
        let failure = ItemFailure { during: "scan".into(), item: "/x".into(), cause: "gone".into() };
        assert_eq!(monitor.item_failures(), [failure]);
        assert!(monitor.warnings().is_empty() && monitor.errors().is_empty());
    }
}
