//! The text way out on a terminal: the same lines, and a bar at the bottom while an operation runs.
//!
//! The bar is drawn on stderr by indicatif; every line is printed with the bar taken away, so neither spoils
//! the other. It shows the phase, files, bytes, rate, time left, what was added and the current item, or what
//! the run waits for, cut to the width: of eighty columns the figures leave a few for a name.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::run::Status;
use super::sink::{Sinks, printable};
use super::ticker::Ticker;
use super::{
    BackupSummary, CheckSummary, ForgetSummary, InitSummary, Monitor, Operation, Progress, PruneSummary,
    RestoreSummary, TextMonitor, format, lock,
};
use crate::clock::Clock;
use crate::error::Error;

/// Prints lines around a bar.
pub struct ProgressMonitor {
    text: TextMonitor,
    interval: Duration,
    target: Box<dyn Fn() -> ProgressDrawTarget + Send + Sync>,
    shown: Mutex<Option<Shown>>,
}

struct Shown {
    ticker: Ticker,
    bar: ProgressBar,
}

impl ProgressMonitor {
    /// Lines into `sinks`, the bar on the process's stderr, drawn anew every `interval`.
    #[must_use]
    pub fn on_stderr(sinks: Arc<Sinks>, clock: Arc<dyn Clock>, interval: Duration) -> Self {
        Self::new(sinks, clock, interval, ProgressDrawTarget::stderr)
    }

    /// The same with the bar on another terminal; `target` is asked for each operation.
    #[must_use]
    pub fn new(
        sinks: Arc<Sinks>,
        clock: Arc<dyn Clock>,
        interval: Duration,
        target: impl Fn() -> ProgressDrawTarget + Send + Sync + 'static,
    ) -> Self {
        let text = TextMonitor::new(sinks, clock, None);
        Self { text, interval, target: Box::new(target), shown: Mutex::default() }
    }

    /// Prints with the bar taken away.
    fn print(&self, print: impl FnOnce(&TextMonitor)) {
        let bar = lock(&self.shown).as_ref().map(|shown| shown.bar.clone());
        match bar {
            Some(bar) => bar.suspend(|| print(&self.text)),
            None => print(&self.text),
        }
    }
}

impl Monitor for ProgressMonitor {
    fn line(&self, text: &str) {
        self.print(|to| to.line(text));
    }

    fn warn(&self, text: &str) {
        self.print(|to| to.warn(text));
    }

    fn item_failed(&self, during: &str, item: &str, cause: &str) {
        self.print(|to| to.item_failed(during, item, cause));
    }

    fn phase(&self, name: &str) {
        self.text.phase(name);
    }

    fn working_on(&self, item: &str) {
        self.text.run().set_item(item);
    }

    fn waiting(&self, what: &str) {
        self.text.waiting(what);
    }

    fn progress(&self) -> &Progress {
        self.text.progress()
    }

    fn begin(&self, operation: Operation) {
        self.end();
        self.text.begin(operation);
        let bar = ProgressBar::with_draw_target(Some(0), (self.target)());
        if let Ok(style) = ProgressStyle::with_template("{prefix}[{bar:10}] {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        let (run, drawn) = (Arc::clone(self.text.run()), bar.clone());
        let ticker = Ticker::start(self.interval, move || draw(&drawn, &run.status()));
        *lock(&self.shown) = Some(Shown { ticker, bar });
    }

    fn end(&self) {
        let shown = lock(&self.shown).take();
        if let Some(Shown { ticker, bar }) = shown {
            drop(ticker);
            bar.finish_and_clear();
        }
    }

    fn output(&self, text: &str) {
        self.print(|to| to.output(text));
    }

    fn output_bytes(&self, bytes: &[u8]) {
        self.print(|to| to.output_bytes(bytes));
    }

    fn problem(&self, text: &str) {
        self.print(|to| to.problem(text));
    }

    fn log(&self, text: &str) {
        self.print(|to| to.log(text));
    }

    fn initialized(&self, summary: &InitSummary) {
        self.print(|to| to.initialized(summary));
    }

    fn backed_up(&self, summary: &BackupSummary) {
        self.end();
        self.text.backed_up(summary);
    }

    fn restored(&self, summary: &RestoreSummary) {
        self.end();
        self.text.restored(summary);
    }

    fn checked(&self, summary: &CheckSummary) {
        self.end();
        self.text.checked(summary);
    }

    fn pruned(&self, summary: &PruneSummary) {
        self.end();
        self.text.pruned(summary);
    }

    fn forgotten(&self, summary: &ForgetSummary) {
        self.end();
        self.text.forgotten(summary);
    }

    fn failed(&self, error: &Error) {
        self.end();
        self.text.failed(error);
    }
}

impl Drop for ProgressMonitor {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for ProgressMonitor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ProgressMonitor").field("interval", &self.interval).finish_non_exhaustive()
    }
}

fn draw(bar: &ProgressBar, status: &Status) {
    // Where no bytes are counted, files are the measure.
    let (done, total) = if status.bytes_total > 0 {
        (status.bytes_done, status.bytes_total)
    } else {
        (status.files_done, status.files_total)
    };
    let phase =
        if status.phase.is_empty() { String::new() } else { format!("{} ", printable(&status.phase)) };
    bar.set_length(total.max(done).max(1));
    bar.set_position(done);
    bar.set_prefix(phase);
    bar.set_message(message(status));
}

fn message(status: &Status) -> String {
    let s = status;
    let of = if s.files_total > 0 { format!("/{}", s.files_total) } else { String::new() };
    // What else is counted, its phase names.
    let unit = if s.operation == Operation::Other { "" } else { " files" };
    let mut parts = vec![format::seconds(s.seconds_elapsed), format!("{}{of}{unit}", s.files_done)];
    if s.bytes_done > 0 || s.bytes_total > 0 {
        parts.push(share(s.bytes_done, s.bytes_total));
        parts.push(format!("{}/s", brief(s.bytes_per_second)));
    }
    if s.errors > 0 {
        parts.push(format!("{} errors", s.errors));
    }
    if s.seconds_remaining > 0 {
        parts.push(format!("{} left", format::seconds(s.seconds_remaining)));
    }
    if s.bytes_added > 0 {
        parts.push(format!("+{}", brief(s.bytes_added)));
    }
    if !s.waiting.is_empty() {
        parts.push(format!("waiting for {}", printable(&s.waiting)));
    } else if !s.item.is_empty() {
        parts.push(printable(&s.item));
    }
    parts.join("  ")
}

/// A size with one digit of its fraction: `3.4 MiB`.
fn brief(bytes: u64) -> String {
    let text = format::bytes(bytes);
    match text
        .split_once('.')
        .and_then(|(whole, rest)| Some((whole, rest.get(..1)?, rest.split_once(' ')?.1)))
    {
        Some((whole, tenths, unit)) => format!("{whole}.{tenths} {unit}"),
        None => text,
    }
}

/// `3.4/7.0 MiB`; where the units differ, both stand there.
fn share(done: u64, total: u64) -> String {
    let (done, total) = (brief(done), brief(total));
    match (done.split_once(' '), total.split_once(' ')) {
        (Some((number, one)), Some((_, other))) if one == other => format!("{number}/{total}"),
        _ => format!("{done}/{total}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::HandClock;
    use super::super::sink::Buffer;
    use super::*;
    use std::io::{self, Write};
    use std::time::Instant;

    /// A terminal of 100 columns that keeps what is written on it.
    #[derive(Debug)]
    struct Screen(Buffer);

    impl indicatif::TermLike for Screen {
        fn width(&self) -> u16 {
            100
        }

        fn move_cursor_up(&self, _n: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _n: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _n: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _n: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.clone().write_all(text.as_bytes())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.write_str("<clear>")
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_printed_around_the_bar_and_the_bar_is_gone_at_the_end() {
        let screen = Buffer::default();
        let sinks = Sinks::new(Box::new(screen.clone()), Box::new(screen.clone()));
        let clock: Arc<dyn Clock> = Arc::new(HandClock::default());
        let drawn_on = screen.clone();
        let target = move || ProgressDrawTarget::term_like_with_hz(Box::new(Screen(drawn_on.clone())), 60);
        let monitor = ProgressMonitor::new(sinks, clock, Duration::from_millis(5), target);
        monitor.line("before");
        assert_eq!(screen.text(), "before\n");

        monitor.begin(Operation::Backup);
        monitor.phase("reading");
        monitor.working_on("/data/a\nb");
        monitor.progress().files_total.set(4);
        monitor.progress().files_done.add(2);
        let start = Instant::now();
        while !screen.text().contains("/data/a\\nb") {
            assert!(start.elapsed() < Duration::from_secs(20), "{}", screen.text());
            std::thread::sleep(Duration::from_millis(1));
        }
        let bar = "reading [=====>    ] 0:00  2/4 files  /data/a\\nb";
        assert!(screen.text().contains(bar), "{}", screen.text());
        monitor.warn("odd");
        assert!(screen.text().contains("<clear>Warning: odd\nreading ["), "{}", screen.text());

        monitor.backed_up(&BackupSummary::default());
        let text = screen.text();
        assert!(text.contains("<clear>\nFiles:  "), "{text}");
        assert!(text.ends_with("skipped creating snapshot\n"), "{text}");
    }

    #[test]
    fn the_bar_says_how_far_how_fast_and_how_long() {
        let mut status = Status {
            operation: Operation::Backup,
            seconds_elapsed: 61,
            seconds_remaining: 30,
            bytes_per_second: 1 << 20,
            files_total: 10,
            files_done: 3,
            bytes_total: 3 << 20,
            bytes_done: 2 << 20,
            bytes_added: 1 << 19,
            errors: 1,
            item: "/data/a".to_owned(),
            ..Status::default()
        };
        let figures = "1:01  3/10 files  2.0/3.0 MiB  1.0 MiB/s  1 errors  0:30 left  +512.0 KiB";
        assert_eq!(message(&status), format!("{figures}  /data/a"));
        status.waiting = "the lock of PID 7\non host".to_owned();
        assert_eq!(message(&status), format!("{figures}  waiting for the lock of PID 7\\non host"));
        let packs = Status { files_total: 4, files_done: 1, ..Status::default() };
        assert_eq!(message(&packs), "0:00  1/4");
        assert_eq!((share(999, 5 << 20), share(0, 0)), ("999 B/5.0 MiB".to_owned(), "0/0 B".to_owned()));
        assert_eq!((brief(3_588_934), brief(1_048_575)), ("3.4 MiB".to_owned(), "1023.9 KiB".to_owned()));
    }
}
