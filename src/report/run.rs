//! What a status display needs to know about the operation in progress, at one moment.
//!
//! `Run` is shared between a monitor and its ticker: the counts, the clock's start, the phase and the item.
//! `Status` is the copy that is shown. Setting the item never waits: a busy display misses a name.
//! Of many threads each may wait for something else: who waits longest is shown.

use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use super::{Choice, Operation, Progress, lock};
use crate::clock::Clock;

/// The operation in progress.
pub(super) struct Run {
    pub(super) progress: Progress,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    item: Mutex<String>,
    waits: Mutex<Vec<(ThreadId, String)>>,
}

#[derive(Default)]
struct State {
    operation: Operation,
    started: Duration,
    phase: String,
}

/// One moment of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Status {
    pub(super) operation: Operation,
    pub(super) seconds_elapsed: u64,
    /// 0 when unknown.
    pub(super) seconds_remaining: u64,
    pub(super) bytes_per_second: u64,
    pub(super) files_total: u64,
    pub(super) files_done: u64,
    pub(super) bytes_total: u64,
    pub(super) bytes_done: u64,
    pub(super) bytes_added: u64,
    pub(super) errors: u64,
    pub(super) phase: String,
    pub(super) item: String,
    /// Empty: for nothing.
    pub(super) waiting: String,
}

impl Run {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let state = State { started: clock.elapsed(), ..State::default() };
        Arc::new(Self {
            progress: Progress::default(),
            clock,
            state: Mutex::new(state),
            item: Mutex::default(),
            waits: Mutex::default(),
        })
    }

    pub(super) fn begin(&self, operation: Operation) {
        self.progress.reset();
        *lock(&self.state) = State { operation, started: self.clock.elapsed(), phase: String::new() };
        lock(&self.item).clear();
    }

    pub(super) fn set_phase(&self, name: &str) {
        name.clone_into(&mut lock(&self.state).phase);
    }

    pub(super) fn set_item(&self, item: &str) {
        if let Ok(mut current) = self.item.try_lock() {
            item.clone_into(&mut current);
        }
    }

    /// What this thread waits for; empty: for nothing any more.
    pub(super) fn set_waiting(&self, what: &str) {
        let own = std::thread::current().id();
        let mut waits = lock(&self.waits);
        match waits.iter_mut().find(|(thread, _)| *thread == own) {
            Some((_, known)) if !what.is_empty() => what.clone_into(known),
            None if !what.is_empty() => waits.push((own, what.to_owned())),
            _ => waits.retain(|(thread, _)| *thread != own),
        }
    }

    pub(super) fn status(&self) -> Status {
        let state = lock(&self.state);
        let elapsed = self.clock.elapsed().saturating_sub(state.started);
        let progress = &self.progress;
        let (done, total) = (progress.bytes_done.value(), progress.bytes_total.value());
        let rate = if elapsed.is_zero() { 0.0 } else { done as f64 / elapsed.as_secs_f64() };
        let known = progress.totals_final.value() > 0 && rate > 0.0;
        #[expect(clippy::cast_sign_loss, reason = "both are quotients of what is not negative")]
        let (remaining, rate) = ((total.saturating_sub(done) as f64 / rate) as u64, rate as u64);
        Status {
            operation: state.operation,
            seconds_elapsed: elapsed.as_secs(),
            seconds_remaining: if known { remaining } else { 0 },
            bytes_per_second: rate,
            files_total: progress.files_total.value(),
            files_done: progress.files_done.value(),
            bytes_total: total,
            bytes_done: done,
            bytes_added: progress.bytes_added.value(),
            errors: progress.errors.value(),
            phase: state.phase.clone(),
            item: lock(&self.item).clone(),
            waiting: lock(&self.waits).first().map(|(_, what)| what.clone()).unwrap_or_default(),
        }
    }
}

impl Status {
    /// What moves: two moments with equal counts need one line only.
    pub(super) fn counts(&self) -> [u64; 6] {
        let Self { files_total, files_done, bytes_total, bytes_done, bytes_added, errors, .. } = self;
        [*files_total, *files_done, *bytes_total, *bytes_done, *bytes_added, *errors]
    }

    /// Nothing is counted yet, or nothing in this phase: its name alone says what goes on.
    pub(super) fn is_uncounted(&self) -> bool {
        self.counts() == [0; 6]
    }
}

/// How often progress is shown: restic's rule, and every 10 s where restic shows none.
pub(super) fn interval(choice: Choice) -> Duration {
    match choice.frames_per_second {
        Some(fps) if fps > 0.0 => {
            // A day between two lines is as good as any longer time, and fits a `Duration`.
            Duration::from_secs_f64((1.0 / fps.min(60.0)).min(86_400.0))
        }
        _ if choice.json || choice.terminal => Duration::from_millis(100),
        _ => Duration::from_secs(10),
    }
}

/// A clock that a test sets by hand.
#[cfg(test)]
#[derive(Default)]
pub(super) struct HandClock(pub(super) Mutex<Duration>);

#[cfg(test)]
impl Clock for HandClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH + *lock(&self.0)
    }

    fn elapsed(&self) -> Duration {
        *lock(&self.0)
    }

    fn sleep(&self, duration: Duration) {
        *lock(&self.0) += duration;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_estimated_once_the_totals_are_final() {
        let clock = Arc::new(HandClock::default());
        let run = Run::new(Arc::<HandClock>::clone(&clock));
        run.begin(Operation::Backup);
        run.progress.bytes_total.set(1000);
        run.progress.bytes_done.add(250);
        assert_eq!((run.status().seconds_remaining, run.status().bytes_per_second), (0, 0));
        clock.sleep(Duration::from_millis(5500));
        assert_eq!(run.status().seconds_remaining, 0);
        run.progress.totals_final.set(1);
        let status = run.status();
        assert_eq!((status.seconds_elapsed, status.seconds_remaining, status.bytes_per_second), (5, 16, 45));
        run.begin(Operation::Restore);
        assert_eq!(run.status(), Status { operation: Operation::Restore, ..Status::default() });
    }

    #[test]
    fn of_many_who_wait_the_first_is_shown() {
        let run = Run::new(Arc::new(HandClock::default()));
        run.set_waiting("");
        run.set_waiting("one");
        std::thread::scope(|scope| {
            scope.spawn(|| run.set_waiting("two"));
        });
        assert_eq!(run.status().waiting, "one");
        run.set_waiting("another");
        assert_eq!(run.status().waiting, "another");
        run.set_waiting("");
        assert_eq!(run.status().waiting, "two");
    }

    #[test]
    fn the_interval_follows_the_variable_then_the_place() {
        let of = |json, terminal, frames_per_second| interval(Choice { json, terminal, frames_per_second });
        assert_eq!(of(false, false, None), Duration::from_secs(10));
        assert_eq!(of(true, false, None), Duration::from_millis(100));
        assert_eq!(of(false, true, Some(0.0)), Duration::from_millis(100));
        assert_eq!(of(false, false, Some(2.0)), Duration::from_millis(500));
        assert_eq!(of(false, false, Some(1e-300)), Duration::from_hours(24));
        assert_eq!(of(false, false, Some(f64::NAN)), Duration::from_secs(10));
        assert!(of(false, false, Some(1e9)) > Duration::from_millis(16));
    }
}
