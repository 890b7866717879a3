//! SIGINT and SIGTERM: the run is told to stop, and has 20 seconds to do so in order.
//!
//! Operations look at the stop flag, make what they have done usable and give their locks back. Should
//! that hang (a dead store), the process ends anyway, and tries to give the lock back before it does.
//!
//! As process 1 of a container the program inherits the orphans of a password command, and collects them once
//! it has no children of its own.
//!
//! SIGHUP is taken and means nothing: restic sends it to the process that a lock names, to see whether it lives.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::WaitOptions;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, ErrorKind, Result};
use crate::repository::lock::Releaser;

/// How long a run may take to end in order.
const GRACE: Duration = Duration::from_secs(20);
/// How long giving the lock back may take after that.
const LAST_WORD: Duration = Duration::from_secs(5);

/// What a signal reaches.
#[derive(Debug, Default)]
pub struct Interruption {
    stop: Arc<AtomicBool>,
    signal: AtomicI32,
    held: Mutex<Option<Releaser>>,
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
                told.end();
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

    fn end(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _ = held.map(|releaser| releaser.release());
            let _ = done.send(());
        });
        let _ = ended.recv_timeout(LAST_WORD);
        let kind = self.judge(Error::new(ErrorKind::Interrupted, "")).kind;
        std::process::exit(kind.exit_code().into());
    }
}
