//! SIGINT and SIGTERM: the run is told to stop, and has 20 seconds to do so in order.
//!
//! Operations look at the stop flag, make what they have done usable and give their locks back. Should
//! that hang (a dead store), the process ends anyway, and tries to give the lock back and to say so before.
//!
//! As process 1 of a container the program inherits the orphans of a password command, and collects them once
//! it has no children of its own.
//!
//! SIGHUP is taken and means nothing: restic sends it to the process that a lock names, to see whether it lives.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::WaitOptions;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, ErrorKind, Result};
use crate::repository::lock::Releaser;

/// How long a run may take to end in order.
const GRACE: Duration = Duration::from_secs(20);
/// How long giving the lock back and the last words may take after that.
const LAST_WORD: Duration = Duration::from_secs(5);

/// What is to be said when the run did not end by itself.
type LastWords = Box<dyn FnOnce(&Error) + Send>;

/// What a signal reaches.
#[derive(Default)]
pub struct Interruption {
    stop: Arc<AtomicBool>,
    signal: AtomicI32,
    held: Mutex<Option<Releaser>>,
    last_words: Mutex<Option<LastWords>>,
    adopts: AtomicBool,
}

impl Interruption {
    /// Begins to watch for signals.
    pub fn watch() -> Result<Arc<Self>> {
        let interruption = Arc::new(Self::default());
        let failed =
            |cause: std::io::Error| Error::new(ErrorKind::Other, "cannot watch signals").because(cause);
        let mut signals = Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGTERM]).map_err(failed)?;
        let told = Arc::clone(&interruption);
        let watch = move || {
            let ends = |signal: &i32| {
                told.collect_orphans();
                [SIGINT, SIGTERM].contains(signal)
            };
            if let Some(signal) = signals.forever().find(ends) {
                told.signal.store(signal, Ordering::SeqCst);
                told.stop.store(true, Ordering::SeqCst);
                std::thread::sleep(GRACE);
                std::process::exit(told.end());
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(failed)?;
        Ok(interruption)
    }

    /// From now on this process starts no program of its own: every child that ends is an orphan.
    pub fn adopt(&self) {
        self.adopts.store(true, Ordering::SeqCst);
        self.collect_orphans();
    }

    fn collect_orphans(&self) {
        if self.adopts.load(Ordering::SeqCst) {
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        }
    }

    /// Set once a signal came.
    #[must_use]
    pub fn stop(&self) -> &Arc<AtomicBool> {
        &self.stop
    }

    /// The lock to give back when the grace is over.
    pub fn hold(&self, releaser: Releaser) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(releaser);
    }

    /// What to say when the grace is over.
    pub fn at_end(&self, tell: impl FnOnce(&Error) + Send + 'static) {
        *self.last_words.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(tell));
    }

    /// An error as the signal makes it: what was interrupted by SIGTERM was terminated, and a store that is
    /// away is waited for until then.
    #[must_use]
    pub fn judge(&self, mut error: Error) -> Error {
        let signal = self.signal.load(Ordering::SeqCst);
        if error.kind == ErrorKind::Unreachable && signal != 0 {
            error.kind = ErrorKind::Interrupted;
            error.what = format!("interrupted, {}", error.what);
        }
        if error.kind == ErrorKind::Interrupted && signal == SIGTERM {
            error.kind = ErrorKind::Terminated;
        }
        error
    }

    /// Gives back and tells what can be in the time that is left; returns the exit code.
    fn end(&self) -> i32 {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner).take();
        let error = self.judge(
            Error::new(ErrorKind::Interrupted, "interrupted")
                .because(format!("the run did not end within {} s after the signal", GRACE.as_secs()))
                .then(ErrorKind::Interrupted.advice()),
        );
        let code = error.kind.exit_code();
        let (done, ended) = std::sync::mpsc::channel();
        let released = done.clone();
        std::thread::spawn(move || {
            let _ = held.map(|releaser| releaser.release());
            let _ = released.send(());
        });
        std::thread::spawn(move || {
            if let Some(tell) = words {
                tell(&error);
            }
            let _ = done.send(());
        });
        let end = Instant::now() + LAST_WORD;
        for _ in 0..2 {
            let _ = ended.recv_timeout(end.saturating_duration_since(Instant::now()));
        }
        code.into()
    }
}

impl std::fmt::Debug for Interruption {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Interruption").field("signal", &self.signal).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn who_does_not_end_by_itself_is_spoken_for() {
        for (signal, kind) in [(SIGINT, ErrorKind::Interrupted), (SIGTERM, ErrorKind::Terminated)] {
            let interruption = Interruption::default();
            interruption.signal.store(signal, Ordering::SeqCst);
            let (said, heard) = std::sync::mpsc::channel();
            interruption.at_end(move |error| said.send(error.clone()).unwrap());
            assert_eq!(interruption.end(), i32::from(kind.exit_code()));
            let error = heard.recv().unwrap();
            assert_eq!(error.kind, kind);
            let text = "interrupted: the run did not end within 20 s after the signal. Run it again; ";
            assert!(error.to_string().starts_with(text), "{error}");
        }
    }
}
