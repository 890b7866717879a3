//! The text way out: restic's lines on stdout; warnings, failures and progress on stderr.
//!
//! Progress is one line at an interval; while nothing moves there is none but what the run waits for, once.
//! On a terminal `ProgressMonitor` draws a bar around this monitor, which then shows no progress of its own.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::run::{Run, Status};
use super::sink::Sinks;
use super::ticker::Ticker;
use super::{
    BackupSummary, CheckSummary, ForgetSummary, InitSummary, Monitor, Operation, Progress, PruneSummary,
    RestoreSummary, lines, lock,
};
use crate::clock::Clock;
use crate::error::Error;

/// Prints lines.
pub struct TextMonitor {
    sinks: Arc<Sinks>,
    run: Arc<Run>,
    interval: Option<Duration>,
    ticker: Mutex<Option<Ticker>>,
}

impl TextMonitor {
    /// Prints into `sinks`, and a progress line every `interval` if there is one.
    #[must_use]
    pub fn new(sinks: Arc<Sinks>, clock: Arc<dyn Clock>, interval: Option<Duration>) -> Self {
        Self { sinks, run: Run::new(clock), interval, ticker: Mutex::default() }
    }

    pub(super) fn run(&self) -> &Arc<Run> {
        &self.run
    }
}

/// What the last lines told.
#[derive(Default)]
struct Told {
    moved: Status,
    waiting: String,
}

impl Told {
    /// The line of this moment, unless it would say nothing new.
    fn next(&mut self, run: &Run) -> Option<String> {
        let status = run.status();
        let by_name = status.operation == Operation::Other || status.is_uncounted();
        if status.counts() != self.moved.counts() || by_name && status.phase != self.moved.phase {
            let line = lines::status(&status);
            *self = Self { moved: status, waiting: String::new() };
            return Some(line);
        }
        if status.waiting.is_empty() || status.waiting == self.waiting {
            return None;
        }
        self.waiting.clone_from(&status.waiting);
        Some(lines::waiting(&status))
    }
}

impl Monitor for TextMonitor {
    fn line(&self, text: &str) {
        self.sinks.out_line(text);
    }

    fn warn(&self, text: &str) {
        self.sinks.err_line(&lines::warning(text));
    }

    fn item_failed(&self, during: &str, item: &str, cause: &str) {
        self.sinks.err_line(&lines::item_failed(during, item, cause));
    }

    fn phase(&self, name: &str) {
        self.run.set_phase(name);
    }

    fn working_on(&self, _item: &str) {}

    fn waiting(&self, what: &str) {
        self.run.set_waiting(what);
    }

    fn progress(&self) -> &Progress {
        &self.run.progress
    }

    fn begin(&self, operation: Operation) {
        self.end();
        self.run.begin(operation);
        let Some(interval) = self.interval else { return };
        let (run, sinks, mut told) = (Arc::clone(&self.run), Arc::clone(&self.sinks), Told::default());
        let tick = move || told.next(&run).into_iter().for_each(|line| sinks.err_line(&line));
        *lock(&self.ticker) = Some(Ticker::start(interval, tick));
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
        self.sinks.err_line(text);
    }

    fn log(&self, text: &str) {
        self.sinks.err_line(text);
    }

    fn initialized(&self, summary: &InitSummary) {
        for line in lines::initialized(summary) {
            self.line(&line);
        }
    }

    fn backed_up(&self, summary: &BackupSummary) {
        self.end();
        for line in lines::backed_up(summary) {
            self.line(&line);
        }
    }

    fn restored(&self, summary: &RestoreSummary) {
        self.end();
        self.line(&lines::restored(summary));
    }

    fn checked(&self, summary: &CheckSummary) {
        self.end();
        if summary.errors == 0 {
            self.line("no errors were found");
        }
    }

    fn pruned(&self, summary: &PruneSummary) {
        self.end();
        for line in lines::pruned(summary) {
            self.line(&line);
        }
    }

    fn forgotten(&self, summary: &ForgetSummary) {
        self.end();
        if let Some(line) = lines::forgotten(summary) {
            self.line(&line);
        }
    }

    fn failed(&self, error: &Error) {
        self.end();
        self.sinks.err_line(&lines::fatal(error));
    }
}

impl fmt::Debug for TextMonitor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TextMonitor").field("interval", &self.interval).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::HandClock;
    use super::*;
    use crate::error::ErrorKind;
    use std::time::Instant;

    fn clock() -> Arc<dyn Clock> {
        Arc::new(HandClock::default())
    }

    #[test]
    fn lines_and_failures_go_to_their_streams() {
        let (sinks, out, err) = Sinks::captured();
        let monitor = TextMonitor::new(sinks, clock(), None);
        monitor.line(&lines::parent(Some("084f4943")));
        monitor.warn("processed files of a\nstrange name");
        monitor.item_failed("archival", "/d/a\nsnapshot x saved", "gone");
        monitor.output("table\n");
        monitor.log("event");
        monitor.restored(&RestoreSummary::default());
        monitor.failed(&Error::new(ErrorKind::Other, "no"));
        assert_eq!(
            out.text(),
            "using parent snapshot 084f4943\ntable\nSummary: Restored 0 files/dirs (0 B) in 0:00\n"
        );
        let expected = "Warning: processed files of a\\nstrange name\n\
                        error: /d/a\\nsnapshot x saved: gone\nevent\nFatal: no\n";
        assert_eq!(err.text(), expected);
    }

    /// What a log shows of a run, line by line: each time ten seconds passed.
    struct Shown {
        run: Arc<Run>,
        clock: Arc<HandClock>,
        told: Told,
    }

    impl Shown {
        fn of(operation: Operation) -> Self {
            let clock = Arc::new(HandClock::default());
            let run = Run::new(Arc::<HandClock>::clone(&clock));
            run.begin(operation);
            Self { run, clock, told: Told::default() }
        }

        fn next(&mut self) -> Option<String> {
            self.clock.sleep(Duration::from_secs(10));
            self.told.next(&self.run)
        }
    }

    #[test]
    fn a_progress_line_appears_when_something_moved_and_only_then() {
        let mut shown = Shown::of(Operation::Backup);
        assert_eq!(shown.next(), None);
        shown.run.set_phase("loading the index");
        assert_eq!(shown.next().as_deref(), Some("[0:20] loading the index"));
        assert_eq!(shown.next(), None);
        shown.run.progress.files_done.add(1);
        assert_eq!(shown.next().as_deref(), Some("[0:40] 1 files, 0 B, 0 errors"));
        shown.run.set_phase("backup");
        assert_eq!(shown.next(), None);
        shown.run.progress.bytes_added.add(1);
        assert_eq!(shown.next().as_deref(), Some("[1:00] 1 files, 0 B, 0 errors"));
    }

    #[test]
    fn while_nothing_moves_a_log_says_once_what_is_waited_for() {
        let mut shown = Shown::of(Operation::Restore);
        shown.run.set_waiting("the lock of PID 7 on host");
        assert_eq!(shown.next().as_deref(), Some("[0:10] waiting for the lock of PID 7 on host"));
        assert_eq!(shown.next(), None);
        // Between two looks at a lock nothing is waited for; that is no news.
        shown.run.set_waiting("");
        assert_eq!(shown.next(), None);
        shown.run.set_waiting("the lock of PID 7 on host");
        assert_eq!(shown.next(), None);
        shown.run.set_waiting("retry 1 of read data/ab: timed out");
        let retry = shown.next();
        assert_eq!(retry.as_deref(), Some("[0:50] waiting for retry 1 of read data/ab: timed out"));
        // What moves is told, though some thread waits; when all do again, that is.
        shown.run.progress.files_done.add(1);
        let moved = shown.next();
        assert_eq!(moved.as_deref(), Some("[1:00]   1 files/dirs 0 B, total 0 files/dirs 0 B"));
        assert_eq!(shown.next().as_deref(), Some("[1:10] waiting for retry 1 of read data/ab: timed out"));
        shown.run.set_waiting("");
        assert_eq!(shown.next(), None);
    }

    #[test]
    fn phases_are_told_by_name_and_count() {
        let mut shown = Shown::of(Operation::Other);
        shown.run.set_phase("check all packs");
        assert_eq!(shown.next().as_deref(), Some("[0:10] check all packs"));
        shown.run.set_phase("check snapshots, trees and blobs");
        shown.run.progress.files_done.add(12);
        assert_eq!(shown.next().as_deref(), Some("[0:20]          12 check snapshots, trees and blobs"));
        shown.run.progress.reset();
        shown.run.set_phase("deleting old packs");
        shown.run.progress.files_total.set(4);
        shown.run.progress.files_done.add(1);
        assert_eq!(shown.next().as_deref(), Some("[0:30] 25.00%  1 / 4 deleting old packs"));
        shown.run.set_phase("next");
        assert_eq!(shown.next().as_deref(), Some("[0:40] 25.00%  1 / 4 next"));
    }

    #[test]
    fn progress_is_shown_between_begin_and_end() {
        let (sinks, out, err) = Sinks::captured();
        let monitor = TextMonitor::new(sinks, clock(), Some(Duration::from_millis(1)));
        monitor.progress().files_done.add(7);
        monitor.begin(Operation::Other);
        monitor.phase("packs");
        assert_eq!(monitor.progress().files_done.value(), 0);
        monitor.progress().files_done.add(1);
        let start = Instant::now();
        while !err.text().ends_with("[0:00]          1 packs\n") {
            assert!(start.elapsed() < Duration::from_secs(20), "no progress line");
        }
        monitor.end();
        let told = err.text();
        monitor.progress().files_done.add(1);
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(err.text(), told);
        assert_eq!(out.text(), "");
    }
}
