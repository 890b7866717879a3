//! Repeats requests that failed for a reason that may pass, as restic does.
//!
//! 1 s, doubling with ±50 % jitter up to 60 s, at least one retry, 15 minutes in all (restic.md §2). Until
//! the store has answered for the first time the patience is 1 minute: a wrong host name is told at once.
//! Only errors that say `temporary` are repeated, and never after the run was told to stop. A repeated
//! `write_new` or `delete` may meet the effect of its own earlier attempt: that counts as success.
//! Failures leave it with the store's location before the path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::pause::Pause;
use super::{Backend, BackendError, BackendErrorKind, BackendResult, FileType, Listed};
use crate::clock::Clock;
use crate::random::{Random, random_array};
use crate::report::Monitor;

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_mins(1);
const PATIENCE: Duration = Duration::from_mins(15);
const PATIENCE_BEFORE_CONTACT: Duration = Duration::from_mins(1);

/// A store whose passing failures are waited out.
pub struct Retry {
    inner: Arc<dyn Backend>,
    pause: Pause,
    random: Arc<dyn Random>,
    monitor: Arc<dyn Monitor>,
    /// Whether the store has ever answered.
    contacted: AtomicBool,
}

impl Retry {
    /// Waits on `clock` with jitter from `random`, and warns `monitor` before every wait. Once `stop` is set,
    /// every wait ends within 1 s, with the failure that it was for.
    pub fn new(
        inner: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        monitor: Arc<dyn Monitor>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self { inner, pause: Pause { clock, stop }, random, monitor, contacted: AtomicBool::new(false) }
    }

    fn run<T>(&self, mut request: impl FnMut() -> BackendResult<T>) -> BackendResult<T> {
        let start = self.pause.clock.elapsed();
        let mut delay = FIRST_DELAY;
        let mut retries = 0_u32;
        loop {
            let error = match request() {
                Err(error) if error.temporary => error,
                outcome => {
                    self.note_contact(outcome.as_ref().err());
                    return outcome.map_err(|error| self.placed(error));
                }
            };
            let error = self.placed(error);
            self.note_contact(Some(&error));
            let spent = self.pause.clock.elapsed().saturating_sub(start);
            let left = self.patience().saturating_sub(spent);
            if (left.is_zero() && retries > 0) || self.pause.is_stopped() {
                return Err(gave_up(error, retries, spent));
            }
            // The last wait is cut so that the last try falls on the end; the first retry is always had.
            let jittered = self.jittered(delay);
            let wait = if left.is_zero() { jittered } else { jittered.min(left) };
            self.monitor.warn(&format!("{error}; retry {} in {:.1} s", retries + 1, wait.as_secs_f64()));
            if !self.pause.wait(wait) {
                return Err(gave_up(error, retries, spent));
            }
            retries += 1;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    /// Asks once for the names at the `pending` places; those that failed for now stay pending.
    fn delete_pending(
        &self,
        kind: FileType,
        names: &[String],
        pending: &mut Vec<usize>,
        results: &mut [BackendResult<()>],
        tried: bool,
    ) -> BackendResult<()> {
        let asked: Vec<String> = pending.iter().filter_map(|place| names.get(*place)).cloned().collect();
        let answers = self.inner.delete_many(kind, &asked);
        let mut outcome = Ok(());
        for (place, answer) in std::mem::take(pending).into_iter().zip(answers) {
            let answer = match answer {
                Err(error) if tried && error.is_not_found() => Ok(()),
                Err(error) if error.temporary => {
                    pending.push(place);
                    outcome = Err(error.clone());
                    Err(error)
                }
                other => other,
            };
            if let Some(result) = results.get_mut(place) {
                *result = answer;
            }
        }
        outcome
    }

    /// Whoever reads of a failure sees which store it was.
    fn placed(&self, error: BackendError) -> BackendError {
        error.in_store(&self.inner.location())
    }

    /// Any answer but silence shows that the address is right.
    fn note_contact(&self, error: Option<&BackendError>) {
        let silent = |error: &BackendError| {
            matches!(error.kind, BackendErrorKind::Unreachable | BackendErrorKind::Other)
        };
        if !error.is_some_and(silent) {
            self.contacted.store(true, Ordering::Relaxed);
        }
    }

    fn patience(&self) -> Duration {
        if self.contacted.load(Ordering::Relaxed) { PATIENCE } else { PATIENCE_BEFORE_CONTACT }
    }

    /// Between half the delay and one and a half.
    fn jittered(&self, delay: Duration) -> Duration {
        let random = random_array::<4>(&*self.random).map_or(1 << 31, u32::from_be_bytes);
        delay.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
    }

    /// After `exists`: whether the file is the one that an attempt before wrote without our hearing of it.
    fn accept_own(
        &self,
        kind: FileType,
        name: &str,
        data: &Bytes,
        exists: BackendError,
    ) -> BackendResult<()> {
        match self.inner.read(kind, name) {
            Ok(stored) if stored == *data => Ok(()),
            Err(error) if error.temporary => Err(error),
            Ok(_) | Err(_) => Err(exists),
        }
    }
}

fn gave_up(mut error: BackendError, retries: u32, spent: Duration) -> BackendError {
    if retries > 0 {
        error.cause = format!("{}; gave up after {retries} retries in {} s", error.cause, spent.as_secs());
    }
    error
}

impl Backend for Retry {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn connections(&self) -> usize {
        self.inner.connections()
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }

    fn list(&self, kind: FileType) -> BackendResult<Vec<Listed>> {
        self.run(|| self.inner.list(kind))
    }

    fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64> {
        self.run(|| self.inner.stat(kind, name))
    }

    fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes> {
        self.run(|| self.inner.read(kind, name))
    }

    fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes> {
        self.run(|| self.inner.read_range(kind, name, offset, length))
    }

    fn write(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        self.run(|| self.inner.write(kind, name, data))
    }

    fn write_new(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        let mut tried = false;
        self.run(|| match self.inner.write_new(kind, name, data) {
            Err(exists) if tried && exists.is_exists() => self.accept_own(kind, name, data, exists),
            outcome => {
                tried = true;
                outcome
            }
        })
    }

    fn delete(&self, kind: FileType, name: &str) -> BackendResult<()> {
        let mut tried = false;
        self.run(|| match self.inner.delete(kind, name) {
            Err(error) if tried && error.is_not_found() => Ok(()),
            outcome => {
                tried = true;
                outcome
            }
        })
    }

    fn delete_many(&self, kind: FileType, names: &[String]) -> Vec<BackendResult<()>> {
        let mut results: Vec<BackendResult<()>> = names.iter().map(|_| Ok(())).collect();
        let mut pending: Vec<usize> = (0..names.len()).collect();
        let mut tried = false;
        let all_done = self.run(|| {
            let outcome = self.delete_pending(kind, names, &mut pending, &mut results, tried);
            tried = true;
            outcome
        });
        // The names that are still pending have their own failures in `results`.
        drop(all_done);
        results.into_iter().map(|result| result.map_err(|error| self.placed(error))).collect()
    }

    fn create(&self) -> BackendResult<()> {
        self.run(|| self.inner.create())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::backend::fault::{Fault, Rule};
    use crate::backend::memory::MemoryBackend;
    use crate::backend::record::Request;
    use crate::backend::testing::{SameByte, SleepClock};
    use crate::report::record::RecordingMonitor;

    const OLD: Bytes = Bytes::from_static(b"old");
    const NEW: Bytes = Bytes::from_static(b"new");

    struct Stack {
        memory: Arc<MemoryBackend>,
        fault: Arc<Fault>,
        clock: Arc<SleepClock>,
        monitor: Arc<RecordingMonitor>,
        stop: Arc<AtomicBool>,
        retry: Retry,
    }

    fn stack(random: u8) -> Stack {
        let memory = Arc::new(MemoryBackend::new());
        let clock = SleepClock::new();
        let fault =
            Arc::new(Fault::new(Arc::<MemoryBackend>::clone(&memory), Arc::<SleepClock>::clone(&clock)));
        let monitor = Arc::new(RecordingMonitor::default());
        let stop = Arc::new(AtomicBool::new(false));
        let retry = Retry::new(
            Arc::<Fault>::clone(&fault),
            Arc::<SleepClock>::clone(&clock),
            Arc::new(SameByte(random)),
            Arc::<RecordingMonitor>::clone(&monitor),
            Arc::clone(&stop),
        );
        Stack { memory, fault, clock, monitor, stop, retry }
    }

    /// The run is told to stop while it waits, when the clock has come to 20 s.
    struct StopsAfter(SleepClock, Arc<AtomicBool>);

    impl Clock for StopsAfter {
        fn now(&self) -> jiff::Timestamp {
            self.0.now()
        }
        fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
        fn sleep(&self, duration: Duration) {
            self.0.sleep(duration);
            self.1.store(self.elapsed() >= Duration::from_secs(20), Ordering::Relaxed);
        }
    }

    fn unreachable(request: Request) -> Rule {
        Rule::on(&[request]).fail(BackendErrorKind::Unreachable)
    }

    #[test]
    fn what_passes_is_waited_out_and_told() {
        let stack = stack(0x80);
        stack.retry.write(FileType::Key, "a", &OLD).unwrap();
        stack.fault.add(unreachable(Request::Read).times(3));
        assert_eq!(stack.retry.read(FileType::Key, "a").unwrap(), OLD);
        let warnings = stack.monitor.warnings();
        assert_eq!(warnings.len(), 3);
        assert_eq!(warnings[2], "read memory/keys/a: scripted failure; retry 3 in 4.0 s");
        assert_eq!(stack.clock.elapsed().as_secs(), 7);
    }

    #[test]
    fn the_patience_is_a_minute_before_the_first_answer_and_fifteen_after() {
        let stack = stack(0x80);
        stack.fault.add(unreachable(Request::Stat).forever());
        let error = stack.retry.stat(FileType::Config, "").unwrap_err();
        assert_eq!(stack.clock.elapsed().as_secs(), 60);
        assert!(error.cause.ends_with("gave up after 6 retries in 60 s"), "{error}");
        stack.retry.read(FileType::Config, "").unwrap_err();
        stack.retry.stat(FileType::Config, "").unwrap_err();
        assert_eq!(stack.clock.elapsed().as_secs(), 60 + 15 * 60, "NotFound is an answer too");
    }

    #[test]
    fn delays_keep_to_their_jitter() {
        for (random, seconds) in [(0x00, ["0.5", "1.0", "2.0"]), (0xff, ["1.5", "3.0", "6.0"])] {
            let stack = stack(random);
            stack.fault.add(unreachable(Request::Create).times(3));
            stack.retry.create().unwrap();
            let ends = seconds.map(|seconds| format!(" in {seconds} s"));
            let warnings = stack.monitor.warnings();
            assert!(warnings.iter().zip(&ends).all(|(line, end)| line.ends_with(end)), "{warnings:?}");
        }
    }

    #[test]
    fn a_request_that_hung_beyond_the_patience_is_still_tried_twice() {
        let stack = stack(0x80);
        let hang = Rule::on(&[Request::Create]).delay(Duration::from_hours(1));
        stack.fault.add(hang.fail(BackendErrorKind::Unreachable));
        stack.retry.create().unwrap();
        assert_eq!(stack.monitor.warnings().len(), 1);
    }

    #[test]
    fn what_cannot_pass_fails_at_once() {
        for kind in [
            BackendErrorKind::NotFound,
            BackendErrorKind::Denied,
            BackendErrorKind::Damaged,
            BackendErrorKind::Full,
            BackendErrorKind::Other,
        ] {
            let stack = stack(0x80);
            stack.fault.add(Rule::on(&[Request::List]).fail(kind).forever());
            assert_eq!(stack.retry.list(FileType::Pack).unwrap_err().kind, kind);
            assert_eq!(stack.fault.hits(), 1);
        }
        let stack = stack(0x80);
        stack.fault.add(Rule::on(&[Request::List]).fail(BackendErrorKind::Damaged).temporary(true));
        stack.retry.list(FileType::Pack).unwrap();
    }

    #[test]
    fn a_write_new_that_was_done_unheard_is_ours() {
        let stack = stack(0x80);
        stack.fault.add(Rule::on(&[Request::WriteNew]).fail_after(BackendErrorKind::Unreachable));
        stack.fault.add(unreachable(Request::Read));
        stack.retry.write_new(FileType::Config, "", &NEW).unwrap();
        let error = stack.retry.write_new(FileType::Config, "", &NEW).unwrap_err();
        assert!(error.is_exists(), "the same bytes, but no attempt of ours before");
        stack.fault.add(unreachable(Request::WriteNew));
        let error = stack.retry.write_new(FileType::Config, "", &OLD).unwrap_err();
        assert!(error.is_exists(), "another's file");
        assert_eq!(stack.memory.read(FileType::Config, "").unwrap(), NEW);
    }

    #[test]
    fn a_delete_that_was_done_unheard_succeeded() {
        let stack = stack(0x80);
        stack.retry.write(FileType::Lock, "a", &OLD).unwrap();
        stack.fault.add(Rule::on(&[Request::Delete]).fail_after(BackendErrorKind::Unreachable));
        stack.retry.delete(FileType::Lock, "a").unwrap();
        assert!(stack.retry.delete(FileType::Lock, "a").unwrap_err().is_not_found());
    }

    #[test]
    fn of_many_only_those_that_may_pass_are_deleted_again() {
        let stack = stack(0x80);
        for name in ["a", "b", "d"] {
            stack.retry.write(FileType::Index, name, &OLD).unwrap();
        }
        stack.fault.add(unreachable(Request::Delete).name("b").times(2));
        stack.fault.add(Rule::on(&[Request::Delete]).name("d").fail(BackendErrorKind::Denied).forever());
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let results = stack.retry.delete_many(FileType::Index, &names);
        assert!(results[0].is_ok() && results[1].is_ok(), "{results:?}");
        assert!(results[2].as_ref().is_err_and(BackendError::is_not_found));
        assert_eq!(results[3].as_ref().unwrap_err().kind, BackendErrorKind::Denied);
        assert_eq!(stack.fault.hits(), 3);
        assert_eq!(stack.memory.content().files().count(), 1);
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let stack = stack(0x80);
        stack.fault.add(unreachable(Request::List).forever());
        stack.stop.store(true, Ordering::Relaxed);
        stack.retry.list(FileType::Pack).unwrap_err();
        assert_eq!((stack.fault.hits(), stack.clock.elapsed()), (1, Duration::ZERO));
        stack.stop.store(false, Ordering::Relaxed);
        let fault = Arc::clone(&stack.fault);
        let clock = Arc::new(StopsAfter(SleepClock::default(), Arc::clone(&stack.stop)));
        let retry = Retry::new(
            fault,
            Arc::<StopsAfter>::clone(&clock),
            Arc::new(SameByte(0x80)),
            Arc::<RecordingMonitor>::clone(&stack.monitor),
            Arc::clone(&stack.stop),
        );
        retry.list(FileType::Pack).unwrap_err();
        assert!(clock.elapsed() < Duration::from_secs(21), "{:?}", clock.elapsed());
    }
}
