//! The JSON way out: restic's JSON lines, one object a line, in restic's field order and spelling.
//!
//! `status`, `summary` and `initialized` go to stdout, `error` and `exit_error` to stderr, as restic's do.
//! Zero fields are left out of status and restore objects, never out of a backup's summary. The lines of the
//! text contract are not printed; warnings and the last line of a failure stay text on stderr.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::run::Run;
use super::sink::{Sinks, clip};
use super::ticker::Ticker;
use super::{
    BackupSummary, CheckSummary, ForgetSummary, InitSummary, Monitor, Operation, Progress, PruneSummary,
    RestoreSummary, lines, lock,
};
use crate::clock::Clock;
use crate::error::Error;

mod objects;

use objects::{
    backup_line, check_line, error_line, exit_line, forget_line, initialized_line, problem_line, prune_line,
    restore_line, status_line,
};

/// The most bytes of a name or a message in an object: escaped sixfold, two of them still fit in a line.
const FIELD_BYTES_MAX: usize = 4096;

/// Prints JSON lines.
pub struct JsonMonitor {
    sinks: Arc<Sinks>,
    run: Arc<Run>,
    interval: Duration,
    ticker: Mutex<Option<Ticker>>,
}

impl JsonMonitor {
    /// Prints into `sinks`, and a status every `interval`.
    #[must_use]
    pub fn new(sinks: Arc<Sinks>, clock: Arc<dyn Clock>, interval: Duration) -> Self {
        Self { sinks, run: Run::new(clock), interval, ticker: Mutex::default() }
    }
}

impl Monitor for JsonMonitor {
    fn line(&self, _text: &str) {}

    fn warn(&self, text: &str) {
        self.sinks.err_line(&lines::warning(text));
    }

    fn item_failed(&self, during: &str, item: &str, cause: &str) {
        self.sinks.err_line(&error_line(during, item, cause));
    }

    fn phase(&self, name: &str) {
        self.run.set_phase(name);
    }

    fn working_on(&self, item: &str) {
        self.run.set_item(item);
    }

    fn progress(&self) -> &Progress {
        &self.run.progress
    }

    fn begin(&self, operation: Operation) {
        self.end();
        self.run.begin(operation);
        let (run, sinks) = (Arc::clone(&self.run), Arc::clone(&self.sinks));
        let tick = move || status_line(&run.status()).into_iter().for_each(|line| sinks.out_line(&line));
        *lock(&self.ticker) = Some(Ticker::start(self.interval, tick));
    }

    fn end(&self) {
        lock(&self.ticker).take();
    }

    fn output(&self, text: &str) {
        self.sinks.out_text(text);
    }

    fn output_bytes(&self, bytes: &[u8]) {
        self.sinks.out_bytes(bytes);
    }

    fn problem(&self, text: &str) {
        self.sinks.err_line(&problem_line(text));
    }

    fn log(&self, text: &str) {
        self.sinks.err_line(text);
    }

    fn initialized(&self, summary: &InitSummary) {
        self.sinks.out_line(&initialized_line(summary));
    }

    fn backed_up(&self, summary: &BackupSummary) {
        self.end();
        self.sinks.out_line(&backup_line(summary));
    }

    fn restored(&self, summary: &RestoreSummary) {
        self.end();
        self.sinks.out_line(&restore_line(summary));
    }

    fn checked(&self, summary: &CheckSummary) {
        self.end();
        self.sinks.out_line(&check_line(summary));
    }

    fn pruned(&self, summary: &PruneSummary) {
        self.end();
        self.sinks.out_line(&prune_line(summary));
    }

    fn forgotten(&self, summary: &ForgetSummary) {
        self.end();
        // A dry run prints what restic prints and nothing else: its groups say all.
        if !summary.dry_run {
            // Never cut: the ids of a large forget fill more than a line may hold.
            self.sinks.out_text(&forget_line(summary));
        }
    }

    fn failed(&self, error: &Error) {
        self.end();
        self.sinks.err_line(&exit_line(error));
        self.sinks.err_line(&lines::fatal(error));
    }
}

/// What `restic snapshots --json` prints, for `Monitor::output`: one array. Each snapshot is the JSON object
/// as it is stored, and its id of 64 hex digits.
#[must_use]
pub fn snapshots<'a>(snapshots: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let object = |(stored, id): (&str, &str)| {
        let fields = stored.trim_end().strip_suffix('}').unwrap_or(stored);
        format!(r#"{fields},"id":"{id}","short_id":"{}"}}"#, clip(id, 8))
    };
    let objects: Vec<String> = snapshots.into_iter().map(object).collect();
    format!("[{}]", objects.join(","))
}

impl fmt::Debug for JsonMonitor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("JsonMonitor").field("interval", &self.interval).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::{HandClock, Status};
    use super::super::sink::LINE_BYTES_MAX;
    use super::*;
    use crate::error::ErrorKind;
    use std::time::Instant;

    // Every object below was printed by restic 0.19.1, with --json, on the stream that the test names.

    #[test]
    fn a_backups_summary_is_restics() {
        let mut summary = BackupSummary {
            files_changed: 3,
            files_unmodified: 2,
            dirs_changed: 1,
            data_blobs: 1,
            tree_blobs: 2,
            data_added: 2059,
            data_added_packed: 939,
            total_files_processed: 5,
            total_bytes_processed: 3_588_903,
            total_duration: 0.694_780_03,
            backup_start: "2026-11-21T08:11:18.858502357Z".into(),
            backup_end: "2026-11-21T08:11:19.553282387Z".into(),
            snapshot_id: Some("032c0bc2ea6badc043414e43b40a3211aecd489644824c8668edde04dc2d74b0".into()),
            ..BackupSummary::default()
        };
        let expected = r#"{"message_type":"summary","files_new":0,"files_changed":3,"files_unmodified":2,"dirs_new":0,"dirs_changed":1,"dirs_unmodified":0,"data_blobs":1,"tree_blobs":2,"data_added":2059,"data_added_packed":939,"total_files_processed":5,"total_bytes_processed":3588903,"total_duration":0.69478003,"backup_start":"2026-11-21T08:11:18.858502357Z","backup_end":"2026-11-21T08:11:19.553282387Z","snapshot_id":"032c0bc2ea6badc043414e43b40a3211aecd489644824c8668edde04dc2d74b0"}"#;
        assert_eq!(backup_line(&summary), expected);
        summary.dry_run = true;
        assert!(backup_line(&summary).ends_with(r#"2dc2d74b0","dry_run":true}"#.trim_start_matches('2')));
        summary = BackupSummary { snapshot_id: None, ..BackupSummary::default() };
        assert!(backup_line(&summary).ends_with(r#""backup_start":"","backup_end":""}"#));
    }

    #[test]
    fn a_restores_summary_leaves_zeros_out() {
        let half = RestoreSummary {
            files_total: 2,
            files_restored: 1,
            files_skipped: 1,
            files_deleted: 1,
            bytes_total: 14_000,
            bytes_restored: 5000,
            bytes_skipped: 700,
            duration: 0.7,
            ..RestoreSummary::default()
        };
        let expected = r#"{"message_type":"summary","total_files":2,"files_restored":1,"files_skipped":1,"files_deleted":1,"total_bytes":14000,"bytes_restored":5000,"bytes_skipped":700}"#;
        assert_eq!(restore_line(&half), expected);
        let whole = RestoreSummary {
            files_total: 4,
            files_restored: 4,
            bytes_total: 10_000_000,
            bytes_restored: 10_000_000,
            duration: 2.9,
            ..RestoreSummary::default()
        };
        let expected = r#"{"message_type":"summary","seconds_elapsed":2,"total_files":4,"files_restored":4,"total_bytes":10000000,"bytes_restored":10000000}"#;
        assert_eq!(restore_line(&whole), expected);
        assert_eq!(restore_line(&RestoreSummary::default()), r#"{"message_type":"summary"}"#);
    }

    #[test]
    fn a_status_leaves_zeros_out_but_for_the_percentage() {
        let backup = Status {
            operation: Operation::Backup,
            seconds_remaining: 3,
            files_total: 1,
            bytes_total: 700_000_000,
            bytes_done: 19_674_602,
            item: "/huge".into(),
            ..Status::default()
        };
        let expected = r#"{"message_type":"status","seconds_remaining":3,"percent_done":0.028106574285714284,"total_files":1,"total_bytes":700000000,"bytes_done":19674602,"current_files":["/huge"]}"#;
        assert_eq!(status_line(&backup).as_deref(), Some(expected));
        let done = Status {
            operation: Operation::Backup,
            seconds_elapsed: 1,
            files_total: 2,
            files_done: 2,
            bytes_total: 6_000_000,
            bytes_done: 6_000_000,
            ..Status::default()
        };
        let expected = r#"{"message_type":"status","seconds_elapsed":1,"percent_done":1,"total_files":2,"files_done":2,"total_bytes":6000000,"bytes_done":6000000}"#;
        assert_eq!(status_line(&done).as_deref(), Some(expected));
        let restore =
            Status { operation: Operation::Restore, bytes_total: 10_000_000, files_total: 4, ..done };
        let expected = r#"{"message_type":"status","seconds_elapsed":1,"percent_done":0.6,"total_files":4,"files_restored":2,"total_bytes":10000000,"bytes_restored":6000000}"#;
        assert_eq!(status_line(&restore).as_deref(), Some(expected));
        let first = Status { seconds_elapsed: 0, files_done: 0, bytes_done: 0, ..restore };
        let expected = r#"{"message_type":"status","percent_done":0,"total_files":4,"total_bytes":10000000}"#;
        assert_eq!(status_line(&first).as_deref(), Some(expected));
        assert_eq!(status_line(&Status::default()), None);
    }

    #[test]
    fn each_object_goes_to_restics_stream() {
        let (sinks, out, err) = Sinks::captured();
        let clock: Arc<dyn Clock> = Arc::new(HandClock::default());
        let monitor = JsonMonitor::new(sinks, clock, Duration::from_hours(1));
        monitor.line("no parent snapshot found, will read all files");
        monitor.initialized(&InitSummary {
            id: "d7b7bcebb8f3eb6b340f9b11536918d99ac7e80d07aa4019c03050031dbdac1c".into(),
            location: "/tmp/rp/repo0.19".into(),
        });
        monitor.output("[]");
        monitor.item_failed(
            "restore",
            "/we<ird&\"q",
            "chmod /tmp/rp/ro/we<ird&\"q: no such file or directory",
        );
        monitor.warn("nosuch does not exist, skipping");
        monitor.failed(&Error::new(ErrorKind::WrongPassword, "wrong password or no key found"));
        let expected = r#"{"message_type":"initialized","id":"d7b7bcebb8f3eb6b340f9b11536918d99ac7e80d07aa4019c03050031dbdac1c","repository":"/tmp/rp/repo0.19"}
[]
"#;
        assert_eq!(out.text(), expected);
        // The warning's first word and the line after exit_error are volmover's own.
        let expected = r#"{"message_type":"error","error":{"message":"chmod /tmp/rp/ro/we\u003cird\u0026\"q: no such file or directory"},"during":"restore","item":"/we\u003cird\u0026\"q"}
Warning: nosuch does not exist, skipping
{"message_type":"exit_error","code":12,"message":"Fatal: wrong password or no key found"}
Fatal: wrong password or no key found
"#;
        assert_eq!(err.text(), expected);
    }

    #[test]
    fn snapshots_are_one_array() {
        let (stored, id) = (
            r#"{"time":"2026-11-21T08:13:49Z","tree":"900a","paths":["/tmp/rp/src"],"hostname":"h"}"#,
            "84b39976e7549b68ff2383931b694128631e2e753b21d25df9f69bf4ed555be2",
        );
        let expected = r#"{"time":"2026-11-21T08:13:49Z","tree":"900a","paths":["/tmp/rp/src"],"hostname":"h","id":"84b39976e7549b68ff2383931b694128631e2e753b21d25df9f69bf4ed555be2","short_id":"84b39976"}"#;
        assert_eq!(snapshots([(stored, id), (stored, id)]), format!("[{expected},{expected}]"));
        assert_eq!(snapshots([]), "[]");
    }

    #[test]
    fn no_object_is_too_long_for_a_line() {
        let name = "<".repeat(70_000);
        assert!(error_line("archival", &name, &name).len() < LINE_BYTES_MAX);
    }

    #[test]
    fn a_status_is_printed_while_the_operation_runs() {
        let (sinks, out, _err) = Sinks::captured();
        let clock: Arc<dyn Clock> = Arc::new(HandClock::default());
        let monitor = JsonMonitor::new(sinks, clock, Duration::from_millis(1));
        monitor.begin(Operation::Backup);
        let start = Instant::now();
        while out.text().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(20), "no status");
        }
        monitor.backed_up(&BackupSummary::default());
        let text = out.text();
        assert!(text.starts_with("{\"message_type\":\"status\",\"percent_done\":0}\n"), "{text}");
        assert!(text.lines().last().is_some_and(|line| line.starts_with(r#"{"message_type":"summary""#)));
    }
}
