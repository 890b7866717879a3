//! What all stages of a restore share: its end, its failures, its figures, and threads for many items.
//!
//! A failed item is told to the monitor, counted, and makes the whole run an error in the end; the run goes
//! on. What makes going on senseless (a full target, a store out of reach, a signal) ends it at once: every
//! stage asks `is_over` before its next step. No failure is ever dropped.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::report::{Count, Monitor};
use crate::repository::in_order;

/// The words of one kind of run: what a person is told when it fails.
#[derive(Debug)]
pub(crate) struct Words {
    /// restic's word for the phase in which an item fails.
    pub(crate) during: &'static str,
    /// The whole run failed.
    pub(crate) failed: &'static str,
    /// It was ended by a signal, and what to do next.
    interrupted: (&'static str, &'static str),
    /// Some items failed.
    items: &'static str,
    /// What to do next when items failed for damage, and for any other cause.
    next: (&'static str, &'static str),
}

/// A restore.
pub(crate) const RESTORE: Words = Words {
    during: "restore",
    failed: "restore failed",
    interrupted: ("restore interrupted", "What was written is used by the next run"),
    items: "could not be restored, the first",
    next: (
        "All else was restored; run check to see what is damaged",
        "All else was restored; mend the cause and run restore again",
    ),
};

/// A verify, which writes nothing or looks at what was written.
pub(crate) const VERIFY: Words = Words {
    during: "verify",
    failed: "verify failed",
    interrupted: ("verify interrupted", "Nothing is proven; run it again"),
    items: "would not restore, the first",
    next: ("Run check to see what else is damaged", "Mend the cause and run verify again"),
};

/// Why an item failed.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) kind: ErrorKind,
    pub(crate) cause: String,
}

/// An item that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Its path in the snapshot.
    pub item: String,
    /// Why, in one line.
    pub cause: String,
}

/// So many failed items are named in reports.
const NAMED_MAX: usize = 100;

impl Trouble {
    /// A system call that failed; `action` is its verb for people.
    pub(crate) fn system(action: &str, errno: Errno) -> Self {
        let kind = match errno {
            Errno::NOSPC | Errno::DQUOT => ErrorKind::NoSpace,
            _ => ErrorKind::Other,
        };
        let text = std::io::Error::from(errno).to_string();
        let text = text.split(" (os error").next().unwrap_or_default().to_lowercase();
        Self { kind, cause: format!("cannot {action}: {text}") }
    }

    /// The repository does not hold what it says.
    pub(crate) fn damaged(cause: impl std::fmt::Display) -> Self {
        Self { kind: ErrorKind::Damaged, cause: cause.to_string() }
    }

    /// Anything else.
    pub(crate) fn other(cause: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Other, cause: cause.into() }
    }
}

/// What to do next is said once, at the end of the run.
impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self { kind: error.kind, cause: Error { next: None, ..error }.to_string() }
    }
}

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) files_restored: Count,
    pub(super) files_skipped: Count,
    pub(super) files_deleted: Count,
    pub(super) bytes_restored: Count,
    pub(super) bytes_skipped: Count,
}

#[derive(Default)]
struct Failures {
    count: u64,
    /// Items that were told: one that is met again, as large restores read trees twice, is not told again.
    told: HashSet<String>,
    /// The first one, and the first that is damage.
    first: Option<(String, Trouble)>,
    damage: Option<(String, Trouble)>,
    /// The first ones, for a report.
    named: Vec<Failed>,
    /// Why nothing can go on.
    end: Option<Error>,
}

/// A restore under way.
pub(crate) struct Run<'a> {
    pub(crate) monitor: &'a dyn Monitor,
    target: String,
    pub(super) figures: Figures,
    pub(super) words: &'static Words,
    stop: &'a AtomicBool,
    ended: AtomicBool,
    failures: Mutex<Failures>,
    warned: Mutex<HashSet<&'static str>>,
}

impl<'a> Run<'a> {
    /// A run whose items are named by their paths in the snapshot.
    pub(crate) fn new(monitor: &'a dyn Monitor, stop: &'a AtomicBool, words: &'static Words) -> Self {
        Self {
            monitor,
            target: String::new(),
            words,
            figures: Figures::default(),
            stop,
            ended: AtomicBool::new(false),
            failures: Mutex::default(),
            warned: Mutex::default(),
        }
    }

    /// A file stood there as it should be.
    pub(super) fn file_skipped(&self, bytes: u64) {
        self.figures.files_skipped.add(1);
        self.figures.bytes_skipped.add(bytes);
        self.monitor.progress().files_done.add(1);
    }

    /// A restore into `target`: items are named by where they go.
    pub(super) fn into_target(self, target: &std::path::Path) -> Self {
        Self { target: target.display().to_string().trim_end_matches('/').to_owned(), ..self }
    }

    /// Whether the next step must not be taken.
    pub(crate) fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed)
    }

    /// The reason, when it is over.
    pub(crate) fn check(&self) -> Result<()> {
        // A store that was waited for fails because of the signal: the signal is the cause.
        if self.stop.load(Ordering::SeqCst) {
            let (what, next) = self.words.interrupted;
            return Err(Error::new(ErrorKind::Interrupted, what).then(next));
        }
        lock(&self.failures).end.clone().map_or(Ok(()), Err)
    }

    /// Ends the run; the first cause is kept.
    pub(crate) fn end(&self, error: Error) {
        lock(&self.failures).end.get_or_insert(error);
        self.ended.store(true, Ordering::SeqCst);
    }

    /// One item failed. A full target or a store out of reach ends the run.
    pub(crate) fn item_failed(&self, item: &str, trouble: Trouble) {
        match trouble.kind {
            ErrorKind::NoSpace => self.end(full(&self.place(item), &trouble)),
            ErrorKind::Unreachable | ErrorKind::Denied | ErrorKind::Interrupted => {
                self.end(
                    Error::new(trouble.kind, self.words.failed).at(self.place(item)).because(&trouble.cause),
                );
            }
            _ => {
                let mut failures = lock(&self.failures);
                if !failures.told.insert(item.to_owned()) {
                    return;
                }
                self.monitor.item_failed(self.words.during, item, &trouble.cause);
                self.monitor.progress().errors.add(1);
                failures.count += 1;
                if failures.named.len() < NAMED_MAX {
                    let named = Failed { item: item.to_owned(), cause: trouble.cause.clone() };
                    failures.named.push(named);
                }
                if trouble.kind == ErrorKind::Damaged && failures.damage.is_none() {
                    failures.damage = Some((item.to_owned(), trouble.clone()));
                }
                failures.first.get_or_insert_with(|| (item.to_owned(), trouble));
            }
        }
    }

    /// How many items failed.
    pub(crate) fn failed_items(&self) -> u64 {
        lock(&self.failures).count
    }

    /// The first failed items, for a report.
    pub(crate) fn named_failures(&self) -> Vec<Failed> {
        lock(&self.failures).named.clone()
    }

    /// Warns once in a run; `about` tells the warnings apart.
    pub(crate) fn warn_once(&self, about: &'static str, text: impl FnOnce() -> String) {
        if lock(&self.warned).insert(about) {
            self.monitor.warn(&text());
        }
    }

    /// What the run comes to: an error when any item failed, damage before all else.
    pub(crate) fn outcome(&self) -> Result<()> {
        self.check()?;
        let failures = lock(&self.failures);
        let Some((item, trouble)) = failures.damage.as_ref().or(failures.first.as_ref()) else {
            return Ok(());
        };
        let (count, word) = (failures.count, if failures.count == 1 { "item" } else { "items" });
        let (damaged, other) = self.words.next;
        let next = if trouble.kind == ErrorKind::Damaged { damaged } else { other };
        Err(Error::new(trouble.kind, format!("{count} {word} {}", self.words.items))
            .at(self.place(item))
            .because(&trouble.cause)
            .then(next))
    }

    /// Where an item is on this machine: it begins with a slash, and so stands below the target.
    fn place(&self, item: &str) -> String {
        format!("{}{item}", self.target)
    }
}

fn full(item: &str, trouble: &Trouble) -> Error {
    Error::new(ErrorKind::NoSpace, "the target is full")
        .at(item)
        .because(&trouble.cause)
        .then("Make room and run restore again: what was written is used")
}

/// A lock whose holder cannot leave half a change behind, so poison means nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `work` for every item on up to `threads` threads, each with a state of its own. Results keep the
/// items' order; when the run is over, the rest of them is missing.
pub(crate) fn spread<T: Sync, S, R: Send>(
    run: &Run<'_>,
    items: &[T],
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let one_thread = || {
        let mut state = state();
        let mut done = Vec::new();
        while !run.is_over() {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(position) else { break };
            done.push((position, work(&mut state, item)));
        }
        done
    };
    let done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(items.len())).map(|_| scope.spawn(one_thread)).collect();
        let mut results = one_thread();
        for other in others {
            match other.join() {
                Ok(done) => results.extend(done),
                Err(_) => run.end(Error::new(ErrorKind::Other, run.words.failed).because("a thread died")),
            }
        }
        results
    });
    in_order(items.len(), done)
}
