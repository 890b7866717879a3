//! A second, equal request for a read that takes longer than 99 of 100 reads of its length took in this run.
//!
//! One GET in a hundred hangs for seconds, and who waits for a hundred waits for it. The data that comes first
//! is taken, and the request that is still under way is dropped, which ends it. What the second says counts
//! only if it is the data: an answer is never another for it, only sooner, or there after a failure that may pass.
//!
//! It must not cost: of each class of reads at most one in twenty is asked for twice. It must not overload: two
//! at once at most, and none for a minute after the store asked to slow down. By these two requests
//! `MOVER_CONNECTIONS` may be exceeded, and by the bytes of two reads the memory budget; a request that hangs
//! before its first byte holds none. To retry and to the time limits a hedged read is one request.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::failure::Failure;
use crate::backend::FileType;

/// So many reads of a class are remembered, the last ones. The fewer, the sooner slow ones at its start are
/// forgotten that would put the percentile beyond all reach.
const WINDOW: usize = 200;
/// Fewer reads have no 99th percentile but the slowest of all.
const ENOUGH: usize = 100;
/// No read is slow before. A process at its CPU quota stands still for as long (the period of cgroups), and a
/// second request would not help it.
const FLOOR: Duration = Duration::from_millis(100);
/// Each read earns one, a hedge takes so many: one in twenty is 5 %.
const PRICE: u32 = 20;
/// What was not used for long buys no more than three.
const CREDIT_MAX: u32 = 3 * PRICE;
/// Hedges at once, of all classes.
const AT_ONCE: usize = 2;
/// How long the store is left alone after it asked to slow down: the longest wait of a retry.
const REST: Duration = Duration::from_mins(1);

/// How many reads were hedged; several stores may share one.
#[derive(Debug, Default)]
pub struct HedgeCount {
    sent: AtomicU64,
    won: AtomicU64,
}

impl HedgeCount {
    /// Second requests that were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Those whose data came first.
    #[must_use]
    pub fn won(&self) -> u64 {
        self.won.load(Ordering::Relaxed)
    }
}

/// Reads that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Whole files, whose length is not known before; those of a kind are alike.
    Whole(FileType),
    /// Ranges from a power of four up to the next.
    Range(u32),
}

impl Class {
    /// The class of a read of so many bytes.
    pub(super) fn of_range(bytes: usize) -> Self {
        Self::Range(bytes.checked_ilog2().unwrap_or(0) / 2)
    }
}

/// What a store's reads took, and the right to hedge them.
pub(super) struct Hedge {
    past: Mutex<Past>,
    count: Arc<HedgeCount>,
}

impl Hedge {
    pub(super) fn new(count: Arc<HedgeCount>) -> Self {
        Self { past: Mutex::default(), count }
    }

    /// The data of `ask`, or of a second `ask` where the first is slow.
    pub(super) async fn read<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        class: Class,
        ask: impl Fn() -> F,
    ) -> Result<T, Failure> {
        let mut first = pin!(ask());
        let mut started = Instant::now();
        let delay = self.past().delay(class);
        let soon = match delay {
            Some(delay) => tokio::time::timeout(delay, first.as_mut()).await.ok(),
            None => Some(first.as_mut().await),
        };
        let answer = match soon {
            Some(answer) => answer,
            None => match self.slot(class) {
                None => first.await,
                Some(_slot) => {
                    self.count.sent.fetch_add(1, Ordering::Relaxed);
                    let again = Instant::now();
                    let (answer, won) = race(first, pin!(ask())).await;
                    if won {
                        // That the first was slow says nothing of how long such a read takes.
                        started = again;
                        self.count.won.fetch_add(1, Ordering::Relaxed);
                    }
                    answer
                }
            },
        };
        if answer.is_ok() {
            self.past().learn(class, started.elapsed());
        }
        answer
    }

    /// The store asked to slow down.
    pub(super) fn rest(&self) {
        self.past().rest_until = Some(Instant::now() + REST);
    }

    /// The right to one second request, if there is one.
    fn slot(&self, class: Class) -> Option<Slot<'_>> {
        let allowed = self.past().take(class, Instant::now());
        allowed.then(|| Slot(self))
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hedge under way.
struct Slot<'a>(&'a Hedge);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.past().running -= 1;
    }
}

#[derive(Default)]
struct Past {
    seen: BTreeMap<Class, Seen>,
    running: usize,
    rest_until: Option<Instant>,
}

#[derive(Default)]
struct Seen {
    durations: VecDeque<Duration>,
    credit: u32,
}

impl Past {
    /// After how long a read is slow; none before enough were seen.
    fn delay(&self, class: Class) -> Option<Duration> {
        let seen = self.seen.get(&class).filter(|seen| seen.durations.len() >= ENOUGH)?;
        let mut durations: Vec<Duration> = seen.durations.iter().copied().collect();
        let rank = durations.len() - 1 - durations.len() / 100;
        let (_, percentile, _) = durations.select_nth_unstable(rank);
        Some(FLOOR.max(*percentile))
    }

    fn take(&mut self, class: Class, now: Instant) -> bool {
        let rests = self.rest_until.is_some_and(|until| now < until);
        let Some(seen) = self.seen.get_mut(&class) else { return false };
        let allowed = !rests && self.running < AT_ONCE && seen.credit >= PRICE;
        if allowed {
            seen.credit -= PRICE;
            self.running += 1;
        }
        allowed
    }

    fn learn(&mut self, class: Class, duration: Duration) {
        let seen = self.seen.entry(class).or_default();
        seen.credit = CREDIT_MAX.min(seen.credit + 1);
        if seen.durations.len() == WINDOW {
            seen.durations.pop_front();
        }
        seen.durations.push_back(duration);
    }
}

/// The first's answer or, sooner, the second's data; whether it is the second's. A failure of the first that
/// may pass waits for the second; one that stays is the answer.
async fn race<T, F: Future<Output = Result<T, Failure>>>(
    mut first: Pin<&mut F>,
    mut second: Pin<&mut F>,
) -> (Result<T, Failure>, bool) {
    let mut failed = None;
    let mut is_alone = false;
    poll_fn(|context| {
        if failed.is_none()
            && let Poll::Ready(answer) = first.as_mut().poll(context)
        {
            match answer {
                Err(failure) if failure.temporary && !is_alone => failed = Some(failure),
                answer => return Poll::Ready((answer, false)),
            }
        }
        if !is_alone && let Poll::Ready(answer) = second.as_mut().poll(context) {
            match (answer, failed.take()) {
                (Ok(data), _) => return Poll::Ready((Ok(data), true)),
                (Err(_), Some(failure)) => return Poll::Ready((Err(failure), false)),
                (Err(_), None) => is_alone = true,
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
