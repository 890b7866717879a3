//! The text way out: restic's lines on stdout; warnings, failures and progress on stderr.
//!
//! Progress is one line at an interval, and none while nothing moves. On a terminal `ProgressMonitor`
//! draws a bar around this monitor, which then shows no progress of its own.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::run::Run;
use super::sink::Sinks;
use super::ticker::Ticker;
use super::{
    BackupSummary, ForgetSummary, InitSummary, Monitor, Operation, Progress, PruneSummary, RestoreSummary,
    lines, lock,
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

/// The line of this moment, unless nothing moved since `seen`.
fn moved(run: &Run, seen: &mut [u64; 5]) -> Option<String> {
    let status = run.status();
    let counts = status.counts();
    (std::mem::replace(seen, counts) != counts).then(|| lines::status(&status))
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

    fn progress(&self) -> &Progress {
        &self.run.progress
    }

    fn begin(&self, operation: Operation) {
        self.end();
        self.run.begin(operation);
        let Some(interval) = self.interval else { return };
        let (run, sinks, mut seen) = (Arc::clone(&self.run), Arc::clone(&self.sinks), [0; 5]);
        let tick = move || moved(&run, &mut seen).into_iter().for_each(|line| sinks.err_line(&line));
        *lock(&self.ticker) = Some(Ticker::start(interval, tick));
    }

    fn end(&self) {
        lock(&self.ticker).take();
    }

    fn output(&self, text: &str) {
        self.sinks.out_text(text);
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

    fn pruned(&self, summary: &PruneSummary) {
        self.end();
        for line in lines::pruned(summary) {
            self.line(&line);
        }
    }

    fn forgotten(&self, summary: &ForgetSummary) {
        self.end();
        lines::forgotten(summary).into_iter().for_each(|line| self.line(&line));
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

    #[test]
    fn a_progress_line_appears_when_something_moved_and_only_then() {
        let run = Run::new(clock());
        run.begin(Operation::Backup);
        let mut seen = [0; 5];
        assert_eq!(moved(&run, &mut seen), None);
        run.progress.files_done.add(1);
        assert_eq!(moved(&run, &mut seen).as_deref(), Some("[0:00] 1 files, 0 B, 0 errors"));
        assert_eq!(moved(&run, &mut seen), None);
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
        while err.text().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(20), "no progress line");
        }
        monitor.end();
        monitor.progress().files_done.add(1);
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(err.text(), "[0:00]          1 packs\n");
        assert_eq!(out.text(), "");
    }
}
